package handler_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/tokencheck"
	"datadog-webhook-auth-sync/handler/tokencheck/tokentest"
)

// Whatever becomes of a POST or of its answer: one auth method, and created only where Datadog said so.
func TestACreateThatGoesWrong(t *testing.T) {
	type faults = []datadogtest.Fault
	for _, c := range []struct {
		name           string
		faults         faults // of POST
		outcome        report.Outcome
		code           fault.Code
		posts, patches int
	}{
		{"500, and done", faults{{Status: 500, Commit: true}}, report.Adopted, "", 1, 1},
		{"cut, and done", faults{{Cut: true, Commit: true}}, report.Adopted, "", 1, 1},
		{"201 without an id, and done", faults{{Status: 201, Body: `{"data":{}}`, Commit: true}}, report.Adopted, "", 1, 1},
		{"too slow, and done", faults{{Delay: 6 * time.Second}}, report.Created, "", 2, 0},
		{"500, and not done", faults{{Status: 500}}, report.Created, "", 2, 0},
		{"500 twice, and not done", faults{{Status: 500, Times: 2}}, report.Created, "", 3, 0},
		{"500 for ever", faults{{Status: 500, Times: 99}}, report.Failed, fault.DatadogUnavailable, 5, 0},
		{"500, done a moment after the next list",
			faults{{Status: 500, Commit: true, CommitAfter: time.Second}, {Delay: time.Second}}, report.Adopted, "", 2, 1},
		{"429 is repeated", faults{datadogtest.Throttled(1)}, report.Created, "", 2, 0},
		{"409 that nothing explains", faults{{Status: 409, Times: 99}}, report.Failed, fault.DatadogRejected, 1, 0},
		{"400", faults{{Status: 400}}, report.Failed, fault.DatadogRejected, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.secrets.Create(secretName, w.value("first"))
				for _, f := range c.faults {
					f.Method, f.Times = "POST", max(f.Times, 1)
					w.datadog.Fail(f)
				}
				_, err := w.sync(secretName)
				if err == nil && c.code != "" || err != nil && fault.From(err).Code != c.code {
					t.Errorf("error: %v; want %q", err, c.code)
				}
				if calls := w.calls(); calls["POST"] != c.posts || calls["PATCH"] != c.patches {
					t.Errorf("calls: %v; want %d POST, %d PATCH", calls, c.posts, c.patches)
				}
				if c.code == "" {
					w.wantResults("in the end", string(c.outcome))
					w.mustHold("in the end")
				}
			})
		})
	}
}

