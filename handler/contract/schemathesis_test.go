package contract_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"datadog-webhook-auth-sync/cmd/demo/system"
)

// Schemathesis makes up requests by the OpenAPI description, and compares the answers with it: those of the function among
// stand-ins, and those of the deployed stack.
func TestSchemathesis(t *testing.T) {
	program := os.Getenv("SCHEMATHESIS")
	if program == "" {
		t.Skip("run by make contract")
	}
	try := func(t *testing.T, api http.Handler, examples string) {
		server := httptest.NewServer(api)
		defer server.Close()
		here, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		run := exec.CommandContext(t.Context(), program, "--config-file", filepath.Join(here, "schemathesis.toml"),
			"run", filepath.Join(here, "openapi.yaml"), "--url", server.URL, "--max-examples", examples, "--no-color")
		run.Dir = t.TempDir()
		output, err := run.CombinedOutput()
		t.Logf("%s", output)
		if err != nil || !bytes.Contains(output, []byte("Tested: 2")) {
			t.Errorf("it found something, or did nothing: %v", err)
		}
	}
	t.Run("function", func(t *testing.T) { try(t, newFunction(), "200") })
	t.Run("stack", func(t *testing.T) {
		s, err := system.Start(t.Context(), system.Options{Name: "contract", Log: os.Stderr})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Stop()
		s.Tokens.Allow("payments-client", "first")
		_, err = s.SecretsManager().CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String(secretName),
			SecretString: aws.String(fmt.Sprintf(`{"client_id":"payments-client","client_secret":"first","access_token_url":%q}`, s.TokenURL))})
		if err != nil {
			t.Fatal(err)
		}
		try(t, signing{s}, "20") // a request takes a tenth of a second there
	})
}

// signing passes requests on to the deployed API, and signs those that say toBeSigned.
type signing struct{ *system.System }

func (s signing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	header := r.Header.Clone()
	signed := header.Get("Authorization") == toBeSigned
	for _, own := range []string{"Authorization", "Accept-Encoding", "Connection", "Content-Length", "Transfer-Encoding"} {
		header.Del(own)
	}
	answer, err := s.HTTP(r.Context(), r.Method, r.URL.RequestURI(), header, string(body), signed)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	w.Header().Del("Content-Length") // of HEAD it is another
	w.WriteHeader(answer.Status)
	_, _ = w.Write(answer.Body)
}
