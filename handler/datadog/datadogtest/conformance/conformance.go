// Package conformance holds an implementation of Datadog's webhook auth-method
// API to its documented behaviour, over plain HTTP:
// https://docs.datadoghq.com/api/latest/webhooks-integration/
package conformance

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

const (
	listPath       = "/api/v2/integration/webhooks/configuration/auth-method"
	methodPath     = listPath + "/oauth2-client-credentials"
	credentialType = "webhooks-auth-method-oauth2-client-credentials"
	maxWait        = 30 * time.Second // for a rate limit to reset
)

// Target is an implementation.
type Target struct {
	BaseURL        string // without a trailing slash: https://api.datadoghq.com
	APIKey, AppKey string // the permissions manage_integrations and integrations_read
	Client         *http.Client
}

// Run holds the target to the documented behaviour. It creates auth methods
// under unique names that start with "conformance-", deletes them, and looks at
// no other. It waits when it is throttled, up to 30 s a call.
func Run(t *testing.T, target Target) {
	t.Run("create", target.create)
	t.Run("get", target.get)
	t.Run("list", target.list)
	t.Run("update", target.update)
	t.Run("delete", target.remove)
	t.Run("not found", target.notFound)
	t.Run("name taken", target.nameTaken)
	t.Run("invalid body", target.invalidBody)
	t.Run("wrong keys", target.wrongKeys)
}

type object = map[string]any

func (target Target) create(t *testing.T) {
	t.Run("with every attribute", func(t *testing.T) {
		attributes := target.attributes()
		attributes["audience"], attributes["scope"] = "https://api.example.com", "read:webhooks write:webhooks"
		target.created(t, attributes)
	})
	t.Run("audience and scope are null when unset", func(t *testing.T) { target.created(t, target.attributes()) })
	t.Run("audience and scope may be null", func(t *testing.T) {
		attributes := target.attributes()
		attributes["audience"], attributes["scope"] = nil, nil
		target.created(t, attributes)
	})
}

func (target Target) get(t *testing.T) {
	attributes := target.attributes()
	attributes["scope"] = "read:webhooks"
	id := target.created(t, attributes)
	target.holds(t, id, attributes)
}

func (target Target) list(t *testing.T) {
	attributes := target.attributes()
	id := target.created(t, attributes)
	for _, tc := range []struct {
		name, query string
		included    bool
	}{
		{"with include", "?include=oauth2-client-credentials", true},
		{"without include", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			doc := target.want(t, http.StatusOK, http.MethodGet, listPath+tc.query, nil)
			got := find(t, doc["data"], id)
			want := object{
				"id": id, "type": "webhooks-auth-method",
				"attributes": object{"protocol": "oauth2-client-credentials"},
				"relationships": object{"oauth2-client-credentials": object{
					"data": object{"id": id, "type": credentialType},
				}},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("data (-want +got):\n%s", diff)
			}
			if included, ok := doc["included"]; ok != tc.included {
				t.Errorf("included is there: %t, want %t", ok, tc.included)
			} else if ok {
				shows(t, find(t, included, id), attributes)
			}
		})
	}
}

func (target Target) update(t *testing.T) {
	attributes := target.attributes()
	attributes["audience"], attributes["scope"] = "https://api.example.com", "read:webhooks"
	id := target.created(t, attributes)
	for _, tc := range []struct {
		name    string
		changes object
	}{
		{"nothing", object{}},
		{"the secret alone", object{"client_secret": "another-" + uuid.NewString()}},
		{"the name to what it is", object{"name": attributes["name"]}},
		{"the name alone", object{"name": newName()}},
		{"client and URL", object{"client_id": "other-client", "access_token_url": "https://example.org/token"}},
		{"scope", object{"scope": "write:webhooks"}},
		{"null clears scope and leaves audience", object{"scope": nil}},
		{"null clears audience", object{"audience": nil}},
		{"null clears what is clear", object{"audience": nil, "scope": nil}},
		{"all at once", target.attributes()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			maps.Copy(attributes, tc.changes)
			doc := target.want(t, http.StatusOK, http.MethodPatch, methodPath+"/"+id, request(tc.changes))
			shows(t, doc["data"], attributes)
			target.holds(t, id, attributes)
		})
	}
}

func (target Target) remove(t *testing.T) {
	id := target.created(t, target.attributes())
	target.want(t, http.StatusNoContent, http.MethodDelete, methodPath+"/"+id, nil)
	target.want(t, http.StatusNotFound, http.MethodGet, methodPath+"/"+id, nil)
	doc := target.want(t, http.StatusOK, http.MethodGet, listPath, nil)
	if slices.ContainsFunc(items(t, doc["data"]), func(item object) bool { return item["id"] == id }) {
		t.Error("the list still holds what was deleted")
	}
}

