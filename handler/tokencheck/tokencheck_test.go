package tokencheck_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/sensitive"
	"datadog-webhook-auth-sync/handler/standin"
	"datadog-webhook-auth-sync/handler/tokencheck"
	"datadog-webhook-auth-sync/handler/tokencheck/tokentest"
)

const (
	canary = "canary/of+the client&secret"
	token  = "canary-of-the-access-token"
)

var credential = tokencheck.Credential{ClientID: "payments", ClientSecret: sensitive.New(canary),
	AccessTokenURL: "https://idp.example.com/token", Audience: "https://hooks.example.com", Scope: "read write"}

// provider is a token endpoint that honours credential, and a checker that can reach it alone.
func provider(t *testing.T) (*tokentest.Server, *tokencheck.Checker) {
	s := tokentest.New()
	s.AccessToken = token
	s.Allow(credential.ClientID, canary)
	stranger := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a redirect was followed to %s", r.Host)
	})
	return s, tokencheck.New(standin.Hosts{"idp.example.com": s, "elsewhere.example.com": stranger})
}

// ours is all that a verdict may say of idp.example.com.
var ours = regexp.MustCompile(`^idp\.example\.com ((, then )?` +
	`((answered )?\d{3}( without an access token)?( [a-z]+(_[a-z]+)*)?( AADSTS\d{4,7})?` +
	`|did not answer in time|could not be reached or gave no HTTP answer|does not exist: its host name is unknown))+` +
	`( \(there is white space around client_(id|secret)\))*$`)

func check(t *testing.T, k *tokencheck.Checker, c tokencheck.Credential, known tokencheck.Style) tokencheck.Verdict {
	t.Helper()
	v := k.Check(context.Background(), c, known)
	for _, secret := range []string{canary, token, "description"} {
		if sensitive.New(secret).In(fmt.Sprintf("%v %+v %#v", v, v, v)) {
			t.Errorf("%q is in %+v", secret, v)
		}
	}
	accepted := v.Outcome == tokencheck.Accepted
	if accepted != (v.Why == "") || accepted != (v.Hint == "") || accepted != (v.Via != "") ||
		v.Outcome == tokencheck.Rejected && !v.Refused {
		t.Errorf("%+v", v)
	}
	return v
}

// TestCases asks each dialect that was seen in the world.
func TestCases(t *testing.T) {
	for _, file := range []string{"testdata/cases.json", "testdata/reported.json"} {
		cases, err := tokentest.ReadCases(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, tc := range cases {
			t.Run(tc.Name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s, k := provider(t)
					s.Answers = tc.Answers
					c := credential
					if tc.ClientID != "" {
						c.ClientID = tc.ClientID
					}
					if tc.ClientSecret != "" {
						c.ClientSecret = sensitive.New(tc.ClientSecret)
					}
					v := check(t, k, c, tc.Known)
					told := v.Outcome == tokencheck.Accepted || ours.MatchString(v.Why)
					if v.Outcome != tc.Want || v.Refused != tc.Refused || !told {
						t.Errorf("%+v; want %s, refused %v", v, tc.Want, tc.Refused)
					}
					time.Sleep(time.Minute) // until the server is done, too
				})
			})
		}
	}
}

