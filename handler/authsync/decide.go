package authsync

import (
	"strings"
	"time"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
)

// list: first ask Datadog which auth methods there are, then decide again.
const list report.Action = "list"

// target is the auth method that a secret is to be written to.
type target struct {
	action report.Action
	id     string // of the auth method; empty for create and list
	pinned bool   // by the secret: if it does not exist, that is an error
	own    bool   // no possession needs to be shown
}

// subject is all that a decision is made of.
type subject struct {
	name       string // of the auth method, stated or by default
	credential secretstore.Credential
	record     secretstore.Record
	changed    time.Time // the secret, last
	listing    *datadog.Listing
	show       bool // the auth method as it is, whatever the secret states
	lostPOST   bool // of this sync
	postedAt   int  // the listing's fetches before the first such POST
}

// decide names the auth method to write to, by the first of these that applies:
//
//  1. the secret pins its own: update it;
//  2. the secret pins another: take that over;
//  3. one is recorded, and exists as far as the listing tells: update it;
//  4. one has the name, and is what this sync's own POST must have made: update it;
//  5. one has the name: take it over;
//  6. the secret lacks what a create takes: secret_invalid;
//  7. the name is a default and another auth method has this client_id and access_token_url: auth_method_mismatch, since
//     a silent twin that no webhook uses is the worst outcome;
//  8. none of these: create one.
func decide(s subject) (target, error) {
	c := s.credential
	switch {
	case c.AuthMethodID != "" && c.AuthMethodID == s.record.ID: // 1
		return target{action: report.Update, id: c.AuthMethodID, pinned: true, own: true}, nil
	case c.AuthMethodID != "": // 2
		return target{action: report.Adopt, id: c.AuthMethodID, pinned: true}, nil
	case s.record.ID != "" && !s.lacks(s.record.ID): // 3
		return target{action: report.Update, id: s.record.ID, own: true}, nil
	case s.listing.Fetches() == 0:
		return target{action: list}, nil
	}
	if m, found := s.listing.Find(func(m datadog.AuthMethod) bool { return m.Name == s.name }); found { // 4, 5
		made := s.lostPOST && m.Since > s.postedAt && m.ClientID == c.ClientID && m.AccessTokenURL == c.AccessTokenURL
		return target{action: report.Adopt, id: m.ID, own: made}, nil
	}
	if missing := c.MissingToCreate(); len(missing) > 0 { // 6
		return target{}, fault.New(fault.SecretInvalid,
			"%s: required to create an auth method, and there is none to update", strings.Join(missing, ", "))
	}
	twin := func(m datadog.AuthMethod) bool {
		return m.ClientID == c.ClientID && m.AccessTokenURL == c.AccessTokenURL
	}
	if m, found := s.listing.Find(twin); found && c.Name == "" { // 7
		return target{}, fault.New(fault.AuthMethodMismatch,
			"auth method %s already has this client_id and access_token_url: pin it with auth_method_id, or state a name to create another", m.ID)
	}
	return target{action: report.Create}, nil // 8
}

// lacks reports whether the listing tells that there is no such auth method. What the secret says may be newer.
func (s subject) lacks(id string) bool {
	_, found := s.listing.Get(id)
	return !found && s.listing.NewerThan(s.changed)
}

// without is s after the auth method with id turned out not to exist.
func (s subject) without(id string) subject {
	s.listing.Remove(id)
	if s.record.ID == id {
		s.record.ID, s.record.Digest = "", ""
	}
	return s
}

// possession judges, by what the secret states, whether it may take over m: by name only with client_id and
// access_token_url equal, by a pin with neither stated otherwise. So nobody who may write one secret can redirect what
// another's credential opens, and no secret is sent to a URL that a name led to.
func possession(c secretstore.Credential, m datadog.AuthMethod, pinned bool) error {
	differs := c.ClientID != "" && c.ClientID != m.ClientID || c.AccessTokenURL != "" && c.AccessTokenURL != m.AccessTokenURL
	stated := c.ClientID != "" && c.AccessTokenURL != ""
	if !differs && (stated || pinned) {
		return nil
	}
	return notPossessed(m.ID, "the secret does not state the client_id and access_token_url that it has").WithRetry(!differs)
}

func notPossessed(id, why string) *fault.Error {
	return fault.New(fault.AuthMethodMismatch, "auth method %s is not this secret's by its record, and %s: whoever operates the auth method can set the tag %s to id=%s",
		id, why, secretstore.RecordTag, id)
}