func TestWhichAuthMethodIsWritten(t *testing.T) {
	const mismatch, rejected, invalid = fault.AuthMethodMismatch, fault.CredentialRejected, fault.SecretInvalid
	bare := func(w *world) string { return w.clientSecret("second") }
	tag := func(w *world, m datadogtest.AuthMethod) { w.secrets.Tag(secretName, secretstore.RecordTag, "id="+m.ID) }
	verificationOff := func(w *world) {
		w.config.VerifyCredential = false
		w.start()
	}
	// pinning is a value that pins an auth method which exists.
	pinning := func(clientID string, fields ...string) func(w *world) string {
		return func(w *world) string {
			return w.value("second", append(fields, "auth_method_id="+w.datadogHolds("pinned", clientID).ID)...)
		}
	}
	holds := func(name, clientID string) func(w *world) {
		return func(w *world) { w.datadogHolds(name, clientID) }
	}
	tagged := func(clientID string) func(w *world) {
		return func(w *world) { tag(w, w.datadogHolds("by hand", clientID)) }
	}
	stating := func(fields ...string) func(w *world) string {
		return func(w *world) string { return w.value("second", fields...) }
	}
	unavailable := tokentest.Fault{Status: 503}
	for _, c := range []struct {
		name     string
		prepare  func(w *world)
		value    func(w *world) string // nil: one that states everything
		outcome  report.Outcome        // empty: it fails with code
		code     fault.Code
		retry    bool
		verified string
	}{
		{name: "a new one", outcome: report.Created, verified: "accepted"},
		{name: "a new one, with verification off", prepare: verificationOff, outcome: report.Created, verified: "off"},
		{name: "none for a client secret alone", value: bare, code: invalid},
		{name: "none that is rejected", prepare: func(w *world) { w.tokens.Scopes = []string{} }, code: rejected, retry: true},
		{name: "none without a verdict", prepare: func(w *world) { w.tokens.Fail(unavailable) }, code: rejected, retry: true},
		{name: "none whose token endpoint does not exist",
			value: stating("access_token_url=https://nowhere.example.com/token"), code: rejected, retry: true},
		{name: "none whose token endpoint is private",
			value: stating("access_token_url=https://10.0.0.1/token"), code: invalid},
		{name: "none beside another of its client", prepare: holds("another", "payments-client"), code: mismatch},
		{name: "a new one beside another of its client, where it states a name",
			prepare: holds("another", "payments-client"),
			value:   stating("name=payments"), outcome: report.Created, verified: "accepted"},

		{name: "one of its name and client", prepare: holds("payments", "payments-client"),
			outcome: report.Adopted, verified: "accepted"},
		{name: "not one of its name and another client", prepare: holds("payments", "another"), code: mismatch},
		{name: "not one of its name and another URL", prepare: func(w *world) {
			m := w.datadogHolds("payments", "payments-client")
			m.AccessTokenURL = "https://thief.example.com/token"
			w.datadog.Put(m)
		}, code: mismatch},
		{name: "not one of its name that rejects it", prepare: func(w *world) {
			w.datadogHolds("payments", "payments-client")
			w.tokens.Scopes = []string{"other"}
		}, code: mismatch, retry: true},
		{name: "not one of its name without a verdict", prepare: func(w *world) {
			w.datadogHolds("payments", "payments-client")
			w.tokens.Fail(unavailable)
		}, code: mismatch, retry: true},
		{name: "not one of its name, with verification off", prepare: func(w *world) {
			verificationOff(w)
			w.datadogHolds("payments", "payments-client")
		}, code: mismatch, retry: true},
		{name: "not one of its name for a client secret alone",
			prepare: holds("payments", "payments-client"), value: bare, code: mismatch, retry: true},

		{name: "the one that an operator's tag names", prepare: tagged("payments-client"),
			outcome: report.Adopted, verified: "accepted"},
		{name: "the one that an operator's tag names, for a client secret alone",
			prepare: tagged("payments-client"), value: bare,
			outcome: report.Adopted, verified: "accepted"},
		{name: "the one that an operator's tag names, of another client",
			prepare: tagged("another"), outcome: report.Adopted, verified: "accepted"},
		{name: "the one that an operator's tag names, with verification off", prepare: func(w *world) {
			verificationOff(w)
			tag(w, w.datadogHolds("by hand", "payments-client"))
		}, outcome: report.Adopted, verified: "off"},
		{name: "not one that is gone, though recorded", prepare: func(w *world) {
			tag(w, datadogtest.AuthMethod{ID: "aaaaaaaa-0000-4000-8000-000000000001"})
		}, code: fault.AuthMethodNotFound},
		{name: "one that only GET shows", prepare: func(w *world) {
			tag(w, w.datadogHolds("by hand", "payments-client"))
			w.datadog.Fail(datadogtest.Fault{Path: datadogtest.ListPath, Body: `{"data":[],"included":[]}`})
		}, outcome: report.Adopted, verified: "accepted"},
		{name: "none by the record of another site", prepare: func(w *world) {
			tag(w, datadogtest.AuthMethod{ID: w.datadogHolds("elsewhere", "another").ID + " site=datadoghq.eu"})
		}, outcome: report.Created, verified: "accepted"},
		{name: "its own, without a verdict", prepare: func(w *world) {
			tag(w, w.datadogHolds("by hand", "payments-client"))
			w.tokens.Fail(unavailable)
		}, outcome: report.Adopted, verified: "inconclusive"},
		{name: "not its own at another URL, without a verdict", prepare: func(w *world) {
			m := w.datadogHolds("by hand", "payments-client")
			m.AccessTokenURL = "https://idp.example.com/old"
			tag(w, w.datadog.Put(m))
			w.tokens.Fail(unavailable)
		}, code: rejected, retry: true},
		{name: "its own, verified with what Datadog has", prepare: func(w *world) {
			tag(w, w.datadogHolds("by hand", "payments-client"))
			w.tokens.Scopes = []string{}
		}, value: stating("scope", "audience"), outcome: report.Adopted, verified: "accepted"},

		{name: "the one that it pins", value: pinning("payments-client"), outcome: report.Adopted, verified: "accepted"},
		{name: "the one that a client secret pins",
			value:   pinning("payments-client", "client_id", "access_token_url", "scope", "audience"),
			outcome: report.Adopted, verified: "accepted"},
		{name: "not a pinned one of another client", value: pinning("victim"), code: mismatch},
		{name: "not a pinned one that rejects it", value: pinning("victim", "client_id", "access_token_url"),
			code: mismatch, retry: true},
		{name: "not a pinned one that is gone",
			value: stating("auth_method_id=aaaaaaaa-0000-4000-8000-000000000001"), code: fault.AuthMethodNotFound},

		{name: "a new one, with keys that were rotated", prepare: func(w *world) {
			w.datadog.SetKeys("canary-of-a-new-api-key", appKey)
			w.secrets.Put("datadog/keys", `{"api_key":"canary-of-a-new-api-key","app_key":"`+appKey+`"}`)
			w.secret = append(w.secret, "canary-of-a-new-api-key")
		}, outcome: report.Created, verified: "accepted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.secrets.Create(secretName, w.value("first"))
				w.datadog.Latency = 200 * time.Millisecond
				if c.prepare != nil {
					c.prepare(w)
				}
				if c.value != nil {
					w.secrets.Put(secretName, c.value(w))
				}
				before := w.datadog.AuthMethods()
				res, err := w.sync(secretName)
				if c.code != "" {
					if !fault.Is(err, c.code) || fault.From(err).Retryable != c.retry {
						t.Errorf("error: %v; want %s, retryable %t", err, c.code, c.retry)
					}
					if diff := cmp.Diff(before, w.datadog.AuthMethods()); diff != "" {
						t.Errorf("Datadog was written to:\n%s", diff)
					}
					return
				}
				if err != nil || res.Outcome != c.outcome || res.Verification != c.verified {
					t.Fatalf("%s, %s, %v; want %s, %s", res.Outcome, res.Verification, err, c.outcome, c.verified)
				}
				written, _ := w.datadog.Get(res.AuthMethod.ID)
				if _, value := w.secrets.Current(secretName); written.ClientSecret != secretIn(value) {
					t.Error("Datadog does not hold AWSCURRENT")
				}
			})
		})
	}
}

