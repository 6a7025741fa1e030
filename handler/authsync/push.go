package authsync

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/sensitive"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

const (
	maxRounds = 8 // of deciding, in one push: more means that Datadog contradicts itself
	maxPosts  = 3 // of one auth method, each after a look that found none
)

// What a Result says of the verification where no token was asked for.
const (
	verificationOff      = "off"      // by configuration
	verificationRecorded = "recorded" // the same version was accepted before
	verificationNone     = "none"     // a plan does not ask; the Result says nothing
)

// pushed is what one push came to, or would in a dry run.
type pushed struct {
	action        Action
	before, after datadog.AuthMethod // before is zero for a create, and where nobody had to know
	verification  string
	verified      time.Duration // how long the verification kept the write waiting
	warnings      []string
}

// pushOne decides where to write the credential, proves it, and writes it. Where the auth method is gone, or the answer to
// a create was lost, it looks what is there and decides again. A dry run ends before the write.
func (s *Syncer) pushOne(ctx context.Context, known subject, how manner) (p pushed, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // of a proof that nobody waits for any more
	proof := proof{checker: s.Checker, allowLoopback: s.AllowLoopback, known: how.verification}
	var lost *datadog.Error // the last POST whose answer does not tell whether the auth method is there now
	posts := 0              // of that kind
	for range maxRounds {
		t, err := decide(known)
		if err != nil {
			return p, err
		}
		if t.action == list {
			if how.verification == "" {
				proof.ask(ctx, overlay(nil, known.credential, known.name), known.credential.ClientSecret)
			}
			if known.there, err = s.List(ctx); err != nil {
				return p, err
			}
			continue
		}
		if t.held == nil && t.action != Create && (how.dryRun || !known.credential.States()) {
			held, err := s.AuthMethods.Get(ctx, t.id)
			if isGone(err) && !t.pinned {
				known = known.without(t.id)
				continue
			}
			if err != nil {
				return p, targetFault(ctx, t, err)
			}
			t.held = &held
		}
		name := known.credential.Name
		if t.action == Create {
			name = known.name
		}
		p = pushed{action: t.action, after: overlay(t.held, known.credential, name)}
		p.after.ID = t.id
		if t.held != nil {
			p.before = *t.held
		}
		if err := proof.of(ctx, t, &p, known.credential.ClientSecret); err != nil || how.dryRun {
			return p, err
		}
		var method datadog.AuthMethod
		if t.action == Create {
			// The look found nothing. A 409 is then not to be explained, and another POST would help no more.
			if lost != nil && (lost.Status == http.StatusConflict || posts == maxPosts) {
				return p, datadogFault(ctx, lost)
			}
			method, err = s.create(ctx, known)
			if errors.Is(err, errOvertaken) {
				continue
			}
			if e, ok := errors.AsType[*datadog.Error](err); ok && (e.Status == http.StatusConflict || e.Ambiguous()) {
				lost, posts, known.there = e, posts+1, nil
				continue
			}
		} else {
			method, err = s.AuthMethods.Update(ctx, t.id, writeOf(known.credential, name))
			if isGone(err) && !t.pinned {
				known = known.without(t.id)
				continue
			}
		}
		if err != nil {
			return p, targetFault(ctx, t, err)
		}
		p.after = method
		return p, nil
	}
	return p, fault.New(fault.DatadogUnavailable, "Datadog lists an auth method that it says does not exist")
}

// manner is how a push is to be done.
type manner struct {
	dryRun       bool
	verification string // what is known of the credential without asking, such as recorded; empty: ask
}

// List asks Datadog which auth methods there are.
func (s *Syncer) List(ctx context.Context) (*Listing, error) {
	at := s.Now()
	methods, err := s.AuthMethods.List(ctx)
	if err != nil {
		return nil, datadogFault(ctx, err)
	}
	return newListing(at, methods), nil
}

// errOvertaken: what was there to be created was created meanwhile.
var errOvertaken = errors.New("overtaken by another create")

// create creates the auth method unless somebody who shares the listing did meanwhile, and enters it there.
func (s *Syncer) create(ctx context.Context, known subject) (datadog.AuthMethod, error) {
	done, err := known.there.turn(ctx)
	if err != nil {
		return datadog.AuthMethod{}, err
	}
	defer done()
	if t, err := decide(known); err != nil || t.action != Create {
		return datadog.AuthMethod{}, cmp.Or(err, errOvertaken)
	}
	m, err := s.AuthMethods.Create(ctx, writeOf(known.credential, known.name))
	if err == nil {
		known.there.add(m)
	}
	return m, err
}

