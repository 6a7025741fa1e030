package authsync

import (
	"cmp"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

const plainWarning = "the token endpoint accepts the client secret only unencoded in the header; " +
	"whether Datadog sends it so is not published"

// newResult returns what the rounds came to. The outcome of the first write stands.
func newResult(req Request, site string, verified bool, rounds []round, end ending) report.Result {
	last := rounds[len(rounds)-1]
	outOfScope := fault.Is(last.err, fault.BadRequest) || fault.Is(last.err, fault.SecretOutOfScope)
	res := report.Result{SchemaVersion: "1", Trigger: req.Trigger, RequestID: req.RequestID, DryRun: req.DryRun,
		Error: end.err, Held: end.held}
	secret := lastRead(rounds)
	if secret.ARN == "" && !outOfScope {
		secret.ARN, secret.Name = secretstore.Identify(req.SecretID)
	}
	res.Secret = report.SecretRef{ARN: secret.ARN, Name: secret.Name, Owner: secret.Owner,
		VersionID: cmp.Or(last.snapshot.version, secret.Labelled(secretstore.Current))}
	shown := func(m datadog.AuthMethod) datadog.AuthMethod {
		return m.Withhold(last.snapshot.credential.ClientSecret).Shown()
	}
	warn := func(is bool, text string) {
		if is {
			res.Warnings = append(res.Warnings, text)
		}
	}
	if last.plan.action != "" {
		res.AuthMethod = &report.AuthMethodRef{ID: last.plan.id, Name: shown(last.plan.after).Name, Site: site}
	}
	if res.Verification = string(last.verification.Outcome); !verified && last.plan.action != "" {
		res.Verification = report.VerificationOff
	}
	var first *round
	for i, r := range rounds {
		if r.written == nil {
			continue
		}
		if first == nil {
			first = &rounds[i]
		}
		res.AuthMethod = &report.AuthMethodRef{ID: r.written.method.ID, Name: shown(r.written.method).Name, Site: site}
		recorded := r.snapshot.record
		res.FirstPush = res.FirstPush || recorded.Version != "" && !recorded.IsOf(r.snapshot.version)
		if !req.Event.Time.IsZero() {
			lag := max(0, r.written.at.Sub(req.Event.Time).Milliseconds())
			res.LagMs = &lag
		}
		warn(r.plan.left != "",
			"the secret pins another auth method than before: "+r.plan.left+" keeps its last client secret")
	}
	switch {
	case end.err != nil:
		res.Outcome = report.Failed
	case first != nil:
		res.Outcome = map[report.Action]report.Outcome{report.Create: report.Created, report.Update: report.Updated,
			report.Adopt: report.Adopted}[first.plan.action]
	case last.snapshot.skip != "":
		res.Outcome = report.Skipped
		warn(true, last.snapshot.skip)
	default:
		res.Outcome = report.Planned
		res.Plan = &report.Plan{Action: last.plan.action, Changes: report.Changes(shown(last.plan.before), shown(last.plan.after))}
	}
	warn(first != nil && first.plan.action == report.Create,
		"created: attach it to your webhooks in Datadog; the public API cannot")
	warn(end.err == nil && last.verification.Outcome == tokencheck.Inconclusive, "not verified: "+last.verification.Why)
	warn(end.err == nil && last.verification.Via == tokencheck.Plain, plainWarning)
	_, named := find(last.snapshot.methods, func(m datadog.AuthMethod) bool { return m.Name == last.snapshot.name })
	noID := last.snapshot.record.ID == "" && last.snapshot.credential.AuthMethodID == ""
	res.NoAuthMethod = end.err != nil && last.snapshot.methods != nil && noID && !named
	warn(last.snapshot.credential.Warning != "", last.snapshot.credential.Warning)
	return res
}
