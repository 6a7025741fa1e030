package authsync

import (
	"cmp"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

// newResult returns what the rounds came to; next is the record after them. The outcome of the first write stands.
func (s *Syncer) newResult(req Request, all rounds, next secretstore.Record) report.Result {
	last, was := all.last(), all.lastRead().Record
	snap, verdict := last.snapshot, last.verification
	res := report.Result{SchemaVersion: "1", Trigger: req.Trigger, RequestID: req.RequestID, DryRun: req.DryRun,
		DurationMs: s.Now().Sub(all[0].snapshot.at).Milliseconds(), Secret: secretRef(req, all),
		Verification: string(verdict.Outcome), Error: fault.From(last.err),
		Held: report.Held{VersionID: last.held.version, Verification: last.held.Outcome}}
	if s.Checker == nil && last.plan.outcome != "" {
		res.Verification = "off"
	}
	_, named := find(snap.methods, func(m datadog.AuthMethod) bool { return m.Name == snap.name })
	res.NoAuthMethod = res.Error != nil && snap.methods != nil && snap.wantedID() == "" && !named
	warn := func(is bool, text string) {
		if is {
			res.Warnings = append(res.Warnings, text)
		}
	}

	shown := func(m datadog.AuthMethod) datadog.AuthMethod { return m.Withhold(all.secrets()...).Shown() }
	method := last.plan.after
	for _, r := range all {
		if r.written == nil {
			continue
		}
		res.Outcome = cmp.Or(res.Outcome, r.plan.outcome)
		method = r.written.method
		recorded := r.snapshot.record
		res.FirstPush = res.FirstPush || recorded.Version != "" && !recorded.IsOf(r.snapshot.version)
		if !req.Event.Time.IsZero() {
			lag := max(0, r.written.record.At.Sub(req.Event.Time).Milliseconds())
			res.LagMs = &lag
		}
		warn(recorded.ID != "" && recorded.ID != r.snapshot.wantedID(),
			"the secret pins another auth method than before: "+recorded.ID+" keeps its last client secret")
	}
	if method.Name != "" {
		res.AuthMethod = &report.AuthMethodRef{ID: method.ID, Name: shown(method).Name, Site: s.Site}
	}
	warn(res.Outcome == report.Created, "created: attach it to your webhooks in Datadog; the public API cannot")
	warn(snap.skip != "", snap.skip)
	switch {
	case res.Error != nil:
		res.Outcome = report.Failed
	case snap.skip != "":
		res.Outcome = report.Skipped
	case res.Outcome == "":
		res.Outcome = report.Planned
		res.Plan = report.PlanOf(last.plan.outcome, shown(last.plan.before), shown(last.plan.after))
	case res.Outcome == report.Updated && next.State == secretstore.Settled && was.State != secretstore.Settled:
		res.Outcome = report.Settled
		res.PreviousSecretSafeToRevoke = verdict.Outcome == tokencheck.Accepted
	}
	told := was.State == secretstore.Failing || was.State == secretstore.Lost
	if res.Error == nil && all.lastWrite() != nil && told && verdict.Outcome != tokencheck.Inconclusive {
		res.Recovered = &report.Failure{Code: was.Code, Since: was.Since}
	}
	warn(res.Error == nil && verdict.Outcome == tokencheck.Inconclusive, "not verified: "+verdict.Why)
	warn(res.Error == nil && verdict.Via == tokencheck.Plain, "the token endpoint accepts the client secret only "+
		"unencoded in the header; whether Datadog sends it so is not published")
	warn(snap.credential.Warning != "", snap.credential.Warning)
	res.Summary = report.Summary(res)
	return res
}

// secretRef names the secret as it was read or, unless it is out of scope, as it was asked for.
func secretRef(req Request, all rounds) report.SecretRef {
	secret, err := all.lastRead(), all.last().err
	if secret.ARN == "" && !fault.Is(err, fault.BadRequest) && !fault.Is(err, fault.SecretOutOfScope) {
		secret.ARN, secret.Name = secretstore.Identify(req.SecretID)
	}
	return report.SecretRef{ARN: secret.ARN, Name: secret.Name, Owner: secret.Owner,
		VersionID: cmp.Or(all.last().snapshot.version, secret.Labelled(secretstore.Current))}
}
