package authsync

import (
	"slices"
	"time"

	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

// SettleAfter is the age of a record at which nobody who read an older version can still be alive: an invocation lasts
// 2 minutes, and what it sent last takes its time to land.
const SettleAfter = 10 * time.Minute

// recordAfter returns the record after a write that Datadog took, where look is the secret as the last look showed it.
// If look has no failure, and records what was written, then
//
//  1. where settles is true, and neither record nor secret changed for 10 minutes, it becomes settled or, where
//     the verdict is inconclusive, unproven;
//  2. else, if it is pushed, it stays, so that nobody keeps a secret from settling by asking for syncs.
//
// After any other write it is pushed. A failure stays beside an inconclusive write. settles reports that a Reconcile
// asked, and that its first round wrote.
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
		next = next.WithFailureOf(old)
	}
	return next
}

// refusedAfter returns which version a token request refused last, where old is the recorded one, and none if it was
// accepted since. There is room for one: rather AWSCURRENT, then old, then what Datadog holds.
func refusedAfter(all rounds, old string) string {
	refused := map[string]bool{old: old != ""} // RefusedKey → by the last verdict on that version
	keys := []string{old}                      // the preferred first
	for _, r := range all {
		for _, v := range []verification{r.verification, r.held} {
			if v.Refused || v.Outcome == tokencheck.Accepted {
				refused[secretstore.RefusedKey(v.version)] = v.Outcome != tokencheck.Accepted
			}
		}
		current, held := secretstore.RefusedKey(r.verification.version), secretstore.RefusedKey(r.held.version)
		keys = slices.Concat([]string{current}, keys, []string{held})
	}
	for _, key := range keys {
		if refused[key] {
			return key
		}
	}
	return ""
}

// toTell reports whether a failure is to be published, where r is the record. known means that r tells it already.
// Otherwise it is published if
//
//  1. it is permanent; or
//  2. what Datadog holds is rejected; or
//  3. it has lasted 150 s: since the event or, without one, as recorded.
func toTell(e *fault.Error, r secretstore.Record, held tokencheck.Outcome, event secretstore.Event,
	now time.Time) (tell, known bool) {
	failing := r.State == secretstore.Failing && held != tokencheck.Rejected
	lost := r.State == secretstore.Lost && held != tokencheck.Accepted
	if r.Code == e.Code && (failing || lost) {
		return false, true
	}
	since := event.Time
	if since.IsZero() && r.Fails() {
		since = r.Since
	}
	lasted := !since.IsZero() && now.Sub(since) >= grace
	return !e.Retryable || held == tokencheck.Rejected || lasted, false
}