// The style that the token endpoint accepted is asked first, while client_id and access_token_url are as recorded.
func TestTheRecordedStyle(t *testing.T) {
	for _, c := range []struct {
		name  string
		value func(w *world) string
		want  []tokencheck.Style
	}{
		{"same client and URL", func(w *world) string { return w.value("second") }, []tokencheck.Style{"body"}},
		{"another scope", func(w *world) string { return w.value("second", "scope=a") }, []tokencheck.Style{"body"}},
		{"another client", func(w *world) string {
			secret := w.clientSecret("second")
			w.tokens.Allow("another", secret)
			return w.valueOf(secret, "client_id=another")
		}, []tokencheck.Style{"header", "body"}},
		{"another URL", func(w *world) string {
			return w.value("second", "access_token_url=https://idp.example.com/another")
		}, []tokencheck.Style{"header", "body"}},
		{"edited at Datadog", func(w *world) string {
			m := w.datadog.AuthMethods()[0]
			m.ClientID = "edited"
			w.datadog.Put(m)
			return w.value("second")
		}, []tokencheck.Style{"body"}}, // since the secret states both
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.tokens.Style = tokencheck.Body
				w.createSettled(secretName)
				if via := w.record(secretName)["via"]; via != "body" {
					t.Errorf("via %q", via)
				}
				w.secrets.Put(secretName, c.value(w))
				w.tokens.ResetCalls()
				if _, err := w.sync(secretName); err != nil {
					t.Error(err)
				}
				var got []tokencheck.Style
				for _, call := range w.tokens.Calls() {
					got = append(got, call.Style)
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("styles (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(w *world) // of a settled secret
		want    string         // in the one warning; empty: there is none
	}{
		{"none", func(w *world) { w.secrets.Put(secretName, w.value("second")) }, ""},
		{"a changed pin", func(w *world) {
			w.secrets.Put(secretName, w.value("second", "auth_method_id="+w.datadogHolds("pinned", "payments-client").ID))
		}, "keeps its last client secret"},
		{"a misspelt field", func(w *world) {
			w.secrets.Put(secretName, w.value("second", "scope", "Scope=a"))
		}, "Scope"},
		{"no verdict", func(w *world) { w.tokens.Fail(tokentest.Fault{Status: 503}) }, "503"},
		{"a token endpoint that does not decode", func(w *world) { w.tokens.Style = tokencheck.Plain }, "unencoded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.createSettled(secretName)
				c.prepare(w)
				res, err := w.sync(secretName)
				got := strings.Join(res.Warnings, "\n")
				if err != nil || !strings.Contains(got, c.want) || (got == "") != (c.want == "") || len(res.Warnings) > 1 {
					t.Errorf("warnings %q, %v; want %q", res.Warnings, err, c.want)
				}
			})
		})
	}
}

