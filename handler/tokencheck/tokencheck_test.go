package tokencheck_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
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
	stranger := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("a redirect was followed to %s", r.Host) })
	return s, tokencheck.New(standin.Hosts{"idp.example.com": s, "elsewhere.example.com": stranger})
}

func check(t *testing.T, k *tokencheck.Checker, c tokencheck.Credential) tokencheck.Verdict {
	t.Helper()
	v := k.Check(context.Background(), c)
	for _, secret := range []string{canary, token, "description"} {
		if sensitive.New(secret).In(fmt.Sprintf("%v %+v %#v", v, v, v)) {
			t.Errorf("%q is in %+v", secret, v)
		}
	}
	if (v.Outcome == tokencheck.Accepted) != (v.Why == "") {
		t.Errorf("%+v", v)
	}
	return v
}

func TestVerdict(t *testing.T) {
	const at = "the token endpoint at idp.example.com "
	oauth := func(status int, code string) tokentest.Fault {
		return tokentest.Fault{Status: status, Header: http.Header{"Content-Type": {"application/json"}},
			Body: fmt.Sprintf(`{"error":%q,"error_description":"description with %s"}`, code, canary)}
	}
	answer := func(status int, media, body string) tokentest.Fault {
		return tokentest.Fault{Status: status, Header: http.Header{"Content-Type": {media}}, Body: body}
	}
	once := func(f tokentest.Fault) tokentest.Fault { f.Times = 1; return f }
	const a, r, i = tokencheck.Accepted, tokencheck.Rejected, tokencheck.Inconclusive
	const first, both = 1, 2 // attempts
	const html = "<html>a=1&access_token=" + token
	for name, tc := range map[string]struct {
		server func(*tokentest.Server)
		faults []tokentest.Fault
		want   tokencheck.Outcome
		why    string
		calls  int
	}{
		"accepted":                           {nil, nil, a, "", first},
		"accepted in the header only":        {func(s *tokentest.Server) { s.Style = tokentest.Header }, nil, a, "", first},
		"accepted in the body only":          {func(s *tokentest.Server) { s.Style = tokentest.Params }, nil, a, "", both},
		"accepted as JSON in plain text":     {nil, []tokentest.Fault{answer(200, "text/plain; charset=utf-8", `{"access_token":"`+token+`"}`)}, a, "", first},
		"accepted as JSON in HTML":           {nil, []tokentest.Fault{answer(200, "text/html", "\n"+`{"access_token":"`+token+`"}`+"\n")}, a, "", first},
		"accepted as JSON that says form":    {nil, []tokentest.Fault{answer(200, "application/x-www-form-urlencoded", `{"access_token":"`+token+`"}`)}, a, "", first},
		"accepted as JSON of no type":        {nil, []tokentest.Fault{answer(200, "", `{"access_token":"`+token+`"}`)}, a, "", first},
		"accepted with odd members":          {nil, []tokentest.Fault{answer(200, "application/json", `{"access_token":"`+token+`","expires_in":3599.5,"token_type":1,"error":null}`)}, a, "", first},
		"accepted as a form":                 {nil, []tokentest.Fault{answer(200, "application/x-www-form-urlencoded", "access_token="+token)}, a, "", first},
		"accepted as a form of another type": {nil, []tokentest.Fault{answer(200, "application/json", "token_type=bearer&access_token="+token+"\n")}, a, "", first},
		"accepted with 201":                  {nil, []tokentest.Fault{answer(201, "application/json", `{"access_token":"`+token+`"}`)}, a, "", first},
		"accepted after 400":                 {nil, []tokentest.Fault{once(answer(400, "text/html", "<html>"))}, a, "", both},
		"accepted after 401 invalid_client":  {nil, []tokentest.Fault{once(oauth(401, "invalid_client"))}, a, "", both},
		"accepted after 403":                 {nil, []tokentest.Fault{once(answer(403, "text/html", "<html>"))}, a, "", both},

		"a secret not known":                   {func(s *tokentest.Server) { s.Revoke("payments", canary) }, nil, r, "answered 401 invalid_client", both},
		"a scope not granted":                  {func(s *tokentest.Server) { s.Scopes = []string{"read"} }, nil, r, "answered 400 invalid_scope", both},
		"an audience not granted":              {nil, []tokentest.Fault{oauth(400, "invalid_target")}, r, "answered 400 invalid_target", both},
		"invalid_client with 400":              {nil, []tokentest.Fault{oauth(400, "invalid_client")}, r, "answered 400 invalid_client", both},
		"invalid_client in plain text":         {nil, []tokentest.Fault{answer(400, "text/plain", `{"error":"invalid_client"}`)}, r, "answered 400 invalid_client", both},
		"invalid_client of no type":            {nil, []tokentest.Fault{answer(400, "", `{"error":"invalid_client"}`)}, r, "answered 400 invalid_client", both},
		"invalid_client with odd members":      {nil, []tokentest.Fault{answer(400, "", `{"error":"invalid_client","error_description":{},"expires_in":"x"}`)}, r, "answered 400 invalid_client", both},
		"invalid_client with 200":              {nil, []tokentest.Fault{oauth(200, "invalid_client")}, r, "answered 200 invalid_client", first},
		"invalid_client with 500":              {nil, []tokentest.Fault{oauth(500, "invalid_client")}, r, "answered 500 invalid_client", first},
		"unauthorized_client":                  {nil, []tokentest.Fault{oauth(403, "unauthorized_client")}, r, "answered 403 unauthorized_client", both},
		"401 with an unknown code":             {nil, []tokentest.Fault{oauth(401, canary)}, r, "answered 401", both},
		"401 with another code":                {nil, []tokentest.Fault{oauth(401, "invalid_request")}, r, "answered 401 invalid_request", both},
		"invalid_client, then another refusal": {nil, []tokentest.Fault{once(oauth(400, "invalid_client")), oauth(400, "invalid_request")}, r, "answered 400 invalid_client, then answered 400 invalid_request", both},
		"another refusal, then invalid_client": {nil, []tokentest.Fault{once(oauth(400, "invalid_request")), oauth(400, "invalid_client")}, r, "answered 400 invalid_request, then answered 400 invalid_client", both},
		"invalid_client, then 503":             {nil, []tokentest.Fault{once(oauth(401, "invalid_client")), answer(503, "", "x")}, r, "answered 401 invalid_client, then answered 503", both},
		"invalid_client, then HTML":            {nil, []tokentest.Fault{once(oauth(401, "invalid_client")), answer(403, "text/html", html)}, r, "answered 401 invalid_client, then answered 403", both},
		"invalid_client, then no answer":       {nil, []tokentest.Fault{once(oauth(401, "invalid_client")), {Cut: true}}, r, "answered 401 invalid_client, then could not be reached or gave no HTTP answer", both},
		"not found":                            {nil, []tokentest.Fault{answer(404, "text/html", html)}, r, "answered 404", first},
		"not found in the second":              {nil, []tokentest.Fault{once(oauth(400, "invalid_request")), answer(404, "", "x")}, r, "answered 400 invalid_request, then answered 404", both},
		"a redirect":                           {nil, []tokentest.Fault{{Status: 307, Header: http.Header{"Location": {"https://elsewhere.example.com/"}}}}, r, "answered 307", first},
		"a redirect with a token":              {nil, []tokentest.Fault{{Status: 302, Header: http.Header{"Location": {"https://elsewhere.example.com/"}}, Body: `{"access_token":"x"}`}}, r, "answered 302", first},
		"a redirect that is no URL":            {nil, []tokentest.Fault{{Status: 308, Header: http.Header{"Location": {"://" + canary + "%zz"}}}}, r, "answered 308", first},
		"a redirect to nowhere":                {nil, []tokentest.Fault{{Status: 303}}, r, "answered 303", first},

		"refusals of the request":        {nil, []tokentest.Fault{oauth(400, "invalid_request")}, i, "answered 400 invalid_request", both},
		"refusals of an unknown kind":    {nil, []tokentest.Fault{oauth(400, "canary_code")}, i, "answered 400", both},
		"an error of no kind with 401":   {nil, []tokentest.Fault{answer(401, "application/json", `{"error":{"code":"invalid_client"}}`)}, i, "answered 401", both},
		"an empty error with 401":        {nil, []tokentest.Fault{answer(401, "application/json", `{"error":""}`)}, i, "answered 401", both},
		"a message with 401":             {nil, []tokentest.Fault{answer(401, "application/json", `{"message":"invalid_client"}`)}, i, "answered 401", both},
		"401 that is no OAuth error":     {nil, []tokentest.Fault{answer(401, "text/html", "<html>")}, i, "answered 401", both},
		"401 as a form":                  {nil, []tokentest.Fault{answer(401, "application/x-www-form-urlencoded", "error=invalid_client")}, i, "answered 401", both},
		"HTML with 400":                  {nil, []tokentest.Fault{answer(400, "text/html", "<html>"+canary)}, i, "answered 400", both},
		"400, then no answer":            {nil, []tokentest.Fault{once(oauth(400, "invalid_request")), {Cut: true}}, i, "answered 400 invalid_request, then could not be reached or gave no HTTP answer", both},
		"503":                            {nil, []tokentest.Fault{answer(503, "text/html", html)}, i, "answered 503", first},
		"500 with a token":               {nil, []tokentest.Fault{answer(500, "application/json", `{"access_token":"x"}`)}, i, "answered 500", first},
		"429":                            {nil, []tokentest.Fault{oauth(429, "slow_down")}, i, "answered 429 slow_down", first},
		"405":                            {nil, []tokentest.Fault{answer(405, "", "x")}, i, "answered 405", first},
		"a cut connection":               {nil, []tokentest.Fault{{Cut: true}}, i, "could not be reached or gave no HTTP answer", first},
		"a cut answer":                   {nil, []tokentest.Fault{{Status: 200, Body: `{"access_token":"` + token + `"}`, Cut: true}}, i, "could not be reached or gave no HTTP answer", first},
		"200 of HTML":                    {nil, []tokentest.Fault{answer(200, "text/html", html)}, i, "answered 200 without an access token", first},
		"200 of HTML that says form":     {nil, []tokentest.Fault{answer(200, "text/plain", html)}, i, "answered 200 without an access token", first},
		"200 of prose":                   {nil, []tokentest.Fault{answer(200, "text/plain", "no &access_token=x")}, i, "answered 200 without an access token", first},
		"200 without a token":            {nil, []tokentest.Fault{answer(200, "application/json", `{"token_type":"Bearer"}`)}, i, "answered 200 without an access token", first},
		"200 with an empty token":        {nil, []tokentest.Fault{answer(200, "application/json", `{"access_token":""}`)}, i, "answered 200 without an access token", first},
		"200 with a token of no kind":    {nil, []tokentest.Fault{answer(200, "application/json", `{"access_token":{}}`)}, i, "answered 200 without an access token", first},
		"200 with a token of other case": {nil, []tokentest.Fault{answer(200, "application/json", `{"Access_Token":"x"}`)}, i, "answered 200 without an access token", first},
		"200 of null":                    {nil, []tokentest.Fault{answer(200, "application/json", `null`)}, i, "answered 200 without an access token", first},
		"200 with a token and an error":  {nil, []tokentest.Fault{answer(200, "application/json", `{"access_token":"x","error":"server_error"}`)}, i, "answered 200 server_error", first},
		"a body over the cap":            {nil, []tokentest.Fault{answer(200, "application/json", `{"access_token":"`+strings.Repeat("x", 64<<10)+`"}`)}, i, "answered 200 without an access token", first},
		"a form over the cap, cut short": {nil, []tokentest.Fault{answer(200, "text/plain", strings.Repeat("x", 64<<10)+"&access_token=x")}, i, "answered 200 without an access token", first},

		"Entra's number": {nil, []tokentest.Fault{answer(401, "application/json", `{"error":"invalid_client","error_description":"AADSTS7000215: description `+canary+` AADSTS1"}`)},
			r, "answered 401 invalid_client AADSTS7000215", both},
		"what looks like Entra's number": {nil, []tokentest.Fault{answer(401, "application/json", `{"error":"invalid_client","error_description":"XAADSTS1 AADSTS AADSTS12345678901 AADSTSx"}`)},
			r, "answered 401 invalid_client", both},
	} {
		t.Run(name, func(t *testing.T) {
			s, k := provider(t)
			if tc.server != nil {
				tc.server(s)
			}
			for _, f := range tc.faults {
				s.Fail(f)
			}
			want := tokencheck.Verdict{Outcome: tc.want, Answered: !strings.Contains(tc.why, "no HTTP answer")}
			if tc.want != a {
				want.Why = at + tc.why
			}
			if diff := cmp.Diff(want, check(t, k, credential)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got := len(s.Calls()); got != tc.calls {
				t.Errorf("%d calls; want %d", got, tc.calls)
			}
		})
	}
	t.Run("a host that does not exist", func(t *testing.T) {
		s, k := provider(t)
		c := credential
		c.AccessTokenURL = "https://gone.example.com:8443/token"
		want := tokencheck.Verdict{Outcome: r, Why: "the token endpoint at gone.example.com does not exist: its host name is unknown", Answered: true}
		if diff := cmp.Diff(want, check(t, k, c)); diff != "" || len(s.Calls()) != 0 {
			t.Error(diff)
		}
	})
	t.Run("a host that is not known just now", func(t *testing.T) {
		v := check(t, tokencheck.New(roundTrip(func(*http.Request) (*http.Response, error) {
			return nil, &net.DNSError{Err: "server misbehaving " + canary, IsTemporary: true}
		})), credential)
		if v.Outcome != i || v.Answered {
			t.Errorf("%+v", v)
		}
	})
}

func TestStyleThatWorkedIsRemembered(t *testing.T) {
	s, k := provider(t)
	styles := func() (all []tokentest.Style) {
		for _, c := range s.Calls() {
			all = append(all, c.Style)
			if c.ClientID != "payments" || c.Scope != credential.Scope || c.Audience != credential.Audience {
				t.Errorf("asked %+v", c)
			}
		}
		s.ResetCalls()
		return all
	}
	const header, params = tokentest.Header, tokentest.Params
	elsewhere := credential
	elsewhere.AccessTokenURL += "?tenant=2"
	for _, step := range []struct {
		name   string
		server tokentest.Style
		c      tokencheck.Credential
		want   []tokentest.Style
	}{
		{"tried one after the other", params, credential, []tokentest.Style{header, params}},
		{"the second first", params, credential, []tokentest.Style{params}},
		{"not for another URL", params, elsewhere, []tokentest.Style{header, params}},
		{"the other when it fails", header, credential, []tokentest.Style{params, header}},
		{"that one from then on", header, credential, []tokentest.Style{header}},
	} {
		s.Style = step.server
		if v := check(t, k, step.c); v.Outcome != tokencheck.Accepted {
			t.Errorf("%s: %+v", step.name, v)
		}
		if diff := cmp.Diff(step.want, styles()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
	}
}

func TestTimeOfACheck(t *testing.T) {
	for name, tc := range map[string]struct {
		latency, took time.Duration // of one call, of the check
		want          tokencheck.Outcome
	}{
		"two answers just in time": {2500*time.Millisecond - 1, 5*time.Second - 2, tokencheck.Accepted},
		"the second too late":      {2500*time.Millisecond + 1, 5 * time.Second, tokencheck.Rejected},
		"the first too late":       {5*time.Second + 1, 5 * time.Second, tokencheck.Inconclusive},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, k := provider(t)
				s.Latency, s.Style = tc.latency, tokentest.Params
				began := time.Now()
				v := check(t, k, credential)
				if took := time.Since(began); v.Outcome != tc.want || took != tc.took || v.Answered != (v.Why == "") || tc.want != tokencheck.Accepted && !strings.HasSuffix(v.Why, "did not answer in time") {
					t.Errorf("%+v after %v", v, took)
				}
				time.Sleep(time.Minute) // until the server is done, too
			})
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// FuzzAnswers: nothing is accepted but a 2xx with an access token and no error, and no words but ours come out.
func FuzzAnswers(f *testing.F) {
	f.Add(uint16(100), "application/json", []byte(`{"access_token":"x"}`))
	f.Add(uint16(300), "application/json;charset=utf-8", []byte(`{"error":"invalid_client","error_description":"AADSTS7000215: x"}`))
	f.Add(uint16(100), "text/plain", []byte(`access_token=x&error=server_error`))
	f.Add(uint16(202), "text/html", []byte(`<html>`))
	f.Add(uint16(104), "", []byte(`{"error":"AADSTS1","access_token":null}`))
	ours := regexp.MustCompile(`^the token endpoint at idp\.example\.com answered \d+( without an access token|( [a-z]+(_[a-z]+)*)?( AADSTS[0-9]{1,10})?)$`)
	f.Fuzz(func(t *testing.T, status uint16, media string, body []byte) {
		if status%900 == 1 {
			return // 101 is another protocol, and no answer
		}
		v := tokencheck.New(roundTrip(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: int(status%900) + 100, Header: http.Header{"Content-Type": {media}}, Body: io.NopCloser(strings.NewReader(string(body))), Request: r}, nil
		})).Check(context.Background(), credential)
		if v.Outcome != tokencheck.Accepted {
			if !ours.MatchString(v.Why) || !v.Answered {
				t.Fatalf("%+v", v)
			}
			return
		}
		var doc map[string]any
		form, _ := url.ParseQuery(strings.TrimSpace(string(body)))
		_ = json.Unmarshal(body, &doc)
		issued, _ := doc["access_token"].(string)
		refused, _ := doc["error"].(string)
		inJSON := issued != "" && refused == ""
		if status%900/100 != 1 || !inJSON && (form.Get("access_token") == "" || form.Get("error") != "") {
			t.Fatalf("accepted %d %q", status, body)
		}
	})
}
