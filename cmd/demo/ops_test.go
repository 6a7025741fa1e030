package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/contract"
	"datadog-webhook-auth-sync/handler/tokencheck/tokentest"
)

const (
	opsSecret = "canary+of/the client-secret"
	opsKey    = "canary-of-the-api-key"
)

// ops runs bash commands after docs/ops.sh. Its aws and curl keep their arguments, which anybody on the machine may see;
// aws then prints value, and curl is the real one.
func ops(t *testing.T, value, commands string, env ...string) (printed string) {
	t.Helper()
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip(err)
	}
	bin := t.TempDir()
	seen := filepath.Join(bin, "seen")
	for name, then := range map[string]string{"aws": "cat '" + bin + "/value'", "curl": "exec '" + curl + "' \"$@\""} {
		script := fmt.Sprintf("#!/bin/sh\necho \"$@\" >>'%s'\n%s\n", seen, then)
		if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(bin, "value"), []byte(value+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", "set -u\n. ../../docs/ops.sh\n"+commands) // nobody's shell has pipefail
	cmd.Env = append(append(os.Environ(), env...), "PATH="+bin+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatal(err)
	}
	arguments, _ := os.ReadFile(seen)
	for _, secret := range []string{opsSecret, opsKey} {
		if strings.Contains(string(arguments)+string(out), secret) {
			t.Errorf("a secret value was printed, or is in the list of processes:\n%s%s", arguments, out)
		}
	}
	return string(out)
}

func TestCheckCredential(t *testing.T) {
	for _, c := range []struct {
		name, printed string
		prepare       func(*tokentest.Server)
	}{
		{"accepted", "works: by header, 200\n", nil},
		{"accepted in the body only", "works: by body, 200\n", func(s *tokentest.Server) {
			s.Fail(tokentest.Fault{Times: 1, Status: 500})
		}},
		{"refused", "refused: header 401 invalid_client; body 401 invalid_client; plain 401 invalid_client\n",
			func(s *tokentest.Server) { s.Revoke("payments", opsSecret) }},
		{"throttled", "unknown: header 429; body 429; plain 429\n", func(s *tokentest.Server) {
			s.Fail(tokentest.Fault{Status: 429})
		}},
		{"a wall before the endpoint", "unknown: header 403; body 403; plain 403\n", func(s *tokentest.Server) {
			s.Fail(tokentest.Fault{Status: 403, Body: "<html>"})
		}},
		{"an error in place of the token",
			"refused: header 200 invalid_client; body 200 invalid_client; plain 200 invalid_client\n",
			func(s *tokentest.Server) {
				s.Fail(tokentest.Fault{Status: 200, Body: `{"access_token": "x", "error": "invalid_client"}`})
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tokens := tokentest.New()
			tokens.Allow("payments", opsSecret)
			if c.prepare != nil {
				c.prepare(tokens)
			}
			server := httptest.NewServer(tokens)
			defer server.Close()
			value, _ := json.Marshal(map[string]string{
				"clientId": "payments", "client_secret": opsSecret, "access_token_url": server.URL})
			const emulator = "AWS_ENDPOINT_URL=http://127.0.0.1:1"
			status := map[byte]int{'w': 0, 'r': 1, 'u': 2}[c.printed[0]]
			want := c.printed + fmt.Sprintln(status)
			if diff := cmp.Diff(want, ops(t, string(value), "check_credential datadog/webhooks/payments; echo $?", emulator)); diff != "" {
				t.Errorf("printed (-want +got):\n%s", diff)
			}
		})
	}
}

// A client secret goes by https only, to one URL, which nobody but its team chose.
func TestCheckCredentialCallsNoOther(t *testing.T) {
	var called []string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { called = append(called, r.URL.Path) }))
	defer server.Close()
	value := func(url string) string {
		text, _ := json.Marshal(map[string]string{"client_id": "payments", "client_secret": opsSecret, "access_token_url": url})
		return string(text)
	}
	const check = "check_credential s; echo $?"
	for name, url := range map[string]string{"http": server.URL, "another protocol": strings.Replace(server.URL, "http", "gopher", 1)} {
		t.Run(name, func(t *testing.T) {
			want := "unknown: header no answer; body no answer; plain no answer\n2\n"
			if diff := cmp.Diff(want, ops(t, value(url), check, "AWS_ENDPOINT_URL=")); diff != "" || called != nil {
				t.Errorf("called %q; printed (-want +got):\n%s", called, diff)
			}
		})
	}
	t.Run("a URL with a glob", func(t *testing.T) {
		ops(t, value(server.URL+"/x{1,2}"), check, "AWS_ENDPOINT_URL=http://127.0.0.1:1")
		if diff := cmp.Diff([]string{"/x{1,2}", "/x{1,2}", "/x{1,2}"}, called); diff != "" {
			t.Errorf("called (-want +got):\n%s", diff)
		}
		called = nil
	})
	t.Run("a URL that somebody edited in Datadog", func(t *testing.T) {
		edited := fmt.Sprintf(`status() { echo '{"authMethod": {"id": "a"}, "reasons": ["attributes_differ"]}'; }
			auth_methods() { echo '[{"id": "a", "attributes": {"client_id": "payments", "access_token_url": "%s"}}]'; }
			`, server.URL)
		printed := ops(t, opsSecret, edited+check, "AWS_ENDPOINT_URL=http://127.0.0.1:1")
		want := "check_credential: auth method a was edited in Datadog: state access_token_url in the secret\n2\n"
		if diff := cmp.Diff(want, printed); diff != "" || called != nil {
			t.Errorf("called %q; printed (-want +got):\n%s", called, diff)
		}
		ops(t, opsSecret, strings.Replace(edited, "attributes_differ", "settling", 1)+check, "AWS_ENDPOINT_URL=http://127.0.0.1:1")
		if called == nil {
			t.Error("a URL that nobody edited was not called")
		}
	})
}

