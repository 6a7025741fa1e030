package authsync

import (
	"time"

	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

// SettleAfter is the age of a record at which nobody who read an older version can still be alive: an invocation lasts
// 2 minutes, and what it sent last takes its time to land.
const SettleAfter = 10 * time.Minute

// recordAfter returns the record after a write that Datadog took, where look is the secret as the last look showed it.
// If look has no failure, and records what was written, then
//
//  1. where settles is true, and neither record nor secret changed for 10 minutes, it becomes settled or, without a
//     verdict, unproven;
//  2. else, if it is pushed, it stays, so that nobody keeps a secret from settling by asking for syncs.
//
// After any other write it is pushed. A failure stays beside a write without a verdict. settles reports that a Reconcile
// asked, and that AWSCURRENT did not move in this sync.
func recordAfter(w *written, look secretstore.Secret, verdict tokencheck.Outcome, settles bool,
	now time.Time) secretstore.Record {
	old, next := look.Record, w.record
	next.At, next.Refused = now, old.Refused
	same := !old.Fails() && old.ID == next.ID && old.Version == next.Version && old.Digest == next.Digest
	unchanged := now.Sub(old.At) >= SettleAfter && now.Sub(look.LastChanged) >= SettleAfter
	switch {
	case same && settles && unchanged && verdict == tokencheck.Inconclusive: // 1
		next.State = secretstore.Unproven
	case same && settles && unchanged: // 1
		next.State = secretstore.Settled
	case same && old.State == secretstore.Pushed: // 2
		next = old
	case old.Fails() && verdict == tokencheck.Inconclusive:
		next = withFailure(next, old)
	}
	return next
}

// unpublished returns r without its version, so that the next sync tells of the auth method.
func unpublished(r secretstore.Record) secretstore.Record {
	r.Version, r.State = "", ""
	return r
}

// withFailure returns r with the failure of old, which is not lost any more: another write was taken.
func withFailure(r, old secretstore.Record) secretstore.Record {
	if !old.Fails() {
		return r
	}
	if r.State, r.Code, r.Since = old.State, old.Code, old.Since; r.State == secretstore.Lost {
		r.State = secretstore.Failing
	}
	return r
}

// recordFailure returns old with the failure e, which was told or not.
func recordFailure(old secretstore.Record, e *fault.Error, held *report.Held, told bool, now time.Time,
	site string) secretstore.Record {
	next := old
	if next.Site = site; !old.Fails() {
		next.Since = now.UTC().Truncate(time.Second)
	}
	lost := held != nil && held.Verification == tokencheck.Rejected
	works := held != nil && held.Verification == tokencheck.Accepted
	switch {
	case told && (lost || old.State == secretstore.Lost && !works):
		next.State, next.Code = secretstore.Lost, e.Code
	case told:
		next.State, next.Code = secretstore.Failing, e.Code
	case !old.Fails():
		next.State, next.Code = secretstore.Waiting, e.Code
	default:
		return old
	}
	return next
}

// refusedAfter returns which version a token request refused last, as recorded: old until that version is accepted. A
// held version counts where no other does.
func refusedAfter(rounds []round, old string) string {
	refused := map[string]bool{} // RefusedKey → by the last verdict on that version
	note := func(version string, v verification) string {
		key := secretstore.RefusedKey(version)
		if v.Refused || v.Outcome == tokencheck.Accepted {
			refused[key] = v.refused()
		}
		return key
	}
	var current, held []string
	for _, r := range rounds {
		current = append(current, note(r.snapshot.version, r.verification))
		held = append(held, note(r.heldVersion, r.held))
	}
	if stands, asked := refused[old]; asked && !stands {
		old = ""
	}
	for _, key := range current {
		if refused[key] {
			old = key
		}
	}
	for _, key := range held {
		if refused[key] && old == "" {
			old = key
		}
	}
	return old
}

// toTell reports whether a failure is to be published, where r is the record. known means that r tells it already.
// Otherwise it is published if
//
//  1. it is permanent; or
//  2. what Datadog holds is rejected; or
//  3. it has lasted 150 s: since the event or, without one, as recorded.
func toTell(e *fault.Error, r secretstore.Record, held *report.Held, event Event, now time.Time) (tell, known bool) {
	lost := held != nil && held.Verification == tokencheck.Rejected
	works := held != nil && held.Verification == tokencheck.Accepted
	failing := r.State == secretstore.Failing && !lost
	stillLost := r.State == secretstore.Lost && !works
	if r.Code == e.Code && (failing || stillLost) {
		return false, true
	}
	since := event.Time
	if since.IsZero() && r.Fails() {
		since = r.Since
	}
	lasted := !since.IsZero() && now.Sub(since) >= grace
	return !e.Retryable || lost || lasted, false
}
