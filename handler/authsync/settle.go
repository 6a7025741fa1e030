package authsync

import (
	"time"

	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

const (
	// SettleAfter is when nobody who read an older version can still be alive: an invocation lasts 2 minutes, and what it
	// sent last takes its time to land.
	SettleAfter = 10 * time.Minute
	// RecordGrace is how long after a record is dated its own tag may change the secret.
	RecordGrace = 5 * time.Second
)

// settle decides what the record says of the last write, after which AWSCURRENT was still what was written. An event of
// late tells that a label moved of late.
func (a *Attempt) settle() {
	if a.done == nil || a.done.action != report.Update || a.now().Sub(a.req.Event.Time) < SettleAfter {
		return
	}
	before, secret := a.done.before, a.seen
	secret.Record = before
	a.done.record.State = stateAfter(secret, a.Secret.VersionID, a.verdict.Outcome, a.known.Settle, a.started)
	if a.Outcome == report.Updated && a.done.record.State == secretstore.Settled && before.State != secretstore.Settled {
		a.Outcome = report.Settled
	}
}

// stateAfter says what the record is after an update to version at now: Settled (Unproven, where the token endpoint gave
// no verdict) if that was the last push that the version needs, else Pushed. It was if
//
//  1. the version was recorded before, and does not fail;
//  2. no label moved of late: one that did may have moved away and back, and what was read in between may still land;
//  3. it was settled before, or the caller may settle it, and nobody who read another version can still be alive.
func stateAfter(s secretstore.Secret, version string, verdict tokencheck.Outcome, maySettle bool, now time.Time) secretstore.State {
	r := s.Record
	switch {
	case r.VersionID != version || r.Failing != "": // 1
		return secretstore.Pushed
	case s.LastChanged.After(r.At.Add(RecordGrace)) && now.Sub(s.LastChanged) < SettleAfter: // 2
		return secretstore.Pushed
	case r.State != secretstore.Settled && !(maySettle && now.Sub(r.At) >= SettleAfter): // 3
		return secretstore.Pushed
	case verdict == tokencheck.Inconclusive:
		return secretstore.Unproven
	}
	return secretstore.Settled
}
