package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"datadog-webhook-auth-sync/cmd/demo/system"
	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/standin"
)

// TestBrokenThingsTellOneStory breaks what can break: the HTTP answer, the event, the log line, the metric and the status
// then tell the same of it, in the same words.
func TestBrokenThingsTellOneStory(t *testing.T) {
	for _, c := range []struct {
		code   string
		status int
		broken func(u *user)
	}{
		{"credential_rejected", 422, func(u *user) { u.puts(u.credential(clientSecretMark + "unknown")) }},
		{"secret_invalid", 422, func(u *user) { u.puts(`{"client_secret": 7}`) }},
		{"auth_method_mismatch", 409, func(u *user) {
			u.Datadog.Put(datadogtest.AuthMethod{Name: u.name, ClientID: "another", AccessTokenURL: u.TokenURL})
		}},
		{"auth_method_not_found", 404, func(u *user) {
			pinned := strings.Replace(u.credential(u.first), "{", `{"auth_method_id": "aaaaaaaa-0000-4000-8000-000000000001", `, 1)
			u.puts(pinned)
		}},
		{"datadog_rejected", 502, func(u *user) { u.Datadog.Fail(datadogtest.Fault{Method: "POST", Status: 400}) }},
		{"datadog_unauthorized", 502, func(u *user) { u.Datadog.Fail(datadogtest.Fault{Status: 403}) }},
		{"datadog_throttled", 503, func(u *user) { u.Datadog.Fail(standin.Fault{Status: 429, Header: datadogtest.Throttled(3600).Header}) }},
		{"datadog_unavailable", 503, func(u *user) { u.Datadog.Fail(datadogtest.Fault{Method: "POST", Status: 500}) }},
		{"secret_access_denied", 403, func(u *user) {
			restore, err := u.RevokeAction(u.ctx, "secretsmanager:DescribeSecret")
			u.must(err)
			u.t.Cleanup(func() { u.must(restore(context.Background())) })
		}},
	} {
		t.Run(c.code, func(t *testing.T) {
			u := newUser(t)
			c.broken(u)
			answer := u.asks("POST", "/sync", nil, fmt.Sprintf(`{"secretId": %q}`, u.secretARN), true)
			p := u.isProblem(answer, c.status, c.code)

			event, err := u.WaitEvent(u.ctx, func(e system.Event) bool { return e.Detail.RequestID == p.RequestID })
			u.must(err)
			if event.DetailType != "Datadog Auth Method Sync Failed" || event.Detail.Error.Code != c.code || !strings.HasPrefix(p.Detail, event.Detail.Error.Message) {
				t.Errorf("the answer is %s, the event %s", answer.Body, event.Raw)
			}
			line, metric := u.logged(p.RequestID)
			if line.Outcome != "failed" || line.Error.Code != c.code || line.Error.Message != event.Detail.Error.Message || line.Secret.Name != u.secretName || line.Caller == "" {
				t.Errorf("the log line is %+v", line)
			}
			if metric != 1 {
				t.Errorf("SyncFailed is %v", metric)
			}
			u.Datadog.ClearFaults()
			if c.code == "secret_access_denied" {
				return // so is its status
			}
			if status := u.status(); status.State != "due" || status.Reasons[0] != "never_synced" {
				t.Errorf("the status is %+v", status)
			}
		})
	}
}

type logLine struct {
	Msg, Outcome, Caller, RequestID string
	Secret                          struct{ Name string }
	Error                           struct{ Code, Message string }
}

// logged finds the line of a sync, and the metric SyncFailed that follows it.
func (u *user) logged(requestID string) (found logLine, syncFailed float64) {
	u.t.Helper()
	for range 50 {
		lines, err := u.Logs(u.ctx)
		u.must(err)
		for i, text := range lines {
			var line logLine
			if json.Unmarshal([]byte(text), &line) == nil && line.Msg == "sync" && line.RequestID == requestID && i+1 < len(lines) {
				var metric struct{ SyncFailed float64 }
				u.must(json.Unmarshal([]byte(lines[i+1]), &metric))
				return line, metric.SyncFailed
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	u.t.Fatalf("no line in the log about request %s", requestID)
	return
}
