package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"datadog-webhook-auth-sync/cmd/demo/system"
)

const onboarding = "docs/onboarding.md"

// TestDocuments runs what README.md and docs/ tell people to type: every block tagged sh, in the order of its document,
// in a clone of the repository. A document with blocks before its first section has each section typed into a shell of its
// own, in which only those ran before; otherwise one shell runs all. What stands for the outside world is in reader.typed.
func TestDocuments(t *testing.T) {
	t.Parallel() // after all others but TestStory, whose system is another
	for _, document := range documents(t) {
		if len(blocksOf(t, document)) == 0 {
			continue
		}
		t.Run(document, func(t *testing.T) {
			r := newReader(t)
			switch document {
			case onboarding:
				r.onboards()
				return
			case "README.md": // which begins with nothing
				r.env = append(r.env, "AWS_ACCESS_KEY_ID=444444444444") // see hasProfiles
			default:
				r.hasPayments()
				r.invokesAsync(map[string]string{"action": "nothing that it knows"}) // for the failure queue
			}
			r.follows(document)
		})
	}
}

// documents are the paths of the Markdown files in the repository's root and below docs/.
func documents(t *testing.T) (found []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, entry fs.DirEntry, err error) error {
		if entry.IsDir() && path != "." && path != "docs" && !strings.HasPrefix(path, "docs/") {
			return fs.SkipDir
		}
		if filepath.Ext(path) == ".md" {
			found = append(found, path)
		}
		return err
	})
	if err != nil || len(found) < 4 {
		t.Fatalf("the documents are %v, %v", found, err)
	}
	return found
}

// block is one of a document's, to be typed into a shell.
type block struct {
	line    int // of its first command
	section int // of the document, from 1; 0 = before the first
	text    string
}

// blocksOf finds a document's blocks tagged sh. Those tagged otherwise (console, json, …) are to be read.
func blocksOf(t *testing.T, document string) (blocks []block) {
	text := []byte(readText(t, document))
	if other := otherShell.Find(text); other != nil && document != "docs/release.md" { // which TestReleaseDeploys runs
		t.Errorf("%s has a block tagged %s: tag it sh to have it run, or console", document, other)
	}
	for _, at := range shBlock.FindAllSubmatchIndex(text, -1) {
		before := text[:at[2]]
		blocks = append(blocks, block{bytes.Count(before, []byte("\n")) + 1, bytes.Count(before, []byte("\n##")), string(text[at[2]:at[3]])})
	}
	return blocks
}

var (
	shBlock    = regexp.MustCompile("(?ms)^ *```sh\n(.*?)^ *```$")
	otherShell = regexp.MustCompile("(?m)^ *```(bash|shell|zsh)$")
)

// reader is somebody who follows a document.
type reader struct {
	*user
	idp   *provider // knows every client
	clone string    // of the repository, where the commands run
	env   []string
}

func newReader(t *testing.T) *reader {
	t.Helper()
	u := newUser(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*patience)
	t.Cleanup(cancel)
	u.ctx = ctx
	r := &reader{user: u, idp: newProvider(t), clone: t.TempDir()}
	r.idp.acceptsAll = true
	for _, name := range []string{"Makefile", "go.mod", "go.sum", "samconfig.toml", "template.yaml"} {
		u.must(os.WriteFile(filepath.Join(r.clone, name), []byte(readText(t, name)), 0o600))
	}
	u.must(system.ForEmulator(filepath.Join(r.clone, "template.yaml")))
	for _, name := range []string{"cmd", "docs", "events", "handler"} {
		u.must(os.CopyFS(filepath.Join(r.clone, name), os.DirFS(root+name)))
	}
	r.writesFiles()
	r.env = append(r.Environment(), "STACK=datadog-webhook-auth-sync", "AWS_SESSION_TOKEN=")
	r.installsAWS()
	t.Cleanup(func() {
		for _, m := range r.Datadog.AuthMethods() {
			if m.AccessTokenURL == r.idp.url {
				r.Datadog.Delete(m.ID)
			}
		}
	})
	return r
}

// writesFiles writes what the documents tell the reader to write, and to remove afterwards.
func (r *reader) writesFiles() {
	r.t.Helper()
	for name, text := range map[string]string{ // which the reader was told to write
		"keys.json":         r.KeySecret(),
		"credential.json":   fmt.Sprintf(`{"client_id": "payments", "client_secret": %q, "access_token_url": %q}`, clientSecretMark+"of-payments", r.idp.url),
		"client-secret.txt": clientSecretMark + "that-is-new\n",
	} {
		r.must(os.WriteFile(filepath.Join(r.clone, name), []byte(text), 0o600))
	}
}

// typed is what the reader types for a document's text: the same, but for what would leave this machine.
func (r *reader) typed(text string) string {
	return strings.NewReplacer(
		"https://idp.example.com/oauth2/token", r.idp.url,
		"https://api.$DD_SITE", r.DatadogURL,
		"https://api.$(parameter DdSite)", r.DatadogURL,
		"sam deploy --parameter-overrides ", "sam deploy --parameter-overrides DdApiUrl="+r.DatadogURL+" ",
	).Replace(text)
}