// A name in Datadog may hold what a terminal obeys.
func TestTableShowsNoControlCharacters(t *testing.T) {
	if got := ops(t, "", `printf 'a\tb \033]0;title\007\302\233\342\200\256c\n' | _table`); strings.Join(strings.Fields(got), " ") != "a b ]0;titlec" {
		t.Errorf("printed %q", got)
	}
}

// Whoever answers nothing must not be taken for one who has nothing to report.
func TestOpsFail(t *testing.T) {
	const stages = `case $* in *get-secret-value*) echo old ;; *put-secret-value*) cat >/dev/null ;;
		*rotate-secret*) echo ROTATED ;; esac`
	for _, c := range []struct{ aws, command, want string }{
		{`exit 255`, "sync_secret s", "status 255\n"},
		{`exit 255`, "plan", "status 255\n"},
		{`exit 255`, "status s", "status 255\n"},
		{`exit 255`, "broken", "status 255\n"},
		{`case $* in *cloudformation*) echo x ;; *get-dashboard*) echo '{"widgets": []}' ;; *start-query*) echo id ;;
			*results*) echo '{"status": "Failed", "results": []}' ;; esac`, "broken", "broken: the query ended as Failed\nstatus 1\n"},
		{`[ $1 != logs ]`, "logged x", "status 1\n"},
		{`exit 255`, "list_auth_methods", "status 255\n"},
		{`[ $1 != secretsmanager ]`, "store_client_secret s <(echo new)", "status 1\n"}, // or a plain-text secret would replace JSON
		{`[ $1 != secretsmanager ] || echo old`, "store_client_secret s <(echo)",
			"store_client_secret: no client secret, so nothing was stored\nstatus 1\n"},
		{`[ $1 != secretsmanager ]`, "change s .", "status 1\n"},
		{`:`, `use_auth_method s ""`, "use_auth_method: no auth method for s\nstatus 1\n"},
		{stages, "check_credential() { return 1; }; rotate s <(echo new) | grep ROTATED", "status 1\n"},
		{stages, "check_credential() { return 2; }; rotate s <(echo new) | grep ROTATED", "ROTATED\nstatus 0\n"},
		{`[ $1 != secretsmanager ]`, "check_credential s", "status 2\n"},
		{`[ $1 != cloudformation ]`, "set_parameter Enabled=true", "status 1\n"},
		{`[ $1 != sns ]`, "_subscribers topic arn", "status 1\n"},
		{`[ $1 != lambda ] || echo '{"errorMessage": "datadog_unauthorized: 403"}' >"${@: -1}"`, "sync_secret s", "datadog_unauthorized: 403\nstatus 1\n"},
		{`[ $1 != lambda ] || echo '{"error": {"code": "deadline", "message": "late"}}' >"${@: -1}"`, "reconcile 2>&1 | grep alerts; (exit ${PIPESTATUS[0]})",
			`  "alerts": "not known, and perhaps being lost: late",` + "\nstatus 1\n"},
		{`[ $1 != lambda ] || echo '{"error": {"code": "deadline", "message": "late"}}' >"${@: -1}"`, "plan", "-  deadline  -  late\ndeadline: late\nstatus 1\n"},
		{`[ $1 != lambda ] || echo '{"secrets": [{"secret": {"name": "s"}, "reasons": ["auth_method_missing"]}]}' >"${@: -1}"`, "out_of_sync",
			"s  auth_method_missing  -  -  LOST?\nstatus 0\n"},
		{`case $1 in secretsmanager) echo '{"SecretList": [{"Name": "s", "Tags": [{"Key": "datadog-webhook-auth-sync",
			"Value": "id=i since=t lost=credential_rejected"}]}, {"Name": "well"}]}' ;; lambda) exit 255 ;; esac`, "out_of_sync",
			"out_of_sync: more alerts may be being lost than these, which are recorded on the secrets:\n" +
				"s  failing  credential_rejected  t  LOST\nstatus 1\n"},
	} {
		got := ops(t, "", "aws() { "+c.aws+"; }\n"+c.command+`; echo "status $?"`)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s, %s (-want +got):\n%s", c.command, c.aws, diff)
		}
	}
}

