// Package authsync is the job for one secret: it brings Datadog's auth method in sync with the version of the secret
// that is AWSCURRENT.
//
//	round: snapshot → decide → verify → write → look again
//	sync:  rounds, until AWSCURRENT is what was written → publish → record
//
// A round decides on one snapshot and writes at most once. If Datadog does not match the snapshot, another round
// follows. A dry run ends after verify. Only write writes to Datadog.
package authsync

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/endpoint"
	"datadog-webhook-auth-sync/handler/eventbus"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

const (
	maxRounds   = 5
	grace       = 150 * time.Second      // of an event: an identity provider may honour a new client secret minutes late
	surpriseMin = 200 * time.Millisecond // before the round after a surprise; jittered
	surpriseMax = 800 * time.Millisecond
	sureAfter   = 5 * time.Second // from the snapshot to the look, before a loss or a mismatch is first recorded
)

// Time kept back before the deadline, so that a sync that ran out of time can still look again, publish and record.
const (
	lookReserve    = 3 * time.Second
	publishReserve = 2 * time.Second
	recordReserve  = time.Second
)

type secrets interface {
	Read(ctx context.Context, id string, e Event) (secretstore.Secret, secretstore.Value, error)
	Version(ctx context.Context, id, versionID string) (secretstore.Value, error)
	Describe(ctx context.Context, id string) (secretstore.Secret, error)
	Record(ctx context.Context, arn string, r secretstore.Record) error
}

type authMethods interface {
	List(ctx context.Context) ([]datadog.AuthMethod, error)
	Get(ctx context.Context, id string) (datadog.AuthMethod, error)
	Create(ctx context.Context, w datadog.Write) (datadog.AuthMethod, error)
	Update(ctx context.Context, id string, w datadog.Write) (datadog.AuthMethod, error)
}

type checker interface {
	Check(ctx context.Context, c tokencheck.Credential, known tokencheck.Style) tokencheck.Verdict
}

type publisher interface {
	Publish(ctx context.Context, e eventbus.Event) error
}

// Syncer does the job with what its fields reach. It keeps nothing between calls and is safe for concurrent use.
type Syncer struct {
	Secrets     secrets
	AuthMethods authMethods
	Checker     checker // nil: verification is off
	Bus         publisher
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
	Event     Event
	RequestID string // Lambda's
	DryRun    bool
	Run       *Run // the Reconcile that this sync belongs to; nil: none
}

// Event is the cause of a sync as an event tells it; zero for other triggers.
type Event = secretstore.Event

// Run is what the syncs of one Reconcile share.
type Run struct {
	Listing *datadog.Listing
	// Shared reports whether a secret other than arn records the auth method with this id.
	Shared func(arn, id string) bool
	// Owns reports whether a failure is the run's, not the secret's: it is then neither published nor recorded.
	Owns func(*fault.Error) bool
}

// NewListing returns a listing of Datadog's auth methods, for one sync or for a run of many.
func (s *Syncer) NewListing() *datadog.Listing { return datadog.NewListing(s.AuthMethods.List, s.Now) }

// Sync writes AWSCURRENT of one secret to Datadog, publishes the result, and records it on the secret. A dry run says
// what it would write. It ends before ctx's deadline. A failure is in the Result.
func (s *Syncer) Sync(ctx context.Context, req Request) report.Result {
	started := s.Now()
	if req.Run == nil {
		req.Run = &Run{Listing: s.NewListing(), Shared: func(string, string) bool { return false },
			Owns: func(*fault.Error) bool { return false }}
	}
	rounds, end := s.rounds(ctx, req)
	return s.finish(ctx, req, started, rounds, end)
}

// round is what one round saw, decided and did. It ends where err is set.
type round struct {
	snapshot     snapshot
	plan         plan
	verification verification
	written      *written
	err          error               // a *surprise asks for another round
	held         verification        // of the held credential, after a failure
	heldVersion  string              // that the held verification is about; empty: none
	look         *secretstore.Secret // after it; nil: it failed, or was not called for
}

// ending is how a sync ended.
type ending struct {
	err  *fault.Error // of the sync; nil: it succeeded
	held *report.Held // of a failure
}

