package authsync

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/sensitive"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

const (
	maxRounds = 5 // of one push, each because AWSCURRENT moved in the one before
	maxPlans  = 8 // of one round: more means that Datadog contradicts itself
)

// Known is what a run over many secrets knows before it pushes one.
type Known struct {
	Listing *datadog.Listing    // shared by the run
	Secret  *secretstore.Secret // as described just now; nil: not
	Settle  bool                // a push may settle what was pushed before
}

// Attempt is what came of a push, before it is recorded and published.
type Attempt struct {
	report.Result
	Quiet bool // not to be published, unless it recovers

	req      Request
	known    Known
	now      func() time.Time
	started  time.Time
	decided  time.Time
	seen     secretstore.Secret // as last described
	looked   bool               // since the last round
	plan     plan               // of the last round
	verdict  verdict            // of the last round
	rejected string             // the version that the token endpoint rejected in this push
	done     *done              // what Datadog took last, even where a failure followed
}

// done is a write that Datadog took.
type done struct {
	action report.Action
	before secretstore.Record // that it went by
	record secretstore.Record // to be written, except for its date
}

func (s *Syncer) newAttempt(req Request, known Known) Attempt {
	arn, name := secretstore.Identify(req.SecretID)
	return Attempt{req: req, known: known, now: s.Now, started: s.Now(), Result: report.Result{SchemaVersion: "1", Trigger: req.Trigger,
		RequestID: req.RequestID, DryRun: req.DryRun, Secret: report.SecretRef{ARN: arn, Name: name}}}
}

// end makes the attempt's result final: a failure, if err is one.
func (a Attempt) end(err error) Attempt {
	if err != nil {
		a.Outcome, a.Error = report.Failed, fault.From(err)
	}
	a.decided = a.now()
	a.DurationMs = a.decided.Sub(a.started).Milliseconds()
	return a
}

// step begins one, whose time the log tells; done ends it.
func (a *Attempt) step(name string) (done func()) {
	began := a.now()
	return func() {
		if a.StepsMs == nil {
			a.StepsMs = map[string]int64{}
		}
		a.StepsMs[name] += a.now().Sub(began).Milliseconds()
	}
}

// Push writes AWSCURRENT of a secret to Datadog, again as long as it moves meanwhile. It ends before ctx's deadline.
func (s *Syncer) Push(ctx context.Context, req Request, known Known) Attempt {
	a := s.newAttempt(req, known)
	work, cancel := WithReserve(ctx)
	defer cancel()
	for range maxRounds {
		err := s.round(work, &a)
		if !report.Counts(err) || a.Outcome == report.Skipped {
			return a.end(err)
		}
		look, cancel := work, context.CancelFunc(func() {})
		if work.Err() != nil { // a failure is recorded even where the time ran out
			look, cancel = context.WithTimeout(ctx, reserve/2)
		}
		moved, lookErr := s.lookAgain(look, &a)
		cancel()
		if err = cmp.Or(err, lookErr); err == nil && !moved {
			a.warnUnverified()
			a.settle()
		}
		if !moved {
			return a.end(err)
		}
	}
	return a.end(fault.New(fault.SecretsUnavailable, "AWSCURRENT moved in each of %d rounds", maxRounds))
}

// warnUnverified says of the last verdict that there was none.
func (a *Attempt) warnUnverified() {
	if a.verdict.Outcome == tokencheck.Inconclusive {
		a.Warn("not verified: " + a.verdict.Why)
	}
}

// Refuse is a push that must not be made, of the secret that is known.
func (s *Syncer) Refuse(req Request, known Known, err error) Attempt {
	a := s.newAttempt(req, known)
	a.see(*known.Secret)
	a.looked = true
	return a.end(err)
}

// round reads AWSCURRENT and writes it to Datadog.
func (s *Syncer) round(ctx context.Context, a *Attempt) error {
	a.looked, a.plan, a.verdict, a.Verification, a.AuthMethod = false, plan{}, verdict{}, "", nil
	of, err := s.open(ctx, a)
	if err != nil || of.listing == nil {
		return err
	}
	for range maxPlans {
		p, err := s.planFor(ctx, a, of)
		if err != nil {
			return err
		}
		if err := s.verify(ctx, a, p); err != nil {
			return err
		}
		stop := a.step("apply")
		m, err := s.apply(ctx, p)
		stop()
		if again, ok := errors.AsType[planAgain](err); ok {
			of = again.subject
			continue
		}
		if err == nil {
			s.took(a, p, m)
		}
		return err
	}
	return errContradiction
}

