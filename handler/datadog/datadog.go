// Package datadog is a client for the OAuth2 auth methods of Datadog's webhooks integration.
// https://docs.datadoghq.com/api/latest/webhooks-integration/
package datadog

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"

	"github.com/google/uuid"

	"datadog-webhook-auth-sync/handler/sensitive"
)

const (
	listPath     = "/api/v2/integration/webhooks/configuration/auth-method"
	methodPath   = listPath + "/oauth2-client-credentials"
	protocol     = "oauth2-client-credentials"
	resourceType = "webhooks-auth-method-oauth2-client-credentials"
)

// AuthMethod is an OAuth2 client-credentials auth method as Datadog shows it. An attribute that is null or not shown is
// empty. The client secret is never shown.
type AuthMethod struct {
	ID             string `json:"-"`
	Name           string `json:"name"`
	AccessTokenURL string `json:"access_token_url"`
	ClientID       string `json:"client_id"`
	Audience       string `json:"audience"`
	Scope          string `json:"scope"`
}

// Write is what a create or an update sends. An empty string and a nil pointer are left out; an empty Audience or Scope
// is sent as null, which clears it.
type Write struct {
	Name           string
	AccessTokenURL string
	ClientID       string
	ClientSecret   sensitive.Text
	Audience       *string
	Scope          *string
}

// With is m as it will be once w is written over it.
func (m AuthMethod) With(w Write) AuthMethod {
	m.Name = cmp.Or(w.Name, m.Name)
	m.AccessTokenURL = cmp.Or(w.AccessTokenURL, m.AccessTokenURL)
	m.ClientID = cmp.Or(w.ClientID, m.ClientID)
	if w.Audience != nil {
		m.Audience = *w.Audience
	}
	if w.Scope != nil {
		m.Scope = *w.Scope
	}
	return m
}

// Digest tells apart auth methods that differ in a readable attribute. It has 16 hex digits.
func (m AuthMethod) Digest() string {
	attributes, err := json.Marshal([]string{m.Name, m.AccessTokenURL, m.ClientID, m.Audience, m.Scope})
	if err != nil {
		panic(err) // strings always encode
	}
	sum := sha256.Sum256(attributes)
	return hex.EncodeToString(sum[:8])
}

// List returns every OAuth2 auth method of the organisation; Datadog does not page them.
func (c *Client) List(ctx context.Context) ([]AuthMethod, error) {
	body, err := c.do(ctx, call{method: http.MethodGet, path: listPath + "?include=" + protocol, want: http.StatusOK})
	if err != nil {
		return nil, err
	}
	return decodeList(body)
}

// Get returns one auth method.
func (c *Client) Get(ctx context.Context, id string) (AuthMethod, error) {
	body, err := c.do(ctx, call{method: http.MethodGet, path: methodPath + "/" + id, want: http.StatusOK})
	return decodeOne(body, id, http.StatusOK, err)
}

// Create makes an auth method. Names are unique: one that exists is answered 409.
func (c *Client) Create(ctx context.Context, w Write) (AuthMethod, error) {
	body, err := c.do(ctx, call{method: http.MethodPost, path: methodPath, body: w.encode(), secret: w.ClientSecret, want: http.StatusCreated})
	return decodeOne(body, "", http.StatusCreated, err)
}

// Update changes what w states of an auth method, and nothing else.
func (c *Client) Update(ctx context.Context, id string, w Write) (AuthMethod, error) {
	body, err := c.do(ctx, call{method: http.MethodPatch, path: methodPath + "/" + id, body: w.encode(), secret: w.ClientSecret, want: http.StatusOK})
	return decodeOne(body, id, http.StatusOK, err)
}

func (w Write) encode() []byte {
	attributes := map[string]any{}
	for name, value := range map[string]string{"name": w.Name, "access_token_url": w.AccessTokenURL,
		"client_id": w.ClientID, "client_secret": w.ClientSecret.Reveal()} {
		if value != "" {
			attributes[name] = value
		}
	}
	for name, value := range map[string]*string{"audience": w.Audience, "scope": w.Scope} {
		switch {
		case value == nil:
		case *value == "":
			attributes[name] = nil
		default:
			attributes[name] = *value
		}
	}
	body, err := json.Marshal(map[string]any{"data": map[string]any{"type": resourceType, "attributes": attributes}})
	if err != nil {
		panic(err) // strings and nils always encode
	}
	return body
}

type resource struct {
	ID         string      `json:"id"`
	Type       string      `json:"type"`
	Attributes *AuthMethod `json:"attributes"`
}

// authMethod is the auth method in r; ok is false where r is not one that can be used.
func (r resource) authMethod() (m AuthMethod, ok bool) {
	if r.Type != resourceType || r.Attributes == nil || len(r.ID) != 36 || uuid.Validate(r.ID) != nil {
		return AuthMethod{}, false
	}
	m = *r.Attributes
	m.ID = r.ID
	return m, m.Name != ""
}

// decodeOne reads the answer to a Get, Create or Update. An answer without the auth method that was asked for (any, where
// id is empty) is an error that carries status: the call took effect, but nobody can say on what.
func decodeOne(body []byte, id string, status int, err error) (AuthMethod, error) {
	if err != nil {
		return AuthMethod{}, err
	}
	var answer struct {
		Data resource `json:"data"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return AuthMethod{}, &Error{Status: status, Malformed: "no JSON document"}
	}
	m, ok := answer.Data.authMethod()
	if !ok || id != "" && m.ID != id {
		return AuthMethod{}, &Error{Status: status, Malformed: "no usable auth method"}
	}
	return m, nil
}

// decodeList reads the answer to a List: data tells only each auth method's protocol, included the rest of it. An auth
// method in data that included does not show would make a later decision blind to it, so that is an error; and so is an
// item that tells no protocol.
func decodeList(body []byte) ([]AuthMethod, error) {
	var answer struct {
		Data *[]struct {
			ID         string `json:"id"`
			Attributes struct {
				Protocol string `json:"protocol"`
			} `json:"attributes"`
			Relationships struct {
				OAuth2 struct {
					Data resource `json:"data"`
				} `json:"oauth2-client-credentials"`
			} `json:"relationships"`
		} `json:"data"`
		Included []json.RawMessage `json:"included"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Data == nil {
		return nil, &Error{Status: http.StatusOK, Malformed: "no list of auth methods"}
	}
	methods, shown := []AuthMethod{}, map[string]bool{}
	for _, raw := range answer.Included {
		var kind struct {
			Type string `json:"type"`
		}
		if json.Unmarshal(raw, &kind) != nil || kind.Type != resourceType {
			continue
		}
		var item resource
		err := json.Unmarshal(raw, &item)
		m, ok := item.authMethod()
		if err != nil || !ok {
			return nil, &Error{Status: http.StatusOK, Malformed: "an unusable auth method in the list"}
		}
		methods = append(methods, m)
		shown[m.ID] = true
	}
	for _, d := range *answer.Data {
		p, id := d.Attributes.Protocol, cmp.Or(d.Relationships.OAuth2.Data.ID, d.ID)
		if (p == protocol || p == "") && !shown[id] {
			return nil, &Error{Status: http.StatusOK, Malformed: "a list that leaves out an auth method's attributes"}
		}
	}
	return methods, nil
}
