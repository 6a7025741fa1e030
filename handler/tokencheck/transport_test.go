package tokencheck_test

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"datadog-webhook-auth-sync/handler/sensitive"
	"datadog-webhook-auth-sync/handler/standin"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

var issue = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"access_token":%q}`, token) })

func at(url string) tokencheck.Credential {
	c := credential
	c.AccessTokenURL = url
	return c
}

func TestTransportCallsPublicAddressesOnly(t *testing.T) {
	s := httptest.NewServer(issue)
	defer s.Close()
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	loopback := []string{s.URL, "http://localhost:" + port, "http://[::ffff:127.0.0.1]:" + port}
	private := []string{"http://10.0.0.1", "http://192.168.0.1", "https://192.168.0.1", "http://169.254.169.254/latest/meta-data",
		"http://[fd00:ec2::254]", "http://0.0.0.0:" + port, "http://[::]:" + port, "http://[64:ff9b::a00:1]", "http://[2002:a00:1::]"}
	for _, url := range private {
		loopbackToo := tokencheck.New(tokencheck.Transport(true))
		if v := check(t, loopbackToo, at(url), ""); v.Outcome != tokencheck.Inconclusive || !strings.HasSuffix(v.Why, "is not public, so it was not called") {
			t.Errorf("%s: %+v", url, v)
		}
	}
	for _, url := range loopback {
		for allowed, want := range map[bool]tokencheck.Outcome{true: tokencheck.Accepted, false: tokencheck.Inconclusive} {
			if v := check(t, tokencheck.New(tokencheck.Transport(allowed)), at(url), ""); v.Outcome != want {
				t.Errorf("%s, loopback allowed: %v: %+v", url, allowed, v)
			}
		}
	}
	if tokencheck.Transport(false).(*http.Transport).Proxy != nil {
		t.Error("a proxy would resolve names elsewhere")
	}
}

func TestTransportTrustsTheRightServerOnly(t *testing.T) {
	s := httptest.NewUnstartedServer(issue)
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
		if v := check(t, tokencheck.New(transport), at(tc.url), ""); v.Outcome != tc.want {
			t.Errorf("%s with roots %v: %+v", tc.url, tc.roots, v)
		}
	}
}

// One that was kept may be dead once the function was frozen, and a POST is not sent again.
func TestEachAttemptHasItsOwnConnection(t *testing.T) {
	var connections atomic.Int64
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	check(t, tokencheck.New(tokencheck.Transport(true)), at(s.URL), "")
	if n := connections.Load(); n != 3 {
		t.Errorf("%d connections; want 3", n)
	}
}

// TestNothingOfTheServersIsTold: a server that knows the secret sends it back wherever net/http could quote it. What
// net/http tells the standard logger of bytes that nobody asked for, package handler takes out.
func TestNothingOfTheServersIsTold(t *testing.T) {
	var logged bytes.Buffer
	before := log.Writer()
	log.SetOutput(&logged)
	for place, answer := range standin.Garbled(canary) {
		t.Run(place, func(t *testing.T) {
			s := httptest.NewServer(standin.Raw(answer))
			defer s.Close()
			if v := check(t, tokencheck.New(tokencheck.Transport(true)), at(s.URL), ""); v.Outcome == tokencheck.Accepted {
				t.Errorf("%+v", v)
			}
		})
	}
	t.Run("before the request", func(t *testing.T) {
		s := httptest.NewUnstartedServer(nil)
		s.Config.ConnState = func(c net.Conn, state http.ConnState) {
			if state == http.StateNew {
				_, _ = io.WriteString(c, canary)
				c.Close()
			}
		}
		s.Start()
		defer s.Close()
		for range 5 { // it is heard first only now and then
			check(t, tokencheck.New(tokencheck.Transport(true)), at(s.URL), "")
		}
	})
	log.SetOutput(before)
	for line := range strings.Lines(logged.String()) {
		before, _, _ := strings.Cut(line, " received on idle HTTP channel starting with ")
		if sensitive.New(canary).In(before) {
			t.Errorf("logged %q", line)
		}
	}
}

// An endpoint that goes on with another protocol, and says nothing, would hold the function until Lambda ends it.
func TestAnotherProtocolIsNoAnswer(t *testing.T) {
	silent, _ := io.Pipe()
	v := check(t, tokencheck.New(roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusSwitchingProtocols, Body: silent}, nil
	})), credential, "")
	if v.Outcome != tokencheck.Inconclusive {
		t.Errorf("verdict: %+v", v)
	}
}