// open reads the secret, and returns what a decision about it is made of: nothing, where there is nothing to do.
func (s *Syncer) open(ctx context.Context, a *Attempt) (subject, error) {
	if err := s.Scope.Admit(a.req.SecretID, a.req.ARNPrefix); err != nil {
		a.Secret = report.SecretRef{}
		return subject{}, err
	}
	stop, before := a.step("read"), a.seen.Name
	r, err := s.read(ctx, a.req, a.known.Secret)
	stop()
	if r.Name != "" {
		a.see(r.Secret)
		a.Secret.VersionID = cmp.Or(r.value.VersionID, a.Secret.VersionID)
	}
	if before != "" && fault.Is(err, fault.SecretNotFound) {
		err = fault.New(fault.SecretsUnavailable, "Secrets Manager does not show the secret that it showed before").Because(err)
	}
	why := r.idle()
	if err == nil && why != "" && a.done == nil {
		a.Outcome = report.Skipped
		a.Warn(why)
	}
	if err != nil || why != "" {
		return subject{}, err
	}
	of, err := s.subjectOf(r.Secret, r.value.Text, a.known.Listing)
	if a.done != nil {
		of.record.ID, of.record.Digest = a.done.record.ID, a.done.record.Digest
	}
	return of, err
}

// see notes what a look at the secret shows.
func (a *Attempt) see(s secretstore.Secret) {
	a.seen, a.Secret = s, report.SecretRef{ARN: s.ARN, Name: s.Name, VersionID: s.Labelled(secretstore.Current)}
}

// subjectOf is what a decision about value is made of.
func (s *Syncer) subjectOf(secret secretstore.Secret, value sensitive.Text, l *datadog.Listing) (subject, error) {
	c, err := secretstore.ParseCredential(value, s.URLs)
	if err != nil {
		return subject{}, err
	}
	name := cmp.Or(c.Name, s.NamePrefix+strings.TrimPrefix(secret.Name, s.Scope.Prefix))
	return subject{name: name, credential: c, record: secret.Record, changed: secret.LastChanged, listing: l}, nil
}

// planFor plans, and notes what comes of it.
func (s *Syncer) planFor(ctx context.Context, a *Attempt, of subject) (p plan, err error) {
	defer a.step("plan")()
	p, err = s.plan(ctx, of)
	if a.plan = p; err == nil {
		a.AuthMethod = &report.AuthMethodRef{ID: p.id, Name: p.after.Name, Site: s.Site}
	}
	return p, err
}

// took notes a write that Datadog took.
func (s *Syncer) took(a *Attempt, p plan, m datadog.AuthMethod) {
	before, version := a.seen.Record, a.Secret.VersionID
	if !a.req.Event.Time.IsZero() {
		lag := max(0, s.Now().Sub(a.req.Event.Time).Milliseconds())
		a.LagMs = &lag
	}
	if p.pinned && before.ID != "" && before.ID != m.ID {
		a.Warn("the secret pins another auth method than before: " + before.ID + " keeps its last client secret")
	}
	if a.done == nil { // the outcome of the first write stands
		a.Outcome = map[report.Action]report.Outcome{report.Create: report.Created, report.Update: report.Updated, report.Adopt: report.Adopted}[p.action]
	}
	if a.Outcome == report.Created {
		a.Warn("created: attach it to your webhooks in Datadog; the public API cannot")
	}
	a.FirstPush = a.FirstPush || before.VersionID != "" && before.VersionID != version
	a.AuthMethod = &report.AuthMethodRef{ID: m.ID, Name: m.Name, Site: s.Site}
	digest := m.Digest()
	if p.write.AccessTokenURL == "" && m.AccessTokenURL != p.after.AccessTokenURL { // edited meanwhile: it is not what was verified
		digest = p.after.Digest()
	}
	a.done = &done{p.action, before, secretstore.Record{ID: m.ID, VersionID: version, Digest: digest, Site: s.Site, State: secretstore.Pushed}}
}

// lookAgain describes the secret after a round, and reports whether AWSCURRENT is another than the round went by. Then a
// later read need not wait for the event's version: it was seen, or overtaken.
func (s *Syncer) lookAgain(ctx context.Context, a *Attempt) (moved bool, err error) {
	defer a.step("look")()
	after, err := s.Secrets.Describe(ctx, cmp.Or(a.Secret.ARN, a.req.SecretID))
	if err != nil {
		return false, fault.New(fault.SecretsUnavailable, "whether AWSCURRENT moved during the push could not be seen").Because(err)
	}
	a.seen, a.looked, a.known.Secret, a.req.Event.VersionID = after, true, nil, ""
	current := after.Labelled(secretstore.Current)
	return current != "" && a.Secret.VersionID != "" && current != a.Secret.VersionID, nil
}
