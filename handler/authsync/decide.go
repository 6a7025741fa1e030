package authsync

import (
	"cmp"
	"fmt"
	"strings"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/endpoint"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
)

// plan is the one write that a round is to make.
type plan struct {
	outcome report.Outcome     // of a sync that makes it: created, updated or adopted
	own     bool               // the record names the auth method, so that no possession needs to be shown
	before  datadog.AuthMethod // as it is at Datadog; zero for a create
	after   datadog.AuthMethod // as it will be
	write   datadog.Write
}

// decide names the auth method to write to. Where another secret records the same, that is auth_method_mismatch;
// otherwise it goes by the first of these that applies. An id exists if it is listed, or if a Get answered it.
//
//	a. the secret pins an id: its own by the record, update it; another that exists, take it over; one that is gone:
//	   auth_method_not_found;
//	b. one is recorded, and exists: update it;
//	c. one has the name: take it over;
//	d. one is recorded, and is gone: auth_method_not_found, since no webhook would use a new one; datadog_unavailable
//	   where the record may be newer than what Datadog shows;
//	e. the secret lacks what a create takes: secret_invalid;
//	f. the name is the default, and one has this client_id and access_token_url: auth_method_mismatch;
//	g. create one.
func decide(snap snapshot, urls endpoint.Rule, verified bool) (plan, error) {
	c, record := snap.credential, snap.record
	pinned, pinExists := snap.methods[c.AuthMethodID]
	recorded, recordExists := snap.methods[record.ID]
	named, nameExists := find(snap.methods, func(m datadog.AuthMethod) bool { return m.Name == snap.name })
	twin, twinExists := find(snap.methods, func(m datadog.AuthMethod) bool {
		return m.ClientID == c.ClientID && m.AccessTokenURL == c.AccessTokenURL
	})
	switch {
	case snap.shared:
		return plan{}, fault.New(fault.AuthMethodMismatch, "another secret records auth method %s too", record.ID).
			Advise("correct the tag %s of one of the two", secretstore.RecordTag).WithRetry(true)
	case c.AuthMethodID != "" && pinExists: // a
		return planUpdate(snap, pinned, urls, verified)
	case c.AuthMethodID == "" && recordExists: // b
		return planUpdate(snap, recorded, urls, verified)
	case c.AuthMethodID == "" && nameExists: // c
		return planUpdate(snap, named, urls, verified)
	case record.ID != "" && record.ID == snap.wantedID() && !snap.gone(): // a, d
		return plan{}, fault.New(fault.DatadogUnavailable, "Datadog does not show auth method %s yet", record.ID)
	case c.AuthMethodID != "": // a
		return plan{}, fault.New(fault.AuthMethodNotFound,
			"the secret pins auth method %s, which does not exist at Datadog", c.AuthMethodID)
	case record.ID != "": // d
		return plan{}, fault.New(fault.AuthMethodNotFound, "auth method %s was deleted at Datadog", record.ID).
			Advise("remove the tag %s to have a new one made, then attach that to your webhooks", secretstore.RecordTag)
	case len(c.MissingToCreate()) > 0: // e
		return plan{}, fault.New(fault.SecretInvalid,
			"%s: required to create an auth method, and there is none to update", strings.Join(c.MissingToCreate(), ", "))
	case c.Name == "" && twinExists: // f
		return plan{}, fault.New(fault.AuthMethodMismatch,
			"auth method %s already has this client_id and access_token_url", twin.ID).
			Advise("pin it with auth_method_id, or state a name to create another")
	}
	p := plan{outcome: report.Created, write: writeOf(c)} // g
	p.write.Name = snap.name
	p.after = p.before.With(p.write)
	return p, nil
}

func find(methods map[string]datadog.AuthMethod, is func(datadog.AuthMethod) bool) (found datadog.AuthMethod, ok bool) {
	for _, m := range methods {
		if is(m) && (!ok || m.ID < found.ID) {
			found, ok = m, true
		}
	}
	return found, ok
}

func writeOf(c secretstore.Credential) datadog.Write {
	return datadog.Write{Name: c.Name, AccessTokenURL: c.AccessTokenURL, ClientID: c.ClientID,
		ClientSecret: c.ClientSecret, Audience: c.Audience, Scope: c.Scope}
}

// planUpdate plans to update m, or to take it over where the record does not name it, if the secret may.
func planUpdate(snap snapshot, m datadog.AuthMethod, urls endpoint.Rule, verified bool) (plan, error) {
	c, record := snap.credential, snap.record
	p := plan{outcome: report.Updated, own: record.ID == m.ID, before: m, write: writeOf(c)}
	if !p.own || record.Version == "" { // an operator's tag, or a write that was not published
		p.outcome = report.Adopted
	}
	p.after = m.With(p.write)
	p.write.AccessTokenURL = p.after.AccessTokenURL // whoever edits it meanwhile must not get the secret
	return p, cmp.Or(possession(c, p, verified), mayUseURL(c, record, m, urls))
}

// possession returns an error if the secret may not take over the auth method of p by what it states: by name only with
// an equal client_id and access_token_url, by a pin with neither stated otherwise. So whoever may write one secret can
// neither redirect nor overwrite what another's credential opens.
func possession(c secretstore.Credential, p plan, verified bool) error {
	differs := p.after.ClientID != p.before.ClientID || p.after.AccessTokenURL != p.before.AccessTokenURL
	states := c.ClientID != "" && c.AccessTokenURL != ""
	switch {
	case p.own:
		return nil
	case differs:
		return notPossessed(p, "the secret states another client_id or access_token_url")
	case !states && c.AuthMethodID == "":
		return notPossessed(p, "the secret does not state client_id and access_token_url").WithRetry(true)
	case !verified:
		return notPossessed(p, "verification is off").WithRetry(true)
	}
	return nil
}

func notPossessed(p plan, why string) *fault.Error {
	return fault.New(fault.AuthMethodMismatch, "it may not take over an auth method: %s", why).
		Advise("whoever operates it can set the tag %s to id=%s", secretstore.RecordTag, p.before.ID).
		WithHint("Ask whose auth method it is before you follow the message in the log.")
}

// mayUseURL returns an error if the client secret may not be sent to the access_token_url of m, which the secret does
// not state. The auth method must be as recorded, so that whoever edits it does not get the next client secret.
func mayUseURL(c secretstore.Credential, record secretstore.Record, m datadog.AuthMethod, urls endpoint.Rule) error {
	if c.AccessTokenURL != "" { // ParseCredential has checked it
		return nil
	}
	edited := record.ID == m.ID && record.Digest != "" && record.Digest != m.Digest()
	refused := urls.Check(m.AccessTokenURL)
	var why string
	switch {
	case edited:
		why = "may be another than recorded, since the auth method was edited"
	case m.Withhold(c.ClientSecret).Shown().AccessTokenURL != m.AccessTokenURL:
		why = "repeats a secret value"
	case refused != nil:
		why = refused.Error()
	default:
		return nil
	}
	e := fault.New(fault.AuthMethodMismatch, "the access_token_url at Datadog %s", why).
		Advise("state access_token_url in the secret")
	if edited {
		e.Message += fmt.Sprintf(", or set the tag %s to id=%s to accept what is there", secretstore.RecordTag, m.ID)
	}
	return e.WithRetry(edited) // another invocation may have written it, and has yet to record it
}
