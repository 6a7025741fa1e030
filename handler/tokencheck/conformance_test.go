package tokencheck_test

import (
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"datadog-webhook-auth-sync/handler/sensitive"
	"datadog-webhook-auth-sync/handler/standin"
	"datadog-webhook-auth-sync/handler/tokencheck"
	"datadog-webhook-auth-sync/handler/tokencheck/tokentest"
)

// conformance holds an identity provider that knows the clients of testdata/realm.json to the verdicts that this project
// expects, in each style by itself.
func conformance(t *testing.T, tokenURL string, transport http.RoundTripper) {
	for name, tc := range map[string]struct {
		client, secret, scope string
		want                  tokencheck.Outcome
	}{
		"right":                     {"payments", canary, "", tokencheck.Accepted},
		"a wrong secret":            {"payments", "canary-of-another", "", tokencheck.Rejected},
		"an unknown client":         {"unknown", canary, "", tokencheck.Rejected},
		"a disabled client":         {"disabled", canary, "", tokencheck.Rejected},
		"without a service account": {"without a service account", canary, "", tokencheck.Rejected},
		"an unknown scope":          {"payments", canary, "unknown", tokencheck.Rejected},
	} {
		for _, style := range []tokentest.Style{tokentest.Header, tokentest.Params} {
			t.Run(name+", "+string(style), func(t *testing.T) {
				v := check(t, tokencheck.New(only{style, transport}), tokencheck.Credential{ClientID: tc.client,
					ClientSecret: sensitive.New(tc.secret), AccessTokenURL: tokenURL, Scope: tc.scope})
				if v.Outcome != tc.want || !v.Answered {
					t.Errorf("%+v; want %s", v, tc.want)
				}
				t.Logf("%s, %s: %s %s", name, style, v.Outcome, v.Why)
			})
		}
	}
}

// only lets requests of one style through, and answers the others with a 400 that tells nothing.
type only struct {
	style tokentest.Style
	http.RoundTripper
}

func (o only) RoundTrip(r *http.Request) (*http.Response, error) {
	style := tokentest.Params
	if r.Header.Get("Authorization") != "" {
		style = tokentest.Header
	}
	if style != o.style {
		return &http.Response{StatusCode: http.StatusBadRequest, Body: http.NoBody, Request: r}, nil
	}
	return o.RoundTripper.RoundTrip(r)
}

func TestConformanceOfTheStandIn(t *testing.T) {
	s := tokentest.New()
	s.AccessToken, s.Scopes = token, []string{"read"}
	s.Allow("payments", canary)
	s.Allow("disabled", canary)
	s.Revoke("disabled", canary)
	conformance(t, "https://idp.example.com/token", standin.Hosts{"idp.example.com": s})
}

// TestConformanceOfKeycloak starts the Keycloak that KEYCLOAK names; `make conformance` installs it.
func TestConformanceOfKeycloak(t *testing.T) {
	home := os.Getenv("KEYCLOAK")
	if home == "" {
		t.Skip("KEYCLOAK names no Keycloak")
	}
	imports := filepath.Join(home, "data", "import")
	if err := os.MkdirAll(imports, 0o755); err != nil {
		t.Fatal(err)
	}
	realm, err := os.ReadFile("testdata/realm.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(imports, "realm.json"), realm, 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	host, port, _ := strings.Cut(address, ":")

	t.Logf("Starting %s on %s: up to a minute", filepath.Base(home), address)
	keycloak := exec.Command("bash", filepath.Join(home, "bin", "kc.sh"), "start-dev", "--db=dev-mem", "--import-realm",
		"--http-host="+host, "--http-port="+port)
	keycloak.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // with the Java that it starts
	output, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	keycloak.Stdout, keycloak.Stderr = output, output
	if err := keycloak.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- keycloak.Wait() }()
	t.Cleanup(func() {
		_ = syscall.Kill(-keycloak.Process.Pid, syscall.SIGTERM)
		<-ended
	})

	url := "http://" + address + "/realms/alerts"
	for {
		resp, err := http.Get(url)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				break
			}
		}
		select {
		case err := <-ended:
			ended <- err
			_, _ = output.Seek(0, io.SeekStart)
			said, _ := io.ReadAll(output)
			t.Fatalf("Keycloak ended before it was ready: %v\n%s", err, said)
		case <-time.After(time.Second):
		}
	}
	conformance(t, url+"/protocol/openid-connect/token", tokencheck.Transport(true))
}
