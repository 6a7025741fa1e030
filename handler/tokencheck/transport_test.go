package tokencheck_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"datadog-webhook-auth-sync/handler/sensitive"
	"datadog-webhook-auth-sync/handler/standin"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

func TestTransportCallsPublicAddressesOnly(t *testing.T) {
	var calls atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		fmt.Fprintf(w, `{"access_token":%q}`, token)
	}))
	defer s.Close()
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	loopback := []string{s.URL, "http://localhost:" + port, "http://[::ffff:127.0.0.1]:" + port}
	other := []string{"http://10.0.0.1", "http://192.168.0.1", "http://169.254.169.254/latest/meta-data", "http://[fd00:ec2::254]", "http://0.0.0.0:" + port, "http://[::]:" + port}
	for _, tc := range []struct {
		allowed bool
		urls    []string
		want    tokencheck.Outcome
	}{
		{false, append(loopback, other...), tokencheck.Inconclusive},
		{true, other, tokencheck.Inconclusive},
		{true, loopback, tokencheck.Accepted},
	} {
		for _, url := range tc.urls {
			for _, url := range []string{url, strings.Replace(url, "http:", "https:", 1)} {
				if tc.want == tokencheck.Accepted && strings.HasPrefix(url, "https:") {
					continue // which s does not speak
				}
				calls.Store(0)
				v := check(t, tokencheck.New(tokencheck.Transport(tc.allowed)), at(url))
				called := tc.want == tokencheck.Accepted
				if v.Outcome != tc.want || v.Answered != called || (calls.Load() > 0) != called || !called && !strings.HasSuffix(v.Why, "has an address that is not public, so it was not called") {
					t.Errorf("%s, loopback allowed: %v: %+v after %d calls", url, tc.allowed, v, calls.Load())
				}
			}
		}
	}
	if tokencheck.Transport(false).(*http.Transport).Proxy != nil {
		t.Error("a proxy would resolve names elsewhere")
	}
}

