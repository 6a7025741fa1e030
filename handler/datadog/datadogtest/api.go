package datadogtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"datadog-webhook-auth-sync/handler/standin"
)

// The paths of the API. One auth method is at MethodPath + "/" + its id; at TokenPath an AWS identity is exchanged.
const (
	ListPath   = "/api/v2/integration/webhooks/configuration/auth-method"
	MethodPath = ListPath + "/oauth2-client-credentials"
	TokenPath  = "/api/v2/delegated-token"
)

const (
	protocol       = "oauth2-client-credentials"
	listType       = "webhooks-auth-method"
	credentialType = "webhooks-auth-method-oauth2-client-credentials"
)

type object = map[string]any

// route tells whether a call is part of the API, and the auth method's id in its path.
func route(r *http.Request) (id string, known bool) {
	id, one := strings.CutPrefix(r.URL.Path, MethodPath+"/")
	switch {
	case r.URL.Path == ListPath:
		return "", r.Method == http.MethodGet && (r.URL.RawQuery == "" || r.URL.RawQuery == "include="+protocol)
	case r.URL.RawQuery != "":
		return "", false
	case r.URL.Path == MethodPath, r.URL.Path == TokenPath:
		return "", r.Method == http.MethodPost
	case one && id != "" && !strings.Contains(id, "/"):
		return id, slices.Contains([]string{http.MethodGet, http.MethodPatch, http.MethodDelete}, r.Method)
	}
	return "", false
}

// act answers a known call.
func (s *Server) act(call *Call, r *http.Request, id string, body []byte) standin.Reply {
	if r.URL.Path == TokenPath {
		return s.exchange(r, body)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.authenticated(r.Header) {
		return refuse(http.StatusForbidden, "Forbidden")
	}
	if r.URL.Path == ListPath {
		return s.list(r.URL.RawQuery != "")
	}
	if r.Method == http.MethodPost {
		return s.write(call, AuthMethod{ID: uuid.NewString()}, body, http.StatusCreated)
	}
	m, ok := s.methods[id]
	if !ok {
		return refuse(http.StatusNotFound, "The requested auth method does not exist.")
	}
	switch r.Method {
	case http.MethodPatch:
		return s.write(call, m, body, http.StatusOK)
	case http.MethodDelete:
		delete(s.methods, id)
		return standin.Reply{Status: http.StatusNoContent}
	default:
		return standin.JSON(http.StatusOK, object{"data": m.shown()})
	}
}

// authenticated reports whether a call has both keys, or a token without keys.
func (s *Server) authenticated(h http.Header) bool {
	api, app, authorization := h.Get("DD-API-KEY"), h.Get("DD-APPLICATION-KEY"), h.Get("Authorization")
	token, isToken := strings.CutPrefix(authorization, "Bearer ")
	switch {
	case authorization == "":
		return api == s.apiKey && app == s.appKey
	case !isToken || api+app != "":
		return false
	}
	return token != "" && token == s.accessToken || time.Now().Before(s.tokens[token])
}

func (s *Server) list(include bool) standin.Reply {
	data, included := []object{}, []object{}
	for _, m := range s.sorted() {
		data = append(data, object{
			"id": m.ID, "type": listType,
			"attributes":    object{"protocol": protocol},
			"relationships": object{protocol: object{"data": object{"id": m.ID, "type": credentialType}}},
		})
		included = append(included, m.shown())
	}
	if !include {
		return standin.JSON(http.StatusOK, object{"data": data})
	}
	return standin.JSON(http.StatusOK, object{"data": data, "included": included})
}

// write lays the body's attributes over m and keeps the result, if it is whole and its name is free.
func (s *Server) write(call *Call, m AuthMethod, body []byte, status int) standin.Reply {
	attributes, err := decode(body)
	call.Attributes = slices.Sorted(maps.Keys(attributes))
	if err == nil {
		err = m.set(attributes)
	}
	switch {
	case err != nil:
		return refuse(http.StatusBadRequest, err.Error())
	case s.taken(m.Name, m.ID):
		return refuse(http.StatusConflict, "An auth method with this name already exists.")
	}
	s.methods[m.ID] = m
	return standin.JSON(status, object{"data": m.shown()})
}

// decode returns a request's attributes. Its names are case-sensitive, which encoding/json's structs are not.
func decode(body []byte) (map[string]json.RawMessage, error) {
	var doc, data, attributes map[string]json.RawMessage
	var typ string
	switch {
	case json.Unmarshal(body, &doc) != nil:
		return nil, fmt.Errorf("the body is not a JSON object")
	case json.Unmarshal(doc["data"], &data) != nil:
		return nil, fmt.Errorf("data is not an object")
	case json.Unmarshal(data["type"], &typ) != nil || typ != credentialType:
		return nil, fmt.Errorf("data.type is not %s", credentialType)
	case json.Unmarshal(data["attributes"], &attributes) != nil || attributes == nil:
		return nil, fmt.Errorf("data.attributes is not an object")
	}
	return attributes, nil
}

// set lays attributes over m. Stricter than documented: an attribute that Datadog does not describe is an error, and so is
// an empty required one.
func (m *AuthMethod) set(attributes map[string]json.RawMessage) error {
	required := map[string]*string{
		"name": &m.Name, "access_token_url": &m.AccessTokenURL,
		"client_id": &m.ClientID, "client_secret": &m.ClientSecret,
	}
	optional := map[string]**string{"audience": &m.Audience, "scope": &m.Scope}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		var value *string
		err := json.Unmarshal(attributes[name], &value)
		if to, ok := optional[name]; ok && err == nil {
			*to = value
		} else if to, ok := required[name]; ok && err == nil && value != nil {
			*to = *value
		} else {
			return fmt.Errorf("%s is not an attribute that can have such a value", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(required)) {
		if strings.TrimSpace(*required[name]) == "" {
			return fmt.Errorf("%s is missing or blank", name)
		}
	}
	return nil
}

// shown is an auth method as answers show it: without its secret.
func (m AuthMethod) shown() object {
	return object{"id": m.ID, "type": credentialType, "attributes": object{"access_token_url": m.AccessTokenURL,
		"audience": m.Audience, "client_id": m.ClientID, "name": m.Name, "protocol": protocol, "scope": m.Scope}}
}

func refuse(status int, errors ...string) standin.Reply {
	return standin.JSON(status, object{"errors": errors})
}

// Throttled is a 429 with Datadog's headers for the next call: "reset" is X-RateLimit-Reset, in seconds; some endpoints
// give a Unix time. https://docs.datadoghq.com/api/latest/rate-limits/
func Throttled(reset int64) Fault {
	return Fault{Times: 1, Status: http.StatusTooManyRequests, Header: http.Header{
		"X-Ratelimit-Limit":     {"100"},
		"X-Ratelimit-Period":    {"60"},
		"X-Ratelimit-Remaining": {"0"},
		"X-Ratelimit-Reset":     {fmt.Sprint(reset)},
		"X-Ratelimit-Name":      {"webhooks_auth_method"},
	}}
}
