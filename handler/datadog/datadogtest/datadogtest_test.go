package datadogtest_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/standin"
)

const createBody = `{"data": {"type": "webhooks-auth-method-oauth2-client-credentials", "attributes": {
	"name": "payments", "access_token_url": "https://idp.example.com/token", "client_id": "c", "client_secret": "s"}}}`

func call(t *testing.T, s *datadogtest.Server, method, path string) (status int) {
	t.Helper()
	r, err := http.NewRequest(method, "https://api.datadoghq.com"+path, strings.NewReader(createBody))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("DD-API-KEY", "api")
	r.Header.Set("DD-APPLICATION-KEY", "app")
	res, err := standin.Hosts{"api.datadoghq.com": s}.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode
}

func TestLateCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := datadogtest.New("api", "app")
		s.Latency = 200 * time.Millisecond
		s.Fail(datadogtest.Fault{Method: "POST", Times: 1, Status: 504, Commit: true, CommitAfter: time.Second})
		if status := call(t, s, "POST", datadogtest.MethodPath); status != 504 {
			t.Fatal(status)
		}
		time.Sleep(time.Second - 1)
		if got := s.AuthMethods(); got != nil {
			t.Errorf("created already: %v", got)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if got := s.AuthMethods(); len(got) != 1 || got[0].Name != "payments" {
			t.Errorf("got %v, want payments", got)
		}
		if got := s.Calls(); !got[0].Committed || got[0].Status != 504 {
			t.Errorf("call %+v, want it committed and answered 504", got[0])
		}
		// The name is taken now: who creates again is told so.
		if status := call(t, s, "POST", datadogtest.MethodPath); status != 409 {
			t.Errorf("%d, want 409", status)
		}
	})
}

func TestUnknownCalls(t *testing.T) {
	one := datadogtest.MethodPath + "/3a6f0a34-6b0b-4b62-8f36-2f6b2a4e1c55"
	for _, tc := range []struct{ method, path string }{
		{"GET", "/"},
		{"GET", "/api/v1/integration/webhooks"},
		{"GET", datadogtest.ListPath + "/"},
		{"GET", datadogtest.ListPath + "?include=another"},
		{"GET", datadogtest.ListPath + "?page=2"},
		{"POST", datadogtest.ListPath},
		{"GET", datadogtest.MethodPath},
		{"PUT", one},
		{"GET", one + "/"},
		{"GET", one + "?include=oauth2-client-credentials"},
		{"POST", one},
	} {
		t.Run(tc.method+" "+tc.path, func(t *testing.T) {
			s := datadogtest.New("api", "app")
			s.Fail(datadogtest.Fault{Status: 200}) // no fault hides it
			if status := call(t, s, tc.method, tc.path); status != 501 {
				t.Errorf("%d, want 501", status)
			}
			s.ResetCalls()
			if got := s.Unknown(); len(got) != 1 || got[0].Method != tc.method || got[0].Status != 501 {
				t.Errorf("unknown calls %v", got)
			}
		})
	}
}
