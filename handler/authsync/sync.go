// Package authsync is the job for one secret: it brings Datadog's auth method in sync with the version of the secret
// that is AWSCURRENT.
//
//	dry run: snapshot → decide → verify
//	round:   dry run → write → look again
//	sync:    rounds, until AWSCURRENT is what was written → publish → record
//
// Only write writes to Datadog.
package authsync

import (
	"cmp"
	"context"
	"math/rand/v2"
	"time"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/deadline"
	"datadog-webhook-auth-sync/handler/endpoint"
	"datadog-webhook-auth-sync/handler/eventbus"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/sensitive"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

const (
	maxRounds = 5
	grace     = 150 * time.Second // of an event: an identity provider may honour a new client secret minutes late
	sureAfter = 5 * time.Second   // from the snapshot to the look, before a loss or a mismatch is first recorded

	// Kept back before the deadline, so that a sync that ran out of time can still look again, publish and record.
	lookReserve    = 3 * time.Second
	publishReserve = 2 * time.Second
	recordReserve  = time.Second
)

// Syncer does the job with what its fields reach. It keeps nothing between calls and is safe for concurrent use.
type Syncer struct {
	Secrets     *secretstore.Store
	AuthMethods *datadog.Client
	Checker     *tokencheck.Checker // nil: verification is off
	Bus         *eventbus.Bus
	Scope       secretstore.Scope
	Site        string        // Datadog's, such as datadoghq.com
	NamePrefix  string        // of auth methods that are named by default
	URLs        endpoint.Rule // where a client secret may be sent
	Now         func() time.Time
}

// Request names the secret to sync and what asked for it.
type Request struct {
	SecretID  string // name or ARN
	ARNPrefix string // with which the ARN of every secret of the function's own account and region begins
	Trigger   report.Trigger
	Event     secretstore.Event // what an event says of AWSCURRENT; zero for other triggers
	RequestID string            // Lambda's
	DryRun    bool

	// Of a Reconcile only: the listing that its syncs share; whether another secret records the same auth method; and
	// what takes a failure as the run's, and reports whether it did: such a failure is neither published nor recorded.
	Listing *datadog.Listing
	Shared  func(secretstore.Secret) bool
	Claim   func(*fault.Error) bool

	// Of Verify only: what to read in place of AWSCURRENT.
	secret *secretstore.Secret
	value  secretstore.Value
}

// Sync writes AWSCURRENT of one secret to Datadog, publishes the result, and records it on the secret. A dry run says
// what it would write. It ends before ctx's deadline. A failure is in the Result.
func (s *Syncer) Sync(ctx context.Context, req Request) report.Result {
	if req.Listing == nil {
		req.Listing = datadog.NewListing(s.AuthMethods.List, s.Now)
	}
	if req.DryRun {
		r := s.dryRun(ctx, req, nil)
		if r.err != nil && req.Claim != nil {
			req.Claim(fault.From(r.err))
		}
		return s.newResult(req, rounds{r}, secretstore.Record{})
	}
	var all rounds
	for again := true; again; again = all.last().again {
		all = append(all, s.oneRound(ctx, req, all))
	}
	return s.finish(ctx, req, all)
}

// round is what one round saw, decided and did.
type round struct {
	snapshot     snapshot
	plan         plan
	verification verification
	written      *written            // nil: Datadog took no write
	surprise     error               // Datadog does not match the snapshot, or the answer to a create was lost; see write
	err          error               // why the round failed
	held         verification        // of the held credential, after a failure; zero: nothing is recorded as written
	look         *secretstore.Secret // after the write or failure; nil: it failed, or was not called for
	again        bool                // another round follows
}

type rounds []round

func (rs rounds) last() round { return rs[len(rs)-1] }

// lastWrite returns the last write that Datadog took; nil: it took none.
func (rs rounds) lastWrite() (w *written) {
	for _, r := range rs {
		w = cmp.Or(r.written, w)
	}
	return w
}

// lastRead returns the secret as it was read last; zero: it was not.
func (rs rounds) lastRead() (s secretstore.Secret) {
	for _, r := range rs {
		if r.snapshot.secret.ARN != "" {
			s = r.snapshot.secret
		}
		if r.look != nil {
			s = *r.look
		}
	}
	return s
}

// secrets returns every client secret that the sync has read.
func (rs rounds) secrets() (all []sensitive.Text) {
	for _, r := range rs {
		all = append(all, r.snapshot.credential.ClientSecret, r.held.request.ClientSecret)
	}
	return all
}

// oneRound takes a snapshot, decides on it, writes at most once, and looks again. Another round follows if
//
//  1. the write met a surprise;
//  2. AWSCURRENT moved meanwhile;
//  3. it failed, and another invocation wrote meanwhile.
func (s *Syncer) oneRound(ctx context.Context, req Request, earlier rounds) round {
	work, cancel := deadline.Before(ctx, lookReserve)
	defer cancel()
	last := len(earlier) == maxRounds-1
	r := s.dryRun(work, req, earlier)
	if r.err == nil && r.snapshot.skip == "" {
		r.written, r.surprise, r.err = s.write(work, req.Listing, r)
	}
	switch {
	case r.snapshot.skip != "" || r.err != nil && !fault.Counts(r.err):
		return r
	case r.surprise != nil && !last: // 1
		deadline.Sleep(work, 200*time.Millisecond+rand.N(600*time.Millisecond))
		r.again = true
		return r
	case r.surprise != nil:
		r.err = fault.New(fault.DatadogUnavailable,
			"Datadog did not match its list, or did not answer, in %d rounds", maxRounds).Because(r.surprise)
	}
	if r.err != nil {
		r.held = s.heldCredential(work, r)
		r.err = fault.From(r.err).Withhold(append(earlier, r).secrets()...)
	}

	looking, cancel := deadline.Before(ctx, publishReserve)
	defer cancel()
	look, err := s.Secrets.Describe(looking, cmp.Or(r.snapshot.secret.ARN, req.SecretID))
	if err != nil {
		if r.held.Outcome == tokencheck.Rejected && r.snapshot.record.State != secretstore.Lost {
			r.held.Outcome = tokencheck.Inconclusive // another invocation may have written meanwhile
		}
		r.err = cmp.Or[error](r.err, fault.New(fault.SecretsUnavailable,
			"whether AWSCURRENT moved during the write could not be seen").Because(err))
		return r
	}
	if r.look = &look; look.Deleted && r.err != nil { // there is nothing to do any more
		r.err, r.held = fault.New(fault.SecretNotFound, "%s", look.SkipReason()), verification{}
		return r
	}
	moved := r.snapshot.movedIn(look)                         // 2
	overtaken := r.err != nil && r.snapshot.overtakenIn(look) // 3
	r.again = !last && (moved || overtaken)
	if last && moved {
		r.err = fault.New(fault.SecretsUnavailable, "AWSCURRENT moved again after %d rounds", maxRounds)
	}
	return r
}

// dryRun is a round up to the write: snapshot, decide, verify. A dry run neither writes, publishes nor records.
func (s *Syncer) dryRun(ctx context.Context, req Request, earlier rounds) (r round) {
	r.snapshot, r.err = s.takeSnapshot(ctx, req, earlier)
	r.verification = r.snapshot.verification
	if r.err != nil || r.snapshot.skip != "" {
		return r
	}
	r.plan, r.err = decide(r.snapshot, s.URLs, s.Checker != nil)
	if r.err = cmp.Or(r.err, unexplained(earlier, r.plan)); r.err == nil {
		r.verification, r.err = s.verify(ctx, r, earlier)
	}
	return r
}
