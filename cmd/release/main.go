// Command release completes a release. Its folder holds the function built for
// Lambda; what it adds is the package, its SBOM, the template that deploys the
// package, and the checksums: the same bytes on every machine and day.
//
//	release FOLDER VERSION
package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: release FOLDER VERSION")
		os.Exit(2)
	}
	if err := complete(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// complete reads the bootstrap in the folder; the template and the operator's
// script in the working directory.
func complete(folder, version string) error {
	bootstrap, err := os.ReadFile(filepath.Join(folder, "bootstrap"))
	if err != nil {
		return err
	}
	function, err := pack(bootstrap)
	if err != nil {
		return err
	}
	bom, err := sbom(bootstrap, version)
	if err != nil {
		return err
	}
	source, err := os.ReadFile("template.yaml")
	if err != nil {
		return err
	}
	template, err := released(string(source), version)
	if err != nil {
		return err
	}
	ops, err := os.ReadFile("docs/ops.sh")
	if err != nil {
		return err
	}
	var sums strings.Builder
	for _, file := range []struct {
		name    string
		content []byte
	}{{"function.zip", function}, {"ops.sh", ops}, {"sbom.cdx.json", bom}, {"template.yaml", []byte(template)}} {
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(file.content), file.name)
		if err := os.WriteFile(filepath.Join(folder, file.name), file.content, 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(folder, "SHA256SUMS"), []byte(sums.String()), 0o644)
}

// released returns the template of a release. The package stands beside it, so
// SAM has nothing to build.
func released(template, version string) (string, error) {
	for _, edit := range [][2]string{
		{"\nDescription: ", "\nDescription: datadog-webhook-auth-sync " + version + ". "},
		{"\n      BuildMethod: makefile\n", "\n"},
		{"\n      CodeUri: .\n", "\n      CodeUri: function.zip\n"},
	} {
		if n := strings.Count(template, edit[0]); n != 1 {
			return "", fmt.Errorf("template.yaml has %q %d times, not once", edit[0], n)
		}
		template = strings.Replace(template, edit[0], edit[1], 1)
	}
	return template, nil
}
