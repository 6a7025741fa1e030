package authsync

import (
	"cmp"
	"strings"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
)

// Action is what is to be done about a secret at Datadog.
type Action string

const (
	Create Action = "create"
	Update Action = "update"
	Adopt  Action = "adopt"
	list   Action = "list" // first ask Datadog which auth methods there are, then decide again
)

// target is the auth method that a secret is to be written to, and how it was found.
type target struct {
	action Action
	id     string              // of the auth method; empty for create and list
	pinned bool                // by the secret: if it is not there, that is an error
	held   *datadog.AuthMethod // as listed, if it was
	prove  bool                // adopt only if the token endpoint accepts the credential with held's client id
}

// subject is all that a decision is made of.
type subject struct {
	name       string // of the auth method, stated or defaulted
	credential secretstore.Credential
	recorded   string   // id
	there      *Listing // what is there; nil: not known
}

// decide names the auth method to write to, by the first of these that applies:
//
//  1. the secret pins one: update it;
//  2. one is recorded on the secret, and is there as far as is known: update it;
//  3. one has the name, and the secret's client id: adopt it;
//  4. one has the name, and the secret states no client id: adopt it if it can be proved to be the same client's;
//  5. one has the name, and another client id: auth_method_mismatch;
//  6. the secret lacks what a create takes: secret_invalid;
//  7. the name is a default and another auth method has this client id and token endpoint: auth_method_mismatch, since
//     its silent twin, which no webhook uses, would be the worst outcome;
//  8. none of these: create one.
func decide(s subject) (target, error) {
	c := s.credential
	if c.AuthMethodID != "" { // 1
		return target{action: Update, id: c.AuthMethodID, pinned: true, held: s.there.Get(c.AuthMethodID)}, nil
	}
	if held := s.there.Get(s.recorded); s.recorded != "" && (s.there == nil || held != nil) { // 2
		return target{action: Update, id: s.recorded, held: held}, nil
	}
	if s.there == nil {
		return target{action: list}, nil
	}
	if m := s.there.named(s.name); m != nil {
		if c.ClientID != "" && c.ClientID != m.ClientID { // 5
			return target{}, fault.New(fault.AuthMethodMismatch, "auth method %s has the secret's name but another client_id", m.ID)
		}
		return target{action: Adopt, id: m.ID, held: m, prove: c.ClientID == ""}, nil // 3, 4
	}
	if missing := c.MissingToCreate(); len(missing) > 0 { // 6
		return target{}, fault.New(fault.SecretInvalid,
			"%s: required to create an auth method, and there is none to update", strings.Join(missing, ", "))
	}
	if m := s.there.of(c.ClientID, c.AccessTokenURL); m != nil && c.Name == "" { // 7
		return target{}, fault.New(fault.AuthMethodMismatch,
			"auth method %s already has this client_id and access_token_url: pin it with auth_method_id, or state a name to create another", m.ID)
	}
	return target{action: Create}, nil // 8
}

// overlay is what Datadog will hold once c is written over held, under name where that is not empty. held is nil for a
// create, and where nobody has to know.
func overlay(held *datadog.AuthMethod, c secretstore.Credential, name string) datadog.AuthMethod {
	var after datadog.AuthMethod
	if held != nil {
		after = *held
	}
	after.Name = cmp.Or(name, after.Name)
	after.AccessTokenURL = cmp.Or(c.AccessTokenURL, after.AccessTokenURL)
	after.ClientID = cmp.Or(c.ClientID, after.ClientID)
	if c.Audience != nil {
		after.Audience = *c.Audience
	}
	if c.Scope != nil {
		after.Scope = *c.Scope
	}
	return after
}

// changes lists the attributes in which after differs from before, and the client secret, which is always written.
func changes(before, after datadog.AuthMethod) []Change {
	var all []Change
	for _, a := range []struct{ name, from, to string }{
		{"name", before.Name, after.Name},
		{"access_token_url", before.AccessTokenURL, after.AccessTokenURL},
		{"client_id", before.ClientID, after.ClientID},
		{"audience", before.Audience, after.Audience},
		{"scope", before.Scope, after.Scope},
	} {
		if a.from != a.to {
			all = append(all, Change{a.name, stated(a.from), stated(a.to)})
		}
	}
	return append(all, Change{Attribute: "client_secret"})
}

func stated(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
