// Package datadog is a client for the OAuth2 auth methods of Datadog's webhooks integration.
// https://docs.datadoghq.com/api/latest/webhooks-integration/
package datadog

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"

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
	ID             string  `json:"-"`
	Name           string  `json:"name"`
	AccessTokenURL string  `json:"access_token_url"`
	ClientID       string  `json:"client_id"`
	Audience       string  `json:"audience"`
	Scope          string  `json:"scope"`
	Withheld       [5]bool `json:"-"` // which attributes, from Name to Scope, repeat a secret value: see Shown
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
	m.Audience = *cmp.Or(w.Audience, &m.Audience)
	m.Scope = *cmp.Or(w.Scope, &m.Scope)
	return m
}

// readable are m's attributes that Datadog shows.
func (m *AuthMethod) readable() []*string {
	return []*string{&m.Name, &m.AccessTokenURL, &m.ClientID, &m.Audience, &m.Scope}
}

// Digest tells apart auth methods that differ in a readable attribute. It has 16 characters of base64url.
func (m AuthMethod) Digest() string {
	attributes, _ := json.Marshal(m.readable()) // strings always encode
	sum := sha256.Sum256(attributes)
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// minRepeated is the length in bytes from which a secret value in an attribute is no chance.
const minRepeated = 8

// Withhold returns m with each attribute noted that repeats one of these secret values. The client has noted its
// credentials and what it sent; whoever knows another secret value adds it before anything is said of m.
func (m AuthMethod) Withhold(secrets ...sensitive.Text) AuthMethod {
	for i, value := range m.readable() {
		repeats := func(s sensitive.Text) bool { return len(s.Reveal()) >= minRepeated && s.In(*value) }
		m.Withheld[i] = m.Withheld[i] || slices.ContainsFunc(secrets, repeats)
	}
	return m
}

// Shown returns m as it may be said to anyone: each attribute that repeats a secret value reads "[withheld]".
func (m AuthMethod) Shown() AuthMethod {
	for i, value := range m.readable() {
		if m.Withheld[i] {
			*value = "[withheld]"
		}
	}
	return m
}

// List returns every OAuth2 auth method of the organisation; Datadog does not page them.
func (c *Client) List(ctx context.Context) ([]AuthMethod, error) {
	path := listPath + "?include=" + protocol
	return c.do(ctx, call{method: http.MethodGet, path: path, want: http.StatusOK, decode: decodeList})
}

// Get returns one auth method.
func (c *Client) Get(ctx context.Context, id string) (AuthMethod, error) {
	return c.one(ctx, http.MethodGet, id, nil, sensitive.Text{})
}

// Create makes an auth method. Names are unique: one that exists is a conflict.
func (c *Client) Create(ctx context.Context, w Write) (AuthMethod, error) {
	return c.one(ctx, http.MethodPost, "", w.encode(), w.ClientSecret)
}

// Update changes what w states of an auth method, and nothing else.
func (c *Client) Update(ctx context.Context, id string, w Write) (AuthMethod, error) {
	return c.one(ctx, http.MethodPatch, id, w.encode(), w.ClientSecret)
}

// one makes a call that is about one auth method, which has no id before it is created.
func (c *Client) one(ctx context.Context, method, id string, body []byte, secret sensitive.Text) (AuthMethod, error) {
	call := call{method: method, path: methodPath + "/" + id, body: body, secret: secret, want: http.StatusOK}
	if id == "" {
		call.path, call.want = methodPath, http.StatusCreated
	}
	call.decode = func(body []byte) ([]AuthMethod, *Error) { return decodeOne(body, id, call.want) }
	methods, err := c.do(ctx, call)
	if err != nil {
		return AuthMethod{}, err
	}
	return methods[0], nil
}

func (w Write) encode() []byte {
	secret, attributes := w.ClientSecret.Reveal(), map[string]any{}
	for name, value := range map[string]*string{"name": &w.Name, "access_token_url": &w.AccessTokenURL,
		"client_id": &w.ClientID, "client_secret": &secret, "audience": w.Audience, "scope": w.Scope} {
		switch {
		case value == nil:
		case *value != "":
			attributes[name] = *value
		case name == "audience", name == "scope":
			attributes[name] = nil
		}
	}
	data := map[string]any{"type": resourceType, "attributes": attributes}
	body, _ := json.Marshal(map[string]any{"data": data}) // strings and nils always encode
	return body
}

type resource struct {
	ID         string     `json:"id"`
	Type       string     `json:"type"`
	Attributes AuthMethod `json:"attributes"`
}

// authMethod is the auth method in r; ok is false where r is not one that can be used.
func (r resource) authMethod() (m AuthMethod, ok bool) {
	m = r.Attributes
	m.ID = r.ID
	return m, r.Type == resourceType && len(m.ID) == 36 && uuid.Validate(m.ID) == nil && m.Name != ""
}

// decodeOne reads the answer to a Get, Create or Update. An answer without the auth method that was asked for (any,
// where id is empty) is an error that carries status: the call took effect, but nobody can say on what.
func decodeOne(body []byte, id string, status int) ([]AuthMethod, *Error) {
	var answer struct {
		Data resource `json:"data"`
	}
	err := json.Unmarshal(body, &answer)
	m, ok := answer.Data.authMethod()
	if err != nil || !ok || id != "" && m.ID != id {
		return nil, &Error{Status: status, Malformed: "no usable auth method"}
	}
	return []AuthMethod{m}, nil
}

// decodeList reads the answer to a List: data tells only each auth method's protocol, included the rest of it. An auth
// method in data that included does not show would make a later decision blind to it, so that is an error; and so is an
// item that tells no protocol.
func decodeList(body []byte) ([]AuthMethod, *Error) {
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
		var item resource
		err := json.Unmarshal(raw, &item) // an error of one member leaves the others
		if item.Type != resourceType {
			continue
		}
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
