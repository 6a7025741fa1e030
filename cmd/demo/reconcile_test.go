package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/cmd/demo/system"
	"datadog-webhook-auth-sync/handler/contract"
)

// TestReconcile follows one secret whose events were lost.
func TestReconcile(t *testing.T) {
	u := newUser(t)
	answer := u.reconciles()
	if diff := cmp.Diff(reconciliation{Secrets: 1, Settling: 1, Outcomes: map[string]int{"created": 1}}, answer.counts()); diff != "" {
		t.Errorf("the first reconcile (-want +got):\n%s", diff)
	}
	results := u.results()
	if len(results) != 1 || results[0].Detail.Outcome != "created" || results[0].Detail.Trigger.Type != "reconcile" ||
		results[0].Detail.Verification != "accepted" || results[0].Detail.LagMs != nil {
		t.Fatalf("the first reconcile's results: %v", results)
	}
	u.datadogHolds(u.first)
	if answer := u.reconciles(); answer.Settling != 1 || len(answer.Outcomes) > 0 {
		t.Errorf("a secret that is settling: %+v", answer)
	}

	// Somebody edits the auth method in Datadog.
	edited, _ := u.authMethod()
	edited.Scope = nil
	u.Datadog.Put(edited)
	u.setsRecord("at", ago(3*time.Second)) // otherwise the list may be too old to tell
	u.reconciles()
	held, _ := u.authMethod()
	if held.Scope == nil || *held.Scope != "read:webhooks" {
		t.Errorf("after an edit and a reconcile, Datadog holds %+v", held)
	}
	u.setsRecord("state", "settled")
	u.Datadog.ResetCalls()
	u.reconciles()
	for _, call := range u.Datadog.Calls() {
		if strings.HasSuffix(call.Path, held.ID) {
			t.Errorf("a secret in sync: %s of its auth method", call.Method)
		}
	}
}

func TestStatus(t *testing.T) {
	u := newUser(t)
	is := func(state string) secretStatus {
		t.Helper()
		status := u.status()
		if status.State != state || state == "in_sync" && len(status.Reasons) > 0 || state == "out_of_sync" && len(status.Reasons) == 0 {
			t.Errorf("the status is %+v, want %s", status, state)
		}
		return status
	}
	is("out_of_sync")
	version := u.rotates(u.newClientSecret())
	pushed := u.result(version)
	u.must(until(u.ctx, func() bool { return u.recorded() != "" })) // it is written while the result is published
	if status := is("settling"); status.AuthMethod.ID != pushed.Detail.AuthMethod.ID || status.RecordedVersionID != version {
		t.Errorf("after a push: %+v", status)
	}
	u.setsRecord("state", "settled")
	is("in_sync")
	u.setsRecord("version", "another")
	is("out_of_sync")

	u.isProblem(u.asks("GET", "/status?secretId=datadog/webhooks/nobody", nil, "", true), http.StatusNotFound, "secret_not_found")
	u.isProblem(u.asks("GET", "/status?secretId=another/secret", nil, "", true), http.StatusForbidden, "secret_out_of_scope")
	if answer := u.asks("GET", "/status", nil, "", false); answer.Status != http.StatusForbidden {
		t.Errorf("without a signature: %d, want 403", answer.Status)
	}
}

type statusPage struct {
	Secrets   []secretStatus
	NextToken string
}

type secretStatus struct {
	Secret            struct{ Name string }
	AuthMethod        struct{ ID string }
	State             string
	Reasons           []string
	RecordedVersionID string
	Settled           bool
	Failing           *failing
}

// failing is a failure. Told: it was published. Lost: alerts are being lost.
type failing struct {
	Code       string
	Since      time.Time
	Told, Lost bool
}

// status is what GET /status says of the secret.
func (u *user) status() secretStatus {
	u.t.Helper()
	answer := u.asks("GET", "/status?secretId="+url.QueryEscape(u.secretName), nil, "", true)
	if answer.Status != http.StatusOK {
		u.t.Fatalf("status: %d %s", answer.Status, answer.Body)
	}
	var page statusPage
	u.must(json.Unmarshal(answer.Body, &page))
	if len(page.Secrets) != 1 || page.Secrets[0].Secret.Name != u.secretName {
		u.t.Fatalf("the status of %s is %s", u.secretName, answer.Body)
	}
	return page.Secrets[0]
}

// reconciliation is the answer of a reconcile.
type reconciliation struct {
	RequestID                             string
	Secrets, InSync, Settling, OutOfSync  int
	Failing, AtRisk, Unverified, LeftOver int
	DurationMs                            int
	Outcomes                              map[string]int
	Error                                 *system.Failure
	Failures                              []system.Result
}

// counts are the answer's numbers.
func (r reconciliation) counts() reconciliation {
	r.RequestID, r.DurationMs, r.Error, r.Failures = "", 0, nil, nil
	if len(r.Outcomes) == 0 {
		r.Outcomes = nil
	}
	return r
}

// reconciles calls the function as its schedule does. Its line in the log and
// its metrics must say what it answers.
func (u *user) reconciles() (answer reconciliation) {
	u.t.Helper()
	body, failed := u.invokes(map[string]any{"action": "reconcile"})
	if failed {
		u.t.Fatalf("reconcile: %s", body)
	}
	u.must(contract.Validate("reconciliation", []byte(body)))
	u.must(json.Unmarshal([]byte(body), &answer))

	line, metrics := u.finds(-1, func(l logLine) bool { return l.Msg == "reconcile" && l.Answer.RequestID == answer.RequestID })
	want := answer
	want.Failures = nil
	if diff := cmp.Diff(want, line.Answer); diff != "" {
		u.t.Errorf("the line in the log (-answer +log):\n%s", diff)
	}
	counts := map[string]float64{"Secrets": float64(answer.Secrets), "Failing": float64(answer.Failing), "AtRisk": float64(answer.AtRisk),
		"Unverified": float64(answer.Unverified), "LeftOver": float64(answer.LeftOver)}
	level := "ERROR"
	if answer.Error == nil {
		level, counts["ReconcileDone"] = "INFO", 1
	}
	if line.Level != level {
		u.t.Errorf("the line in the log is of level %s, want %s", line.Level, level)
	}
	if diff := cmp.Diff(counts, metrics); diff != "" {
		u.t.Errorf("the metrics (-answer +metrics):\n%s", diff)
	}
	return answer
}
