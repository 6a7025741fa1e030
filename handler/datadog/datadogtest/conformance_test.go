package datadogtest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
)

const (
	include  = "?include=oauth2-client-credentials"
	typeName = "webhooks-auth-method-oauth2-client-credentials"
)

type object = map[string]any

// target is an implementation of the API: https://docs.datadoghq.com/api/latest/webhooks-integration/
type target struct{ url, apiKey, appKey string }

func TestStandIn(t *testing.T) {
	s := datadogtest.New("api-key", "app-key")
	server := httptest.NewServer(s)
	defer server.Close()
	target{server.URL, "api-key", "app-key"}.conforms(t)
	if len(s.Unknown())+len(s.AuthMethods()) > 0 {
		t.Errorf("calls outside the API: %v; auth methods left behind: %v", s.Unknown(), s.AuthMethods())
	}
}

// TestLive holds the API at DD_CONFORMANCE_URL, such as https://api.datadoghq.com, to the same, with the keys DD_API_KEY
// and DD_APP_KEY of an organisation that may be written to. It makes some 250 calls, creates auth methods under names that
// begin with "conformance-", deletes them, and touches no other.
func TestLive(t *testing.T) {
	target := target{os.Getenv("DD_CONFORMANCE_URL"), os.Getenv("DD_API_KEY"), os.Getenv("DD_APP_KEY")}
	if target.url == "" || target.apiKey == "" || target.appKey == "" {
		t.Skip("DD_CONFORMANCE_URL, DD_API_KEY and DD_APP_KEY are not set")
	}
	target.conforms(t)
}

func TestUnknownCalls(t *testing.T) {
	s := datadogtest.New("api-key", "app-key")
	s.Fail(datadogtest.Fault{Status: 200}) // no fault hides one
	server := httptest.NewServer(s)
	defer server.Close()
	const list, all, id = datadogtest.ListPath, datadogtest.MethodPath, datadogtest.MethodPath + "/3a6f0a34-6b0b-4b62-8f36-2f6b2a4e1c55"
	for i, call := range []string{"GET /", "GET /api/v1/integration/webhooks", "GET " + list + "/", "GET " + list + "?include=another",
		"GET " + list + "?page=2", "POST " + list, "GET " + all, "PUT " + id, "POST " + id, "GET " + id + "/", "GET " + id + include,
		"GET " + datadogtest.TokenPath} {
		method, path, _ := strings.Cut(call, " ")
		target{server.URL, "api-key", "app-key"}.want(t, 501, method, path, nil)
		s.ResetCalls()
		if got := s.Unknown(); len(got) != i+1 || got[i].Method != method || got[i].Status != 501 {
			t.Errorf("%s: unknown calls %v", call, got)
		}
	}
}

func (x target) conforms(t *testing.T) {
	one := func(id string) string { return datadogtest.MethodPath + "/" + id }
	for name, more := range map[string]object{
		"what is required": {}, "null": {"audience": nil, "scope": nil},
		"everything": {"audience": "https://api.example.com", "scope": "read:webhooks write:webhooks"},
	} {
		t.Run(name, func(t *testing.T) {
			attributes := whole(more)
			id := x.create(t, attributes)
			x.holds(t, id, attributes)
			for _, changes := range []object{
				{}, whole(nil), {"client_secret": "another"}, {"name": attributes["name"]}, {"name": newName()},
				{"client_id": "other-client", "access_token_url": "https://example.org/token"}, {"scope": "write:webhooks"},
				{"scope": nil}, {"audience": nil}, {"audience": nil, "scope": nil}, {"audience": "hooks", "scope": "read"},
			} {
				maps.Copy(attributes, changes)
				shows(t, x.want(t, 200, "PATCH", one(id), request(changes))["data"], attributes)
				x.holds(t, id, attributes)
			}
			list := x.want(t, 200, "GET", datadogtest.ListPath+include, nil)
			shows(t, item(list["included"], id), attributes)
			plain := x.want(t, 200, "GET", datadogtest.ListPath, nil)
			data := object{"id": id, "type": "webhooks-auth-method", "attributes": object{"protocol": "oauth2-client-credentials"},
				"relationships": object{"oauth2-client-credentials": object{"data": object{"id": id, "type": typeName}}}}
			if diff := cmp.Diff([]object{data, data}, []object{item(list["data"], id), item(plain["data"], id)}); diff != "" || plain["included"] != nil {
				t.Errorf("included unasked %v; data (-want +got):\n%s", plain["included"], diff)
			}
			x.want(t, 204, "DELETE", one(id), nil)
			for method, body := range map[string][]byte{"GET": nil, "PATCH": request(object{"scope": "s"}), "DELETE": nil} {
				gone := x.want(t, 404, method, one(id), body)
				if diff := cmp.Diff(object{"errors": []any{"The requested auth method does not exist."}}, gone); diff != "" {
					t.Errorf("%s (-want +got):\n%s", method, diff)
				}
			}
			if item(x.want(t, 200, "GET", datadogtest.ListPath, nil)["data"], id) != nil {
				t.Error("the list still holds what was deleted")
			}
		})
	}
	t.Run("refuse", func(t *testing.T) {
		attributes, other := whole(object{"scope": "kept"}), whole(nil)
		id, _ := x.create(t, attributes), x.create(t, other)
		refused := func(name string, x target, status int, method, path string, body []byte) {
			t.Run(name+"/"+method, func(t *testing.T) {
				doc := x.want(t, status, method, path, body)
				if list, _ := doc["errors"].([]any); len(list) == 0 || slices.Contains(list, "") {
					t.Errorf("answered %v, want a list of errors", doc)
				}
			})
		}
		refused("a name that is taken", x, 409, "POST", datadogtest.MethodPath, request(whole(object{"name": other["name"]})))
		refused("a name that is taken", x, 409, "PATCH", one(id), request(object{"name": other["name"], "scope": "never"}))
		encoded := func(doc any) []byte { text, _ := json.Marshal(doc); return text }
		for name, body := range map[string][]byte{
			"nothing": nil, "half of it": []byte(`{"data": `), "an array": []byte("[]"), "no data": []byte("{}"),
			"no type":            encoded(object{"data": object{"attributes": whole(nil)}}),
			"another type":       encoded(object{"data": object{"type": "webhooks-auth-method", "attributes": whole(nil)}}),
			"no attributes":      encoded(object{"data": object{"type": typeName}}),
			"null attributes":    encoded(object{"data": object{"type": typeName, "attributes": nil}}),
			"name a number":      request(whole(object{"name": 7})),
			"scope an array":     request(whole(object{"scope": []string{"read:webhooks"}})),
			"audience an object": request(whole(object{"audience": object{}})),
			"blank name":         request(whole(object{"name": " "})),
		} {
			refused(name, x, 400, "POST", datadogtest.MethodPath, body)
			refused(name, x, 400, "PATCH", one(id), body)
		}
		for _, name := range []string{"name", "access_token_url", "client_id", "client_secret"} {
			less := whole(nil)
			delete(less, name)
			refused("no "+name, x, 400, "POST", datadogtest.MethodPath, request(less))
		}
		for name, x := range map[string]target{
			"another API key":         {x.url, strings.Repeat("0", 32), x.appKey},
			"another application key": {x.url, x.apiKey, strings.Repeat("0", 40)},
			"no application key":      {x.url, x.apiKey, ""}, "no keys": {x.url, "", ""},
		} {
			refused(name, x, 403, "GET", datadogtest.ListPath, nil)
			refused(name, x, 403, "POST", datadogtest.MethodPath, request(whole(nil)))
			for method, body := range map[string][]byte{"GET": nil, "PATCH": request(object{"scope": "never"}), "DELETE": nil} {
				refused(name, x, 403, method, one(id), body)
			}
		}
		x.holds(t, id, attributes)
	})
}