// without is s after the auth method with id turned out not to exist.
func (s subject) without(id string) subject {
	if s.recorded == id {
		s.recorded = ""
	}
	s.there = nil
	return s
}

func writeOf(c secretstore.Credential, name string) datadog.Write {
	return datadog.Write{Name: name, AccessTokenURL: c.AccessTokenURL, ClientID: c.ClientID, ClientSecret: c.ClientSecret,
		Audience: c.Audience, Scope: c.Scope}
}

// proof asks the token endpoint, once for each thing there is to ask.
type proof struct {
	checker       checker
	allowLoopback bool
	known         string // see manner
	asked         tokencheck.Credential
	verdict       chan tokencheck.Verdict
}

// ask asks, without waiting, whether a token is to be had with what m says.
func (p *proof) ask(ctx context.Context, m datadog.AuthMethod, secret sensitive.Text) {
	c := tokencheck.Credential{ClientID: m.ClientID, ClientSecret: secret, AccessTokenURL: m.AccessTokenURL,
		Audience: m.Audience, Scope: m.Scope}
	if p.checker == nil || p.known == verificationNone || c.ClientID == "" || c.AccessTokenURL == "" || p.verdict != nil && p.asked == c {
		return
	}
	verdict := make(chan tokencheck.Verdict, 1)
	p.asked, p.verdict = c, verdict
	if why := secretstore.URLFault(c.AccessTokenURL, p.allowLoopback); why != "" {
		verdict <- tokencheck.Verdict{Outcome: tokencheck.Inconclusive, Why: "the access_token_url at Datadog " + why}
		return
	}
	go func() { verdict <- p.checker.Check(ctx, c) }()
}

// of notes in push what the token endpoint says of it. An error forbids the write: a rejection, or, where the auth method
// was found by its name alone, anything but an acceptance.
func (p *proof) of(ctx context.Context, t target, push *pushed, secret sensitive.Text) error {
	if p.known == verificationNone || p.known != "" && !t.prove {
		push.verification = p.known
		return nil
	}
	push.verification = verificationOff
	verdict := tokencheck.Verdict{Outcome: tokencheck.Inconclusive, Why: "verification is off"}
	if p.checker != nil {
		verdict.Why = "Datadog holds no client_id or access_token_url to prove it with"
		began := time.Now()
		if p.ask(ctx, push.after, secret); p.verdict != nil {
			verdict = <-p.verdict
			p.verdict <- verdict
		}
		push.verified = time.Since(began)
		push.verification = string(verdict.Outcome)
	}
	switch {
	case t.prove && verdict.Outcome != tokencheck.Accepted:
		return fault.New(fault.AuthMethodMismatch,
			"auth method %s has the secret's name, and the secret states no client_id to tell that it is the same client's: %s", t.id, verdict.Why).
			WithRetry(p.checker != nil && verdict.Outcome == tokencheck.Inconclusive)
	case verdict.Outcome == tokencheck.Rejected:
		return fault.New(fault.CredentialRejected, "%s", verdict.Why)
	case push.verification == string(tokencheck.Inconclusive):
		push.warnings = append(push.warnings, "not proven: "+verdict.Why)
	}
	return nil
}

func isGone(err error) bool {
	e, ok := errors.AsType[*datadog.Error](err)
	return ok && e.Status == http.StatusNotFound
}

func targetFault(ctx context.Context, t target, err error) error {
	if t.pinned && isGone(err) {
		return fault.New(fault.AuthMethodNotFound, "the secret pins auth method %s, which does not exist at Datadog", t.id).Because(err)
	}
	return datadogFault(ctx, err)
}

// datadogFault gives an error of the Datadog client its code.
func datadogFault(ctx context.Context, err error) error {
	e, ok := errors.AsType[*datadog.Error](err)
	if !ok {
		return err
	}
	code := fault.DatadogUnavailable
	switch {
	case ctx.Err() != nil:
		return fault.New(fault.Deadline, "the time ran out while Datadog was called").Because(err)
	case e.Malformed != "" || e.Status == http.StatusRequestTimeout:
	case e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden:
		code = fault.DatadogUnauthorized
	case e.Status == http.StatusTooManyRequests:
		code = fault.DatadogThrottled
	case e.Status >= 400 && e.Status < 500:
		code = fault.DatadogRejected
	}
	return fault.New(code, "%s", e.Error()).Because(err)
}