func TestWhyAndHint(t *testing.T) {
	say := func(status int, body string) tokentest.Answer { return tokentest.Answer{Status: status, Body: body} }
	const (
		generic = "Check that the identity provider knows the new client secret."
		url     = "Check that access_token_url is the token endpoint."
		wall    = "Check that no firewall or policy keeps the function from the token endpoint."
		grant   = "Allow the client the client_credentials grant."
		wait    = "Wait: it is tried again."
	)
	badClient, badScope, badGrant := say(401, `{"error":"invalid_client"}`), say(400, `{"error":"invalid_scope"}`),
		say(400, `{"error":"unauthorized_client"}`)
	for name, tc := range map[string]struct {
		header, body tokentest.Answer
		why, hint    string
	}{
		"a wrong secret": {badClient, badClient, "answered 401 invalid_client", generic},
		"in two ways":    {say(400, "description"), say(401, `{"ERROR":"Invalid_Client"}`), "answered 400, then 401 invalid_client", generic},
		"Entra's number": {say(401, `{"error_description":"XAADSTS1 AADSTS12345678901 AADSTS7000215: description"}`), say(400, ""),
			"answered 401 AADSTS7000215, then 400", generic},
		"an unknown code":         {say(401, `{"error":"description"}`), say(401, `{"error":"`+canary+`"}`), "answered 401", generic},
		"a scope":                 {badClient, badScope, "answered 401 invalid_client, then 400 invalid_scope", "Correct scope, or grant it to the client."},
		"an audience":             {say(400, `{"error":"invalid_target"}`), badClient, "answered 400 invalid_target, then 401 invalid_client", "Correct audience, or grant it to the client."},
		"no such grant":           {badGrant, badGrant, "answered 400 unauthorized_client", grant},
		"another URL":             {say(404, ""), say(404, ""), "answered 404", url},
		"a redirect":              {say(307, `{"access_token":"T"}`), say(307, ""), "answered 307", url},
		"an error for a token":    {say(200, `{"error":"description"}`), say(200, `{}`), "answered 200 without an access token", generic},
		"a page":                  {say(200, "<html>a=1&access_token=T"), say(200, "<html>"), "answered 200 without an access token", wall},
		"throttled":               {say(429, `{"error":"slow_down"}`), say(500, ""), "answered 429 slow_down", wait},
		"refused, then throttled": {say(401, ""), say(400, `{"x":[{"y":"Rate-Limit hit"}]}`), "answered 401, then 400", wait},
		"no answer":               {tokentest.Answer{Network: "timeout"}, say(500, ""), "did not answer in time", wait},
		"a cut connection":        {tokentest.Answer{Network: "cut"}, say(200, `{"access_token":"T"}`), "could not be reached or gave no HTTP answer", wall},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, k := provider(t)
				s.Answers = map[tokencheck.Style]tokentest.Answer{tokencheck.Header: tc.header, tokencheck.Body: tc.body}
				v := check(t, k, credential, "")
				if v.Why != "idp.example.com "+tc.why || v.Hint != tc.hint {
					t.Errorf("%+v", v)
				}
				time.Sleep(time.Minute) // until the server is done, too
			})
		})
	}
	for name, tc := range map[string]struct {
		err  error
		want tokencheck.Verdict
	}{
		"no such host": {&net.DNSError{IsNotFound: true}, tokencheck.Verdict{Outcome: tokencheck.Rejected, Refused: true,
			Why: "idp.example.com does not exist: its host name is unknown", Hint: "Correct the host in access_token_url."}},
		"a name server in trouble": {&net.DNSError{Err: canary, IsTemporary: true}, tokencheck.Verdict{Outcome: tokencheck.Inconclusive,
			Why: "idp.example.com could not be reached or gave no HTTP answer", Hint: wall}},
	} {
		t.Run(name, func(t *testing.T) {
			k := tokencheck.New(roundTrip(func(*http.Request) (*http.Response, error) { return nil, tc.err }))
			if diff := cmp.Diff(tc.want, check(t, k, credential, tokencheck.Body)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhiteSpaceIsSaid(t *testing.T) {
	const off, url = "Take the white space off, unless it belongs there.", "Check that access_token_url is the token endpoint."
	for _, tc := range []struct {
		id, secret string
		status     int
		said, hint string
	}{
		{"payments", canary, 401, "", "Check that the identity provider knows the new client secret."},
		{"payments", canary + "\u00a0", 401, " (there is white space around client_secret)", off},
		{" payments", canary, 401, " (there is white space around client_id)", off},
		{" payments", canary, 404, " (there is white space around client_id)", url},
		{" payments", canary, 503, "", "Wait: it is tried again."}, // which says nothing of the credential
	} {
		s, k := provider(t)
		s.Answers = map[tokencheck.Style]tokentest.Answer{tokencheck.Header: {Status: tc.status}}
		c := credential
		c.ClientID, c.ClientSecret = tc.id, sensitive.New(tc.secret)
		v := check(t, k, c, "")
		if v.Why != fmt.Sprintf("idp.example.com answered %d%s", tc.status, tc.said) || v.Hint != tc.hint {
			t.Errorf("%+v", v)
		}
	}
}

func TestPlainIsKnownWhereItDoesNotDiffer(t *testing.T) {
	s, k := provider(t)
	s.Answers = map[tokencheck.Style]tokentest.Answer{tokencheck.Header: {Status: 401}, tokencheck.Body: {Status: 503}}
	c := credential
	c.ClientSecret = sensitive.New("canary")
	if v := check(t, k, c, tokencheck.Plain); v.Outcome != tokencheck.Rejected {
		t.Errorf("%+v", v)
	}
}

// TestAttempts: which styles are tried, in which order, with what.
func TestAttempts(t *testing.T) {
	const header, body, plain = tokencheck.Header, tokencheck.Body, tokencheck.Plain
	type styles = []tokencheck.Style
	for name, tc := range map[string]struct {
		id, secret string
		honours    tokencheck.Style // "" = none
		known      tokencheck.Style
		want       styles
	}{
		"the header first":                     {"payments", canary, header, "", styles{header}},
		"then the body":                        {"payments", canary, body, "", styles{header, body}},
		"then plain":                           {"payments", canary, plain, "", styles{header, body, plain}},
		"not plain where it does not differ":   {"payments", "canary", "", "", styles{header, body}},
		"nor with a colon in the id":           {"pay:ments", canary, "", "", styles{header, body}},
		"plain for the id's sake":              {"pay ments", "canary", plain, "", styles{header, body, plain}},
		"the known one first":                  {"payments", canary, body, body, styles{body}},
		"the known one first, then the others": {"payments", canary, plain, body, styles{body, header, plain}},
		"plain known":                          {"payments", canary, "", plain, styles{plain, header, body}},
		"plain known, and it does not differ":  {"payments", "canary", header, plain, styles{header}},
		"something else known":                 {"payments", "canary", header, "x", styles{header}},
	} {
		t.Run(name, func(t *testing.T) {
			s, k := provider(t)
			s.Style = tc.honours
			if tc.honours != "" {
				s.Allow(tc.id, tc.secret)
			} else {
				s.Revoke(tc.id, tc.secret)
			}
			c := credential
			c.ClientID, c.ClientSecret = tc.id, sensitive.New(tc.secret)
			if v := check(t, k, c, tc.known); v.Via != tc.honours {
				t.Errorf("%+v", v)
			}
			var got styles
			for _, call := range s.Calls() {
				got = append(got, call.Style)
				if call.ClientID != tc.id || call.Scope != c.Scope || call.Audience != c.Audience {
					t.Errorf("asked %+v", call)
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("tried %q; want %q", got, tc.want)
			}
		})
	}
}

func TestTimeOfACheck(t *testing.T) {
	for name, tc := range map[string]struct {
		latency, took time.Duration // of one call, of the check
		want          tokencheck.Outcome
	}{
		"two answers just in time": {2500*time.Millisecond - 1, 5*time.Second - 2, tokencheck.Accepted},
		"the second too late":      {2500*time.Millisecond + 1, 5 * time.Second, tokencheck.Inconclusive},
		"the first too late":       {5*time.Second + 1, 5 * time.Second, tokencheck.Inconclusive},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, k := provider(t)
				s.Latency, s.Style = tc.latency, tokencheck.Body
				began := time.Now()
				v := check(t, k, credential, "")
				if took := time.Since(began); v.Outcome != tc.want || took != tc.took {
					t.Errorf("%+v after %v", v, took)
				}
				time.Sleep(time.Minute) // until the server is done, too
			})
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestReading: the borders between a token, a refusal and no verdict.
func TestReading(t *testing.T) {
	const a, r, i = tokencheck.Accepted, tokencheck.Rejected, tokencheck.Inconclusive
	c := credential
	c.ClientID, c.Scope = "slow-down", "read rate_limits"
	for status, wants := range map[int]map[string]tokencheck.Outcome{
		200: {
			"\ufeff\n" + `{"access_token":"T"}` + "\n": a, `{"access_token":"T","error":[]}`: a, `{"access_token":"T","error":{}}`: a,
			`{"access_token":"T","error":false}`: a, `{"access_token":"T","message":"temporary"}`: a, `{"access_token":"T","errorCode":"x"}`: a,
			`{"access_token":"T","ERROR":"x"}`: r, `{"access_token":"T","error":true}`: r, `{"access_token":"a\tb"}`: r, `{"Access_Token":"T"}`: r,
			`[{"access_token":"T"}]`: r, `"T"`: r, `{"access_token":"","error":"temporarily_unavailable"}`: i, `{"access_token":"T"}x`: i,
			"token_type=bearer&access_token=T\n": a, "access_token=T&error=": a, "access_token=T&error=0": a, "access_token=T&error=null": a, "access_token=T&error=x": r,
			"access_token=&a=b": r, "access_token=a+b": r, "a&access_token=T": i, "no =1&access_token=T": i, "<a=1&access_token=T": i, "e.y.J": i, "OK": i, "%zz=1": i,
			`{"access_token":"` + strings.Repeat("x", 64<<10) + `"}`: i,
		},
		403: {
			`{"ERRORCODE":"Invalid_Client"}`: r, "error=access_denied&error_description=no+such+client": r, `{"error":"slow_down"}`: i, `{"error":"server_error"}`: r,
			`{"error":{"code":"invalid_client"}}`: i, `{"code":"invalid_client"}`: i, `{"error":"invalid_client_secret"}`: i, "invalid_client": i, "": i,
		},
		401: {
			`{"a":[{"b":"Please SLOW-DOWN"}]}`: i, `{"error":"x","error_description":"temporarily\u0020locked"}`: i, `["throttled"]`: i,
			`"too\u00a0many requests"`: i, `"too\nmany requests"`: i, `{"TooManyRequestsException":{}}`: i, "error=x&error_description=Too+many+requests": i, "error=x&error_description=Too many": i,
			`{"a":"too","b":"much"}`: r, `{"a":"rate -limit"}`: r, "<p>Too many requests": r, "Too many requests": r,
			`{"a":"(AADSTS53003)"}`: i, `{"a":"AADSTS530034"}`: r, `{"a":"AADSTS65001: AADSTS53003"}`: i,
		},
		400: { // a word of passing trouble that is the client's, or its scope's, says nothing
			`{"error":"invalid_scope","error_description":"no rate_limits for slow-down"}`: r,
			`{"error":"invalid_scope","error_description":"rate limited for slow-down"}`:   i,
		},
		302: {"": r, `{"error":"slow_down"}`: i}, 418: {"": r}, 501: {`{"access_token":"T"}`: i},
	} {
		for body, want := range wants {
			s, k := provider(t)
			s.Answers = map[tokencheck.Style]tokentest.Answer{tokencheck.Header: {Status: status, ContentType: "text/html", Body: body}}
			if v := check(t, k, c, ""); v.Outcome != want || v.Refused != (want == r) {
				t.Errorf("%d %.80q: %+v; want %s", status, body, v, want)
			}
		}
	}
}

// FuzzAnswers: nothing is accepted but a 2xx with an access token in its body, and no words but ours come out.
func FuzzAnswers(f *testing.F) {
	f.Add(uint16(100), []byte(`{"access_token":"x"}`))
	f.Add(uint16(300), []byte(`{"error":"invalid_client","error_description":"AADSTS7000215: x"}`))
	f.Add(uint16(100), []byte(`access_token=x&error=server_error`))
	f.Add(uint16(202), []byte(`<html>`))
	f.Add(uint16(104), []byte("\ufeff"+`{"errorCode":"AADSTS1","access_token":null}`))
	f.Add(uint16(300), []byte(`[[{"a":{"b":"too many"}}]]`))
	f.Fuzz(func(t *testing.T, status uint16, body []byte) {
		code := int(status%900) + 100
		if code == http.StatusSwitchingProtocols {
			return // another protocol, and no answer
		}
		v := tokencheck.New(roundTrip(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: code, Body: io.NopCloser(strings.NewReader(string(body))), Request: r}, nil
		})).Check(context.Background(), credential, "")
		named := strings.Contains(string(body), "access") || strings.ContainsAny(string(body), `\%`) // or its name is escaped
		if v.Outcome == tokencheck.Accepted && (code/100 != 2 || !named) {
			t.Fatalf("accepted %d %q", code, body)
		}
		if v.Outcome != tokencheck.Accepted && (!ours.MatchString(v.Why) || v.Outcome == tokencheck.Rejected && code/100 == 5) {
			t.Fatalf("%d %q: %+v", code, body, v)
		}
	})
}
