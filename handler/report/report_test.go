package report_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

func TestPlanOf(t *testing.T) {
	before := datadog.AuthMethod{Name: "n", ClientID: "c", Audience: "a", Scope: "s"}
	after := datadog.AuthMethod{Name: "n", ClientID: "d", Scope: "t"}

	want := []report.Change{{"client_id", "c", "d"}, {"audience", "a", ""}, {"scope", "s", "t"}, {Attribute: "client_secret"}}
	if diff := cmp.Diff(want, report.PlanOf(report.Updated, before, after).Changes); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestSummary(t *testing.T) {
	long := strings.Repeat("a-very-long-name/", 31)
	for _, row := range fault.Table {
		for _, message := range []string{"short", strings.Repeat("a long message ", 20)} {
			for _, held := range []report.Held{{}, {Verification: tokencheck.Rejected}, {Verification: tokencheck.Accepted, VersionID: "v0"}} {
				for _, name := range []string{"", "payments", long} {
					got := report.Summary(report.Result{Outcome: report.Failed, Secret: report.SecretRef{Name: name, Owner: "team@example.com\n" + name},
						Error: fault.New(row.Code, "%s \"quoted\" <b>", message), Held: held})
					if n := utf8.RuneCountInString(got); n > 300 || strings.ContainsAny(got, "@\n\"\\<>`") || !strings.Contains(got, string(row.Code)) {
						t.Errorf("%d characters: %q", n, got)
					}
					lost := held.Verification == tokencheck.Rejected
					if !strings.Contains(got, row.Hint) && !(lost && row.Code == fault.CredentialRejected) {
						t.Errorf("without its hint: %s", got)
					}
				}
			}
		}
	}
}

func TestWhatASummarySays(t *testing.T) {
	const accepted, rejected, inconclusive = tokencheck.Accepted, tokencheck.Rejected, tokencheck.Inconclusive
	failed := func(code fault.Code, held tokencheck.Outcome, edits ...func(*report.Result)) report.Result {
		r := report.Result{Outcome: report.Failed, Error: fault.New(code, "why").WithHint("Do this.")}
		r.Held = report.Held{VersionID: "v0", Verification: held}
		for _, edit := range edits {
			edit(&r)
		}
		return r
	}
	verified := func(o report.Outcome) report.Result { return report.Result{Outcome: o, Verification: "accepted"} }
	safe := verified(report.Settled)
	safe.PreviousSecretSafeToRevoke = true
	recovered := verified(report.Created)
	recovered.Recovered = &report.Failure{Code: fault.Deadline, Since: time.Date(2026, 1, 15, 3, 12, 45, 0, time.UTC)}
	const holds = "Datadog holds the current client secret"
	for _, c := range []struct {
		name   string
		result report.Result
		want   string
	}{
		{"rejected", failed(fault.CredentialRejected, rejected), "why (credential_rejected). What Datadog holds does not work: " +
			"ALERTS ARE BEING LOST NOW. Store a client secret that works, or go back to one that does."},
		{"invalid, and rejected", failed(fault.SecretInvalid, rejected),
			"why (secret_invalid). What Datadog holds does not work: ALERTS ARE BEING LOST NOW. Do this."},
		{"gone", failed(fault.AuthMethodNotFound, rejected), "why (auth_method_not_found). ALERTS ARE BEING LOST NOW. Do this."},
		{"the one before works", failed(fault.CredentialRejected, accepted), "why (credential_rejected). " +
			"Datadog holds the one before, which still works: no alert is lost yet. Do this."},
		{"this one works", failed(fault.DatadogThrottled, accepted, func(r *report.Result) { r.Secret.VersionID = "v0" }),
			"why (datadog_throttled). What Datadog holds still works: no alert is lost yet. Do this."},
		{"no verdict", failed(fault.SecretInvalid, inconclusive), "why (secret_invalid). Whether alerts are being lost is not known. Do this."},
		{"nothing held", failed(fault.SecretInvalid, ""), "why (secret_invalid). Whether alerts are being lost is not known. Do this."},
		{"no auth method", failed(fault.SecretInvalid, "", func(r *report.Result) { r.NoAuthMethod = true }),
			"why (secret_invalid). Datadog has no auth method for it. Do this."},
		{"a dry run", failed(fault.SecretInvalid, "", func(r *report.Result) { r.DryRun = true }),
			"why (secret_invalid). Nothing changed at Datadog. Do this."},
		{"out of scope", failed(fault.SecretOutOfScope, ""), "why (secret_out_of_scope). Nothing changed at Datadog. Do this."},
		{"updated", verified(report.Updated), "updated. " + holds + ", and its token endpoint accepts it."},
		{"updated, no verdict", report.Result{Outcome: report.Updated, Verification: "inconclusive"},
			"updated. " + holds + "; whether its token endpoint accepts it is not known."},
		{"created", verified(report.Created), "created an auth method at Datadog. " + holds +
			", and its token endpoint accepts it. Attach it to your webhooks there."},
		{"recovered by a creation", recovered, "recovered from deadline, failing since 2026-01-15 03:12:45 UTC. " + holds +
			", and its token endpoint accepts it. Attach it to your webhooks there."},
		{"settled", safe, "settled. " + holds + " permanently; as far as Datadog goes, the one before may be revoked."},
		{"planned", report.Result{Outcome: report.Planned, Plan: &report.Plan{Action: "adopt"}},
			"a sync would adopt the auth method. Nothing was written."},
		{"skipped", report.Result{Outcome: report.Skipped, Warnings: []string{"no version yet"}}, "no version yet: nothing to do."},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.result.Secret.Name = "payments"
			if got := report.Summary(c.result); got != "payments: "+c.want {
				t.Errorf("%s\nwant payments: %s", got, c.want)
			}
		})
	}
}
