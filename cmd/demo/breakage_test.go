package main

import (
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
		name   string
		code   string
		held   string // how what Datadog holds is verified
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
			notices := []string{u.syncs("created").Summary}
			mends := c.breaks(u)
			failure := u.fails(c.code)
			if failure.Outcome != "failed" || failure.Held == nil || failure.Held.Verification != c.held {
				t.Fatalf("the failure is %+v, what Datadog holds is %+v, want %q", failure, failure.Held, c.held)
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
			recovery := u.waits(func(r system.Result) bool { return r.Recovered != nil })
			if diff := cmp.Diff(&system.Recovered{Code: c.code, Since: since}, recovery.Detail.Recovered); diff != "" {
				t.Errorf("the recovery (-want +got):\n%s", diff)
			}
			u.reports(recovery.Detail, map[string]float64{"SyncUpdated": 1})
			u.hasStatus("settling", nil)
			if diff := cmp.Diff(reconciliation{Secrets: 1, Settling: 1}, u.reconciles().counts()); diff != "" {
				t.Errorf("once it is over, a reconcile counts (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(append(notices, failure.Summary, recovery.Detail.Summary), slices.Compact(u.notices())); diff != "" {
				t.Errorf("the notices (-want +got):\n%s", diff)
			}
		})
	}
}
