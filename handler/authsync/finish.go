package authsync

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"datadog-webhook-auth-sync/handler/eventbus"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

// finish publishes the result if it is news, then writes the record: news is delivered at least once.
func (s *Syncer) finish(ctx context.Context, req Request, started time.Time, rounds []round, end ending) report.Result {
	now := s.Now()
	last := rounds[len(rounds)-1]
	res := newResult(req, s.Site, s.Checker != nil, rounds, end)
	res.DurationMs = now.Sub(started).Milliseconds()
	if req.DryRun || last.snapshot.skip != "" || end.err != nil && !fault.Counts(end.err) {
		res.Retry = end.err != nil && end.err.Retryable
		return summarised(res)
	}
	old := lastRead(rounds)
	if end.err != nil {
		return s.finishFailure(ctx, req, res, rounds, end, old, now)
	}
	return s.finishSuccess(ctx, req, res, rounds, old, now)
}

func (s *Syncer) finishFailure(ctx context.Context, req Request, res report.Result, rounds []round, end ending,
	old secretstore.Secret, now time.Time) report.Result {
	next := old.Record
	if w := lastWrite(rounds); w != nil {
		first := func(r round) bool { return r.written != nil && r.plan.action != report.Update }
		if next = recordAfter(w, old, "", false, now); slices.ContainsFunc(rounds, first) {
			next = unpublished(next)
		}
		next = withFailure(next, old.Record)
	}
	looked := rounds[len(rounds)-1].look != nil
	if looked || lastWrite(rounds) != nil {
		next.Refused = refusedAfter(rounds, next.Refused)
	}
	if req.Run.Owns(end.err) {
		return s.record(ctx, summarised(res), old, next)
	}
	tell, known := toTell(end.err, next, end.held, req.Event, now)
	res = summarised(res)
	if tell {
		res = s.publish(ctx, res, now)
	}
	young := !req.Event.Time.IsZero() && now.Sub(req.Event.Time) < grace
	res.Retry = end.err.Retryable && young || !res.Told && !known
	if looked {
		next = recordFailure(next, end.err, end.held, res.Told, now, s.Site)
	}
	return s.record(ctx, res, old, next)
}

func (s *Syncer) finishSuccess(ctx context.Context, req Request, res report.Result, rounds []round,
	old secretstore.Secret, now time.Time) report.Result {
	w, last := lastWrite(rounds), rounds[len(rounds)-1]
	verdict := last.verification.Outcome
	reconcile := req.Trigger.Type == report.TriggerReconcile
	next := recordAfter(w, old, verdict, reconcile && len(rounds) == 1, now)
	next.Refused = refusedAfter(rounds, next.Refused)
	was := old.Record
	settled := next.State == secretstore.Settled && was.State != secretstore.Settled
	if settled && res.Outcome == report.Updated {
		res.Outcome, res.PreviousSecretSafeToRevoke = report.Settled, verdict == tokencheck.Accepted
	}
	told := was.State == secretstore.Failing || was.State == secretstore.Lost
	if told && verdict != tokencheck.Inconclusive {
		res.Recovered = &report.Failure{Code: was.Code, Since: was.Since}
	}
	found := last.snapshot.secret.Record.Version // before another invocation wrote, and perhaps could not publish
	asRecorded := was.ID == w.record.ID && was.Version == w.record.Version && found == was.Version &&
		was.Digest == last.plan.before.Digest()
	refresh := reconcile && asRecorded && !was.Fails() && !settled
	res = summarised(res)
	if refresh {
		return s.record(ctx, res, old, next)
	}
	res = s.publish(ctx, res, now)
	switch {
	case res.Told:
	case settled:
		next = was
	case res.Outcome == report.Created || res.Outcome == report.Adopted:
		next = withFailure(unpublished(next), was)
	default:
		next = withFailure(next, was)
	}
	return s.record(ctx, res, old, next)
}

func summarised(res report.Result) report.Result {
	res.Summary = report.Summary(res)
	return res
}

// publish puts res on the bus, in time to leave a second for the record.
func (s *Syncer) publish(ctx context.Context, res report.Result, decided time.Time) report.Result {
	ctx, cancel := before(ctx, recordReserve)
	defer cancel()
	detail, err := json.Marshal(res)
	if err == nil {
		err = s.Bus.Publish(ctx, eventbus.Event{DetailType: res.DetailType(), Detail: detail,
			Resource: res.Secret.ARN, Time: decided})
	}
	if res.Told = err == nil; !res.Told {
		res.Unpublished = fault.From(err)
		res.Warnings = append(res.Warnings, "this result could not be published: "+res.Unpublished.Message)
	}
	return res
}

// record writes next on the secret where it differs from old: tags are rate-limited, and move LastChangedDate.
func (s *Syncer) record(ctx context.Context, res report.Result, old secretstore.Secret,
	next secretstore.Record) report.Result {
	if old.ARN == "" {
		return res
	}
	if res.Record = &old.Record; next.String() == old.Record.String() {
		return res
	}
	if err := s.Secrets.Record(ctx, old.ARN, next); err != nil {
		res.RecordFailed = true
		res.Warnings = append(res.Warnings, "this result could not be recorded on the secret: "+fault.From(err).Message)
		return res
	}
	res.Record = &next
	return res
}
