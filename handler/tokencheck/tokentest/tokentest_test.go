package tokentest_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/tokencheck/tokentest"
)

const tokenURL = "https://idp.example.com/oauth2/token"

func header(id, secret string, form url.Values) *http.Request {
	r := params(form)
	r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	return r
}

func params(form url.Values) *http.Request {
	r, err := http.NewRequest("POST", tokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		panic(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

func grant(pairs ...string) url.Values {
	form := url.Values{"grant_type": {"client_credentials"}}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return form
}

// send returns "<status> <error code or access token>".
func send(t *testing.T, s *tokentest.Server, r *http.Request) (string, *http.Response) {
	t.Helper()
	res, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Error       string `json:"error"`
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(res.StatusCode, " ", doc.Error, doc.AccessToken), res
}

func TestGrant(t *testing.T) {
	const id, secret, issued = "client:id", "s+e/c %r&t=é", "200 canary-token"
	withoutType := header(id, secret, grant())
	withoutType.Header.Del("Content-Type")
	get := header(id, secret, grant())
	get.Method = "GET"
	unescaped := params(grant())
	unescaped.SetBasicAuth(id, secret)
	for _, tc := range []struct {
		name    string
		request *http.Request
		set     func(*tokentest.Server)
		want    string
		call    tokentest.Call
	}{
		{"header", header(id, secret, grant()), nil, issued, tokentest.Call{Style: tokentest.Header}},
		{"params", params(grant("client_id", id, "client_secret", secret)), nil, issued, tokentest.Call{Style: tokentest.Params}},
		{"id in both", header(id, secret, grant("client_id", id)), nil, issued, tokentest.Call{Style: tokentest.Header}},
		{"second secret", header(id, "second", grant()), nil, issued, tokentest.Call{Style: tokentest.Header}},
		{"header, not escaped", unescaped, nil, "401 invalid_client", tokentest.Call{Style: tokentest.Header, ClientID: "client"}},
		{"header, wrong secret", header(id, "x", grant()), nil, "401 invalid_client", tokentest.Call{Style: tokentest.Header}},
		{"params, wrong secret", params(grant("client_id", id, "client_secret", "x")), nil, "400 invalid_client", tokentest.Call{Style: tokentest.Params}},
		{"no authentication", params(grant("client_id", id)), nil, "400 invalid_client", tokentest.Call{ClientID: id}},
		{"both", header(id, secret, grant("client_id", id, "client_secret", secret)), nil, "400 invalid_request", tokentest.Call{}},
		{"header where params are wanted", header(id, secret, grant()), func(s *tokentest.Server) { s.Style = tokentest.Params }, "401 invalid_client", tokentest.Call{Style: tokentest.Header}},
		{"params where the header is wanted", params(grant("client_id", id, "client_secret", secret)), func(s *tokentest.Server) { s.Style = tokentest.Header }, "400 invalid_client", tokentest.Call{Style: tokentest.Params}},
		{"no grant type", header(id, secret, url.Values{}), nil, "400 invalid_request", tokentest.Call{Style: tokentest.Header}},
		{"another grant type", header(id, secret, url.Values{"grant_type": {"password"}}), nil, "400 unsupported_grant_type", tokentest.Call{Style: tokentest.Header}},
		{"a parameter twice", header(id, secret, grant("scope", "a", "scope", "b")), nil, "400 invalid_request", tokentest.Call{}},
		{"no content type", withoutType, nil, "400 invalid_request", tokentest.Call{}},
		{"GET", get, nil, "400 invalid_request", tokentest.Call{}},
		{"scopes", header(id, secret, grant("scope", "b a")), nil, issued, tokentest.Call{Style: tokentest.Header, Scope: "b a"}},
		{"unknown scope", header(id, secret, grant("scope", "a c")), nil, "400 invalid_scope", tokentest.Call{Style: tokentest.Header, Scope: "a c"}},
		{"any scope", header(id, secret, grant("scope", "c")), func(s *tokentest.Server) { s.Scopes = nil }, issued, tokentest.Call{Style: tokentest.Header, Scope: "c"}},
		{"audience", header(id, secret, grant("audience", "https://a")), nil, issued, tokentest.Call{Style: tokentest.Header, Audience: "https://a"}},
		{"unknown audience", header(id, secret, grant("audience", "https://b")), nil, "400 invalid_target", tokentest.Call{Style: tokentest.Header, Audience: "https://b"}},
		{"revoked", header(id, secret, grant()), func(s *tokentest.Server) { s.Revoke(id, secret) }, "401 invalid_client", tokentest.Call{Style: tokentest.Header}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := tokentest.New()
			s.AccessToken = "canary-token"
			s.Scopes, s.Audiences = []string{"a", "b"}, []string{"https://a"}
			s.Allow(id, secret)
			s.Allow(id, "second")
			if tc.set != nil {
				tc.set(s)
			}
			got, res := send(t, s, tc.request)
			if got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
			if challenged := res.Header.Get("WWW-Authenticate") != ""; challenged != (res.StatusCode == 401) {
				t.Errorf("WWW-Authenticate is there: %t", challenged)
			}
			tc.call.N, tc.call.Status = 1, res.StatusCode
			if tc.want != issued {
				tc.call.Error = strings.Fields(tc.want)[1]
			}
			if tc.call.Style != "" {
				tc.call.ClientID = cmp.Or(tc.call.ClientID, id)
			}
			if diff := gocmp.Diff([]tokentest.Call{tc.call}, s.Calls()); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHonourAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := tokentest.New()
		s.HonourAfter("c", "new", time.Minute)
		time.Sleep(time.Minute - 1)
		if got, _ := send(t, s, header("c", "new", grant())); got != "401 invalid_client" {
			t.Errorf("a nanosecond before: %s", got)
		}
		time.Sleep(time.Nanosecond)
		if got, _ := send(t, s, header("c", "new", grant())); got != "200 access-token-of-tokentest" {
			t.Errorf("then: %s", got)
		}
	})
}

func TestFaults(t *testing.T) {
	t.Run("echo", func(t *testing.T) {
		s := tokentest.New()
		s.Fail(tokentest.Fault{Status: 400, Echo: true})
		res, err := s.Client().Do(header("c", "s", grant("scope", "x")))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		if want := "Basic Yzpz\ngrant_type=client_credentials&scope=x"; string(body) != want {
			t.Errorf("%q, want %q", body, want)
		}
	})
	t.Run("redirect", func(t *testing.T) {
		s := tokentest.New()
		s.Fail(tokentest.Fault{Status: 307, Header: http.Header{"Location": {"https://evil.example.com/"}}})
		res, err := s.Client().Transport.RoundTrip(header("c", "s", grant()))
		if err != nil || res.StatusCode != 307 || res.Header.Get("Location") != "https://evil.example.com/" {
			t.Errorf("%v, %v", res, err)
		}
	})
	t.Run("cut over HTTP", func(t *testing.T) {
		s := tokentest.New()
		s.Fail(tokentest.Fault{Cut: true})
		server := httptest.NewServer(s)
		defer server.Close()
		if res, err := server.Client().PostForm(server.URL, grant()); err == nil {
			t.Errorf("%v, want an error", res)
		}
	})
	t.Run("cut in process, then cleared", func(t *testing.T) {
		s := tokentest.New()
		s.Allow("c", "s")
		s.Fail(tokentest.Fault{Cut: true})
		if _, err := s.Client().Do(header("c", "s", grant())); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%v, want %v", err, io.ErrUnexpectedEOF)
		}
		s.ClearFaults()
		if got, _ := send(t, s, header("c", "s", grant())); got != "200 access-token-of-tokentest" {
			t.Error(got)
		}
		s.ResetCalls()
		if got := s.Calls(); got != nil {
			t.Errorf("calls %v", got)
		}
	})
}
