// Package authsync is the job for one secret: it brings Datadog's auth method in sync with the version of the secret that
// is AWSCURRENT.
//
//	read → plan → verify → apply → look again, until AWSCURRENT is what was written → record ∥ publish
//
// A dry run of one secret ends after verify, one of many after plan. Nothing but apply writes to Datadog.
package authsync

import (
	"context"
	"time"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/endpoint"
	"datadog-webhook-auth-sync/handler/eventbus"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/sensitive"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

// reserve is kept back from the time to the deadline, so that a sync that ran out of it can still be recorded and
// published.
const reserve = 2 * time.Second

type secrets interface {
	Current(ctx context.Context, id string) (secretstore.Value, error)
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
	Check(ctx context.Context, c tokencheck.Credential) tokencheck.Verdict
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
}

// Event is what an event told of its cause. It is zero for a trigger that is none.
type Event struct {
	Time      time.Time // in whole seconds
	VersionID string    // that got AWSCURRENT, where the event tells
}

// Sync pushes AWSCURRENT of one secret to Datadog, records that on the secret, and publishes what came of it. A dry run
// tells what it would do. It ends before ctx's deadline. A failure is in the Result.
func (s *Syncer) Sync(ctx context.Context, req Request) report.Result {
	known := Known{Listing: s.NewListing()}
	if !req.DryRun {
		return s.Finish(ctx, s.Push(ctx, req, known))
	}
	ctx, cancel := WithReserve(ctx)
	defer cancel()
	a := s.newAttempt(req, known)
	p, err := s.prepare(ctx, &a)
	if err == nil && a.Outcome != report.Skipped {
		if err = s.verify(ctx, &a, p); err == nil {
			a.warnUnverified()
		}
	}
	return a.planned(p, err)
}

// Plan tells what a push would do for a secret, as far as that can be known without a token request.
func (s *Syncer) Plan(ctx context.Context, req Request, known Known) report.Result {
	a := s.newAttempt(req, known)
	p, err := s.prepare(ctx, &a)
	return a.planned(p, err)
}

// prepare reads the secret and plans for it.
func (s *Syncer) prepare(ctx context.Context, a *Attempt) (plan, error) {
	of, err := s.open(ctx, a)
	if err != nil || a.Outcome == report.Skipped {
		return plan{}, err
	}
	of.show = true
	return s.planFor(ctx, a, of)
}

// planned is the result of a dry run that came to p, or to err.
func (a Attempt) planned(p plan, err error) report.Result {
	if err == nil && a.Outcome != report.Skipped {
		a.Outcome, a.Plan = report.Planned, &report.Plan{Action: p.action, Changes: report.Changes(p.before, p.after)}
	}
	a = a.end(err)
	a.Summarise()
	return a.Result
}

// VerifyVersion returns nil if the token endpoint accepts value, a version of secret that is not AWSCURRENT, with what Datadog
// would hold if it were pushed; and where verification is off. What is not accepted is credential_rejected or, where it
// would take over an auth method, auth_method_mismatch.
func (s *Syncer) VerifyVersion(ctx context.Context, secret secretstore.Secret, value sensitive.Text) error {
	if s.Checker == nil {
		return nil
	}
	a := s.newAttempt(Request{}, Known{Listing: s.NewListing()})
	of, err := s.subjectOf(secret, value, a.known.Listing)
	if err != nil {
		return err
	}
	p, err := s.plan(ctx, of)
	if err != nil {
		return err
	}
	if err := s.verify(ctx, &a, p); err != nil || a.verdict.Outcome == tokencheck.Accepted {
		return err
	}
	return unverified(a.verdict)
}

// NewListing is a listing of Datadog's auth methods, for one sync or for a run of many.
func (s *Syncer) NewListing() *datadog.Listing { return datadog.NewListing(s.AuthMethods.List, s.Now) }

// WithReserve keeps 2 s back from the time to the deadline.
func WithReserve(ctx context.Context) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		return context.WithDeadline(ctx, deadline.Add(-reserve))
	}
	return context.WithCancel(ctx)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
