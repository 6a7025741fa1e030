package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

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

	if files, err := os.ReadDir(first); err != nil || len(files) != 5 {
		t.Errorf("the release is %v: %v", files, err)
	}
	if out, err := exec.Command("diff", "--recursive", first, second).CombinedOutput(); err != nil {
		t.Errorf("the same source in another folder and environment: %v\n%s", err, out)
	}
}

// TestReleaseDeploys deploys the release from its files, by the commands of
// docs/release.md and without Go, and has it do its job.
func TestReleaseDeploys(t *testing.T) {
	release := makeRelease(t, "../..")
	commands := regexp.MustCompile("(?s)```bash\n(.*?)```").FindStringSubmatch(readText(t, "docs/release.md"))
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
			bash := exec.CommandContext(ctx, "bash", "-euc", before+commands[1])
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
			t.Errorf("the result event is not of one %s and accepted: %s", outcome, event.Detail.Summary)
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
