package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"datadog-webhook-auth-sync/cmd/demo/system"
	"datadog-webhook-auth-sync/handler/contract"
)

func TestHTTP(t *testing.T) {
	u := newUser(t)
	mine := fmt.Sprintf(`{"secretId": %q}`, u.secretName)
	asText, asJSON := http.Header{"Content-Type": {"text/plain"}}, http.Header{"Content-Type": {"application/json"}}

	for _, c := range []struct {
		name         string
		method, path string
		header       http.Header
		body         string
		status       int
		code         string
	}{
		{"no such path", "GET", "/nowhere", nil, "", 404, "not_found"},
		{"wrong method", "GET", "/sync", nil, "", 405, "method_not_allowed"},
		{"malformed body", "POST", "/sync", asJSON, `{"secretId": `, 400, "bad_request"},
		{"not JSON", "POST", "/sync", asText, mine, 415, "unsupported_media_type"},
		{"too large", "POST", "/sync", asJSON, `{"secretId": "` + strings.Repeat("a", 64<<10) + `"}`, 413, "payload_too_large"},
		{"out of scope", "POST", "/sync", asJSON, `{"secretId": "another/secret"}`, 403, "secret_out_of_scope"},
		{"Datadog's keys", "POST", "/sync", asJSON, `{"secretId": "` + u.KeySecretARN + `"}`, 403, "secret_out_of_scope"},
		{"no such secret", "POST", "/sync", asJSON, `{"secretId": "datadog/webhooks/nobody"}`, 404, "secret_not_found"},
		{"status of no such secret", "GET", "/status?secretId=datadog/webhooks/nobody", nil, "", 404, "secret_not_found"},
		{"status out of scope", "GET", "/status?secretId=another/secret", nil, "", 403, "secret_out_of_scope"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := u.in(t)
			answer := u.asks(c.method, c.path, c.header, c.body, true)
			u.isProblem(answer, c.status, c.code)
			if c.status == http.StatusMethodNotAllowed && answer.Header.Get("Allow") == "" {
				t.Error("no Allow")
			}
		})
	}
	for path, method := range map[string]string{"/sync": "POST", "/status": "GET", "/nowhere": "POST"} {
		if answer := u.asks(method, path, nil, "", false); answer.Status != http.StatusForbidden {
			t.Errorf("%s without a signature: %d, want 403", path, answer.Status)
		}
	}
	if n := u.writes(); n != 0 {
		t.Fatalf("Datadog got %d writes from requests that ask for none", n)
	}

	if got := u.syncs("created"); got.Trigger.Type != "http" || got.LagMs != nil {
		t.Errorf("a sync: %+v", got)
	}
	u.datadogHolds(u.first)
}

// asks calls the HTTP API.
func (u *user) asks(method, path string, header http.Header, body string, signed bool) system.Answer {
	u.t.Helper()
	answer, err := u.HTTP(u.ctx, method, path, header, body, signed)
	u.must(err)
	answers.Store(string(answer.Body), true)
	described := "/sync"
	if strings.HasPrefix(path, "/status") {
		described = "/status"
	}
	u.must(contract.ValidateHTTP(described, answer.Status, answer.Header, answer.Body))
	return answer
}

func (u *user) document(answer system.Answer) (result system.Result) {
	u.t.Helper()
	u.must(json.Unmarshal(answer.Body, &result))
	return result
}

// problem is RFC 9457's problem details, with ours.
type problem struct {
	Type, Title, Detail, Code, RequestID string
	Status                               int
	Retryable                            *bool
	Result                               system.Result
}

// isProblem checks that the answer is a problem document of that code.
func (u *user) isProblem(answer system.Answer, status int, code string) (p problem) {
	u.t.Helper()
	if err := json.Unmarshal(answer.Body, &p); err != nil {
		u.t.Errorf("%d %s: %v", answer.Status, answer.Body, err)
		return p
	}
	if answer.Status != status || p.Code != code || p.Status != status || p.Type == "" || p.Title == "" || p.Detail == "" ||
		p.RequestID == "" || p.Retryable == nil || answer.Header.Get("Content-Type") != "application/problem+json" {
		u.t.Errorf("%d %v %s, want the problem %d %s", answer.Status, answer.Header, answer.Body, status, code)
	}
	return p
}