// follows types each block of the document, and returns what was printed. None of it may be a secret.
func (r *reader) follows(document string) (printed string) {
	r.t.Helper()
	blocks := blocksOf(r.t, document)
	first := slices.IndexFunc(blocks, func(b block) bool { return b.section > 0 }) // block of a section
	started := time.Now()
	if first <= 0 {
		printed = r.types(document, blocks)
	}
	for next := first; first > 0 && next < len(blocks); {
		begin := next
		for next < len(blocks) && blocks[next].section == blocks[begin].section {
			next++
		}
		printed += r.types(document, slices.Concat(blocks[:first], blocks[begin:next]))
	}
	r.t.Logf("%d blocks of %s in %.1f s", len(blocks), document, time.Since(started).Seconds())
	return printed
}

// types types the blocks into one shell.
func (r *reader) types(document string, blocks []block) (printed string) {
	r.t.Helper()
	r.writesFiles()
	script := "set -euo pipefail\n"
	for i, b := range blocks {
		script += fmt.Sprintf("printf '\\036%d\\036'\n%s", i, r.typed(b.text))
	}
	cmd := exec.CommandContext(r.ctx, "bash", "-c", script)
	cmd.Dir, cmd.Env, cmd.WaitDelay = r.clone, r.env, time.Second
	out, err := cmd.CombinedOutput()
	answers.Store(string(out), true)
	parts := strings.Split(string(out), "\036")
	if err != nil {
		last, _ := strconv.Atoi(parts[max(0, len(parts)-2)])
		r.t.Fatalf("%s:%d: %v\n%s\nIt printed\n%s", document, blocks[last].line, err, blocks[last].text, parts[len(parts)-1])
	}
	return string(out)
}

// installsAWS puts first in PATH an AWS CLI that calls the emulator.
func (r *reader) installsAWS() {
	r.t.Helper()
	for _, program := range []string{"aws", "column", "curl", "jq"} {
		if _, err := exec.LookPath(program); err != nil && os.Getenv("CI") != "" {
			r.t.Fatal("the documents' commands: ", err)
		} else if err != nil {
			r.t.Skip("the documents' commands: ", err)
		}
	}
	command, _ := exec.LookPath("aws")
	version, _ := exec.CommandContext(r.ctx, command, "--version").CombinedOutput()
	if loaded, err := loadedAWS(); err == nil && !strings.HasPrefix(string(version), "aws-cli/2") {
		command = loaded
	}
	const script = "#!/bin/sh\nexec %s --endpoint-url \"$AWS_ENDPOINT_URL\" \"$@\"\n" // 2.12 does not know the variable
	bin := r.t.TempDir()
	r.must(os.WriteFile(filepath.Join(bin, "aws"), fmt.Appendf(nil, script, command), 0o755))
	for _, pair := range r.env {
		if path, ok := strings.CutPrefix(pair, "PATH="); ok {
			r.env = append(r.env, "PATH="+bin+string(os.PathListSeparator)+path)
		}
	}
}

// loadedAWS is a command that is the AWS CLI of python3, without the time that Python takes to load it: see
// testdata/aws.py. It is an error if python3 has none.
var loadedAWS = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp("", "aws")
	if err != nil {
		return "", err
	}
	socket := filepath.Join(folder, "socket")
	server := exec.Command("python3", "testdata/aws.py", "serve", socket)
	if untilExit, err = server.StdinPipe(); err != nil {
		return "", err
	}
	ready, err := server.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := server.Start(); err != nil {
		return "", err
	}
	command, err := bufio.NewReader(ready).ReadString('\n')
	return strings.TrimSpace(command), err
})

var untilExit io.WriteCloser // the standard input of loadedAWS's process

// hasPayments gives the reader the secret and the auth method that documents tell of, until the end of the test.
func (r *reader) hasPayments() {
	r.t.Helper()
	credential, err := os.ReadFile(filepath.Join(r.clone, "credential.json"))
	r.must(err)
	_, err = r.SecretsManager().CreateSecret(r.ctx, &secretsmanager.CreateSecretInput{
		Name: aws.String(prefix + "payments"), SecretString: aws.String(string(credential))})
	r.must(err)
	r.t.Cleanup(func() {
		for _, name := range []string{"payments", "payments-eu"} { // as which it was created anew
			_, err := r.SecretsManager().DeleteSecret(context.Background(), &secretsmanager.DeleteSecretInput{
				SecretId: aws.String(prefix + name), ForceDeleteWithoutRecovery: aws.Bool(true)})
			if gone := new(types.ResourceNotFoundException); !errors.As(err, &gone) {
				r.must(err)
			}
		}
	})
	if answer := r.asks("POST", "/sync", nil, `{"secretId": "datadog/webhooks/payments"}`, true); answer.Status != http.StatusOK {
		r.t.Fatalf("%d %s", answer.Status, answer.Body)
	}
}