// A URL that the secret does not state is used only while the auth method is as recorded.
func TestAnEditedAuthMethodGetsNoSecret(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createSettled(secretName)
		bare := w.clientSecret("second")
		w.secrets.Put(secretName, bare)
		m := w.datadog.AuthMethods()[0]
		m.AccessTokenURL = "https://thief.example.com/token"
		w.datadog.Put(m)
		w.tokens.ResetCalls()
		if _, err := w.sync(secretName); !fault.Is(err, fault.AuthMethodMismatch) {
			t.Errorf("error: %v", err)
		}
		if w.holds() != m.ClientSecret || len(w.tokens.Calls()) > 0 {
			t.Error("the secret was sent where an edit leads")
		}
		w.secrets.Tag(secretName, secretstore.RecordTag, "id="+m.ID) // the operator accepts what is there
		if _, err := w.sync(secretName); err != nil || w.holds() != bare {
			t.Error(err)
		}
	})
}

// Somebody edits the auth method between the list and the PATCH, which writes the URL that was verified.
func TestAnEditDuringAWriteIsOverwritten(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createSettled(secretName)
		w.secrets.Put(secretName, w.clientSecret("second"))
		m := w.datadog.AuthMethods()[0]
		w.interceptDatadog(func(r *http.Request, _ []byte) *http.Response {
			if r.Method == "PATCH" {
				edited := m
				edited.AccessTokenURL = "https://thief.example.com/token"
				w.datadog.Put(edited)
			}
			return nil
		})
		if _, err := w.sync(secretName); err != nil {
			t.Fatal(err)
		}
		if got := w.datadog.AuthMethods()[0].AccessTokenURL; got != m.AccessTokenURL {
			t.Errorf("access_token_url: %s", got)
		}
	})
}

// Datadog's answers may quote the keys and the client secret, cut short or in two.
func TestWhatDatadogQuotesIsNotRepeated(t *testing.T) {
	for name, body := range map[string]func(secret string) string{
		"cut short": func(s string) string { return fmt.Sprintf(`{"errors":["client_secret %q..."]}`, s[:len(s)-4]) },
		"in two":    func(s string) string { return fmt.Sprintf(`{"errors":[%q,%q]}`, s[:10], s[10:]) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				value := w.value("first-of-many")
				w.secrets.Create(secretName, value)
				w.interceptDatadog(func(r *http.Request, _ []byte) *http.Response {
					if r.Method == "GET" {
						return nil
					}
					return response(r, 400, body(secretIn(value)))
				})
				_, err := w.sync(secretName)
				if err == nil || strings.Contains(err.Error()+w.log.String(), secretIn(value)[:8]) {
					t.Errorf("error: %v", err)
				}
			})
		})
	}
}
