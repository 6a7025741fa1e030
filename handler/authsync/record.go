package authsync

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"datadog-webhook-auth-sync/handler/deadline"
	"datadog-webhook-auth-sync/handler/eventbus"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

// SettleAfter is the age of a record at which nobody who read an older version can still be alive: an invocation lasts
// 2 minutes, and what it sent last takes its time to land.
const SettleAfter = 10 * time.Minute

// ending says whether to publish a result, and what to record then.
type ending struct {
	publish       bool
	noRetry       bool               // the event is not delivered again, though nothing was published
	record        secretstore.Record // after publishing, or where nothing is to be published
	ifUnpublished secretstore.Record // where it could not be published, so that the next sync tells it
}

// finish publishes the result if it is news, then writes the record: news is delivered at least once.
func (s *Syncer) finish(ctx context.Context, req Request, all rounds) report.Result {
	now, last, secret := s.Now(), all.last(), all.lastRead()
	end := ending{noRetry: true, record: secret.Record}
	switch {
	case last.snapshot.skip != "" || last.err != nil && !fault.Counts(last.err): // neither published nor recorded
	case last.err == nil:
		end = endSuccess(req, all, now)
	default:
		end = endFailure(req, all, now, s.Site)
	}
	res := s.newResult(req, all, end.record)
	if end.publish {
		err := s.publish(ctx, res, now)
		if res.Told = err == nil; err != nil {
			end.record = end.ifUnpublished
			res.Unpublished = fault.From(err)
			res.Warnings = append(res.Warnings, "this result could not be published: "+res.Unpublished.Message)
		}
	}
	young := !req.Event.Time.IsZero() && now.Sub(req.Event.Time) < grace
	res.Retry = res.Error != nil && (res.Error.Retryable && young || !res.Told && !end.noRetry)
	if secret.ARN == "" || secret.Deleted { // which takes no tag
		return res
	}
	if res.Record = &end.record; end.record.String() == secret.Record.String() {
		return res // tags are rate-limited, and move LastChangedDate
	}
	if err := s.Secrets.Record(ctx, secret.ARN, end.record); err != nil {
		res.Record, res.RecordFailed = &secret.Record, true
		res.Warnings = append(res.Warnings, "this result could not be recorded on the secret: "+fault.From(err).Message)
	}
	return res
}

// endSuccess goes by the first of these that applies:
//
//  1. the record becomes settled, which is published; if it could not be, the record stays;
//  2. a refresh is not published: a Reconcile found all as recorded, before another invocation could have written too;
//  3. all else is published.
func endSuccess(req Request, all rounds, now time.Time) ending {
	w, last, look := all.lastWrite(), all.last(), all.lastRead()
	recorded, atFirst := look.Record, all[0].snapshot.record
	reconcile := req.Trigger.Type == report.TriggerReconcile
	next := recordAfter(w, look, last.verification.Outcome, reconcile, now)
	next.Refused = refusedAfter(all, next.Refused)
	sameWrite := recorded.ID == w.record.ID && recorded.Version == w.record.Version && recorded.Version == atFirst.Version
	end := ending{publish: true, record: next, ifUnpublished: all.untold(next)} // 3
	switch {
	case next.State == secretstore.Settled && recorded.State != secretstore.Settled: // 1
		end.ifUnpublished = recorded
	case reconcile && sameWrite && recorded.Digest == last.plan.before.Digest() && !recorded.Fails(): // 2
		end.publish = false
	}
	return end
}

// untold returns next as it is recorded where it could not be published: the failure that stands stays, and a create or
// take-over goes without its version, so that the next sync tells it.
func (rs rounds) untold(next secretstore.Record) secretstore.Record {
	if slices.ContainsFunc(rs, func(r round) bool { return r.written != nil && r.plan.outcome != report.Updated }) {
		next.Version, next.State = "", ""
	}
	return next.WithFailureOf(rs.lastRead().Record)
}

// endFailure has a failure published by the rule of toTell, unless it is the run's. Where nobody looked after it, only
// what Datadog took is recorded.
func endFailure(req Request, all rounds, now time.Time, site string) ending {
	e, last, look := fault.From(all.last().err), all.last(), all.lastRead()
	next := look.Record
	w := all.lastWrite()
	if w != nil && !next.At.After(w.record.At) { // else another invocation wrote later, and its record stands
		next = all.untold(recordAfter(w, look, "", false, now))
	}
	if w != nil || last.look != nil {
		next.Refused = refusedAfter(all, next.Refused)
	}
	if req.Claim != nil && req.Claim(e) {
		return ending{noRetry: true, record: next}
	}
	held := last.held.Outcome
	end := ending{record: next, ifUnpublished: next}
	end.publish, end.noRetry = toTell(e, next, held, req.Event, now)
	if last.look != nil {
		lost := held == tokencheck.Rejected || next.State == secretstore.Lost && held != tokencheck.Accepted
		end.record = next.WithFailure(e.Code, end.publish, lost, now, site)
		end.ifUnpublished = next.WithFailure(e.Code, false, lost, now, site)
	}
	return end
}

// publish puts res on the bus, in time to leave a second for the record.
func (s *Syncer) publish(ctx context.Context, res report.Result, decided time.Time) error {
	ctx, cancel := deadline.Before(ctx, recordReserve)
	defer cancel()
	detail, _ := json.Marshal(res) // it always encodes
	return s.Bus.Publish(ctx, eventbus.Event{DetailType: res.DetailType(), Detail: detail, Resource: res.Secret.ARN,
		Time: decided})
}

// recordAfter returns the record after a write that Datadog took, where look is the secret as the last look showed it.
// If look has no failure, and records what was written, then
//
//  1. where settles is true, and neither record nor secret changed for 10 minutes, it becomes settled or, where
//     the verdict is inconclusive, unproven;
//  2. else, if it is pushed, it stays, so that nobody keeps a secret from settling by asking for syncs.
//
// After any other write it is pushed. A failure stays beside an inconclusive write. settles: a Reconcile asked.
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
// accepted since. A record has room for one: it prefers AWSCURRENT, then old, then what Datadog holds.
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