func newName() string { return "conformance-" + uuid.NewString() }

// whole returns the attributes that a new auth method must have, and more.
func whole(more object) object {
	attributes := object{"access_token_url": "https://example.com/oauth/token", "client_id": "my-client-id",
		"client_secret": "secret-" + uuid.NewString(), "name": newName()}
	maps.Copy(attributes, more)
	return attributes
}

func request(attributes object) []byte {
	body, err := json.Marshal(object{"data": object{"type": typeName, "attributes": attributes}})
	if err != nil {
		panic(err)
	}
	return body
}

// create creates an auth method that is deleted when the test ends, and returns its id.
func (x target) create(t *testing.T, attributes object) string {
	t.Helper()
	doc := x.want(t, 201, "POST", datadogtest.MethodPath, request(attributes))
	data, _ := doc["data"].(object)
	id := fmt.Sprint(data["id"])
	t.Cleanup(func() {
		if status, _ := x.call(t, "DELETE", datadogtest.MethodPath+"/"+id, nil); status != 204 && status != 404 {
			t.Errorf("auth method %s is left behind: %d", id, status)
		}
	})
	if uuid.Validate(id) != nil {
		t.Fatalf("id %q, want a UUID", id)
	}
	shows(t, data, attributes)
	return id
}

// holds reads an auth method back.
func (x target) holds(t *testing.T, id string, attributes object) {
	t.Helper()
	shows(t, x.want(t, 200, "GET", datadogtest.MethodPath+"/"+id, nil)["data"], attributes)
}

// shows asserts that an answer is these attributes without the secret.
func shows(t *testing.T, got any, attributes object) {
	t.Helper()
	want := object{"audience": nil, "scope": nil, "protocol": "oauth2-client-credentials"}
	maps.Copy(want, attributes)
	delete(want, "client_secret")
	data, _ := got.(object)
	if diff := cmp.Diff(object{"type": typeName, "attributes": want}, object{"type": data["type"], "attributes": data["attributes"]}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// item returns the one with that id, or nil.
func item(list any, id string) object {
	all, _ := list.([]any)
	for _, one := range all {
		if o, _ := one.(object); o["id"] == id {
			return o
		}
	}
	return nil
}

func (x target) want(t *testing.T, status int, method, path string, body []byte) object {
	t.Helper()
	got, doc := x.call(t, method, path, body)
	if got != status {
		t.Fatalf("%s %s: %d %v, want %d", method, path, got, doc["errors"], status)
	}
	return doc
}

// call makes one call, again when it is throttled. Every answer with a body must be JSON and never name the secret.
func (x target) call(t *testing.T, method, path string, body []byte) (int, object) {
	t.Helper()
	for {
		r, err := http.NewRequest(method, x.url+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{"Content-Type": "application/json", "Accept": "application/json",
			"DD-API-KEY": x.apiKey, "DD-APPLICATION-KEY": x.appKey} {
			r.Header.Set(name, value)
		}
		res, err := http.DefaultClient.Do(r)
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
			if err != nil || seconds > 60 {
				t.Fatalf("throttled; X-RateLimit-Reset is %q", res.Header.Get("X-RateLimit-Reset"))
			}
			time.Sleep(time.Duration(seconds) * time.Second)
			continue
		}
		if bytes.Contains(answer, []byte("client_secret")) && res.StatusCode < 300 {
			t.Errorf("%s %s: the answer has a client_secret", method, path)
		}
		var doc object
		if len(answer) > 0 && json.Unmarshal(answer, &doc) != nil {
			t.Errorf("%s %s: %d, the answer is not a JSON object", method, path, res.StatusCode)
		}
		return res.StatusCode, doc
	}
}
