package authsync

import (
	"context"
	"net/http"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
)

// plan is what one apply is to do. Where the decision failed, it is what was seen until then.
type plan struct {
	target
	subject subject
	write   datadog.Write
	before  datadog.AuthMethod // as it is at Datadog; zero for a create, and where nobody had to look
	after   datadog.AuthMethod // as it will be, as far as is known
}

// errContradiction: the decisions of one round come to no end.
var errContradiction = fault.New(fault.DatadogUnavailable, "Datadog lists an auth method that it says does not exist")

// plan decides where to write the subject's credential, looks at that auth method where the decision takes it, and judges
// whether the secret may have it. It writes nothing.
func (s *Syncer) plan(ctx context.Context, of subject) (plan, error) {
	for range maxPlans {
		t, err := decide(of)
		if err != nil {
			return plan{subject: of}, err
		}
		if t.action == list {
			if err := of.listing.Load(ctx); err != nil {
				return plan{subject: of}, err
			}
			continue
		}
		p, c := plan{target: t, subject: of}, of.credential
		p.write = datadog.Write{Name: c.Name, AccessTokenURL: c.AccessTokenURL, ClientID: c.ClientID, ClientSecret: c.ClientSecret,
			Audience: c.Audience, Scope: c.Scope}
		if t.action == report.Create {
			p.write.Name = of.name
		} else if t.action == report.Adopt || of.show || !c.States() {
			p.before, err = s.authMethod(ctx, of, t.id)
			if datadog.IsGone(err) && !t.pinned {
				of = of.without(t.id)
				continue
			}
			if err != nil {
				return p, t.fault(ctx, err)
			}
		}
		p.after = p.before.With(p.write)
		return p, s.mayWrite(p)
	}
	return plan{subject: of}, errContradiction
}

// authMethod returns one as listed, or as Datadog shows it where the listing may be too old.
func (s *Syncer) authMethod(ctx context.Context, of subject, id string) (datadog.AuthMethod, error) {
	if m, found := of.listing.Get(id); found {
		return m, nil
	}
	if of.lacks(id) {
		return datadog.AuthMethod{}, &datadog.Error{Status: http.StatusNotFound}
	}
	return s.AuthMethods.Get(ctx, id)
}

// mayWrite judges whether the secret may have the auth method, and whether its client secret may go where that leads: to
// a URL that the secret does not state only while the auth method is as recorded, so that whoever edits one does not get
// the next secret. Whether the URL that it states may be called, ParseCredential tells.
func (s *Syncer) mayWrite(p plan) error {
	c, record := p.subject.credential, p.subject.record
	if p.action == report.Adopt && !p.own {
		if err := possession(c, p.before, p.pinned); err != nil {
			return err
		}
		if s.Checker == nil {
			return notPossessed(p.id, "verification is off, so that nothing can show that the secret opens it").WithRetry(true)
		}
	}
	if c.AccessTokenURL != "" {
		return nil
	}
	why := s.URLs.Fault(p.before.AccessTokenURL)
	if record.ID == p.id && record.Digest != "" && record.Digest != p.before.Digest() {
		why = "may be another than at the last push, since the auth method was edited"
	}
	if why == "" {
		return nil
	}
	return fault.New(fault.AuthMethodMismatch, "the access_token_url of auth method %s %s: state access_token_url in the secret, or set the tag %s to id=%s to accept what is there",
		p.id, why, secretstore.RecordTag, p.id)
}

// fault gives an error about the target its code.
func (t target) fault(ctx context.Context, err error) error {
	if t.pinned && datadog.IsGone(err) {
		return fault.New(fault.AuthMethodNotFound, "the secret pins auth method %s, which does not exist at Datadog", t.id).Because(err)
	}
	return datadog.Fault(ctx, err)
}
