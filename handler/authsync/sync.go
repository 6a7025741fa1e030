// Package authsync is the job: it brings Datadog's auth method in step with the version of a secret that is AWSCURRENT.
package authsync

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/eventbus"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/sensitive"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

// reserve is kept back from the time to the deadline, so that a sync that ran out of it can still be recorded and
// published.
const reserve = 2 * time.Second

type secrets interface {
	Current(ctx context.Context, id string) (secretstore.Value, error)
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
	Secrets       secrets
	AuthMethods   authMethods
	Checker       checker // nil: verification is off
	Bus           publisher
	Scope         Scope
	Site          string // Datadog's, such as datadoghq.com
	AllowLoopback bool   // in access_token_url
	Now           func() time.Time
}

// Sync pushes AWSCURRENT of one secret to Datadog, records that on the secret, and publishes what came of it. It ends
// before ctx's deadline. A failure is in the Result.
func (s *Syncer) Sync(ctx context.Context, req Request) Result {
	return s.Finish(ctx, s.Push(ctx, req, Known{}))
}

// Known is what somebody who syncs many secrets knows of one beforehand. The zero Known is nothing.
type Known struct {
	Secret  *secretstore.Secret // as described just now
	Listing *Listing            // that all share
	Settle  bool                // a push may settle what was pushed before
}

// Attempt is what came of a push, before it is recorded and published.
type Attempt struct {
	Result
	Quiet bool // not to be published
	// PublishFirst: the record says settled only if consumers were told.
	PublishFirst bool
	done         *written
	decided      time.Time
}

// Push writes AWSCURRENT until it is still AWSCURRENT after the write. It ends before ctx's deadline.
func (s *Syncer) Push(ctx context.Context, req Request, known Known) Attempt {
	started := s.Now()
	a := NewAttempt(req)
	work, cancel := WithReserve(ctx)
	defer cancel()
	done, err := s.push(work, req, known, &a.Result)
	if a.done = done; err != nil {
		return s.Fail(a, err, started)
	}
	return s.decide(a, started)
}

// NewAttempt is one of which nothing came yet.
func NewAttempt(req Request) Attempt {
	return Attempt{Result: Result{SchemaVersion: "1", Trigger: req.Trigger, RequestID: req.RequestID, DryRun: req.DryRun, Secret: refOfID(req.SecretID)}}
}

// Fail makes a failure of an attempt that began at started.
func (s *Syncer) Fail(a Attempt, err error, started time.Time) Attempt {
	if a.fail(err); a.done != nil {
		a.done.settled = false
	}
	return s.decide(a, started)
}

func (s *Syncer) decide(a Attempt, started time.Time) Attempt {
	a.decided = s.Now()
	a.DurationMs = a.decided.Sub(started).Milliseconds()
	return a
}

// WithReserve keeps 2 s back from the time to the deadline.
func WithReserve(ctx context.Context) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		return context.WithDeadline(ctx, deadline.Add(-reserve))
	}
	return context.WithCancel(ctx)
}

// push returns what Datadog took last, even with an error: a write that was followed by a failure happened all the same.
func (s *Syncer) push(ctx context.Context, req Request, known Known, res *Result) (*written, error) {
	if err := s.Scope.Admit(req.SecretID, req.Home); err != nil {
		res.Secret = SecretRef{}
		return nil, err
	}
	var done *written
	for {
		began := s.Now()
		r, err := s.read(ctx, req, known.Secret)
		res.step("read", s.Now().Sub(began))
		if r.Name != "" {
			res.Secret = SecretRef{ARN: r.ARN, Name: r.Name, VersionID: r.version()}
		}
		if done != nil && isCode(err, fault.SecretNotFound) {
			err = fault.New(fault.SecretsUnavailable, "Secrets Manager does not show the secret that it showed before").Because(err)
		}
		if err != nil {
			return done, err
		}
		if why := r.Idle(); why != "" {
			if done == nil {
				res.Outcome = Skipped
				res.warn(why)
			}
			return done, nil
		}
		req.Event.VersionID = "" // it was seen, or overtaken: a later look need not wait for it
		res.Secret.VersionID = r.value.VersionID
		next, err := s.write(ctx, r, done, req, known, res)
		if next != nil {
			done = next
		}
		if err != nil || req.DryRun {
			return done, err
		}
		began = s.Now()
		after, err := s.Secrets.Describe(ctx, r.ARN)
		res.step("look", s.Now().Sub(began))
		if err != nil {
			return done, fault.New(fault.SecretsUnavailable, "whether AWSCURRENT moved during the push could not be seen").Because(err)
		}
		if after.Labelled(secretstore.Current) == done.versionID {
			if done.settled {
				res.settle(r.Record, done)
			}
			return done, nil
		}
		known = Known{} // it is no longer true
	}
}

// written is the last write that Datadog took.
type written struct {
	arn, versionID string
	method         datadog.AuthMethod
	verified       bool // now, or before as recorded
	settled        bool
}

