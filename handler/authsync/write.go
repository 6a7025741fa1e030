package authsync

import (
	"context"
	"errors"
	"time"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

// written is a write that Datadog took.
type written struct {
	method datadog.AuthMethod // as Datadog returned it
	at     time.Time          // Datadog's 2xx
	record secretstore.Record // of it, as pushed
}

// surprise is returned by write when Datadog does not match the snapshot: the auth method is gone, or there is a conflict;
// and when the answer to a create was lost. Another round follows.
type surprise struct {
	plan  plan
	cause error
}

func (e *surprise) Error() string { return "Datadog does not match its list" }
func (e *surprise) Unwrap() error { return e.cause }

// write makes the one PATCH or POST that r plans.
func (s *Syncer) write(ctx context.Context, l *datadog.Listing, r round) (*written, error) {
	p := r.plan
	var m datadog.AuthMethod
	var err error
	if p.action == report.Create {
		m, err = s.AuthMethods.Create(ctx, p.write)
	} else {
		m, err = s.AuthMethods.Update(ctx, p.id, p.write)
	}
	lost := p.action == report.Create && datadog.IsLost(err)
	gone := p.action != report.Create && datadog.IsNotFound(err)
	switch {
	case ctx.Err() == nil && (lost || gone || datadog.IsConflict(err)):
		l.Outdate()
		return nil, &surprise{p, err}
	case err != nil:
		return nil, err
	}
	l.Put(m)
	digest := m.Digest()
	if m.AccessTokenURL != p.after.AccessTokenURL { // edited meanwhile: it was not verified, and must not count as recorded
		digest = p.after.Digest()
	}
	w := &written{method: m, at: s.Now()}
	w.record = secretstore.Record{ID: m.ID, Version: secretstore.VersionKey(r.snapshot.version), At: w.at,
		Digest: digest, Site: s.Site, State: secretstore.Pushed, Via: string(r.verification.Via)}
	if r.verification.Outcome != tokencheck.Accepted {
		w.record.Via = string(knownStyle(r.snapshot.record, p.before, requestOf(p.after, p.write.ClientSecret)))
	}
	return w, nil
}

// unexplained returns an error if the last round met a surprise and p is to make the same write again, except for a
// create whose answer was lost: that left nothing behind.
func unexplained(earlier []round, p plan) error {
	if len(earlier) == 0 {
		return nil
	}
	last, ok := errors.AsType[*surprise](earlier[len(earlier)-1].err)
	if !ok || last.plan.action != p.action || last.plan.id != p.id || last.plan.write.Name != p.write.Name {
		return nil
	}
	switch {
	case datadog.IsNotFound(last.cause):
		return fault.New(fault.DatadogUnavailable, "Datadog lists auth method %s, and says that it does not exist", p.id).
			Because(last.cause)
	case datadog.IsConflict(last.cause):
		return last.cause
	}
	return nil
}
