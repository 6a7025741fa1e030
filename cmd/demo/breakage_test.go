package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/cmd/demo/system"
	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/standin"
)

const unknownSecret = clientSecretMark + "unknown" // to the identity provider

// TestBreakages breaks one secret in each way that a secret can break, and mends
// it. All who are told of it are told the same: what, since when, whether alerts
// are being lost, and that it is over.
func TestBreakages(t *testing.T) {
	for _, c := range []struct {
		name   string
		code   string
		held   string // how what Datadog holds is verified; "" = it holds nothing
		status int    // of GET /status, where Datadog cannot be asked; 0 = it can
		breaks func(u *user) (mends func())
	}{
		{"new secret refused", "credential_rejected", "accepted", 0, func(u *user) func() {
			u.putsUnheard(u.credential(unknownSecret))
			return func() {
				u.Tokens.Allow(u.name, unknownSecret)
				u.reconciles()
			}
		}},
		{"both secrets refused", "credential_rejected", "rejected", 0, func(u *user) func() {
			u.Tokens.Revoke(u.name, u.first)
			u.putsUnheard(u.credential(unknownSecret))
			return u.rotatesWell
		}},
		{"auth method deleted", "auth_method_not_found", "rejected", 0, func(u *user) func() {
			m, _ := u.authMethod()
			u.Datadog.Delete(m.ID)
			u.setsRecord("at", ago(11*time.Minute)) // Datadog shows by now what it took
			return func() {
				u.Datadog.Put(m)
				u.reconciles()
			}
		}},
		{"invalid value", "secret_invalid", "accepted", 0, func(u *user) func() {
			u.putsUnheard(`{"client_secret": 7}`)
			return u.rotatesWell
		}},
		{"auth method edited", "auth_method_mismatch", "inconclusive", 0, func(u *user) func() {
			u.putsUnheard(u.newClientSecret()) // the client secret alone: the URL is Datadog's
			m, _ := u.authMethod()
			edited := m
			edited.AccessTokenURL += "/elsewhere"
			u.Datadog.Put(edited)
			return func() {
				u.Datadog.Put(m)
				u.reconciles()
			}
		}},
		{"name taken", "auth_method_mismatch", "", 0, func(u *user) func() {
			m := u.Datadog.Put(datadogtest.AuthMethod{Name: u.name, ClientID: "another", AccessTokenURL: u.TokenURL})
			return func() {
				u.Datadog.Delete(m.ID)
				u.reconciles()
			}
		}},
		{"pin is gone", "auth_method_not_found", "inconclusive", 0, func(u *user) func() {
			pin := `{"auth_method_id": "aaaaaaaa-0000-4000-8000-000000000001", `
			u.putsUnheard(strings.Replace(u.credential(u.first), "{", pin, 1))
			return u.rotatesWell
		}},
		{"write refused", "datadog_rejected", "accepted", 0, func(u *user) func() {
			u.Datadog.Fail(datadogtest.Fault{Method: "PATCH", Status: 400})
			return u.findsDatadogWell
		}},
		{"keys refused", "datadog_unauthorized", "inconclusive", 502, func(u *user) func() {
			u.Datadog.SetKeys("other", "keys")
			return u.findsDatadogWell
		}},
		{"Datadog throttles", "datadog_throttled", "inconclusive", 503, func(u *user) func() {
			u.Datadog.Fail(standin.Fault{Status: 429, Header: datadogtest.Throttled(3600).Header})
			return u.findsDatadogWell
		}},
		{"Datadog fails", "datadog_unavailable", "accepted", 0, func(u *user) func() {
			u.Datadog.Fail(datadogtest.Fault{Method: "PATCH", Status: 500})
			return u.findsDatadogWell
		}},
		{"secret denied", "secret_access_denied", "inconclusive", 0, func(u *user) func() {
			allow := u.isDenied("secretsmanager:GetSecretValue")
			return func() {
				allow()
				u.reconciles()
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := newUser(t)
			var notices []string
			if c.held != "" {
				notices = append(notices, u.syncs("created").Summary)
			}
			mends := c.breaks(u)
			failure := u.fails(c.code)
			var held string
			if failure.Held != nil {
				held = failure.Held.Verification
			}
			if failure.Outcome != "failed" || held != c.held {
				t.Fatalf("the failure is %+v, what Datadog holds is %q, want %q", failure, held, c.held)
			}
			says := map[string]string{"accepted": "no alert is lost yet", "rejected": "ALERTS ARE BEING LOST NOW"}[c.held]
			if !strings.Contains(failure.Summary, says) {
				t.Errorf("the summary is %q, and does not say %q", failure.Summary, says)
			}
			lost := c.held == "rejected"
			metrics, want := map[string]float64{"SyncFailed": 1}, reconciliation{Secrets: 1, OutOfSync: 1, Failing: 1}
			if lost {
				metrics["AtRisk"], want.AtRisk = 1, 1
			}
			since := u.reports(failure, metrics)
			if c.status == 0 {
				u.hasStatus("out_of_sync", &failing{c.code, since, true, lost})
				want.Outcomes = map[string]int{"failed": 1}
			} else {
				u.startsCold() // without a list from before
				u.isProblem(u.asks("GET", "/status?secretId="+u.secretName, nil, "", true), c.status, c.code)
				want.LeftOver = 1
			}
			answer := u.reconciles()
			if diff := cmp.Diff(want, answer.counts()); diff != "" {
				t.Errorf("while it is broken, a reconcile (-want +got):\n%s", diff)
			}
			if failed := answer.Error; (failed != nil) != (c.status != 0) || failed != nil && failed.Code != c.code {
				t.Errorf("while it is broken, a reconcile ends with the error %+v", failed)
			}

			mends()
			recovery, err := u.WaitEvent(u.ctx, func(e system.Event) bool {
				return e.Detail.Secret.ARN == u.secretARN && e.Detail.Recovered != nil
			})
			u.must(err)
			if diff := cmp.Diff(&system.Recovered{Code: c.code, Since: since}, recovery.Detail.Recovered); diff != "" {
				t.Errorf("the recovery (-want +got):\n%s", diff)
			}
			outcome := map[string]string{"updated": "SyncUpdated", "created": "SyncCreated"}[recovery.Detail.Outcome]
			u.reports(recovery.Detail, map[string]float64{outcome: 1})
			u.hasStatus("settling", nil)
			if diff := cmp.Diff(reconciliation{Secrets: 1, Settling: 1}, u.reconciles().counts()); diff != "" {
				t.Errorf("once it is over, a reconcile counts (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(append(notices, failure.Summary, recovery.Detail.Summary), u.notices()); diff != "" {
				t.Errorf("the notices (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAuthMethodDeleted has somebody delete the auth method in Datadog. That is told, and another is made only when an
// operator takes the record off.
func TestAuthMethodDeleted(t *testing.T) {
	u := newUser(t)
	deleted := u.syncs("created").AuthMethod.ID
	u.Datadog.Delete(deleted)
	u.setsRecord("at", ago(11*time.Minute))
	want := reconciliation{Secrets: 1, OutOfSync: 1, Failing: 1, AtRisk: 1, Outcomes: map[string]int{"failed": 1}}
	if diff := cmp.Diff(want, u.reconciles().counts()); diff != "" {
		t.Errorf("a reconcile (-want +got):\n%s", diff)
	}
	failure := u.publishes("auth_method_not_found").Detail
	if _, exists := u.authMethod(); exists || !strings.Contains(failure.Summary, "ALERTS ARE BEING LOST NOW") {
		t.Errorf("the summary is %q; there is another: %t", failure.Summary, exists)
	}
	_, err := u.SecretsManager().UntagResource(u.ctx, &secretsmanager.UntagResourceInput{SecretId: &u.secretARN, TagKeys: []string{secretstore.RecordTag}})
	u.must(err)
	if created := u.syncs("created"); created.AuthMethod.ID == deleted || !strings.Contains(created.Summary, "ttach it") {
		t.Errorf("the result is %+v", created)
	}
	u.datadogHolds(u.first)
}

// TestReconcileWithoutKeys has Datadog refuse the keys, of which a reconcile tells
// in its answer and blames no secret.
func TestReconcileWithoutKeys(t *testing.T) {
	u := newUser(t)
	u.syncs("created")
	u.Datadog.SetKeys("other", "keys")
	rotated := u.newClientSecret()
	u.reportsNothing(u.rotates(rotated))
	answer := u.reconciles()
	if diff := cmp.Diff(reconciliation{Secrets: 1, OutOfSync: 1, LeftOver: 1}, answer.counts()); diff != "" || answer.Error == nil || answer.Error.Code != "datadog_unauthorized" {
		t.Errorf("a reconcile ends with the error %+v and (-want +got):\n%s", answer.Error, diff)
	}
	if record := u.recorded(); strings.Contains(record, "failing=") || len(u.results()) != 1 || len(u.notices()) != 1 { // of the creation
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
	u.reports(updated, map[string]float64{"SyncUpdated": 1, "RecordFailed": 1})
	if line, _ := u.logged(updated.RequestID); !slices.ContainsFunc(line.Warnings, saying("could not be recorded")) {
		t.Errorf("the log has the warnings %q", line.Warnings)
	}
	u.hasStatus("out_of_sync", nil)

	allow()
	if diff := cmp.Diff(reconciliation{Secrets: 1, Settling: 1, Outcomes: map[string]int{"updated": 1}}, u.reconciles().counts()); diff != "" {
		t.Errorf("once it is allowed, a reconcile (-want +got):\n%s", diff)
	}
	u.hasStatus("settling", nil)
	if notices := u.notices(); len(notices) != 1 { // of the creation
		t.Errorf("the notices are %q", notices)
	}
}

// TestBusDenied has IAM refuse the results. An event whose result could not be
// published is kept in the failure queue, and a reconcile tells it later.
func TestBusDenied(t *testing.T) {
	u := newUser(t)
	created := u.syncs("created")
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
	if f := u.status().Failing; f == nil || f.Code != "secret_invalid" || f.Told {
		t.Errorf("the status has %+v", f)
	}

	allow()
	if diff := cmp.Diff(reconciliation{Secrets: 1, OutOfSync: 1, Failing: 1, Outcomes: map[string]int{"failed": 1}}, u.reconciles().counts()); diff != "" {
		t.Errorf("once it is allowed, a reconcile (-want +got):\n%s", diff)
	}
	failure := u.publishes("secret_invalid").Detail
	u.hasStatus("out_of_sync", &failing{"secret_invalid", u.reports(failure, map[string]float64{"SyncFailed": 1}), true, false})
	recovery := u.result(u.rotates(u.newClientSecret())).Detail
	u.reports(recovery, map[string]float64{"SyncUpdated": 1})
	if got, want := u.notices(), []string{created.Summary, failure.Summary, recovery.Summary}; !slices.Equal(got, want) {
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
	first.fails("credential_rejected")
	yesterday := time.Now().Add(-24 * time.Hour).UTC().Truncate(time.Second)
	first.setsRecord("since", yesterday.Format(time.RFC3339))
	if answer := first.reconciles(); answer.Failing != 1 {
		t.Errorf("with one broken: %+v", answer)
	}

	breaks(second)
	if answer := first.reconciles(); answer.Failing != 1 || answer.Outcomes["failed"] != 2 {
		t.Errorf("with two broken, of which one may only be late: %+v", answer)
	}
	second.setsRecord("since", ago(3*time.Minute))
	want := reconciliation{Secrets: 40, Settling: 38, OutOfSync: 2, Failing: 2, Outcomes: map[string]int{"failed": 2}}
	if diff := cmp.Diff(want, first.reconciles().counts()); diff != "" {
		t.Errorf("with two broken, a reconcile (-want +got):\n%s", diff)
	}
	failure := second.publishes("credential_rejected").Detail
	if failure.Trigger.Type != "reconcile" || failure.Held.Verification != "accepted" || !strings.HasPrefix(failure.Summary, second.secretName) {
		t.Errorf("the second is told as %+v", failure)
	}
	second.hasStatus("out_of_sync", &failing{"credential_rejected", second.reports(failure, map[string]float64{"SyncFailed": 1}), true, false})
	if got := second.notices(); len(got) != 2 || got[1] != failure.Summary { // the first is of the auth method that is to be attached
		t.Errorf("of the second, the notices are %q", got)
	}
	first.hasStatus("out_of_sync", &failing{"credential_rejected", yesterday, true, false})
	if got := first.notices(); len(got) != 2 {
		t.Errorf("of the first, the notices are %q", got)
	}
}

func saying(words string) func(string) bool {
	return func(text string) bool { return strings.Contains(text, words) }
}