func (target Target) notFound(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodPatch, http.MethodDelete} {
		t.Run(method, func(t *testing.T) {
			var body []byte
			if method == http.MethodPatch {
				body = request(object{"scope": "read:webhooks"})
			}
			doc := target.want(t, http.StatusNotFound, method, methodPath+"/"+uuid.NewString(), body)
			want := object{"errors": []any{"The requested auth method does not exist."}}
			if diff := cmp.Diff(want, doc); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func (target Target) nameTaken(t *testing.T) {
	first, second := target.attributes(), target.attributes()
	target.created(t, first)
	id := target.created(t, second)
	t.Run("create", func(t *testing.T) {
		again := target.attributes()
		again["name"] = first["name"]
		target.refused(t, http.StatusConflict, http.MethodPost, methodPath, request(again))
	})
	t.Run("update", func(t *testing.T) {
		changes := object{"name": first["name"], "scope": "never"}
		target.refused(t, http.StatusConflict, http.MethodPatch, methodPath+"/"+id, request(changes))
		target.holds(t, id, second)
	})
}

func (target Target) invalidBody(t *testing.T) {
	whole := func(change func(doc, data, attributes object)) []byte {
		attributes := target.attributes()
		data := object{"type": credentialType, "attributes": attributes}
		doc := object{"data": data}
		change(doc, data, attributes)
		return encode(doc)
	}
	common := map[string][]byte{
		"empty":              {},
		"not JSON":           []byte(`{"data": `),
		"an array":           []byte(`[]`),
		"null":               []byte(`null`),
		"no data":            whole(func(doc, _, _ object) { delete(doc, "data") }),
		"no type":            whole(func(_, data, _ object) { delete(data, "type") }),
		"another type":       whole(func(_, data, _ object) { data["type"] = "webhooks-auth-method" }),
		"no attributes":      whole(func(_, data, _ object) { delete(data, "attributes") }),
		"null attributes":    whole(func(_, data, _ object) { data["attributes"] = nil }),
		"name a number":      whole(func(_, _, attributes object) { attributes["name"] = 7 }),
		"scope an array":     whole(func(_, _, attributes object) { attributes["scope"] = []string{"read:webhooks"} }),
		"audience an object": whole(func(_, _, attributes object) { attributes["audience"] = object{} }),
		"blank name":         whole(func(_, _, attributes object) { attributes["name"] = " " }),
	}
	create := map[string][]byte{}
	for _, name := range []string{"name", "access_token_url", "client_id", "client_secret"} {
		create["no "+name] = whole(func(_, _, attributes object) { delete(attributes, name) })
	}
	attributes := target.attributes()
	id := target.created(t, attributes)
	for name, body := range common {
		t.Run("create/"+name, func(t *testing.T) {
			target.refused(t, http.StatusBadRequest, http.MethodPost, methodPath, body)
		})
		t.Run("update/"+name, func(t *testing.T) {
			target.refused(t, http.StatusBadRequest, http.MethodPatch, methodPath+"/"+id, body)
		})
	}
	for name, body := range create {
		t.Run("create/"+name, func(t *testing.T) {
			target.refused(t, http.StatusBadRequest, http.MethodPost, methodPath, body)
		})
	}
	target.holds(t, id, attributes)
}

// wrongKeys accepts 401 beside the documented 403: other endpoints of Datadog's
// give it for a key that is missing.
func (target Target) wrongKeys(t *testing.T) {
	attributes := target.attributes()
	id := target.created(t, attributes)
	for _, tc := range []struct {
		name, api, app string
	}{
		{"another API key", strings.Repeat("0", 32), target.AppKey},
		{"another application key", target.APIKey, strings.Repeat("0", 40)},
		{"no application key", target.APIKey, ""},
		{"no keys", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			other := target
			other.APIKey, other.AppKey = tc.api, tc.app
			for _, call := range []struct {
				method, path string
				body         []byte
			}{
				{http.MethodGet, listPath, nil},
				{http.MethodPost, methodPath, request(target.attributes())},
				{http.MethodGet, methodPath + "/" + id, nil},
				{http.MethodPatch, methodPath + "/" + id, request(object{"scope": "never"})},
				{http.MethodDelete, methodPath + "/" + id, nil},
			} {
				status, doc := other.call(t, call.method, call.path, call.body)
				if status != http.StatusForbidden && status != http.StatusUnauthorized {
					t.Errorf("%s: %d, want 403", call.method, status)
				}
				hasErrors(t, doc)
			}
		})
	}
	target.holds(t, id, attributes)
}

// attributes are those that a new auth method must have.
func (Target) attributes() object {
	return object{
		"access_token_url": "https://example.com/oauth/token",
		"client_id":        "my-client-id",
		"client_secret":    "secret-" + uuid.NewString(),
		"name":             newName(),
	}
}

func newName() string { return "conformance-" + uuid.NewString() }

// created creates an auth method, deletes it when the test ends, and returns its id.
func (target Target) created(t *testing.T, attributes object) string {
	t.Helper()
	doc := target.want(t, http.StatusCreated, http.MethodPost, methodPath, request(attributes))
	data, _ := doc["data"].(object)
	id, _ := data["id"].(string)
	t.Cleanup(func() {
		if status, _ := target.call(t, http.MethodDelete, methodPath+"/"+id, nil); status != http.StatusNoContent && status != http.StatusNotFound {
			t.Errorf("auth method %s is left behind: %d", id, status)
		}
	})
	if uuid.Validate(id) != nil {
		t.Fatalf("id %q, want a UUID", id)
	}
	shows(t, doc["data"], attributes)
	return id
}

// holds reads an auth method back.
func (target Target) holds(t *testing.T, id string, attributes object) {
	t.Helper()
	doc := target.want(t, http.StatusOK, http.MethodGet, methodPath+"/"+id, nil)
	shows(t, doc["data"], attributes)
}

// shows tells whether an answer is these attributes without the secret.
func shows(t *testing.T, got any, attributes object) {
	t.Helper()
	want := object{"audience": nil, "scope": nil, "protocol": "oauth2-client-credentials"}
	for name, value := range attributes {
		if name != "client_secret" {
			want[name] = value
		}
	}
	data, ok := got.(object)
	if !ok {
		t.Fatalf("data is %T, want an object", got)
	}
	if data["type"] != credentialType {
		t.Errorf("type %v, want %s", data["type"], credentialType)
	}
	if diff := cmp.Diff(want, data["attributes"]); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
}

// refused asserts an error document and that nothing was created.
func (target Target) refused(t *testing.T, status int, method, path string, body []byte) {
	t.Helper()
	before := target.ours(t)
	hasErrors(t, target.want(t, status, method, path, body))
	if diff := cmp.Diff(before, target.ours(t)); diff != "" {
		t.Errorf("auth methods (-before +after):\n%s", diff)
	}
}

// ours returns the names of the suite's auth methods.
func (target Target) ours(t *testing.T) []string {
	t.Helper()
	doc := target.want(t, http.StatusOK, http.MethodGet, listPath+"?include=oauth2-client-credentials", nil)
	var names []string
	for _, item := range items(t, doc["included"]) {
		attributes, _ := item["attributes"].(object)
		if name, _ := attributes["name"].(string); strings.HasPrefix(name, "conformance-") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func hasErrors(t *testing.T, doc object) {
	t.Helper()
	errors, _ := doc["errors"].([]any)
	if len(errors) == 0 {
		t.Errorf("%v, want a list of errors", doc)
	}
	for _, e := range errors {
		if text, ok := e.(string); !ok || text == "" {
			t.Errorf("error %v, want a text", e)
		}
	}
}

func items(t *testing.T, list any) []object {
	t.Helper()
	all, ok := list.([]any)
	if !ok {
		t.Fatalf("%T, want a list", list)
	}
	var out []object
	for _, item := range all {
		item, _ := item.(object)
		out = append(out, item)
	}
	return out
}

func find(t *testing.T, list any, id string) object {
	t.Helper()
	all := items(t, list)
	i := slices.IndexFunc(all, func(item object) bool { return item["id"] == id })
	if i < 0 {
		t.Fatalf("auth method %s is not in the list", id)
	}
	return all[i]
}

func request(attributes object) []byte {
	return encode(object{"data": object{"type": credentialType, "attributes": attributes}})
}

func encode(doc object) []byte {
	body, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	return body
}

// want calls and asserts the status.
func (target Target) want(t *testing.T, status int, method, path string, body []byte) object {
	t.Helper()
	got, doc := target.call(t, method, path, body)
	if got != status {
		t.Fatalf("%s %s: %d %v, want %d", method, path, got, doc["errors"], status)
	}
	return doc
}

// call sends one request, again when it is throttled. Every answer with a body
// must be JSON and never name the secret.
func (target Target) call(t *testing.T, method, path string, body []byte) (int, object) {
	t.Helper()
	for {
		r, err := http.NewRequest(method, target.BaseURL+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "application/json")
		r.Header.Set("DD-API-KEY", target.APIKey)
		r.Header.Set("DD-APPLICATION-KEY", target.AppKey)
		res, err := target.Client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode == http.StatusTooManyRequests {
			seconds, err := strconv.Atoi(res.Header.Get("X-RateLimit-Reset"))
			if wait := time.Duration(seconds) * time.Second; err != nil || wait > maxWait {
				t.Fatalf("throttled; X-RateLimit-Reset is %q", res.Header.Get("X-RateLimit-Reset"))
			} else {
				time.Sleep(wait)
			}
			continue
		}
		if bytes.Contains(answer, []byte("client_secret")) && res.StatusCode < 300 {
			t.Errorf("%s %s: the answer has a client_secret", method, path)
		}
		var doc object
		if len(answer) > 0 {
			if err := json.Unmarshal(answer, &doc); err != nil {
				t.Errorf("%s %s: %d, the answer is not a JSON object: %v", method, path, res.StatusCode, err)
			}
		}
		return res.StatusCode, doc
	}
}
