package authsync

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
)

const (
	maxPosts  = 3 // of one auth method, each after a look that found none
	firstWait = 200 * time.Millisecond
)

// planAgain is an apply that changed nothing, since Datadog is not as planned.
type planAgain struct{ subject subject }

func (planAgain) Error() string { return "what is at Datadog is not as planned" }

// apply makes the one PATCH or POST that p takes, and returns the auth method as Datadog has it then, or planAgain.
func (s *Syncer) apply(ctx context.Context, p plan) (datadog.AuthMethod, error) {
	if p.action == report.Create {
		return s.create(ctx, p)
	}
	m, err := s.AuthMethods.Update(ctx, p.id, p.write)
	if datadog.IsGone(err) && !p.pinned {
		return m, planAgain{p.subject.without(p.id)}
	}
	if err != nil {
		return m, p.fault(ctx, err)
	}
	p.subject.listing.Put(m)
	return m, nil
}

// create creates the auth method, unless somebody who shares the listing did meanwhile. It holds the turn until it is
// known whether the POST took effect, and leaves the client unresolved where that cannot be known: then nobody who shares
// the listing creates another of that client, which might be a twin.
func (s *Syncer) create(ctx context.Context, p plan) (datadog.AuthMethod, error) {
	of, none := p.subject, datadog.AuthMethod{}
	mine, unresolved := datadog.TokenClient{ID: of.credential.ClientID, AccessTokenURL: of.credential.AccessTokenURL}, of.listing.Unresolved
	give, err := of.listing.Take(ctx)
	if err != nil {
		return none, err
	}
	defer give()
	if unresolved[mine] {
		return none, fault.New(fault.DatadogUnavailable, "whether another create of this client took effect is not known, so this one waits")
	}
	var last *datadog.Error // of a POST that may have taken effect, or met one that did
	for posts := 0; ; posts++ {
		t, err := decide(of)
		switch {
		case err != nil || t.action != report.Create:
			unresolved[mine] = false
			return none, planAgain{of}
		case last == nil:
		case last.Status == http.StatusConflict || posts == maxPosts: // and the look explains nothing
			unresolved[mine] = of.lostPOST
			return none, datadog.Fault(ctx, last)
		default:
			if err := sleep(ctx, firstWait+rand.N(firstWait<<posts)); err != nil {
				return none, err
			}
		}
		unresolved[mine] = true
		m, err := s.AuthMethods.Create(ctx, p.write)
		if err == nil {
			of.listing.Put(m)
			unresolved[mine] = false
			return m, nil
		}
		var ok bool
		last, ok = errors.AsType[*datadog.Error](err)
		switch {
		case ok && last.Status == http.StatusConflict:
		case ok && last.Ambiguous():
			if !of.lostPOST {
				of.lostPOST, of.postedAt = true, of.listing.Fetches()
			}
		default:
			unresolved[mine] = of.lostPOST
			return none, datadog.Fault(ctx, err)
		}
		if err := of.listing.Refresh(ctx); err != nil {
			return none, err
		}
	}
}
