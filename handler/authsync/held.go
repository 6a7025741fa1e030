package authsync

import (
	"context"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

// heldCredential finds out whether what Datadog holds still works: rejected means that alerts are being lost now. It is
// nil where nothing is recorded, and with verification off.
func (s *Syncer) heldCredential(ctx context.Context, a *Attempt) *report.Held {
	r := a.seen.Record
	if a.done != nil {
		r = a.done.record // and not the one before
	}
	if r.VersionID == "" || s.Checker == nil {
		return nil
	}
	return &report.Held{VersionID: r.VersionID, Verification: s.judgeHeld(ctx, a, r)}
}

// judgeHeld goes by the first of these that applies:
//
//  1. it was rejected before, as recorded: rejected;
//  2. the secret pins another auth method: inconclusive;
//  3. the auth method is gone: rejected;
//  4. it cannot be looked at, or is not as recorded: inconclusive;
//  5. it is what this push just verified, as it stands at Datadog: that verdict;
//  6. the client secret of the recorded version cannot be read, or not be sent there: inconclusive;
//  7. what the token endpoint says, where every style that was tried was answered.
func (s *Syncer) judgeHeld(ctx context.Context, a *Attempt, r secretstore.Record) tokencheck.Outcome {
	pin := a.plan.subject.credential.AuthMethodID
	switch {
	case r.Lost: // 1
		return tokencheck.Rejected
	case pin != "" && pin != r.ID: // 2
		return tokencheck.Inconclusive
	}
	m, err := a.plan.before, error(nil)
	if m.ID != r.ID || a.done != nil { // what was planned on is not what this push left
		m, err = s.authMethod(ctx, subject{listing: a.known.Listing, changed: a.seen.LastChanged}, r.ID)
	}
	if datadog.IsGone(err) { // unless whoever answers 404 to everything, and is not Datadog, says so
		listErr := a.known.Listing.Load(ctx)
		_, shown := a.known.Listing.Get(r.ID)
		if listErr != nil || shown {
			return tokencheck.Inconclusive // 4
		}
	}
	switch {
	case datadog.IsGone(err): // 3
		return tokencheck.Rejected
	case err != nil || m.Digest() != r.Digest: // 4
		return tokencheck.Inconclusive
	case r.VersionID == a.Secret.VersionID && a.verdict.Outcome != "" && requestOf(m, a.verdict.request.ClientSecret) == a.verdict.request: // 5
		return conclusive(a.verdict.Verdict)
	}
	value, err := s.Secrets.Version(ctx, a.seen.ARN, r.VersionID)
	if err != nil {
		return tokencheck.Inconclusive // 6
	}
	c, err := secretstore.ParseCredential(value.Text, s.URLs)
	if err != nil || s.URLs.Fault(m.AccessTokenURL) != "" || m.ClientID == "" {
		return tokencheck.Inconclusive // 6
	}
	return conclusive(s.Checker.Check(ctx, requestOf(m, c.ClientSecret))) // 7
}

// conclusive is a verdict's outcome; a rejection counts only where nothing was left unanswered.
func conclusive(v tokencheck.Verdict) tokencheck.Outcome {
	if v.Outcome == tokencheck.Rejected && !v.Answered {
		return tokencheck.Inconclusive
	}
	return v.Outcome
}
