package handler_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/standin"
	"datadog-webhook-auth-sync/handler/tokencheck"
	"datadog-webhook-auth-sync/handler/tokencheck/tokentest"
)

// Whatever becomes of a POST or of its answer: one auth method, and created only where Datadog said so.
func TestACreateThatGoesWrong(t *testing.T) {
	type faults = []datadogtest.Fault
	for _, c := range []struct {
		name           string
		faults         faults // of POST
		outcome        string // empty: it fails with code
		code           fault.Code
		posts, patches int
	}{
		{"500, and done", faults{{Status: 500, Commit: true}}, "adopted", "", 1, 1},
		{"cut, and done", faults{{Cut: true, Commit: true}}, "adopted", "", 1, 1},
		{"201 without an id, and done", faults{{Status: 201, Body: `{"data":{}}`, Commit: true}}, "adopted", "", 1, 1},
		{"too slow, and done", faults{{Delay: 6 * time.Second}}, "created", "", 2, 0},
		{"500, and not done", faults{{Status: 500}}, "created", "", 2, 0},
		{"500 twice, and not done", faults{{Status: 500, Times: 2}}, "created", "", 3, 0},
		{"500 for ever", faults{{Status: 500, Times: 99}}, "", fault.DatadogUnavailable, 5, 0},
		{"500, done a moment after the next list",
			faults{{Status: 500, Commit: true, CommitAfter: time.Second}, {Delay: time.Second}}, "adopted", "", 2, 1},
		{"429 is repeated", faults{datadogtest.Throttled(1)}, "created", "", 2, 0},
		{"409 that nothing explains", faults{{Status: 409, Times: 99}}, "", fault.DatadogRejected, 1, 0},
		{"400", faults{{Status: 400}}, "", fault.DatadogRejected, 1, 0},
	} {
		subtest(t, c.name, func(t *testing.T, w *world) {
			w.create()
			for _, f := range c.faults {
				f.Method, f.Times = "POST", max(f.Times, 1)
				w.datadog.Fail(f)
			}
			w.mustInvoke(directSync, c.code)
			if calls := w.calls(); calls["POST"] != c.posts || calls["PATCH"] != c.patches {
				t.Errorf("calls: %v; want %d POST, %d PATCH", calls, c.posts, c.patches)
			}
			if c.code == "" {
				w.wantResults("in the end", c.outcome)
				w.mustHold("in the end")
			}
		})
	}
}

