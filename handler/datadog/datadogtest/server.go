// Package datadogtest stands in for the part of Datadog's API that keeps the OAuth2 client credentials auth methods of the
// Webhooks integration: https://docs.datadoghq.com/api/latest/webhooks-integration/
//
// It remembers what was put, records every call, injects faults, and refuses loudly what it does not know.
package datadogtest

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"datadog-webhook-auth-sync/handler/standin"
)

// AuthMethod is one auth method as Datadog keeps it, its secret included.
type AuthMethod struct {
	ID, Name, AccessTokenURL, ClientID, ClientSecret string
	Audience, Scope                                  *string // nil = null
}

// Call is one request that came in. It holds no header and no value from the body.
type Call struct {
	Method, Path string
	Attributes   []string // names of the attributes that a body carried, sorted
	Status       int      // as answered; 0 = not yet, or never: the connection was cut
}

// Fault is what goes wrong with the calls that it matches.
type Fault = standin.Fault

// Server is the stand-in, an http.Handler that is safe for concurrent use. A fault of a status of 400 or more without a
// Body is answered with {"errors": ["<its text>"]}.
type Server struct {
	standin.Faults
	// Latency is how long a call takes; it takes effect half-way. Set it before the first call.
	Latency time.Duration

	mu             sync.Mutex
	apiKey, appKey string
	accessToken    string // of a service account; empty: none
	federation     Federation
	tokens         map[string]time.Time  // given in exchange → when they end
	methods        map[string]AuthMethod // by id
	calls          []*Call
	unknown        []Call
}

// New is a server without auth methods that accepts these two keys.
func New(apiKey, appKey string) *Server {
	return &Server{apiKey: apiKey, appKey: appKey, tokens: map[string]time.Time{}, methods: map[string]AuthMethod{}}
}

// SetKeys changes the keys that are accepted, as a key rotation does.
func (s *Server) SetKeys(apiKey, appKey string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apiKey, s.appKey = apiKey, appKey
}

// SetAccessToken changes the service access token that is accepted beside the keys.
func (s *Server) SetAccessToken(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accessToken = token
}

// AuthMethods returns all auth methods, sorted by name.
func (s *Server) AuthMethods() []AuthMethod {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sorted()
}

func (s *Server) sorted() []AuthMethod {
	return slices.SortedFunc(maps.Values(s.methods), func(a, b AuthMethod) int { return strings.Compare(a.Name, b.Name) })
}

// Get returns the auth method with that id.
func (s *Server) Get(id string) (AuthMethod, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.methods[id]
	return m, ok
}

// Put creates or replaces an auth method as an edit in Datadog's UI would, and returns it. An empty ID gets a new one. It
// panics when another auth method has the name.
func (s *Server) Put(m AuthMethod) AuthMethod {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.ID = cmp.Or(m.ID, uuid.NewString())
	if s.taken(m.Name, m.ID) {
		panic("datadogtest: another auth method is named " + m.Name)
	}
	s.methods[m.ID] = m
	return m
}

// taken tells whether an auth method other than id has the name.
func (s *Server) taken(name, id string) bool {
	for _, m := range s.methods {
		if m.Name == name && m.ID != id {
			return true
		}
	}
	return false
}

// Delete removes an auth method, if it is there, as somebody in Datadog's UI would.
func (s *Server) Delete(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.methods, id)
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

// Unknown returns those calls that are no part of the API and were answered 501. ResetCalls does not forget them.
func (s *Server) Unknown() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.unknown)
}

// ResetCalls forgets the calls.
func (s *Server) ResetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = nil
}

// ServeHTTP implements http.Handler. It goes on when the caller gives up.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := standin.Body(w, r)
	id, known := route(r)
	call := &Call{Method: r.Method, Path: r.URL.Path}
	s.mu.Lock()
	s.calls = append(s.calls, call)
	s.mu.Unlock()
	reply := refuse(http.StatusNotImplemented, "datadogtest: not part of the API: "+r.Method+" "+r.URL.String())
	if known {
		reply = s.Around(r, body, s.Latency, func() standin.Reply { return s.act(call, r, id, body) })
	}
	if reply.Status >= 400 && len(reply.Body) == 0 {
		reply.Body = refuse(reply.Status, http.StatusText(reply.Status)).Body
		reply.Header.Set("Content-Type", "application/json")
	}
	s.mu.Lock()
	call.Status = reply.Status
	if !known {
		s.unknown = append(s.unknown, *call)
	}
	s.mu.Unlock()
	reply.Send(w)
}
