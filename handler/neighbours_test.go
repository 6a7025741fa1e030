package handler_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"datadog-webhook-auth-sync/handler"
	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/standin"
)

// between is a transport that does something before a call of Datadog goes on, or answers it itself.
type between func(r *http.Request, body []byte) *http.Response

func (w *world) puts(between between) {
	w.handler = handler.New(w.config, handler.Outside{Secrets: w.secrets, Bus: w.bus, Log: w.log,
		Datadog: hooked{standin.Hosts{"api.datadoghq.com": w.datadog}, between}, Tokens: standin.Hosts{"idp.example.com": w.tokens, "thief.example.com": w.tokens}})
}

type hooked struct {
	next http.RoundTripper
	between
}

func (h hooked) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	if resp := h.between(r, body); resp != nil {
		return resp, nil
	}
	return h.next.RoundTrip(r)
}

// What one secret states makes Datadog, or what stands before it, refuse or fail. Everybody else is synced all the same.
func TestOneSecretStopsNoReconcile(t *testing.T) {
	for _, status := range []int{403, 500} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.puts(func(r *http.Request, body []byte) *http.Response {
					if !bytes.Contains(body, []byte("poison")) {
						return nil
					}
					return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader("<html>")), Request: r}
				})
				w.secrets.Create(secretName+"-a", w.value("evil", "name=poison", "access_token_url="+tokenURL+"?of=the-thief"))
				for i := range 20 {
					w.secrets.Create(fmt.Sprintf("%s-%d", secretName, i), w.value(fmt.Sprint("of-", i), fmt.Sprintf("name=method %d", i)))
				}
				answer := w.reconcile()
				if answer.Outcomes[report.Created] != 20 || answer.LeftOver != 1 || answer.Error == nil {
					t.Errorf("answer: %+v", answer)
				}
			})
		})
	}
}

// Somebody edits the auth method between the function's look and its PATCH, which states no URL. The next client secret
// does not follow.
func TestAnEditDuringAPushIsNotTrusted(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		method := w.datadogHolds("payments", "payments-client")
		w.secrets.Create(secretName, w.value("first", "client_id", "access_token_url", "scope", "audience"))
		w.secrets.Tag(secretName, secretstore.RecordTag, "id="+method.ID)
		edit := false
		w.puts(func(r *http.Request, _ []byte) *http.Response {
			if edit && r.Method == "PATCH" {
				m, _ := w.datadog.Get(method.ID)
				m.AccessTokenURL = "https://thief.example.com/token"
				w.datadog.Put(m)
			}
			return nil
		})
		if _, err := w.sync(secretName); err != nil {
			t.Fatal(err)
		}
		edit = true
		_, _ = w.sync(secretName)
		edit = false
		next := w.value("next", "client_id", "access_token_url", "scope", "audience")
		w.secrets.Put(secretName, next)
		if _, err := w.sync(secretName); err == nil || fault.From(err).Code != fault.AuthMethodMismatch {
			t.Errorf("error: %v", err)
		}
		if w.holds() == secretIn(next) {
			t.Error("the next client secret went to the thief")
		}
	})
}

// Whoever asks for a sync every few minutes does not keep the secret from settling.
func TestRepeatedSyncsDoNotPutOffSettling(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, w.value("first"))
		w.reconcile()
		for range 3 {
			time.Sleep(4 * time.Minute)
			if _, err := w.sync(secretName); err != nil {
				t.Fatal(err)
			}
		}
		if answer := w.reconcile(); answer.Outcomes[report.Settled] != 1 {
			t.Errorf("answer: %+v", answer)
		}
	})
}

// A proxy that answers 404 to everything is not Datadog saying that an auth method is gone.
func TestAProxyThatFindsNothingPagesNobody(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.onboard(secretName)
		w.datadog.Fail(datadogtest.Fault{Status: 404})
		_, err := w.sync(secretName)
		results := w.published()
		last := results[len(results)-1]
		if err == nil || fault.From(err).Code != fault.DatadogUnavailable || last.Held == nil || last.Held.Verification != "inconclusive" {
			t.Errorf("%v; held %+v", err, last.Held)
		}
	})
}

// Datadog sees the keys and the client secret. It gets none of them told on, not even cut short, or as a name.
func TestWhatDatadogRepeatsIsNotTold(t *testing.T) {
	for name, body := range map[string]func(secret string) (int, string){
		"cut short": func(s string) (int, string) {
			return 400, fmt.Sprintf(`{"errors":["client_secret %q..."]}`, s[:len(s)-4])
		},
		"in two": func(s string) (int, string) { return 400, fmt.Sprintf(`{"errors":[%q,%q]}`, s[:10], s[10:]) },
		"as the name": func(s string) (int, string) {
			return 200, fmt.Sprintf(`{"data":{"id":"aaaaaaaa-0000-4000-8000-000000000001","type":"webhooks-auth-method-oauth2-client-credentials","attributes":{"name":%q}}}`, s+apiKey)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				value := w.value("first-of-many")
				w.secrets.Create(secretName, value)
				w.secrets.Tag(secretName, secretstore.RecordTag, "id=aaaaaaaa-0000-4000-8000-000000000001")
				status, text := body(secretIn(value))
				w.puts(func(r *http.Request, _ []byte) *http.Response {
					return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(text)), Request: r}
				})
				_, err := w.sync(secretName)
				if err == nil || strings.Contains(err.Error()+w.log.String(), secretIn(value)[:8]) {
					t.Errorf("error: %v", err)
				}
			})
		})
	}
}

// A reconcile counts what it found itself where nothing could be told or recorded, so that a page does not end.
func TestAReconcileCountsWhatItCouldNotRecord(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		first := w.onboard(secretName)
		w.refuse(secretName, "second")
		w.tokens.Revoke("payments-client", secretIn(first))
		time.Sleep(3 * time.Minute)
		w.bus.Hook = denied
		if answer := w.reconcile(); answer.Failing != 1 || answer.AtRisk != 1 {
			t.Errorf("the bus refuses: %+v", answer)
		}
		w.bus.Hook = nil
		w.secrets.Fail("TagResource", 99, secretDenied)
		if answer := w.reconcile(); answer.Failing != 1 || answer.AtRisk != 1 {
			t.Errorf("the tag is refused: %+v", answer)
		}
	})
}