func TestWhichAuthMethodIsWritten(t *testing.T) {
	type prepare = []func(w *world)
	namesake := func(w *world) { w.datadogHolds("payments", "payments-client") }
	tag := func(w *world) { w.setRecord("id=" + w.datadogHolds("by hand", "payments-client").ID) }
	elsewhere := func(w *world) { // leads what is there to another URL
		w.editMethod(func(m *datadogtest.AuthMethod) { m.AccessTokenURL = "https://idp.example.com/old" })
	}
	noVerdict := func(w *world) { w.tokens.Fail(unavailable) }
	noScopes := func(w *world) { w.tokens.Scopes = []string{} }
	verificationOff := func(w *world) {
		w.config.VerifyCredential = false
		w.start()
	}
	// The secret's value states everything, unless it is one of these.
	alone := func(w *world) { w.secrets.Put(secretName, w.clientSecret("second")) }
	stating := func(fields ...string) func(w *world) { return func(w *world) { w.put("second", fields...) } }
	pinning := func(clientID string, fields ...string) func(w *world) {
		return func(w *world) {
			w.put("second", append(fields, "auth_method_id="+w.datadogHolds("pinned", clientID).ID)...)
		}
	}
	for _, c := range []struct {
		name    string
		prepare prepare
		want    string // outcome and verification, or the code
	}{
		{"a new one", nil, "created, accepted"},
		{"a new one, with verification off", prepare{verificationOff}, "created, off"},
		{"none that is rejected", prepare{noScopes}, "credential_rejected, retryable"},
		{"none without a verdict", prepare{noVerdict}, "credential_rejected, retryable"},
		{"none whose token host does not exist",
			prepare{stating("access_token_url=https://nowhere.example.com")}, "credential_rejected, retryable"},

		{"a namesake of its client", prepare{namesake}, "adopted, accepted"},
		{"not a namesake that rejects it", prepare{namesake, noScopes}, "auth_method_mismatch, retryable"},
		{"not a namesake without a verdict", prepare{namesake, noVerdict}, "auth_method_mismatch, retryable"},
		{"not a namesake, with verification off", prepare{namesake, verificationOff}, "auth_method_mismatch, retryable"},

		{"what a tag names", prepare{tag}, "adopted, accepted"},
		{"what a tag names, for a client secret alone", prepare{tag, alone}, "adopted, accepted"},
		{"one that only GET shows", prepare{tag, func(w *world) {
			w.datadog.Fail(datadogtest.Fault{Path: datadogtest.ListPath, Body: noMethods})
		}}, "adopted, accepted"},
		{"no second one after a foreign 404", prepare{tag, func(w *world) {
			w.datadog.Fail(datadogtest.Fault{Method: "PATCH", Times: 1, Status: 404})
		}, stating("name=payments in production")}, "datadog_unavailable, retryable"},
		{"its own, without a verdict", prepare{tag, noVerdict}, "adopted, inconclusive"},
		{"not its own, one style refused, no verdict on the next", prepare{tag, func(w *world) {
			w.tokens.Fail(tokentest.Fault{Status: 401, Body: `{"error":"invalid_client"}`, Times: 1})
		}, noVerdict}, "credential_rejected, retryable"},
		{"not its own at another URL, without a verdict",
			prepare{tag, elsewhere, noVerdict}, "credential_rejected, retryable"},
		{"its own, verified with what Datadog has",
			prepare{tag, noScopes, stating("scope", "audience")}, "adopted, accepted"},

		{"the one that it pins", prepare{pinning("payments-client", "client_id", "scope")}, "adopted, accepted"},
		{"not a pinned one that rejects it",
			prepare{pinning("victim", "client_id", "access_token_url")}, "auth_method_mismatch, retryable"},
	} {
		subtest(t, c.name, func(t *testing.T, w *world) {
			w.create()
			w.datadog.Latency = 200 * time.Millisecond
			for _, prepare := range c.prepare {
				prepare(w)
			}
			before := w.datadog.AuthMethods()
			res, err := w.sync(secretName)
			got := string(res.Outcome) + ", " + res.Verification
			if err != nil {
				got = string(fault.From(err).Code) + map[bool]string{true: ", retryable"}[fault.From(err).Retryable]
				if diff := cmp.Diff(before, w.datadog.AuthMethods()); diff != "" {
					t.Errorf("Datadog was written to:\n%s", diff)
				}
			}
			if got != c.want {
				t.Errorf("%s (%v); want %s", got, err, c.want)
			}
			if err != nil {
				return
			}
			written, _ := w.datadog.Get(res.AuthMethod.ID)
			if _, value := w.secrets.Current(secretName); written.ClientSecret != secretIn(value) {
				t.Error("Datadog does not hold AWSCURRENT")
			}
			if made := len(w.datadog.AuthMethods()) - len(before); (made == 1) != (res.Outcome == report.Created) {
				t.Errorf("%d auth methods were made", made)
			}
		})
	}
}

// noMethods is a list of auth methods in which there is none.
const noMethods = `{"data":[],"included":[]}`

