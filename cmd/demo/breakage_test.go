package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/cmd/demo/system"
	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/standin"
)

const unknownSecret = clientSecretMark + "unknown" // to the identity provider

// TestBreakages breaks one secret in each way that a secret can break, and mends
// it. All who are told of it are told the same: what, since when, whether alerts
// are being lost, and that it is over.
func TestBreakages(t *testing.T) {
	for _, c := range []struct {
		name    string
		code    string
		held    string // how what Datadog holds is verified; "" = it holds nothing
		trouble bool   // of Datadog's: a reconcile does not blame the secret
		breaks  func(u *user) (told system.Result, mends func())
	}{
		{"new secret refused", "credential_rejected", "accepted", false, func(u *user) (system.Result, func()) {
			u.isQuiet(u.rotates(unknownSecret))
			return u.syncs("credential_rejected"), func() {
				u.Tokens.Allow(u.name, unknownSecret)
				u.reconciles()
			}
		}},
		{"both secrets refused", "credential_rejected", "rejected", false, func(u *user) (system.Result, func()) {
			u.Tokens.Revoke(u.name, u.first)
			return u.result(u.rotates(unknownSecret)).Detail, u.rotatesWell
		}},
		{"auth method gone and new secret refused", "credential_rejected", "rejected", false, func(u *user) (system.Result, func()) {
			m, _ := u.authMethod()
			u.Datadog.Delete(m.ID)
			return u.result(u.rotates(unknownSecret)).Detail, u.rotatesWell
		}},
		{"invalid value", "secret_invalid", "accepted", false, func(u *user) (system.Result, func()) {
			return u.result(u.puts(`{"client_secret": 7}`)).Detail, u.rotatesWell
		}},
		{"auth method edited", "auth_method_mismatch", "inconclusive", false, func(u *user) (system.Result, func()) {
			u.result(u.puts(u.newClientSecret())) // the client secret alone: the URL is Datadog's
			m, _ := u.authMethod()
			edited := m
			edited.AccessTokenURL += "/elsewhere"
			u.Datadog.Put(edited)
			return u.result(u.puts(u.newClientSecret())).Detail, func() {
				u.Datadog.Put(m)
				u.reconciles()
			}
		}},
		{"name taken", "auth_method_mismatch", "", false, func(u *user) (system.Result, func()) {
			m := u.Datadog.Put(datadogtest.AuthMethod{Name: u.name, ClientID: "another", AccessTokenURL: u.TokenURL})
			return u.syncs("auth_method_mismatch"), func() {
				u.Datadog.Delete(m.ID)
				u.reconciles()
			}
		}},
		{"pinned auth method missing", "auth_method_not_found", "inconclusive", false, func(u *user) (system.Result, func()) {
			pin := `{"auth_method_id": "aaaaaaaa-0000-4000-8000-000000000001", `
			return u.result(u.puts(strings.Replace(u.credential(u.first), "{", pin, 1))).Detail, u.rotatesWell
		}},
		{"write refused", "datadog_rejected", "accepted", false, func(u *user) (system.Result, func()) {
			u.Datadog.Fail(datadogtest.Fault{Method: "PATCH", Status: 400})
			return u.syncs("datadog_rejected"), u.findsDatadogWell
		}},
		{"keys refused", "datadog_unauthorized", "inconclusive", true, func(u *user) (system.Result, func()) {
			u.Datadog.SetKeys("other", "keys")
			return u.syncs("datadog_unauthorized"), u.findsDatadogWell
		}},
		{"Datadog throttles", "datadog_throttled", "inconclusive", true, func(u *user) (system.Result, func()) {
			u.Datadog.Fail(standin.Fault{Status: 429, Header: datadogtest.Throttled(3600).Header})
			return u.syncs("datadog_throttled"), u.findsDatadogWell
		}},
		{"Datadog fails", "datadog_unavailable", "accepted", true, func(u *user) (system.Result, func()) {
			u.Datadog.Fail(datadogtest.Fault{Method: "PATCH", Status: 500})
			return u.syncs("datadog_unavailable"), u.findsDatadogWell
		}},
		{"secret denied", "secret_access_denied", "inconclusive", false, func(u *user) (system.Result, func()) {
			allow := u.isDenied("secretsmanager:GetSecretValue")
			return u.syncs("secret_access_denied"), func() {
				allow()
				u.reconciles()
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := newUser(t)
			if c.held != "" {
				u.syncs("created")
			}
			failure, mends := c.breaks(u)
			if failure.Outcome != "failed" || failure.Error.Code != c.code || (failure.Held == nil) != (c.held == "") ||
				failure.Held != nil && failure.Held.Verification != c.held {
				t.Fatalf("the failure is %+v, what Datadog holds is told as %+v", failure, failure.Held)
			}
			lost := map[string]string{"accepted": "no alert is lost yet", "rejected": "ALERTS ARE BEING LOST NOW"}[c.held]
			if lost == "" {
				lost = "Whether alerts are being lost is not known"
			}
			if !strings.Contains(failure.Summary, lost) {
				t.Errorf("the summary is %q, and does not say %q", failure.Summary, lost)
			}
			metrics, want := map[string]float64{"SyncFailed": 1}, reconciliation{Secrets: 1, OutOfSync: 1, Failing: 1}
			if c.held == "rejected" {
				metrics["AtRisk"], want.AtRisk = 1, 1
			}
			since := u.tellsOf(failure, metrics)
			u.hasStatus("out_of_sync", &failing{c.code, since, c.held == "rejected"})

			answer := u.reconciles()
			if c.trouble {
				want.LeftOver = 1
			} else {
				want.Outcomes = map[string]int{"failed": 1}
			}
			if diff := cmp.Diff(want, answer.counts()); diff != "" || (answer.Error != nil) != c.trouble || c.trouble && answer.Error.Code != c.code {
				t.Errorf("while it is broken, a reconcile ends with the error %+v and (-want +got):\n%s", answer.Error, diff)
			}

			mends()
			recovery, err := u.WaitEvent(u.ctx, func(e system.Event) bool { return e.Detail.Secret.ARN == u.secretARN && e.Detail.Recovered != nil })
			u.must(err)
			if diff := cmp.Diff(&system.Recovered{Code: c.code, Since: since}, recovery.Detail.Recovered); diff != "" {
				t.Errorf("the recovery (-want +got):\n%s", diff)
			}
			outcome := map[string]string{"updated": "SyncUpdated", "created": "SyncCreated"}[recovery.Detail.Outcome]
			u.tellsOf(recovery.Detail, map[string]float64{outcome: 1})
			u.hasStatus("settling", nil)
			if diff := cmp.Diff(reconciliation{Secrets: 1, Settling: 1}, u.reconciles().counts()); diff != "" {
				t.Errorf("once it is over, a reconcile counts (-want +got):\n%s", diff)
			}
			if got, want := u.notices(), []string{failure.Summary, recovery.Detail.Summary}; !slices.Equal(got, want) {
				t.Errorf("the notices are %q, want %q", got, want)
			}
		})
	}
}

// TestAuthMethodDeleted has somebody delete the auth method in Datadog. A
// reconcile repairs that, and tells that it did.
func TestAuthMethodDeleted(t *testing.T) {
	u := newUser(t)
	deleted := u.syncs("created").AuthMethod.ID
	u.setsRecord("at", ago(3*time.Second)) // otherwise the list may be too old to tell
	u.Datadog.Delete(deleted)
	u.startsCold() // without a list from before
	if status := u.status(); status.State != "out_of_sync" || !slices.Contains(status.Reasons, "auth_method_missing") {
		t.Errorf("the status is %+v", status)
	}
	answer := u.reconciles()
	if diff := cmp.Diff(reconciliation{Secrets: 1, Settling: 1, Outcomes: map[string]int{"created": 1}}, answer.counts()); diff != "" {
		t.Errorf("a reconcile (-want +got):\n%s", diff)
	}
	created := u.published(answer.RequestID).Detail
	if created.AuthMethod.ID == deleted || !strings.Contains(created.Summary, "Attach it to your webhooks") {
		t.Errorf("the result is %+v", created)
	}
	u.tellsOf(created, map[string]float64{"SyncCreated": 1, "Repaired": 1})
	u.datadogHolds(u.first)
	u.hasStatus("settling", nil)
	if diff := cmp.Diff(reconciliation{Secrets: 1, Settling: 1}, u.reconciles().counts()); diff != "" {
		t.Errorf("once it is repaired, a reconcile counts (-want +got):\n%s", diff)
	}
}

// TestReconcileWithoutKeys has Datadog refuse the keys, of which a reconcile tells
// in its answer and blames no secret.
func TestReconcileWithoutKeys(t *testing.T) {
	u := newUser(t)
	u.syncs("created")
	u.Datadog.SetKeys("other", "keys")
	rotated := u.newClientSecret()
	u.isQuiet(u.rotates(rotated))
	answer := u.reconciles()
	if diff := cmp.Diff(reconciliation{Secrets: 1, OutOfSync: 1, LeftOver: 1}, answer.counts()); diff != "" || answer.Error == nil || answer.Error.Code != "datadog_unauthorized" {
		t.Errorf("a reconcile ends with the error %+v and (-want +got):\n%s", answer.Error, diff)
	}
	if record := u.recorded(); strings.Contains(record, "failing=") || len(u.results()) != 1 || len(u.notices()) > 0 {
		t.Errorf("of the secret are told %v and %q, its record is %q", u.results(), u.notices(), record)
	}

	u.findsDatadogWell()
	u.datadogHolds(rotated)
	if diff := cmp.Diff(reconciliation{Secrets: 1, Settling: 1}, u.reconciles().counts()); diff != "" {
		t.Errorf("once Datadog takes the keys, a reconcile counts (-want +got):\n%s", diff)
	}
}

// TestRecordDenied has IAM refuse to record what Datadog took.
func TestRecordDenied(t *testing.T) {
	u := newUser(t)
	u.syncs("created")
	allow := u.isDenied("secretsmanager:TagResource")
	rotated := u.newClientSecret()
	updated := u.result(u.rotates(rotated)).Detail
	u.datadogHolds(rotated)
	u.tellsOf(updated, map[string]float64{"SyncUpdated": 1, "RecordFailed": 1})
	if line, _ := u.logged(updated.RequestID); !slices.ContainsFunc(line.Warnings, saying("could not be recorded")) {
		t.Errorf("the log has the warnings %q", line.Warnings)
	}
	u.hasStatus("out_of_sync", nil)

	allow()
	if diff := cmp.Diff(reconciliation{Secrets: 1, Settling: 1, Outcomes: map[string]int{"updated": 1}}, u.reconciles().counts()); diff != "" {
		t.Errorf("once it is allowed, a reconcile (-want +got):\n%s", diff)
	}
	u.hasStatus("settling", nil)
	if notices := u.notices(); len(notices) > 0 {
		t.Errorf("the notices are %q", notices)
	}
}

// TestBusDenied has IAM refuse the results. An event whose result could not be
// published is kept in the failure queue, and a reconcile tells it later.
func TestBusDenied(t *testing.T) {
	u := newUser(t)
	u.syncs("created")
	allow := u.isDenied("events:PutEvents")
	u.puts(`{"client_secret": 7}`)
	u.invokesAsync(u.labelEvent(time.Now()))
	kept, err := u.WaitFailure(u.ctx, func(f system.FailedInvocation) bool { return strings.Contains(string(f.RequestPayload), u.secretARN) })
	u.must(err)
	if text := kept.ResponsePayload.ErrorMessage; !strings.HasPrefix(text, "publish_failed: ") {
		t.Errorf("the failure queue says %q", text)
	}
	answer := u.asks("POST", "/sync", nil, fmt.Sprintf(`{"secretId": %q}`, u.secretARN), true)
	p := u.isProblem(answer, http.StatusUnprocessableEntity, "secret_invalid")
	unpublished := saying("could not be published")
	if line, metrics := u.logged(p.RequestID); !slices.ContainsFunc(line.Warnings, unpublished) || !slices.ContainsFunc(p.Result.Warnings, unpublished) || metrics["SyncFailed"] != 0 {
		t.Errorf("the answer is %s, the log has %+v, the metrics are %v", answer.Body, line, metrics)
	}
	u.hasStatus("out_of_sync", nil)

	allow()
	if diff := cmp.Diff(reconciliation{Secrets: 1, OutOfSync: 1, Failing: 1, Outcomes: map[string]int{"failed": 1}}, u.reconciles().counts()); diff != "" {
		t.Errorf("once it is allowed, a reconcile (-want +got):\n%s", diff)
	}
	failure := u.publishes("secret_invalid").Detail
	u.hasStatus("out_of_sync", &failing{"secret_invalid", u.tellsOf(failure, map[string]float64{"SyncFailed": 1}), false})
	recovery := u.result(u.rotates(u.newClientSecret())).Detail
	u.tellsOf(recovery, map[string]float64{"SyncUpdated": 1})
	if got, want := u.notices(), []string{failure.Summary, recovery.Summary}; !slices.Equal(got, want) {
		t.Errorf("the notices are %q, want %q", got, want)
	}
}

// TestSecondBreakageIsHeard has forty secrets, one of which has been broken for a
// day, and breaks a second one without an event that tells of it.
func TestSecondBreakageIsHeard(t *testing.T) {
	all := oldUsers(t, 40)
	first, second := all[7], all[23]
	if diff := cmp.Diff(reconciliation{Secrets: 40, Settling: 40, Outcomes: map[string]int{"created": 40}}, first.reconciles().counts()); diff != "" {
		t.Fatalf("forty secrets (-want +got):\n%s", diff)
	}
	breaks := func(u *user) {
		u.setsRecord("version", u.beforeVersion) // as if the push of an hour ago failed
		u.Tokens.Revoke(u.name, u.first)
	}
	breaks(first)
	first.syncs("credential_rejected")
	yesterday := time.Now().Add(-24 * time.Hour).UTC().Truncate(time.Second)
	first.setsRecord("since", yesterday.Format(time.RFC3339))
	if answer := first.reconciles(); answer.Failing != 1 {
		t.Errorf("with one broken: %+v", answer)
	}

	breaks(second)
	want := reconciliation{Secrets: 40, Settling: 38, OutOfSync: 2, Failing: 2, Outcomes: map[string]int{"failed": 2}}
	if diff := cmp.Diff(want, first.reconciles().counts()); diff != "" {
		t.Errorf("with two broken, a reconcile (-want +got):\n%s", diff)
	}
	failure := second.publishes("credential_rejected").Detail
	if failure.Trigger.Type != "reconcile" || failure.Held.Verification != "accepted" || !strings.HasPrefix(failure.Summary, second.secretName) {
		t.Errorf("the second is told as %+v", failure)
	}
	second.hasStatus("out_of_sync", &failing{"credential_rejected", second.tellsOf(failure, map[string]float64{"SyncFailed": 1}), false})
	if got := second.notices(); len(got) != 2 || got[1] != failure.Summary { // the first is of the auth method that is to be attached
		t.Errorf("of the second, the notices are %q", got)
	}
	first.hasStatus("out_of_sync", &failing{"credential_rejected", yesterday, false})
	if got := first.notices(); len(got) != 2 {
		t.Errorf("of the first, the notices are %q", got)
	}
}

func saying(words string) func(string) bool {
	return func(text string) bool { return strings.Contains(text, words) }
}
