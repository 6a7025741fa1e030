// Package tokentest stands in for an identity provider's token endpoint: the
// OAuth2 client credentials grant of RFC 6749 section 4.4.
package tokentest

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"datadog-webhook-auth-sync/handler/standin"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

// Call is one request that came in. It never holds a secret.
type Call struct {
	Style                     tokencheck.Style // "" = none, or more than one
	ClientID, Scope, Audience string
	Status                    int // as answered; 0 = not yet, or never: the connection was cut
}

// Answer is what a provider says to one style of client authentication.
type Answer struct {
	Status      int    `json:"status"`
	ContentType string `json:"contentType"`
	Body        string `json:"body"`
	Network     string `json:"network"` // in place of it: "timeout", "cut", or "no such host", which no server can play
}

// Case is a dialect and what to make of it.
type Case struct {
	Name, Provider, ClientID, ClientSecret string
	Answers                                map[tokencheck.Style]Answer // Plain only where it differs from Header
	Known                                  tokencheck.Style
	Want                                   tokencheck.Outcome
	Refused                                bool
	Source                                 string // URL of the report
}

// ReadCases reads a JSON file of cases.
func ReadCases(file string) (cases []Case, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return cases, json.Unmarshal(text, &cases)
}

// Fault is what goes wrong with the calls that it matches.
type Fault = standin.Fault

// Server is the stand-in, an http.Handler for any path. It is safe for
// concurrent use; set its fields between calls only.
type Server struct {
	standin.Faults
	Latency     time.Duration               // of a call; the secret is looked at half-way
	Style       tokencheck.Style            // the only one honoured; "" = Header and Body
	Scopes      []string                    // the ones granted; nil = any
	AccessToken string                      // what it issues
	Answers     map[tokencheck.Style]Answer // in place of its own, whatever the credential

	mu      sync.Mutex
	secrets map[client]time.Time // since when they are honoured
	calls   []*Call
}

type client struct{ id, secret string }

// New is a server that knows no client and issues "access-token-of-tokentest".
func New() *Server {
	return &Server{AccessToken: "access-token-of-tokentest", secrets: map[client]time.Time{}}
}

// Allow honours a secret from now on. A client may have several.
func (s *Server) Allow(clientID, secret string) { s.HonourAfter(clientID, secret, 0) }

// HonourAfter honours a secret once d has passed, as a provider does that
// takes its time to spread a new one.
func (s *Server) HonourAfter(clientID, secret string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[client{clientID, secret}] = time.Now().Add(d)
}

// Revoke ends a secret.
func (s *Server) Revoke(clientID, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.secrets, client{clientID, secret})
}

// Calls returns every call since New or ResetCalls, in the order they came.
func (s *Server) Calls() (all []Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		all = append(all, *c)
	}
	return all
}

// ResetCalls forgets the calls.
func (s *Server) ResetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := standin.Body(w, r)
	call := &Call{}
	s.mu.Lock()
	s.calls = append(s.calls, call)
	s.mu.Unlock()
	reply := s.Around(r, body, s.Latency, func() standin.Reply {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.grant(call, r, string(body))
	})
	if s.answer(call.Style).Network == "timeout" {
		time.Sleep(time.Minute)
	}
	s.mu.Lock()
	call.Status = reply.Status
	s.mu.Unlock()
	reply.Send(w)
}

// grant answers one token request: a token (section 4.4.3) or an error
// (section 5.2).
func (s *Server) grant(call *Call, r *http.Request, body string) standin.Reply {
	refuse := func(status int, code string) standin.Reply {
		return standin.JSON(status, map[string]any{"error": code, "error_description": "refused by tokentest"})
	}
	form, err := url.ParseQuery(body)
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || err != nil ||
		form.Get("grant_type") != "client_credentials" {
		return refuse(http.StatusBadRequest, "invalid_request")
	}
	call.Scope, call.Audience = form.Get("scope"), form.Get("audience")
	c := client{form.Get("client_id"), form.Get("client_secret")}
	id, secret, basic := r.BasicAuth()
	decodedID, _ := url.QueryUnescape(id)
	decodedSecret, _ := url.QueryUnescape(secret)
	switch {
	case basic && c.secret != "": // section 2.3: no more than one way to authenticate
		return refuse(http.StatusBadRequest, "invalid_request")
	case basic && url.QueryEscape(decodedID) == id && url.QueryEscape(decodedSecret) == secret: // section 2.3.1
		c, call.Style = client{decodedID, decodedSecret}, tokencheck.Header
	case basic:
		c, call.Style = client{id, secret}, tokencheck.Plain
	case c.secret != "":
		call.Style = tokencheck.Body
	}
	call.ClientID = c.id
	if s.Answers != nil {
		a := s.answer(call.Style)
		header := http.Header{"Content-Type": {a.ContentType}}
		return standin.Reply{Status: a.Status, Header: header, Body: []byte(a.Body)}
	}
	if s.Style == "" && call.Style == tokencheck.Plain { // decoded, as section 2.3.1 says
		c = client{decodedID, decodedSecret}
	}
	honoured, known := s.secrets[c]
	if !known || time.Now().Before(honoured) || cmp.Or(s.Style, call.Style) != call.Style {
		return refuse(http.StatusUnauthorized, "invalid_client")
	}
	for scope := range strings.FieldsSeq(call.Scope) {
		if s.Scopes != nil && !slices.Contains(s.Scopes, scope) {
			return refuse(http.StatusBadRequest, "invalid_scope")
		}
	}
	return standin.JSON(http.StatusOK, map[string]any{
		"access_token": s.AccessToken, "token_type": "Bearer", "expires_in": 3600, "scope": call.Scope,
	})
}

// answer is what Answers has for a style.
func (s *Server) answer(style tokencheck.Style) Answer {
	if a, differs := s.Answers[style]; differs {
		return a
	}
	return s.Answers[tokencheck.Header]
}
