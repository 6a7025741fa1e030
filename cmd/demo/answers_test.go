package main

import (
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/contract"
)

// status is what GET /status says of the secret.
func (u *user) status() secretStatus {
	u.t.Helper()
	answer := u.asks("GET", "/status?secretId="+url.QueryEscape(u.secretName), nil, "", true)
	if answer.Status != http.StatusOK {
		u.t.Fatalf("status: %d %s", answer.Status, answer.Body)
	}
	var page statuses
	u.must(json.Unmarshal(answer.Body, &page))
	if len(page.Secrets) != 1 || page.Secrets[0].Secret.Name != u.secretName {
		u.t.Fatalf("the status of %s is %s", u.secretName, answer.Body)
	}
	return page.Secrets[0]
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
