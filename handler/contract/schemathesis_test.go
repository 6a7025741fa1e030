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

const toBeSigned = "to be signed" // schemathesis.toml's Authorization

// TestSchemathesis makes up requests by the OpenAPI description, and compares the answers of the deployed stack with it.
// The stack has one secret, which states everything, and more than a page of others.
func TestSchemathesis(t *testing.T) {
	program := os.Getenv("SCHEMATHESIS")
	if program == "" {
		t.Skip("run by make contract")
	}
	s, err := system.Start(t.Context(), system.Options{Name: "contract", Log: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	s.Tokens.Allow("payments-client", "first")
	secrets := map[string]string{"payments": fmt.Sprintf(`{"client_id":"payments-client","client_secret":"first","access_token_url":%q,`+
		`"audience":"https://hooks.example.com","scope":"read:webhooks"}`, s.TokenURL)}
	for i := range 100 {
		secrets[fmt.Sprint("other-", i)] = "[]"
	}
	for name, value := range secrets {
		_, err = s.SecretsManager().CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{
			Name: aws.String("datadog/webhooks/" + name), SecretString: &value})
		if err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(signing{s})
	defer server.Close()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	run := exec.CommandContext(t.Context(), program, "--config-file", filepath.Join(here, "schemathesis.toml"),
		"run", filepath.Join(here, "openapi.yaml"), "--url", server.URL, "--max-examples", "100", "--no-color")
	run.Dir = t.TempDir()
	output, err := run.CombinedOutput()
	t.Logf("%s", output)
	if err != nil || !bytes.Contains(output, []byte("Tested: 2")) {
		t.Errorf("it found something, or did nothing: %v", err)
	}
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
