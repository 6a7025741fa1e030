package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"datadog-webhook-auth-sync/handler"
	"datadog-webhook-auth-sync/handler/fault"
)

const root = "../../"

// TestReadme holds the tables of docs/reference.md to the template and to the code; with README=write it writes them anew.
func TestReadme(t *testing.T) {
	text := readText(t, "docs/reference.md")
	want := between(t, text, "parameters", parameterTable(t))
	want = between(t, want, "errors", errorTable())
	want = between(t, want, "metrics", metricTable())
	if os.Getenv("README") == "write" {
		if err := os.WriteFile(root+"docs/reference.md", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != text {
		t.Error("the tables of docs/reference.md are out of date: run make readme")
	}
}

// TestOperations finds the entry of each code in docs/operations.md.
func TestOperations(t *testing.T) {
	_, codes, _ := strings.Cut(readText(t, "docs/operations.md"), "\n## Codes\n")
	codes, _, _ = strings.Cut(codes, "\n## ")
	for _, row := range fault.Table {
		if !regexp.MustCompile(`\b` + string(row.Code) + `\b`).MatchString(codes) {
			t.Errorf("%s has no entry", row.Code)
		}
	}
}

// between puts table between the two comments that name it.
func between(t *testing.T, text, name, table string) string {
	t.Helper()
	first, last := "<!-- "+name+": made by `make readme` -->\n", "<!-- end of "+name+" -->"
	before, rest, ok1 := strings.Cut(text, first)
	_, after, ok2 := strings.Cut(rest, last)
	if !ok1 || !ok2 {
		t.Fatalf("there is no place for %s", name)
	}
	return before + first + table + last + after
}

func parameterTable(t *testing.T) string {
	s := evaluate(t, nil)
	table := "| parameter | default | |\n|---|---|---|\n"
	for pair := range slices.Chunk(s.under("Parameters").Content, 2) {
		name := pair[0].Value
		parameter := s.section("Parameters")[name].(fields)
		fallback := "required"
		if value := parameter["Default"]; value == "" {
			fallback = ""
		} else if value != nil {
			fallback = fmt.Sprintf("`%v`", value)
		}
		table += fmt.Sprintf("| `%s` | %s | %s |\n", name, fallback, parameter["Description"])
	}
	return table
}

func errorTable() string {
	table := "| code | HTTP | retryable | means | do |\n|---|---|---|---|---|\n"
	for _, row := range fault.Table {
		retryable := ""
		if row.Retryable {
			retryable = "yes"
		}
		table += fmt.Sprintf("| `%s` | %d | %s | %s | %s |\n", row.Code, row.Status, retryable, row.Means, row.Hint)
	}
	return table
}

func metricTable() string {
	table := "| metric | unit | |\n|---|---|---|\n"
	for _, metric := range handler.Metrics {
		table += fmt.Sprintf("| `%s` | %s | %s |\n", metric.Name, metric.Unit, metric.Means)
	}
	return table
}

var (
	fence   = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	code    = regexp.MustCompile("`[^`\n]*`")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} (.*)$`)
	linked  = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	noSlug  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// TestDocumentsLinks follows every link of the documents that leads to a file here, and to a heading in it.
func TestDocumentsLinks(t *testing.T) {
	for _, path := range documents(t) {
		text := code.ReplaceAllString(fence.ReplaceAllString(readText(t, path), ""), "")
		for _, found := range link.FindAllStringSubmatch(text, -1) {
			to, err := url.Parse(found[1])
			switch {
			case err != nil:
				t.Errorf("%s: %s: %v", path, found[1], err)
				continue
			case to.Scheme == "https":
				continue
			case to.Scheme != "":
				t.Errorf("%s: %s is neither https nor here", path, found[1])
				continue
			}
			target := path
			if to.Path != "" {
				target = filepath.Join(filepath.Dir(path), to.Path)
			}
			if _, err := os.Stat(root + target); err != nil {
				t.Errorf("%s: %s: %v", path, found[1], err)
			} else if to.Fragment != "" && !slices.Contains(anchors(readText(t, target)), to.Fragment) {
				t.Errorf("%s: %s: there is no such heading", path, found[1])
			}
		}
	}
}

// anchors are those that GitHub gives to the headings of a document.
func anchors(text string) (all []string) {
	seen := map[string]int{}
	for _, found := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		slug := noSlug.ReplaceAllString(strings.ToLower(linked.ReplaceAllString(found[1], "$1")), "")
		slug = strings.ReplaceAll(strings.TrimSpace(slug), " ", "-")
		n := seen[slug]
		seen[slug]++
		if n > 0 {
			slug = fmt.Sprintf("%s-%d", slug, n)
		}
		all = append(all, slug)
	}
	return all
}

// readText reads a file of the repository, by its path from the root.
func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(root + path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
