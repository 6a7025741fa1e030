package authsync

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

func TestNewResult(t *testing.T) {
	const arn, site = "arn:aws:secretsmanager:us-east-1:123456789012:secret:datadog/webhooks/payments-AbCdEf", "datadoghq.com"
	const attach = "created: attach it to your webhooks in Datadog; the public API cannot"
	a, b := method(idA, "payments"), method(idB, "other")
	accepted, inconclusive := tokencheck.Verdict{Outcome: tokencheck.Accepted}, tokencheck.Verdict{Outcome: tokencheck.Inconclusive, Why: "503"}
	failure := fault.New(fault.Deadline, "the time ran out")
	secret := report.SecretRef{ARN: arn, Name: "datadog/webhooks/payments", VersionID: version1, Owner: "team"}
	ref := func(m datadog.AuthMethod) *report.AuthMethodRef {
		return &report.AuthMethodRef{ID: m.ID, Name: m.Name, Site: site}
	}
	lag := func(ms int64) *int64 { return &ms }
	// made is a round; edits make it another.
	made := func(edits ...func(*round)) round {
		snap := snapshotOf(secretstore.Credential{}, secretstore.Record{ID: idA, Version: version1}, a, b)
		snap.secret.ARN, snap.secret.Name, snap.secret.Owner = arn, secret.Name, secret.Owner
		r := round{snapshot: snap, plan: plan{outcome: report.Updated, before: a, after: a}, verification: verification{Verdict: accepted}}
		for _, edit := range edits {
			edit(&r)
		}
		return r
	}
	wrote := func(r *round) { r.written = &written{method: a, record: secretstore.Record{At: now}} }
	later := func(r *round) { r.written = &written{method: b, record: secretstore.Record{At: now.Add(time.Second)}} }
	outcome := func(a report.Outcome) func(*round) { return func(r *round) { r.plan.outcome = a } }
	verdict := func(v tokencheck.Verdict) func(*round) { return func(r *round) { r.verification.Verdict = v } }
	recorded := func(record secretstore.Record) func(*round) {
		return func(r *round) { r.snapshot.record, r.snapshot.secret.Record = record, record }
	}
	failed := func(r *round) { r.err = failure }
	none := func(r *round) { r.plan, r.verification = plan{}, verification{} }

	for _, c := range []struct {
		name   string
		rounds rounds
		off    bool // verification
		event  time.Time
		want   report.Result
	}{
		{"updated", rounds{made(wrote)}, false, time.Time{},
			report.Result{Outcome: report.Updated, Secret: secret, AuthMethod: ref(a), Verification: "accepted"}},
		{"verification off", rounds{made(wrote, verdict(tokencheck.Verdict{}))}, true, time.Time{},
			report.Result{Outcome: report.Updated, Secret: secret, AuthMethod: ref(a), Verification: "off"}},
		{"created, then updated", rounds{made(wrote, outcome(report.Created)), made(later)}, false, now.Add(-time.Second),
			report.Result{Outcome: report.Created, Secret: secret, AuthMethod: ref(b), Verification: "accepted", LagMs: lag(2000), Warnings: []string{attach}}},
		{"adopted, and updated after a surprise", rounds{made(wrote, outcome(report.Adopted)), made(later)}, false, time.Time{},
			report.Result{Outcome: report.Adopted, Secret: secret, AuthMethod: ref(b), Verification: "accepted"}},
		{"a lag is not negative", rounds{made(wrote)}, false, now.Add(time.Second),
			report.Result{Outcome: report.Updated, Secret: secret, AuthMethod: ref(a), Verification: "accepted", LagMs: lag(0)}},
		{"the first write of a version", rounds{made(wrote, recorded(secretstore.Record{ID: idA, Version: version2}))}, false, time.Time{},
			report.Result{Outcome: report.Updated, Secret: secret, AuthMethod: ref(a), Verification: "accepted", FirstPush: true}},
		{"onboarded", rounds{made(wrote, recorded(secretstore.Record{ID: idA}))}, false, time.Time{},
			report.Result{Outcome: report.Updated, Secret: secret, AuthMethod: ref(a), Verification: "accepted"}},
		{"another pin", rounds{made(wrote, recorded(secretstore.Record{ID: idB}), func(r *round) { r.snapshot.credential.AuthMethodID = idA })}, false, time.Time{},
			report.Result{Outcome: report.Updated, Secret: secret, AuthMethod: ref(a), Verification: "accepted",
				Warnings: []string{"the secret pins another auth method than before: " + idB + " keeps its last client secret"}}},
		{"the name's, in place of one that is gone", rounds{made(wrote, recorded(secretstore.Record{ID: idB}))}, false, time.Time{},
			report.Result{Outcome: report.Updated, Secret: secret, AuthMethod: ref(a), Verification: "accepted"}},
		{"no verdict", rounds{made(verdict(inconclusive)), made(wrote, verdict(inconclusive))}, false, time.Time{},
			report.Result{Outcome: report.Updated, Secret: secret, AuthMethod: ref(a), Verification: "inconclusive", Warnings: []string{"not verified: 503"}}},
		{"accepted unencoded", rounds{made(wrote, verdict(tokencheck.Verdict{Outcome: tokencheck.Accepted, Via: tokencheck.Plain}))}, false, time.Time{},
			report.Result{Outcome: report.Updated, Secret: secret, AuthMethod: ref(a), Verification: "accepted", Warnings: []string{
				"the token endpoint accepts the client secret only unencoded in the header; whether Datadog sends it so is not published"}}},
		{"failed after a write", rounds{made(wrote), made(failed, verdict(inconclusive))}, false, time.Time{},
			report.Result{Outcome: report.Failed, Secret: secret, AuthMethod: ref(a), Verification: "inconclusive", Error: failure}},
		{"failed before a plan", rounds{made(failed, none)}, true, time.Time{},
			report.Result{Outcome: report.Failed, Secret: secret, Error: failure}},
		{"failed, and Datadog has none", rounds{made(failed, none, recorded(secretstore.Record{}), func(r *round) { r.snapshot.name = "new" })},
			false, time.Time{}, report.Result{Outcome: report.Failed, Secret: secret, Error: failure, NoAuthMethod: true}},
		{"failed, and Datadog has one of the name", rounds{made(failed, none, recorded(secretstore.Record{}))},
			false, time.Time{}, report.Result{Outcome: report.Failed, Secret: secret, Error: failure}},
		{"failed, and the list is not known", rounds{made(failed, none, recorded(secretstore.Record{}), func(r *round) { r.snapshot.methods = nil })},
			false, time.Time{}, report.Result{Outcome: report.Failed, Secret: secret, Error: failure}},
		{"skipped", rounds{made(none, func(r *round) { r.snapshot.skip = "no version yet" })}, false, time.Time{},
			report.Result{Outcome: report.Skipped, Secret: secret, Warnings: []string{"no version yet"}}},
		{"planned", rounds{made(func(r *round) { r.plan.after.Scope = "b" })}, false, time.Time{},
			report.Result{Outcome: report.Planned, Secret: secret, AuthMethod: ref(a), Verification: "accepted",
				Plan: &report.Plan{Action: "update", Changes: []report.Change{{Attribute: "scope", To: "b"}, {Attribute: "client_secret"}}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			req := Request{SecretID: arn, RequestID: "r", Trigger: report.Trigger{Type: "direct", ID: "r"}, Event: secretstore.Event{Time: c.event}}
			c.want.SchemaVersion, c.want.RequestID, c.want.Trigger = "1", req.RequestID, req.Trigger
			syncer := &Syncer{Site: site, Now: func() time.Time { return now }}
			if !c.off {
				syncer.Checker = tokencheck.New(nil)
			}
			got := syncer.newResult(req, c.rounds, secretstore.Record{})
			got.Summary = "" // see package report
			same := cmp.Comparer(func(a, b *fault.Error) bool { return a == b })
			if diff := cmp.Diff(c.want, got, same); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