// rounds makes rounds until one ends the sync: its write met no surprise, AWSCURRENT is still what it went by, and, where
// it failed, so is the record.
func (s *Syncer) rounds(ctx context.Context, req Request) ([]round, ending) {
	work, cancel := before(ctx, lookReserve)
	defer cancel()
	looking, cancel := before(ctx, publishReserve)
	defer cancel()
	var rounds []round
	for {
		r := s.round(work, req, rounds)
		rounds = append(rounds, r)
		last := len(rounds) == maxRounds
		if surprise, ok := errors.AsType[*surprise](r.err); ok {
			if !last {
				sleep(work, surpriseMin+rand.N(surpriseMax-surpriseMin))
				continue
			}
			r.err = fault.New(fault.DatadogUnavailable, "each of %d attempts was lost", maxRounds).Because(surprise)
		}
		if r.snapshot.skip != "" && lastWrite(rounds) != nil { // it was written before, which counts
			for rounds[len(rounds)-1].written == nil {
				rounds = rounds[:len(rounds)-1]
			}
			return rounds, ending{}
		}
		end := ending{err: fault.From(r.err)}
		if req.DryRun || r.snapshot.skip != "" || !fault.Counts(r.err) {
			return rounds, end
		}
		if r.err != nil {
			end.held = s.heldCredential(work, &rounds[len(rounds)-1])
			if fault.Is(r.err, fault.AuthMethodMismatch) && r.snapshot.record.Code != fault.AuthMethodMismatch {
				s.outwait(work, r.snapshot) // Datadog may show a write that another invocation has yet to record
			}
		}
		look, err := s.Secrets.Describe(looking, cmp.Or(lastRead(rounds).ARN, req.SecretID))
		if err != nil {
			if end.err == nil {
				end.err = fault.New(fault.SecretsUnavailable,
					"whether AWSCURRENT moved during the write could not be seen").Because(err)
			}
			return rounds, end
		}
		rounds[len(rounds)-1].look = &look
		overtaken := end.err != nil && lastWrite(rounds) == nil && r.snapshot.overtakenIn(look)
		moved := r.snapshot.movedIn(look)
		if last && moved {
			end.err = fault.New(fault.SecretsUnavailable, "AWSCURRENT moved in each of %d rounds", maxRounds)
		}
		if overtaken && end.held != nil {
			end.held.Verification = tokencheck.Inconclusive
		}
		if last || !moved && !overtaken {
			return rounds, end
		}
	}
}

// round takes one snapshot, decides on it, and writes at most once.
func (s *Syncer) round(ctx context.Context, req Request, earlier []round) (r round) {
	r.snapshot, r.err = s.snapshot(ctx, req, earlier)
	if r.verification = r.snapshot.verification; r.err != nil || r.snapshot.skip != "" {
		return r
	}
	if r.plan, r.err = decide(r.snapshot, s.URLs, s.Checker != nil); r.err != nil {
		return r
	}
	if r.err = unexplained(earlier, r.plan); r.err != nil {
		return r
	}
	if r.verification, r.err = s.verify(ctx, r.snapshot, r.plan, earlier); r.err != nil || req.DryRun {
		return r
	}
	r.written, r.err = s.write(ctx, req.Run.Listing, r)
	return r
}

// lastWrite returns the last write that Datadog took; nil: it took none.
func lastWrite(rounds []round) *written {
	for _, r := range slices.Backward(rounds) {
		if r.written != nil {
			return r.written
		}
	}
	return nil
}

// lastRead returns the secret as it was read last; zero: it was not.
func lastRead(rounds []round) secretstore.Secret {
	for _, r := range slices.Backward(rounds) {
		if r.look != nil {
			return *r.look
		}
		if r.snapshot.secret.ARN != "" {
			return r.snapshot.secret
		}
	}
	return secretstore.Secret{}
}

// before returns ctx, ended so long before its deadline.
func before(ctx context.Context, reserve time.Duration) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		return context.WithDeadline(ctx, deadline.Add(-reserve))
	}
	return context.WithCancel(ctx)
}

// sleep ends early when ctx does, and reports whether it did not.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