// The style that the token endpoint accepted is asked first, while client_id and access_token_url are as recorded.
func TestTheRecordedStyle(t *testing.T) {
	type styles = []tokencheck.Style
	for _, c := range []struct {
		name string
		put  func(w *world)
		want styles
	}{
		{"same client and URL", func(w *world) { w.put("second") }, styles{"body"}},
		{"another scope", func(w *world) { w.put("second", "scope=a") }, styles{"body"}},
		{"another client", func(w *world) {
			w.tokens.Allow("another", secretIn(w.put("second", "client_id=another")))
		}, styles{"header", "body"}},
		{"another URL", func(w *world) {
			w.put("second", "access_token_url=https://idp.example.com/another")
		}, styles{"header", "body"}},
		{"edited at Datadog", func(w *world) {
			w.editMethod(func(m *datadogtest.AuthMethod) { m.ClientID = "edited" })
			w.put("second")
		}, styles{"body"}}, // since the secret states both
	} {
		subtest(t, c.name, func(t *testing.T, w *world) {
			w.tokens.Style = tokencheck.Body
			w.createSettled()
			c.put(w)
			w.tokens.ResetCalls()
			w.mustSync()
			var got styles
			for _, call := range w.tokens.Calls() {
				got = append(got, call.Style)
			}
			if diff := cmp.Diff(c.want, got); diff != "" || w.record(secretName)["via"] != "body" {
				t.Errorf("record %q, styles (-want +got):\n%s", w.tag(secretName), diff)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(w *world) // of a settled secret
		want    string         // in the one warning; empty: there is none
	}{
		{"none", func(w *world) { w.put("second") }, ""},
		{"a changed pin", func(w *world) {
			w.put("second", "auth_method_id="+w.datadogHolds("pinned", "payments-client").ID)
		}, "keeps its last client secret"},
		{"a misspelt field", func(w *world) { w.put("second", "scope", "Scope=a") }, "Scope"},
		{"no verdict", func(w *world) { w.tokens.Fail(unavailable) }, "503"},
		{"a token endpoint that does not decode", func(w *world) { w.tokens.Style = tokencheck.Plain }, "unencoded"},
		{"a record that cannot be written", func(w *world) {
			w.put("second")
			w.secrets.Fail("TagResource", 1, secretDenied)
		}, "recorded"},
		{"a bus that takes nothing", func(w *world) { w.bus.Hook = denied }, "could not be published"},
	} {
		subtest(t, c.name, func(t *testing.T, w *world) {
			w.createSettled()
			c.prepare(w)
			res := w.mustSync()
			got := strings.Join(res.Warnings, "\n")
			if !strings.Contains(got, c.want) || (got == "") != (c.want == "") || len(res.Warnings) > 1 {
				t.Errorf("warnings %q; want %q", res.Warnings, c.want)
			}
			if failed := len(w.metrics()["RecordFailed"]) > 0; failed != (c.want == "recorded") {
				t.Errorf("RecordFailed %v", w.metrics()["RecordFailed"])
			}
		})
	}
}

// A client secret goes to no access_token_url that neither the secret states nor a round verified.
func TestAURLThatNobodyVerifiedGetsNoClientSecret(t *testing.T) {
	const thief = "https://thief.example.com/token"
	redirect := func(w *world) { w.editMethod(func(m *datadogtest.AuthMethod) { m.AccessTokenURL = thief }) }
	// showing has Datadog show another URL from the PATCH of this sync on.
	showing := func(w *world, url string) {
		w.createSettled()
		patched := false
		w.interceptDatadog(func(r *http.Request, _ []byte) *http.Response {
			resp, err := standin.Hosts{"api.datadoghq.com": w.datadog}.RoundTrip(r)
			if err != nil {
				w.t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			if patched = patched || r.Method == "PATCH"; patched {
				body = bytes.ReplaceAll(body, []byte(tokenURL), []byte(url))
			}
			return response(r, resp.StatusCode, string(body))
		})
		w.secrets.Put(secretName, w.clientSecret("second"))
		w.mustSync()
	}
	for name, prepare := range map[string]func(w *world){
		"edited since it was settled": func(w *world) {
			w.createSettled()
			redirect(w)
		},
		"edited while it was written": func(w *world) { showing(w, thief) },
		"with a key in it, by an operator's tag": func(w *world) {
			showing(w, "https://"+apiKey+".example.com/token")
			w.setRecord("id=" + w.record(secretName)["id"])
		},
		"edited after an adoption that was not published": func(w *world) {
			m := w.datadogHolds("by hand", "payments-client")
			w.secrets.Create(secretName, w.value("first", "client_id", "access_token_url", "auth_method_id="+m.ID))
			w.bus.Hook = denied
			w.mustSync()
			redirect(w)
		},
	} {
		subtest(t, name, func(t *testing.T, w *world) {
			prepare(w)
			held := w.holds()
			w.tokens.ResetCalls()
			w.secrets.Put(secretName, w.clientSecret("third"))
			w.mustInvoke(directSync, fault.AuthMethodMismatch)
			if len(w.tokens.Calls()) > 0 || w.holds() != held {
				t.Errorf("%d token requests, or it was written", len(w.tokens.Calls()))
			}
		})
	}
	// The PATCH writes the URL that was verified.
	subtest(t, "edited between the list and the PATCH", func(t *testing.T, w *world) {
		w.createSettled()
		w.secrets.Put(secretName, w.clientSecret("second"))
		w.beforePatch(func(int) { redirect(w) })
		w.mustSync()
		if got := w.method().AccessTokenURL; got != tokenURL {
			t.Errorf("access_token_url: %s", got)
		}
	})
}