// What reconcile says of alerts is explained in docs/operations.md by the words that it begins with.
func TestReconcileSaysWhetherAlertsAreLost(t *testing.T) {
	rows := readText(t, "docs/operations.md")
	for answer, want := range map[string]string{
		`{"atRisk": 1, "outOfSync": 1}`:                               "BEING LOST NOW: out_of_sync",
		`{"error": {"code": "deadline", "message": "late"}}`:          "not known, and perhaps being lost: late",
		`{"failing": 1, "outOfSync": 2}`:                              "none known. Not known of 2: ",
		`{"leftOver": 1}`:                                             "none known. Not known of 1: ",
		`{"secrets": 1, "inSync": 1, "outOfSync": 0, "outcomes": {}}`: "none when last verified: ",
	} {
		got := ops(t, "", "ask() { echo '"+answer+"'; }\nreconcile 2>/dev/null | jq -r .alerts")
		head := regexp.MustCompile(`^[A-Za-z, ]+`).FindString(want)
		if !strings.HasPrefix(got, want) || !strings.Contains(rows, "\n| `"+head+"` |") {
			t.Errorf("%s: %q does not begin with %q, or docs/operations.md has no such row", answer, got, want)
		}
	}
}

// What test_notice forges must be what consumers can read, and what it announces is what comes.
func TestOpsNotice(t *testing.T) {
	const aws = `aws() { case $* in
			*put-events*) echo "$4" >&2; echo 0 ;;
			*describe-alarms*) echo "$STATE tickets" ;;
			*PageTopicArn*) echo "$PAGE" ;;
			*AlarmTopicArn*) echo topic ;;
			*EventBusName*) echo default ;;
		esac; }
		resource() { echo "$1"; }
		`
	printed := ops(t, "", aws+"test_notice 2>&1 >/dev/null", "STATE=OK", "PAGE=None")
	var entries []struct{ EventBusName, Source, DetailType, Detail string }
	if err := json.Unmarshal([]byte(printed), &entries); err != nil || len(entries) != 1 {
		t.Fatal(err, printed)
	}
	e := entries[0]
	event := fmt.Sprintf(`{"source": %q, "detail-type": %q, "time": "2026-01-15T03:12:45Z", "resources": [], "detail": %s}`,
		e.Source, e.DetailType, e.Detail)
	if err := contract.Validate("event", []byte(event)); err != nil || e.EventBusName != "default" {
		t.Error(err, printed)
	}

	const line = `a line with "A test by the operator. Nothing is wrong.", at topic`
	for _, c := range []struct{ state, page, want string }{
		{"OK", "None", "the alarm FailingAlarm, at tickets\n" + line},
		{"OK", "pager", "the alarm FailingAlarm, at tickets\n" + line + ", and the same at pager"},
		{"ALARM", "", "no alarm: FailingAlarm is ringing already, and notifies when it begins to. " +
			"Try another: test_notice RepairedAlarm\n" + line},
	} {
		got := ops(t, "", aws+"test_notice 2>/dev/null", "STATE="+c.state, "PAGE="+c.page)
		if diff := cmp.Diff("Within a minute these must arrive:\n"+c.want+"\n", got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.state, diff)
		}
	}
}

