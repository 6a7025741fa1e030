package conformance_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/datadog/datadogtest/conformance"
)

func TestStandIn(t *testing.T) {
	s := datadogtest.New("api-key", "app-key")
	server := httptest.NewServer(s)
	defer server.Close()
	conformance.Run(t, conformance.Target{BaseURL: server.URL, APIKey: "api-key", AppKey: "app-key", Client: server.Client()})
	if got := s.Unknown(); got != nil {
		t.Errorf("calls outside the API: %v", got)
	}
	if got := s.AuthMethods(); got != nil {
		t.Errorf("auth methods left behind: %v", got)
	}
}

// TestLive runs the suite against the API at DD_CONFORMANCE_URL, such as
// https://api.datadoghq.com, with the keys DD_API_KEY and DD_APP_KEY of an
// organisation that may be written to. It makes some 170 calls.
func TestLive(t *testing.T) {
	target := conformance.Target{
		BaseURL: os.Getenv("DD_CONFORMANCE_URL"),
		APIKey:  os.Getenv("DD_API_KEY"),
		AppKey:  os.Getenv("DD_APP_KEY"),
		Client:  http.DefaultClient,
	}
	if target.BaseURL == "" {
		t.Skip("DD_CONFORMANCE_URL is not set")
	}
	if target.APIKey == "" || target.AppKey == "" {
		t.Fatal("DD_API_KEY and DD_APP_KEY must be set beside DD_CONFORMANCE_URL")
	}
	conformance.Run(t, target)
}
