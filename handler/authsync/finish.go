package authsync

import (
	"context"
	"encoding/json"
	"time"

	"golang.org/x/sync/errgroup"

	"datadog-webhook-auth-sync/handler/eventbus"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

// grace is how long after AWSCURRENT moved a retryable failure is told to nobody: an identity provider may honour a new
// client secret minutes late.
const grace = 150 * time.Second

// Finish records what came of a push and publishes it. News is published first and recorded after, so that it may be told
// twice and never not at all; the rest goes out at once.
func (s *Syncer) Finish(ctx context.Context, a Attempt) report.Result {
	stop := a.step("finish")
	if a.Error != nil {
		s.finishFailure(ctx, &a)
	} else {
		s.finishSuccess(ctx, &a)
	}
	if a.Unpublished != nil {
		a.Warn("this result could not be published: " + a.Unpublished.Message)
	}
	stop()
	return a.Result
}

// finishFailure tells of a failure that counts (that of a dry run does not), if it is news, and what it leaves at Datadog.
func (s *Syncer) finishFailure(ctx context.Context, a *Attempt) {
	if a.DryRun || !report.Counts(a.Error) {
		a.Retry = a.Error.Retryable
		a.Summarise()
		return
	}
	before := a.seen.Record
	told := false
	if !a.Quiet {
		work, cancel := WithReserve(ctx)
		defer cancel()
		a.Held = s.heldCredential(work, a)
		a.decided = a.now() // which took its time: a success meanwhile was told before this
		a.Summarise()
		a.Retry = a.inGrace(before)
		told = a.isNews(before) && s.publish(ctx, a)
	}
	next := before
	if a.done != nil {
		next = a.done.dated(a.decided, before)
	}
	if told && a.looked {
		next = a.failing(next, s.Site)
	}
	s.record(ctx, a, before, next)
}

// inGrace reports whether a failure may end by itself, as far as nobody knows better: it is retryable, AWSCURRENT moved
// less than 150 s ago, and the secret did not fail before, or not other than by this very failure.
func (a *Attempt) inGrace(r secretstore.Record) bool {
	moved := a.req.Event.Time
	if a.req.Trigger.Type == report.TriggerReconcile {
		moved = a.seen.LastChanged
	}
	young := !moved.IsZero() && a.decided.Sub(moved) < grace
	return a.Error.Retryable && young && (r.Failing == "" || r.Lost && r.Failing == a.Error.Code)
}

// isNews reports whether a failure is to be told: it is past its grace, or what Datadog holds is found to be rejected.
// A reconcile does not tell again what is recorded.
func (a *Attempt) isNews(r secretstore.Record) bool {
	lost := a.Held != nil && a.Held.Verification == tokencheck.Rejected
	worse := lost && !r.Lost
	if a.req.Trigger.Type == report.TriggerReconcile && r.Failing == a.Error.Code {
		return worse
	}
	return !a.inGrace(r) || worse
}

// failing is r with the failure that was told.
func (a *Attempt) failing(r secretstore.Record, site string) secretstore.Record {
	if r.Failing == "" {
		r.Since = a.decided.UTC().Truncate(time.Second)
	}
	r.Lost = r.Lost || a.Held != nil && a.Held.Verification == tokencheck.Rejected
	r.Failing, r.State, r.Site = a.Error.Code, "", site
	return r
}

// finishSuccess tells of a success. It is news after a failure, and where it settles: then the record says so only if
// consumers were told.
func (s *Syncer) finishSuccess(ctx context.Context, a *Attempt) {
	if a.done == nil { // skipped
		a.Summarise()
		return
	}
	before := a.seen.Record
	if before.Failing != "" {
		a.Recovered = &report.Failure{Code: before.Failing, Since: before.Since}
	}
	a.PreviousSecretSafeToRevoke = a.Outcome == report.Settled && a.verdict.Outcome == tokencheck.Accepted
	a.Summarise()
	next := a.done.dated(a.decided, secretstore.Record{})
	again := a.done.dated(before.At, secretstore.Record{})
	if again == before && again.State == secretstore.Pushed && !a.seen.LastChanged.After(before.At.Add(RecordGrace)) {
		next = before // pushed once more, and nothing moved: it settles no later for that
	}
	switch {
	case a.Recovered != nil || a.Outcome == report.Settled:
		if !s.publish(ctx, a) {
			a.done.record.State = secretstore.Pushed
			next = a.done.dated(a.decided, before)
		}
		s.record(ctx, a, before, next)
	case a.Quiet || next.State == secretstore.Unproven:
		s.record(ctx, a, before, next)
	default:
		var both errgroup.Group
		event := *a
		both.Go(func() error { s.publish(ctx, &event); return nil })
		s.record(ctx, a, before, next)
		_ = both.Wait()
		a.Unpublished, a.Told = event.Unpublished, event.Told
	}
}

// dated is the record of a write, with the failure that before tells of.
func (d done) dated(at time.Time, before secretstore.Record) secretstore.Record {
	r := d.record
	r.At = at
	if before.Failing != "" {
		r.State, r.Failing, r.Lost, r.Since = "", before.Failing, before.Lost, before.Since
	}
	return r
}

// record writes next on the secret where it differs from what is there: tags are rate-limited, and move LastChangedDate.
func (s *Syncer) record(ctx context.Context, a *Attempt, before, next secretstore.Record) {
	a.Record = before
	if next == before {
		return
	}
	if err := s.Secrets.Record(ctx, a.Secret.ARN, next); err != nil {
		a.RecordFailed = true
		a.Warn("this result could not be recorded on the secret: " + fault.From(err).Message)
		return
	}
	a.Record = next
}

// publish puts the result on the bus, and reports whether it is there.
func (s *Syncer) publish(ctx context.Context, a *Attempt) bool {
	detail, err := json.Marshal(a.Result)
	if err == nil {
		err = s.Bus.Publish(ctx, eventbus.Event{DetailType: a.DetailType(), Detail: detail, Resource: a.Secret.ARN, Time: a.decided})
	}
	if err != nil {
		a.Unpublished = fault.From(err)
	}
	a.Told = err == nil
	return a.Told
}
