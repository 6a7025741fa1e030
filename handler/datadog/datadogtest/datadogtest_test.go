package datadogtest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
)

const createBody = `{"data": {"type": "webhooks-auth-method-oauth2-client-credentials", "attributes": {
	"name": "payments", "access_token_url": "https://idp.example.com/token", "client_id": "c", "client_secret": "s"}}}`

func patchBody(attributes string) string {
	return `{"data": {"type": "webhooks-auth-method-oauth2-client-credentials", "attributes": ` + attributes + `}}`
}

// withMethod is a server that holds one auth method.
func withMethod() (*datadogtest.Server, datadogtest.AuthMethod) {
	s := datadogtest.New("api", "app")
	return s, s.Put(datadogtest.AuthMethod{Name: "payments", AccessTokenURL: "https://idp.example.com/token", ClientID: "c", ClientSecret: "old"})
}

// call returns the status and the body.
func call(ctx context.Context, c *http.Client, base, method, path, body string) (int, string, error) {
	r, err := http.NewRequestWithContext(ctx, method, base+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("DD-API-KEY", "api")
	r.Header.Set("DD-APPLICATION-KEY", "app")
	res, err := c.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	return res.StatusCode, string(answer), err
}

func TestFaultsOnWrites(t *testing.T) {
	for _, tc := range []struct {
		name   string
		fault  datadogtest.Fault
		status int // 0 = an error
		body   string
		secret string
	}{
		{"none", datadogtest.Fault{Method: "GET"}, 200, "", "new"},
		{"refused", datadogtest.Fault{Status: 503}, 503, `{"errors":["Service Unavailable"]}`, "old"},
		{"written and refused", datadogtest.Fault{Status: 503, Commit: true}, 503, `{"errors":["Service Unavailable"]}`, "new"},
		{"foreign answer", datadogtest.Fault{Status: 502, Body: "<html>"}, 502, "<html>", "old"},
		{"foreign answer to a write", datadogtest.Fault{Body: "{}"}, 200, "{}", "new"},
		{"throttled", datadogtest.Throttled(7), 429, `{"errors":["Too Many Requests"]}`, "old"},
		{"unauthorized", datadogtest.Fault{Status: 401}, 401, `{"errors":["Unauthorized"]}`, "old"},
		{"cut", datadogtest.Fault{Cut: true}, 0, "", "old"},
		{"written and cut", datadogtest.Fault{Cut: true, Commit: true}, 0, "", "new"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, m := withMethod()
			server := httptest.NewServer(s)
			defer server.Close()
			for name, target := range map[string]struct {
				client *http.Client
				base   string
			}{
				"over HTTP":  {server.Client(), server.URL},
				"in process": {s.Client(), "https://api.datadoghq.com"},
			} {
				t.Run(name, func(t *testing.T) {
					s.Put(m)
					s.ResetCalls()
					s.ClearFaults()
					s.Fail(tc.fault)
					path := datadogtest.MethodPath + "/" + m.ID
					status, body, err := call(t.Context(), target.client, target.base, "PATCH", path, patchBody(`{"client_secret": "new"}`))
					if status != tc.status || (err != nil) != (tc.status == 0) {
						t.Errorf("%d, %v, want %d", status, err, tc.status)
					}
					if tc.body != "" && body != tc.body {
						t.Errorf("body %q, want %q", body, tc.body)
					}
					if got, _ := s.Get(m.ID); got.ClientSecret != tc.secret {
						t.Errorf("client secret %q, want %q", got.ClientSecret, tc.secret)
					}
					want := datadogtest.Call{N: 1, Method: "PATCH", Path: path, Status: tc.status, Committed: tc.secret == "new"}
					if want.Committed {
						want.Attributes = []string{"client_secret"}
					}
					if diff := cmp.Diff([]datadogtest.Call{want}, s.Calls()); diff != "" {
						t.Errorf("calls (-want +got):\n%s", diff)
					}
				})
			}
		})
	}
}

func TestThrottledHeaders(t *testing.T) {
	s := datadogtest.New("api", "app")
	s.Fail(datadogtest.Throttled(7))
	res, err := s.Client().Get("https://api.datadoghq.com" + datadogtest.ListPath)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"Limit": "100", "Period": "60", "Remaining": "0", "Reset": "7", "Name": "webhooks_auth_method"} {
		if got := res.Header.Get("X-RateLimit-" + name); got != want {
			t.Errorf("X-RateLimit-%s: %q, want %q", name, got, want)
		}
	}
}

// A PATCH takes effect half-way through the latency, whatever its caller does.
func TestLatency(t *testing.T) {
	for _, tc := range []struct {
		name                string
		timeout             time.Duration
		givenUp, atThatTime bool // the caller; written by then
	}{
		{"given up before it lands", time.Second - 1, true, false},
		{"given up after it landed", time.Second + 1, true, true},
		{"given up just before the answer", 2*time.Second - 1, true, true},
		{"answered", 2*time.Second + 1, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, m := withMethod()
				s.Latency = 2 * time.Second
				ctx, cancel := context.WithTimeout(t.Context(), tc.timeout)
				defer cancel()
				_, _, err := call(ctx, s.Client(), "https://x", "PATCH", datadogtest.MethodPath+"/"+m.ID, patchBody(`{"client_secret": "new"}`))
				if errors.Is(err, context.DeadlineExceeded) != tc.givenUp {
					t.Errorf("error %v", err)
				}
				got, _ := s.Get(m.ID)
				if written := got.ClientSecret == "new"; written != tc.atThatTime {
					t.Errorf("written: %t, want %t", written, tc.atThatTime)
				}
				time.Sleep(2 * time.Second)
				if got, _ := s.Get(m.ID); got.ClientSecret != "new" {
					t.Error("not written in the end")
				}
			})
		})
	}
}

func TestLateCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := datadogtest.New("api", "app")
		s.Latency = 200 * time.Millisecond
		s.Fail(datadogtest.Fault{Method: "POST", Times: 1, Status: 504, Commit: true, CommitAfter: time.Second})
		status, _, err := call(t.Context(), s.Client(), "https://x", "POST", datadogtest.MethodPath, createBody)
		if status != 504 || err != nil {
			t.Fatalf("%d, %v", status, err)
		}
		time.Sleep(time.Second - 1)
		if got := s.AuthMethods(); got != nil {
			t.Errorf("created already: %v", got)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if got := s.AuthMethods(); len(got) != 1 || got[0].Name != "payments" {
			t.Errorf("got %v, want payments", got)
		}
		if got := s.Calls(); !got[0].Committed || got[0].Status != 504 {
			t.Errorf("call %+v, want it committed and answered 504", got[0])
		}
		// The name is taken now: who creates again is told so.
		if status, _, _ := call(t.Context(), s.Client(), "https://x", "POST", datadogtest.MethodPath, createBody); status != 409 {
			t.Errorf("%d, want 409", status)
		}
	})
}

func TestUnknownCalls(t *testing.T) {
	one := datadogtest.MethodPath + "/3a6f0a34-6b0b-4b62-8f36-2f6b2a4e1c55"
	for _, tc := range []struct{ method, path string }{
		{"GET", "/"},
		{"GET", "/api/v1/integration/webhooks"},
		{"GET", datadogtest.ListPath + "/"},
		{"GET", datadogtest.ListPath + "?include=another"},
		{"GET", datadogtest.ListPath + "?page=2"},
		{"POST", datadogtest.ListPath},
		{"GET", datadogtest.MethodPath},
		{"PUT", one},
		{"GET", one + "/"},
		{"GET", one + "?include=oauth2-client-credentials"},
		{"POST", one},
	} {
		t.Run(tc.method+" "+tc.path, func(t *testing.T) {
			s := datadogtest.New("api", "app")
			s.Fail(datadogtest.Fault{Status: 200}) // no fault hides it
			status, body, err := call(t.Context(), s.Client(), "https://x", tc.method, tc.path, createBody)
			if status != 501 || err != nil || !strings.Contains(body, "not part of the API") {
				t.Errorf("%d %s, %v, want 501", status, body, err)
			}
			s.ResetCalls()
			if got := s.Unknown(); len(got) != 1 || got[0].Method != tc.method || got[0].Status != 501 {
				t.Errorf("unknown calls %v", got)
			}
		})
	}
}

func TestSetKeys(t *testing.T) {
	s := datadogtest.New("api", "app")
	for _, tc := range []struct {
		api, app string
		status   int
	}{{"api", "app", 200}, {"new-api", "app", 403}, {"api", "new-app", 403}, {"api", "app", 200}} {
		s.SetKeys(tc.api, tc.app)
		if status, _, _ := call(t.Context(), s.Client(), "https://x", "GET", datadogtest.ListPath, ""); status != tc.status {
			t.Errorf("with %s, %s: %d, want %d", tc.api, tc.app, status, tc.status)
		}
	}
}

func TestEditsInTheUI(t *testing.T) {
	s, m := withMethod()
	scope := "read"
	m.Scope = &scope
	s.Put(m)
	other := s.Put(datadogtest.AuthMethod{Name: "alerts"})
	if other.ID == "" || other.ID == m.ID {
		t.Errorf("id %q", other.ID)
	}
	if diff := cmp.Diff([]datadogtest.AuthMethod{other, m}, s.AuthMethods()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s.Delete(m.ID)
	if _, ok := s.Get(m.ID); ok {
		t.Error("deleted, but there")
	}
	defer func() {
		if recover() == nil {
			t.Error("a second alerts was accepted")
		}
	}()
	s.Put(datadogtest.AuthMethod{Name: "alerts"})
}

func TestAttributesNobodyDescribes(t *testing.T) {
	s, m := withMethod()
	for _, attributes := range []string{`{"protocol": "oauth2-client-credentials"}`, `{"Client_Secret": "x"}`, `{"name": null}`, `{"client_secret": ""}`} {
		if status, _, _ := call(t.Context(), s.Client(), "https://x", "PATCH", datadogtest.MethodPath+"/"+m.ID, patchBody(attributes)); status != 400 {
			t.Errorf("%s: %d, want 400", attributes, status)
		}
	}
	if got, _ := s.Get(m.ID); got != m {
		t.Errorf("got %v, want it unchanged", got)
	}
}

func TestConcurrentUse(t *testing.T) {
	s := datadogtest.New("api", "app")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			s.Fail(datadogtest.Fault{Times: 1, Status: 500, Commit: i%2 == 0})
			body := strings.Replace(createBody, "payments", fmt.Sprint("m", i%5), 1)
			call(t.Context(), s.Client(), "https://x", "POST", datadogtest.MethodPath, body)
			call(t.Context(), s.Client(), "https://x", "GET", datadogtest.ListPath, "")
			s.Calls()
			s.AuthMethods()
			s.SetKeys("api", "app")
		})
	}
	wg.Wait()
	committed := 0
	for _, c := range s.Calls() {
		if c.Committed {
			committed++
		}
	}
	if n := len(s.AuthMethods()); n != committed {
		t.Errorf("%d auth methods after %d creates", n, committed)
	}
}
