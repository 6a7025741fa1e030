package main

import (
	"archive/zip"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/cmd/demo/system"
)

func TestReleaseIsReproducible(t *testing.T) {
	first := makeRelease(t, "../..")

	source := t.TempDir()
	for _, name := range []string{"CHANGELOG.md", "LICENSE", "Makefile", "go.mod", "go.sum", "template.yaml", "cmd", "docs", "handler"} {
		if out, err := exec.Command("cp", "-R", filepath.Join("../..", name), source).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	t.Setenv("GOARM64", "v9.0")
	t.Setenv("GOFLAGS", "-tags=another")
	second := makeRelease(t, source)

	want := sums(t, first)
	if len(want) != 5 {
		t.Errorf("the release is %v", want)
	}
	if diff := gocmp.Diff(want, sums(t, second)); diff != "" {
		t.Error("the same source in another folder and environment (-one +other):\n" + diff)
	}
}

// TestReleaseDeploys deploys the release from its files, by the commands of
// docs/release.md and without Go, and has it do its job.
func TestReleaseDeploys(t *testing.T) {
	release := makeRelease(t, "../..")
	runsHere(t, filepath.Join(release, "function.zip"))
	page, err := os.ReadFile("../../docs/release.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile("(?s)```bash\n(.*?)```").FindSubmatch(page)
	if commands == nil {
		t.Fatal("docs/release.md has no commands")
	}
	without := t.TempDir()
	for _, program := range []string{"go", "make", "sam"} {
		refuse := "#!/bin/sh\necho a release needs no " + program + " >&2\nexit 1\n"
		if err := os.WriteFile(filepath.Join(without, program), []byte(refuse), 0o755); err != nil {
			t.Fatal(err)
		}
	}

	ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
	defer cancel()
	s, err := system.Start(ctx, system.Options{
		Name: "release",
		Log:  os.Stderr,
		Deploy: func(ctx context.Context, env []string, parameters map[string]string) error {
			// The parameters of docs/release.md come last: so do these.
			const before = `
				aws() { case $2 in deploy) rewrite; command "$AWS_CLI" "$@" "${PARAMETERS[@]}";; *) command "$AWS_CLI" "$@";; esac; }
				rewrite() { # as system.ForEmulator
					sed -zEi 's/StringEquals:(\s+)(events:source|secretsmanager:resource)/StringEqualsIfExists:\1\2/g' packaged.yaml
				}
				mapfile -t PARAMETERS <<<"$LINES"
				PATH=$WITHOUT:$PATH
				aws s3 mb "s3://$BUCKET"
				`
			var lines []string
			for name, value := range parameters {
				lines = append(lines, name+"="+value)
			}
			bash := exec.CommandContext(ctx, "bash", "-euc", before+string(commands[1]))
			bash.Dir = release
			bash.Env = append(env, "AWS_CLI="+cmp.Or(os.Getenv("AWS_CLI"), "aws"), "WITHOUT="+without,
				"LINES="+strings.Join(lines, "\n"), "BUCKET=artifacts", "KEYS_ARN="+parameters["DdApiKeySecretArn"])
			if out, err := bash.CombinedOutput(); err != nil {
				return fmt.Errorf("%w\n%s", err, out)
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	team, err := newTeam(ctx, s, "release")
	if err != nil {
		t.Fatal(err)
	}
	u := &user{team, t, ctx}
	t.Cleanup(u.passes)

	for _, outcome := range []string{"created", "updated"} {
		secret := u.newClientSecret()
		if event := u.result(u.rotates(secret)); event.Detail.Outcome != outcome || event.Detail.Verification != "accepted" {
			t.Errorf("the result event is not of one %s and accepted: %s", outcome, event.Raw)
		}
		u.datadogHolds(secret)
	}
	if answer := u.asks("POST", "/sync", nil, fmt.Sprintf(`{"secretId": %q}`, u.secretName), true); answer.Status != http.StatusOK {
		t.Errorf("POST /sync: %d %s", answer.Status, answer.Body)
	}
	if body, failed := u.invokes(map[string]string{"action": "reconcile"}); failed || !strings.Contains(body, `"secrets":1,`) {
		t.Errorf("reconcile: %s", body)
	}
}

// makeRelease makes the release of a source folder, and returns the folder of
// its files.
func makeRelease(t *testing.T, source string) string {
	t.Helper()
	if os.Getenv("RELEASE") == "" {
		t.Skip("only with RELEASE=1: see `make test-release`")
	}
	tools, err := filepath.Abs("../../.tools")
	if err != nil {
		t.Fatal(err)
	}
	release := t.TempDir()
	if out, err := exec.Command("make", "-C", source, "release", "RELEASE="+release, "TOOLS="+tools).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return release
}

// sums returns the checksum of each file in the folder.
func sums(t *testing.T, folder string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]string{}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		sums[entry.Name()] = fmt.Sprintf("%x", sha256.Sum256(content))
	}
	return sums
}

// runsHere skips the test where this machine does not run the packaged program.
func runsHere(t *testing.T, function string) {
	t.Helper()
	r, err := zip.OpenReader(function)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	packed, err := r.Open("bootstrap")
	if err != nil {
		t.Fatal(err)
	}
	bootstrap := filepath.Join(t.TempDir(), "bootstrap")
	file, err := os.OpenFile(bootstrap, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(file, packed)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	program := exec.Command(bootstrap)
	program.Env = []string{} // it ends at once: it is not configured
	if err := program.Run(); errors.Is(err, syscall.ENOEXEC) {
		t.Skip("this machine runs no arm64 program: see `make test-release`")
	}
}
