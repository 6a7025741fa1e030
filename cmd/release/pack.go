package main

import (
	"archive/zip"
	"bytes"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// pack returns the function's package: a zip of the program, its licence and
// those of what it is built from. Order, modes and dates are fixed.
func pack(bootstrap []byte) ([]byte, error) {
	license, err := os.ReadFile("LICENSE")
	if err != nil {
		return nil, err
	}
	notices, err := notices(bootstrap)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, file := range []struct {
		name    string
		mode    os.FileMode
		content []byte
	}{{"bootstrap", 0o755, bootstrap}, {"LICENSE", 0o644, license}, {"NOTICES", 0o644, notices}} {
		header := &zip.FileHeader{Name: file.name, Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
		header.SetMode(file.mode)
		entry, err := w.CreateHeader(header)
		if err != nil {
			return nil, err
		}
		if _, err := entry.Write(file.content); err != nil {
			return nil, err
		}
	}
	err = w.Close()
	return out.Bytes(), err
}

// notices returns the licences and notices of Go and of the modules in the
// program: each text once, below the names of what it covers.
func notices(program []byte) ([]byte, error) {
	info, err := buildinfo.Read(bytes.NewReader(program))
	if err != nil {
		return nil, err
	}
	names, list := []string{info.GoVersion}, []string{"list", "-m", "-f", "{{.Dir}}"}
	for _, module := range info.Deps {
		names, list = append(names, module.Path+" "+module.Version), append(list, module.Path)
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	dirs, err := exec.Command("go", list...).Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}

	var texts []string
	covered := map[string][]string{} // by text
	for i, dir := range strings.Split(strings.TrimSpace(string(root)+string(dirs)), "\n") {
		licenses, _ := filepath.Glob(filepath.Join(dir, "LICENSE*")) // the pattern is well formed
		others, _ := filepath.Glob(filepath.Join(dir, "NOTICE*"))
		if len(licenses) == 0 {
			return nil, fmt.Errorf("no licence of %s in %s", names[i], dir)
		}
		for _, path := range slices.Concat(licenses, others) {
			content, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			text := strings.TrimSpace(string(content))
			if covered[text] == nil {
				texts = append(texts, text)
			}
			covered[text] = append(covered[text], names[i])
		}
	}
	var out bytes.Buffer
	for _, text := range texts {
		fmt.Fprintf(&out, "%s\n\n%s\n\n%s\n\n", strings.Join(covered[text], "\n"), text, strings.Repeat("=", 80))
	}
	return out.Bytes(), nil
}
