package authsync

import (
	"cmp"
	"context"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
)

// written is a write that Datadog took.
type written struct {
	method datadog.AuthMethod // as Datadog returned it
	record secretstore.Record // of it, as pushed, at Datadog's 2xx
}

// write makes the one PATCH or POST that r plans. It meets a surprise, and another round follows, if the auth method is
// missing, if there is a conflict, or if the answer to a create was lost.
func (s *Syncer) write(ctx context.Context, l *datadog.Listing, r round) (w *written, surprise, err error) {
	p := r.plan
	var m datadog.AuthMethod
	if p.outcome == report.Created {
		m, err = s.AuthMethods.Create(ctx, p.write)
	} else {
		m, err = s.AuthMethods.Update(ctx, p.before.ID, p.write)
	}
	unanswered := p.outcome == report.Created && datadog.IsLost(err)
	missing := p.outcome != report.Created && datadog.IsNotFound(err)
	switch {
	case ctx.Err() == nil && (unanswered || missing || datadog.IsConflict(err)):
		l.Outdate()
		return nil, err, nil
	case err != nil:
		return nil, nil, err
	}
	l.Put(m)
	digest := m.Digest()
	if m.AccessTokenURL != p.after.AccessTokenURL { // edited meanwhile: nobody verified it
		digest = p.after.Digest()
	}
	return &written{m, secretstore.Record{ID: m.ID, Version: secretstore.VersionKey(r.snapshot.version), At: s.Now(),
		Digest: digest, Site: s.Site, Via: string(cmp.Or(r.verification.Via, r.verification.known)),
		State: secretstore.Pushed}}, nil, nil
}

// unexplained returns an error if the last round met a surprise and p is to make the same write again; nil for a create
// whose answer was lost: if it is planned again, it left nothing behind.
func unexplained(earlier rounds, p plan) error {
	if len(earlier) == 0 {
		return nil
	}
	surprise, last := earlier.last().surprise, earlier.last().plan
	same := last.outcome == p.outcome && last.before.ID == p.before.ID && last.write.Name == p.write.Name
	switch {
	case same && datadog.IsNotFound(surprise):
		return fault.New(fault.DatadogUnavailable, "Datadog lists auth method %s, and says that it does not exist",
			p.before.ID).Because(surprise)
	case same && datadog.IsConflict(surprise):
		return surprise
	}
	return nil
}