// A client secret that is revoked too early is what the whole function is there against.
func TestMayRetire(t *testing.T) {
	const settled = `{"state": "in_sync", "settled": true, "recordedVersionId": "v2", "secret": {"versionId": "v2"}}`
	for _, c := range []struct{ verify, status, want string }{
		{"true", settled, "yes: Datadog holds AWSCURRENT, v2, and no older write can follow\n0\n"},
		{"false", settled, "not known: VerifyCredential is false\n1\n"},
		{"", settled, "not known: VerifyCredential is \n1\n"},
		{"true", strings.Replace(settled, "v2", "v1", 1), "not yet: in_sync, \n1\n"},
		{"true", strings.Replace(settled, "true", "false", 1), "not yet: in_sync, \n1\n"},
		{"true", `{"state": "settling", "reasons": ["settling"], "settled": true}`, "not yet: settling, settling\n1\n"},
		{"true", "", "1\n"},
	} {
		got := ops(t, "", `parameter() { echo "$VERIFY"; }; status() { [ "$STATUS" ] && echo "$STATUS"; }
			may_retire s; echo $?`, "VERIFY="+c.verify, "STATUS="+c.status)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.status, diff)
		}
	}
}

func TestLogged(t *testing.T) {
	lines, _ := json.Marshal([]string{
		`{"time": "t1", "outcome": "updated", "secret": {"name": "s", "versionId": "1f2e3d4c-5b6a"}, "repaired": true,
			"trigger": {"type": "reconcile"}, "summary": "s: updated.", "warnings": ["late"]}`,
		`{"time": "t2", "outcome": "failed", "secret": {"name": "s"}, "trigger": {"type": "label"},
			"error": {"code": "secret_invalid", "message": "no x"}, "summary": "s: no x (secret_invalid)."}`,
		`{"time": "t3", "error": {"code": "deadline", "message": "the time ran out"}}`,
		"START",
	})
	want := `t1  s  1f2e3d4c  updated, repaired  reconcile  -  -               s: updated. late
t2  s  -         failed             label      -  secret_invalid  s: no x (secret_invalid).
t3  -  -         -                  -          -  deadline         the time ran out
`
	if diff := cmp.Diff(want, ops(t, string(lines), "resource() { :; }; logged x")); diff != "" {
		t.Errorf("printed (-want +got):\n%s", diff)
	}
}

// A file that a document has people write or make must not be committed by accident.
func TestFilesOfDocumentsAreIgnored(t *testing.T) {
	ignored := strings.Fields(readText(t, ".gitignore"))
	name := regexp.MustCompile(`(?:^|[\s<>]|file://)([\w-]+\.(?:json|txt))\b`)
	for _, path := range append(documents(t), "docs/ops.sh") {
		text := readText(t, path)
		if filepath.Ext(path) == ".md" {
			text = strings.Join(fence.FindAllString(text, -1), "\n")
		}
		for _, found := range name.FindAllStringSubmatch(text, -1) {
			_, err := os.Stat(filepath.Join(root, filepath.Dir(path), found[1])) // one of the repository's
			if err != nil && !slices.Contains(ignored, found[1]) {
				t.Errorf("%s: .gitignore has no %s", path, found[1])
			}
		}
	}
}

