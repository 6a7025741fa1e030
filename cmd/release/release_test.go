package main

import (
	"archive/zip"
	"bytes"
	"debug/buildinfo"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPack(t *testing.T) {
	t.Chdir("../..")
	program := filepath.Join(t.TempDir(), "bootstrap")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-ldflags", "-s -w", "-o", program, "./cmd/bootstrap/testdata/empty").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	bootstrap, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := pack(bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := pack(bootstrap); err != nil || !bytes.Equal(packed, again) {
		t.Error("the package depends on the time: ", err)
	}

	r, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, file := range r.File {
		got[file.Name] = file.Mode().String()
	}
	want := map[string]string{"bootstrap": "-rwxr-xr-x", "LICENSE": "-rw-r--r--", "NOTICES": "-rw-r--r--"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("the package (-want +got):\n" + diff)
	}

	file, err := r.Open("NOTICES")
	if err != nil {
		t.Fatal(err)
	}
	notices, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil || len(info.Deps) == 0 {
		t.Fatal("the program has no modules: ", err)
	}
	bom, err := sbom(bootstrap, "1.2.3")
	serial := regexp.MustCompile(`"serialNumber": "urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"`)
	if err != nil || !serial.Match(bom) || !strings.Contains(string(bom), `"purl": "pkg:golang/datadog-webhook-auth-sync@v1.2.3"`) {
		t.Errorf("the SBOM is not of the program: %v\n%s", err, bom)
	}
	for _, module := range info.Deps {
		if !strings.Contains(string(bom), `"purl": "pkg:golang/`+module.Path+"@"+module.Version+`"`) {
			t.Error("the SBOM lacks " + module.Path)
		}
		if !strings.Contains(string(notices), module.Path+" "+module.Version+"\n") {
			t.Error("no licence of " + module.Path)
		}
	}
}

func TestReleasedTemplate(t *testing.T) {
	source, err := os.ReadFile("../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	template, err := released(string(source), "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"Description: datadog-webhook-auth-sync 1.2.3. Keeps ", "      CodeUri: function.zip\n"} {
		if !strings.Contains(template, "\n"+line) {
			t.Errorf("the template lacks %q", line)
		}
	}
	if strings.Contains(template, "BuildMethod") {
		t.Error("the template is to be built")
	}
	if _, err := released(template, "1.2.3"); err == nil {
		t.Error("a template without CodeUri: . is taken")
	}
}
