package tokencheck_test

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"datadog-webhook-auth-sync/handler/sensitive"
	"datadog-webhook-auth-sync/handler/standin"
	"datadog-webhook-auth-sync/handler/tokencheck"
	"datadog-webhook-auth-sync/handler/tokencheck/tokentest"
)

const simple = "canary-of-the-client-secret"

// conformance holds an identity provider that knows the clients of testdata/realm.json to the verdicts that this project
// expects, whichever style is known. Of a secret with special characters it takes these styles only.
func conformance(t *testing.T, tokenURL string, transport http.RoundTripper, special ...tokencheck.Style) {
	const accepted, rejected = tokencheck.Accepted, tokencheck.Rejected
	all := []tokencheck.Style{tokencheck.Header, tokencheck.Body, tokencheck.Plain}
	for name, tc := range map[string]struct {
		client, secret, scope string
		want                  tokencheck.Outcome
		via                   []tokencheck.Style
	}{
		"right":                            {"payments", simple, "", accepted, all[:2]},
		"a secret with special characters": {"special", canary, "", accepted, special},
		"a wrong secret":                   {"payments", "canary of another", "", rejected, nil},
		"an unknown client":                {"unknown", canary, "", rejected, nil},
		"a disabled client":                {"disabled", canary, "", rejected, nil},
		"without a service account":        {"without a service account", canary, "", rejected, nil},
		"an unknown scope":                 {"payments", simple, "unknown", rejected, nil},
	} {
		for _, known := range all {
			t.Run(name+", known "+string(known), func(t *testing.T) {
				v := check(t, tokencheck.New(transport), tokencheck.Credential{ClientID: tc.client,
					ClientSecret: sensitive.New(tc.secret), AccessTokenURL: tokenURL, Scope: tc.scope}, known)
				misses := v.Via != known && slices.Contains(tc.via, known)
				if v.Outcome != tc.want || misses || v.Via != "" && !slices.Contains(tc.via, v.Via) {
					t.Errorf("%+v; want %s", v, tc.want)
				}
				t.Log(v.Outcome, v.Via, v.Why)
			})
		}
	}
}

func TestConformanceOfTheStandIn(t *testing.T) {
	s := tokentest.New()
	s.AccessToken, s.Scopes = token, []string{"read"}
	s.Allow("payments", simple)
	s.Allow("special", canary)
	conformance(t, "https://idp.example.com/token", standin.Hosts{"idp.example.com": s}, tokencheck.Header, tokencheck.Body)
}

// TestConformanceOfKeycloak starts the Keycloak that KEYCLOAK names; `make conformance` installs it.
func TestConformanceOfKeycloak(t *testing.T) {
	home := os.Getenv("KEYCLOAK")
	if home == "" {
		t.Skip("KEYCLOAK names no Keycloak")
	}
	realm, err := os.ReadFile("testdata/realm.json")
	if err != nil {
		t.Fatal(err)
	}
	imports := filepath.Join(home, "data", "import")
	if err := os.MkdirAll(imports, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(imports, "realm.json"), realm, 0o644); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	start(t, "http://127.0.0.1:"+port+"/realms/alerts", "bash", filepath.Join(home, "bin", "kc.sh"), "start-dev", "--db=dev-mem",
		"--import-realm", "--http-host=127.0.0.1", "--http-port="+port)
	conformance(t, "http://127.0.0.1:"+port+"/realms/alerts/protocol/openid-connect/token", tokencheck.Transport(true),
		tokencheck.Header, tokencheck.Body)
}

// TestConformanceOfAuthlib runs testdata/token_endpoint.py with the Python that AUTHLIB names; `make conformance` installs it.
// Authlib takes the + of a header, which stands for a space, for a +.
func TestConformanceOfAuthlib(t *testing.T) {
	python := os.Getenv("AUTHLIB")
	if python == "" {
		t.Skip("AUTHLIB names no Python")
	}
	port := freePort(t)
	start(t, "http://127.0.0.1:"+port+"/", python, "testdata/token_endpoint.py", port)
	conformance(t, "http://127.0.0.1:"+port+"/token", tokencheck.Transport(true), tokencheck.Body, tokencheck.Plain)
}

func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := strings.Cut(l.Addr().String(), ":")
	return port
}

// start runs a server until the test ends, and returns once url answers without a fault of the server's.
func start(t *testing.T, url, name string, args ...string) {
	var output bytes.Buffer
	server := exec.CommandContext(t.Context(), name, args...)
	server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // with what it starts
	server.Cancel = func() error { return syscall.Kill(-server.Process.Pid, syscall.SIGTERM) }
	server.Stdout, server.Stderr = &output, &output
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = server.Wait(); close(ended) }()
	t.Cleanup(func() { <-ended })
	for {
		if resp, err := http.Get(url); err == nil {
			resp.Body.Close()
			if resp.StatusCode < http.StatusInternalServerError {
				return
			}
		}
		select {
		case <-ended:
			t.Fatalf("%s ended before it was ready: %s", name, &output)
		case <-time.After(time.Second):
		}
	}
}