func TestRenameSecretKeepsKeyAndTags(t *testing.T) {
	printed := ops(t, `{"KmsKeyId": "k", "Tags": [{"Key": "team", "Value": "a b"}, {"Key": "aws:x", "Value": "y"},
		{"Key": "datadog-webhook-auth-sync", "Value": "id=a version=1"}]}`, `status() { echo '{"authMethod": {"id": "a"}}'; }
		sync_secret() { :; }
		rename_secret old new >/dev/null
		grep -o 'create-secret .*' "${PATH%%:*}/seen"`)
	want := `create-secret --name new --secret-string file:///dev/stdin --kms-key-id k ` +
		`--tags [{"Key":"team","Value":"a b"},{"Key":"datadog-webhook-auth-sync","Value":"id=a"}] --query ARN --output text` + "\n"
	if diff := cmp.Diff(want, printed); diff != "" {
		t.Errorf("called (-want +got):\n%s", diff)
	}
}

func TestPostMonitorCanBeRepeated(t *testing.T) {
	var called []string
	there := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch body, _ := io.ReadAll(r.Body); {
		case r.Header.Get("DD-API-KEY") != opsKey || r.Header.Get("DD-APPLICATION-KEY") == "":
			w.WriteHeader(http.StatusForbidden)
		case r.Method == "GET":
			fmt.Fprintf(w, "[%s]", there)
		default:
			called = append(called, r.Method+" "+r.URL.Path)
			there = strings.Replace(string(body), "{", `{"id": 7, `, 1)
			fmt.Fprint(w, there)
		}
	}))
	defer server.Close()
	printed := ops(t, "", `cd ../../docs/datadog/monitors
		for monitor in at-risk at-risk failing; do post_monitor "$monitor.json"; done`,
		"DD_API_URL="+server.URL, "DD_API_KEY="+opsKey, "DD_APP_KEY=key")
	want := []string{"POST /api/v1/monitor", "PUT /api/v1/monitor/7", "POST /api/v1/monitor"}
	if diff := cmp.Diff(want, called); diff != "" || printed != "7\n7\n7\n" {
		t.Errorf("printed %q; called (-want +got):\n%s", printed, diff)
	}
}

// The key secret has any of the forms that the function reads.
func TestDatadogHeaders(t *testing.T) {
	keys := "DD-API-KEY: a\nDD-APPLICATION-KEY: b\n"
	for value, want := range map[string]string{
		`{"api_key": "a", "app_key": "b"}`:                  keys,
		`{"adminApiKey": "a", "adminAppKey": "b"}`:          keys,
		"\ufeff" + `{"dd_api_key": "a", "dd_app_key": "b"}`: keys,
		"ddsat_x": "Authorization: Bearer ddsat_x\n",
		`{"access_token": "ddsat_x", "api_key": "a", "app_key": "b"}`: "Authorization: Bearer ddsat_x\n",
	} {
		if diff := cmp.Diff(want, ops(t, value, "_datadog_headers")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", value, diff)
		}
	}
}

func TestStoreClientSecret(t *testing.T) {
	for before, want := range map[string]string{
		`{"client_id": "c", "client_secret": "old"}`: `{"client_id":"c","client_secret":"new"}`,
		`{"clientSecret": "old", "scope": null}`:     `{"clientSecret":"new","scope":null}`,
		"old":                                        "new",
		"{":                                          "", // so nothing is stored
	} {
		file := filepath.Join(t.TempDir(), "new.txt")
		if err := os.WriteFile(file, []byte("new\r\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		printed := ops(t, before, "put_value() { cat; }\n"+
			"store_client_secret s "+file+" 2>/dev/null | jq -Rrs 'fromjson? // . | tostring'")
		if diff := cmp.Diff(want+"\n", printed); diff != "" {
			t.Errorf("%s (-want +got):\n%s", before, diff)
		}
	}
}
