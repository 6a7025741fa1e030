package main_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"datadog-webhook-auth-sync/handler/fault"
)

// TestReadme holds README's tables to the template and to the code; with README=write it writes them anew.
func TestReadme(t *testing.T) {
	const path = "../../README.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := between(t, string(text), "parameters", parameterTable(t))
	want = between(t, want, "errors", errorTable())
	if os.Getenv("README") == "write" {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != string(text) {
		t.Error("README.md's tables are out of date: run make readme")
	}
}

// between puts table between the two comments that name it.
func between(t *testing.T, text, name, table string) string {
	t.Helper()
	before, rest, ok1 := strings.Cut(text, "<!-- "+name+": made by `make readme` -->\n")
	_, after, ok2 := strings.Cut(rest, "<!-- end of "+name+" -->")
	if !ok1 || !ok2 {
		t.Fatalf("README.md has no place for %s", name)
	}
	return before + "<!-- " + name + ": made by `make readme` -->\n" + table + "<!-- end of " + name + " -->" + after
}

func parameterTable(t *testing.T) string {
	s := evaluate(t, nil)
	table := "| parameter | default | |\n|---|---|---|\n"
	names := s.sections["Parameters"]
	for i := 0; i < len(names.Content); i += 2 {
		name := names.Content[i].Value
		parameter := s.section("Parameters")[name].(fields)
		fallback := "required"
		if value := parameter["Default"]; value == "" {
			fallback = ""
		} else if value != nil {
			fallback = fmt.Sprintf("`%v`", value)
		}
		table += fmt.Sprintf("| %s | %s | %s |\n", name, fallback, parameter["Description"])
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