func TestTransportTrustsTheRightServerOnly(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"access_token":%q}`, token) }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	wrongName := strings.Replace(s.URL, "127.0.0.1", "localhost", 1)
	for _, tc := range []struct {
		url   string
		roots bool
		want  tokencheck.Outcome
	}{{s.URL, true, tokencheck.Accepted}, {wrongName, true, tokencheck.Inconclusive}, {s.URL, false, tokencheck.Inconclusive}} {
		transport := tokencheck.Transport(true).(*http.Transport)
		if tc.roots {
			transport.TLSClientConfig.RootCAs = x509.NewCertPool()
			transport.TLSClientConfig.RootCAs.AddCert(s.Certificate())
		}
		if v := check(t, tokencheck.New(transport), at(tc.url)); v.Outcome != tc.want {
			t.Errorf("%s with roots %v: %+v", tc.url, tc.roots, v)
		}
	}
}

// TestNothingOfTheServersIsTold: a server that knows the secret sends it back wherever net/http could quote it.
func TestNothingOfTheServersIsTold(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 45\r\n\r\n" + `{"access_token":"canary-of-the-access-token"}`
	const a, r, i = tokencheck.Accepted, tokencheck.Rejected, tokencheck.Inconclusive
	for name, tc := range map[string]struct {
		first, answer string // SECRET stands for the secret that was sent
		want          tokencheck.Outcome
	}{
		"status line":               {"", "SECRET\r\n\r\n", i},
		"status":                    {"", "HTTP/1.1 SECRET\r\n\r\n", i},
		"version":                   {"", "HTTP/SECRET 200 OK\r\n\r\n", i},
		"reason":                    {"", "HTTP/1.1 401 SECRET\r\nContent-Length: 0\r\n\r\n", i},
		"header":                    {"", "HTTP/1.1 200 OK\r\nSECRET\r\n\r\n", i},
		"header name":               {"", "HTTP/1.1 200 OK\r\nSECRET: x\r\n\r\n", i},
		"content length":            {"", "HTTP/1.1 200 OK\r\nContent-Length: SECRET\r\n\r\n", i},
		"transfer encoding":         {"", "HTTP/1.1 200 OK\r\nTransfer-Encoding: SECRET\r\n\r\n", i},
		"chunk":                     {"", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nSECRET\r\n", i},
		"trailer":                   {"", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nSECRET\r\n\r\n", i},
		"compression":               {"", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 6\r\n\r\nSECRET", i},
		"informational":             {"", "HTTP/1.1 103 SECRET\r\nSECRET: x\r\n\r\n", i},
		"switch of protocol":        {"", "HTTP/1.1 101 SECRET\r\nUpgrade: SECRET\r\nConnection: upgrade\r\n\r\nSECRET", i},
		"cookie":                    {"", "HTTP/1.1 400 x\r\nSet-Cookie: SECRET=\"SECRET; Domain=SECRET\r\nContent-Length: 0\r\n\r\n", i},
		"redirect":                  {"", "HTTP/1.1 302 SECRET\r\nLocation: https://SECRET/\r\nContent-Length: 0\r\n\r\n", r},
		"redirect that is no URL":   {"", "HTTP/1.1 307 x\r\nLocation: ://SECRET%zz\r\nContent-Length: 0\r\n\r\n", r},
		"body":                      {"", "HTTP/1.1 401 x\r\n\r\nSECRET", i},
		"OAuth error":               {"", "HTTP/1.1 401 x\r\n\r\n" + `{"error":"SECRET","error_description":"SECRET","error_uri":"SECRET"}`, r},
		"before the request":        {"SECRET", "", i},
		"an answer before it":       {"HTTP/1.1 401 SECRET\r\nContent-Length: 0\r\n\r\n", "", i},
		"after the answer":          {"", ok + "SECRET", a},
		"an answer after the other": {"", ok + "HTTP/1.1 200 SECRET\r\n\r\n", a},
		"headers without end":       {"", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("SECRET", 20_000), i},
	} {
		t.Run(name, func(t *testing.T) {
			logged := captureLog(t)
			url := server(t, func(int) (string, string) { return tc.first, tc.answer })
			for range 5 { // as a server that speaks first is heard first only now and then
				if v := check(t, tokencheck.New(tokencheck.Transport(true)), at(url)); v.Outcome != tc.want {
					t.Errorf("%+v; want %s", v, tc.want)
				}
			}
			if said := logged(); said != "" {
				t.Errorf("logged %q", said)
			}
		})
	}
}

func TestServerThatSpeaksFirstOverTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", s.TLS)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l, func(int) (string, string) { return "SECRET", "" })
	transport := tokencheck.Transport(true).(*http.Transport)
	transport.TLSClientConfig.RootCAs = x509.NewCertPool()
	transport.TLSClientConfig.RootCAs.AddCert(s.Certificate())
	c, err := transport.DialTLSContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		heard <- err
	}()
	select {
	case <-heard:
		t.Error("it is heard before the request, so net/http would log it")
	case <-time.After(50 * time.Millisecond): // a slow machine may not see it fail
		c.Close()
		<-heard
	}
}

// TestNoConnectionIsKept: one that was kept may be dead once the function was frozen, and a POST is not sent again.
func TestNoConnectionIsKept(t *testing.T) {
	url := server(t, func(n int) (string, string) {
		if n > 1 {
			return "", "" // it hangs up without an answer
		}
		return "", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n" + `{"access_token":"x"}`
	})
	k := tokencheck.New(tokencheck.Transport(true))
	for range 3 {
		if v := check(t, k, at(url)); v.Outcome != tokencheck.Accepted {
			t.Errorf("%+v", v)
		}
	}
}

func at(url string) tokencheck.Credential {
	c := credential
	c.AccessTokenURL = url
	return c
}

// server talks over bare connections: talk says what the n-th request of a connection meets before it, and its answer,
// "" being to hang up. SECRET stands for the client secret, in the form in which the request has it.
func server(t *testing.T, talk func(n int) (first, answer string)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l, talk)
	return "http://" + l.Addr().String()
}

func serve(t *testing.T, l net.Listener, talk func(n int) (first, answer string)) {
	var open sync.WaitGroup
	t.Cleanup(func() { l.Close(); open.Wait() })
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer c.Close()
				context.AfterFunc(t.Context(), func() { c.Close() })
				in := bufio.NewReader(c)
				for n := 1; ; n++ {
					first, answer := talk(n)
					io.WriteString(c, strings.ReplaceAll(first, "SECRET", canary))
					req, err := http.ReadRequest(in)
					if err != nil || answer == "" {
						return
					}
					body, _ := io.ReadAll(req.Body)
					form, _ := url.ParseQuery(string(body))
					_, escaped, _ := req.BasicAuth()
					secret, _ := url.QueryUnescape(escaped)
					if secret == "" {
						secret = form.Get("client_secret")
					}
					io.WriteString(c, strings.ReplaceAll(answer, "SECRET", secret))
					if !strings.Contains(answer, "Content-Length") {
						return
					}
				}
			})
		}
	})
}

// captureLog returns what the standard logger wrote since.
func captureLog(t *testing.T) func() string {
	var mu sync.Mutex
	var buffer bytes.Buffer
	before := log.Writer()
	log.SetOutput(writer(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return buffer.Write(p)
	}))
	t.Cleanup(func() { log.SetOutput(before) })
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return buffer.String()
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// An endpoint that goes on with another protocol, and says nothing, would hold the function until Lambda ends it.
func TestAnotherProtocolIsNoAnswer(t *testing.T) {
	done := make(chan struct{})
	s := httptest.NewServer(standin.Upgraded(done))
	defer s.Close()
	defer close(done)
	v := tokencheck.New(tokencheck.Transport(true)).Check(context.Background(), tokencheck.Credential{ClientID: "a", ClientSecret: sensitive.New("b"), AccessTokenURL: s.URL})
	if v.Outcome != tokencheck.Inconclusive || v.Answered {
		t.Errorf("verdict: %+v", v)
	}
}