// write proves the credential that r holds and writes it. It returns nil where it wrote nothing.
func (s *Syncer) write(ctx context.Context, r reading, before *written, req Request, beforehand Known, res *Result) (*written, error) {
	known, err := s.subjectOf(r.Secret, r.value.Text)
	if err != nil {
		return nil, err
	}
	if before != nil {
		known.recorded = before.method.ID
	}
	how := manner{dryRun: req.DryRun}
	if l := beforehand.Listing; l != nil {
		if !r.Record.At.Add(RecordGrace).After(l.At) { // or else it may not be in there
			known.there = l
		}
		switch {
		case req.DryRun:
			how.verification = verificationNone
		case r.Record.Verified && r.Record.VersionID == r.value.VersionID:
			how.verification = verificationRecorded
		}
	}
	started := s.Now()
	p, err := s.pushOne(ctx, known, how)
	res.step("push", s.Now().Sub(started))
	res.step("verify", p.verified)
	if res.Verification = p.verification; p.verification == verificationNone {
		res.Verification = ""
	}
	if p.after != (datadog.AuthMethod{}) {
		res.AuthMethod = &AuthMethodRef{ID: p.after.ID, Name: p.after.Name, Site: s.Site}
	}
	res.Warnings = append(res.Warnings, p.warnings...)
	if err != nil {
		return nil, err
	}
	if req.DryRun {
		res.Outcome, res.Plan = Planned, &Plan{p.action, changes(p.before, p.after)}
		return nil, nil
	}
	if !req.Event.Time.IsZero() {
		lag := max(0, s.Now().Sub(req.Event.Time).Milliseconds())
		res.LagMs = &lag
	}
	if before == nil {
		res.Outcome = map[Action]Outcome{Create: Created, Update: Updated, Adopt: Adopted}[p.action]
		if res.Outcome == Created {
			res.warn("created: attach it to your webhooks in Datadog; the public API cannot")
		}
	}
	return &written{arn: r.ARN, versionID: r.value.VersionID, method: p.after,
		verified: p.verification == string(tokencheck.Accepted) || p.verification == verificationRecorded,
		settled:  beforehand.Settle && p.action == Update && settles(r.Secret, r.value.VersionID, started)}, nil
}

// Finish records what was written, and publishes the result, both at once unless the attempt is to be published first.
func (s *Syncer) Finish(ctx context.Context, a Attempt) Result {
	res, done := a.Result, a.done
	if res.DryRun {
		return res
	}
	began := s.Now()
	var both errgroup.Group
	if kind := res.detailType(); kind != "" && !a.Quiet {
		event := res
		both.Go(func() error {
			if err := s.publish(ctx, kind, a.decided, event); err != nil {
				res.Unpublished = fault.From(err)
			}
			return nil
		})
	}
	if a.PublishFirst && done != nil {
		_ = both.Wait()
		done.settled = done.settled && res.Unpublished == nil
	}
	var recordErr error
	if done != nil {
		both.Go(func() error {
			recordErr = s.Secrets.Record(ctx, done.arn, done.record(s.Site, a.decided))
			return nil
		})
	}
	_ = both.Wait()
	if recordErr != nil {
		res.warn("the push could not be recorded on the secret: " + fault.From(recordErr).Message)
	}
	if res.Unpublished != nil {
		res.warn("this result could not be published: " + res.Unpublished.Message)
	}
	res.step("finish", s.Now().Sub(began))
	return res
}

func (s *Syncer) publish(ctx context.Context, detailType string, at time.Time, res Result) error {
	detail, err := json.Marshal(res)
	if err != nil {
		return err
	}
	return s.Bus.Publish(ctx, eventbus.Event{DetailType: detailType, Detail: detail, Resource: res.Secret.ARN, Time: at})
}

func (w written) record(site string, at time.Time) secretstore.Record {
	return secretstore.Record{ID: w.method.ID, VersionID: w.versionID, At: at, Digest: Digest(w.method), Site: site,
		Verified: w.verified, Settled: w.settled}
}

// Digest tells apart auth methods that differ in a readable attribute.
func Digest(m datadog.AuthMethod) string {
	attributes, err := json.Marshal([]string{m.Name, m.AccessTokenURL, m.ClientID, m.Audience, m.Scope})
	if err != nil {
		panic(err) // strings always encode
	}
	sum := sha256.Sum256(attributes)
	return hex.EncodeToString(sum[:8])
}

// Prove returns nil if the token endpoint accepts value, a version of secret that is not AWSCURRENT, with what Datadog
// would hold if it were pushed; and where verification is off. A credential that cannot be proven is credential_rejected.
func (s *Syncer) Prove(ctx context.Context, secret secretstore.Secret, value sensitive.Text) error {
	if s.Checker == nil {
		return nil
	}
	known, err := s.subjectOf(secret, value)
	if err != nil {
		return err
	}
	p, err := s.pushOne(ctx, known, manner{dryRun: true})
	if err == nil && p.verification == string(tokencheck.Inconclusive) {
		err = fault.New(fault.CredentialRejected, "the credential could not be proven: %s", strings.Join(p.warnings, "; "))
	}
	return err
}

// subjectOf is what a decision about value is made of, before anything is known of Datadog.
func (s *Syncer) subjectOf(secret secretstore.Secret, value sensitive.Text) (subject, error) {
	c, err := secretstore.ParseCredential(value, s.AllowLoopback)
	if err != nil {
		return subject{}, err
	}
	name := cmp.Or(c.Name, strings.TrimPrefix(secret.Name, s.Scope.Prefix))
	return subject{name: name, credential: c, recorded: secret.Record.ID}, nil
}
