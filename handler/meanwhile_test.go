package handler_test

import (
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
)

// mustTellNothing: there is nothing to do any more, and nobody hears of it.
func (w *world) mustTellNothing() {
	w.t.Helper()
	w.wantResults("in the end")
	if m := w.metrics(); slices.Max(append(m["AtRisk"], 0))+float64(len(m["RecordFailed"])) > 0 {
		w.t.Errorf("metrics: %v", m)
	}
}

// What another hand does to a secret while it is synced.
func TestMeanwhile(t *testing.T) {
	for name, play := range map[string]func(t *testing.T, w *world){
		// The provider keeps one secret, and is slow to honour the new one.
		"another invocation writes the next version, after a write of this one": func(t *testing.T, w *world) {
			first, second, third := w.createSettled(), w.value("second"), w.value("third")
			w.revoke(third)
			w.datadog.Latency = 400 * time.Millisecond
			w.secrets.Put(secretName, second)
			event := w.labelEvent()
			time.AfterFunc(500*time.Millisecond, func() {
				w.secrets.Put(secretName, third)
				w.revoke(first)
				w.revoke(second)
			})
			time.AfterFunc(2*time.Second, func() { // the first waits before it says that alerts are being lost
				w.tokens.Allow("payments-client", secretIn(third))
				w.mustSync()
			})
			w.mustInvoke(event, "")
			w.wantResults("in the end", "updated", "updated")
			w.mustHold("in the end")
		},
		"another invocation ends the loss, and the look fails": func(t *testing.T, w *world) {
			first := w.createSettled()
			second := w.putRejected("second")
			w.revoke(first)
			var repaired atomic.Bool
			time.AfterFunc(2*time.Second, func() {
				w.tokens.Allow("payments-client", secretIn(second))
				w.mustSync()
				repaired.Store(true)
			})
			w.failDescribe(repaired.Load)
			w.mustInvoke(directSync, fault.CredentialRejected)
			w.wantResults("in the end", "updated")
		},
		"AWSCURRENT goes back to the held version, which was refused, in a brown-out": func(t *testing.T, w *world) {
			value := w.createSettled()
			first, _ := w.secrets.Current(secretName)
			w.putRejected("second")
			w.revoke(value)
			time.AfterFunc(3*time.Second, func() {
				w.secrets.MoveCurrent(secretName, first)
				w.tokens.Fail(unavailable)
			})
			w.resetCalls()
			if w.mustInvoke(directSync, fault.CredentialRejected); w.calls()["PATCH"] > 0 {
				t.Errorf("calls: %v", w.calls())
			}
		},
		"the secret is deleted, after a write": func(t *testing.T, w *world) {
			w.createSettled()
			w.put("second")
			w.beforePatch(func(int) {
				w.put("third")
				w.secrets.Delete(secretName)
			})
			w.mustInvoke(w.labelEvent(), "")
			w.mustTellNothing()
		},
		"the secret and its auth method are deleted": func(t *testing.T, w *world) {
			w.createSettled()
			time.Sleep(20 * time.Minute)
			w.put("second")
			w.beforePatch(func(int) {
				w.secrets.Delete(secretName)
				w.deleteMethods(secretName)
			})
			w.mustInvoke(w.labelEvent(), "")
			w.mustTellNothing()
		},
		"the secret is deleted during an event, its auth method before": func(_ *testing.T, w *world) {
			w.createSettled()
			time.Sleep(20 * time.Minute)
			w.put("second")
			w.deleteMethods(secretName)
			time.AfterFunc(2*time.Second, func() { w.secrets.Delete(secretName) })
			w.mustInvoke(w.labelEvent(), "")
			w.mustTellNothing()
		},
		"the secret is deleted during a reconcile, its auth method before": func(t *testing.T, w *world) {
			w.createSettled()
			time.Sleep(20 * time.Minute)
			w.deleteMethods(secretName)
			time.AfterFunc(2*time.Second, func() { w.secrets.Delete(secretName) })
			if got := w.reconcile(); got.AtRisk+got.Failing+got.Secrets > 0 {
				t.Errorf("at risk %d, failing %d, of %d", got.AtRisk, got.Failing, got.Secrets)
			}
			w.mustTellNothing()
		},
		// Without the recorded style, such a provider's answer to the header is no verdict.
		"verification is off for a while": func(t *testing.T, w *world) {
			w.tokens.Style = "body"
			w.outside.Tokens = interceptor{w.outside.Tokens, func(r *http.Request, _ []byte) *http.Response {
				if _, _, header := r.BasicAuth(); header {
					return response(r, 500, "")
				}
				return nil
			}}
			w.wire()
			w.createSettled()
			w.config.VerifyCredential = false
			w.wire()
			second := w.put("second")
			w.mustSync()
			w.config.VerifyCredential = true
			w.wire()
			w.newResults()
			w.putRejected("third")
			w.revoke(second)
			w.mustInvoke(directSync, fault.CredentialRejected)
			w.wantResults("at once", "failed credential_rejected held rejected")
		},
		"a secret of the same name is made in its place": func(t *testing.T, w *world) {
			w.createSettled()
			held := w.method()
			w.put("second")
			w.tokens.Allow("thief", "thief's")
			w.beforePatch(func(int) {
				w.purge()
				w.secrets.Create(secretName, w.valueOf("thief's", "client_id=thief"))
			})
			w.mustInvoke(directSync, fault.SecretsUnavailable)
			if now, _ := w.datadog.Get(held.ID); now.ClientID != held.ClientID {
				t.Errorf("Datadog holds %s", now.ClientID)
			}
		},
		"the look meets a replica that is behind": func(t *testing.T, w *world) {
			w.createSettled()
			second := w.put("second")
			put := time.Now()
			event := w.labelEvent()
			time.Sleep(2 * time.Second)
			var behind atomic.Bool
			w.secrets.Stale = func(string, string) time.Duration {
				if behind.Load() && time.Since(put) < 8*time.Second {
					return time.Since(put) + time.Millisecond
				}
				return 0
			}
			w.beforePatch(func(int) { behind.Store(true) })
			if w.mustInvoke(event, fault.SecretsUnavailable); w.holds() != secretIn(second) {
				t.Error("an older version was written")
			}
		},
		"a forged tag names the auth method of another URL, and another secret's tag the same": func(t *testing.T, w *world) {
			w.createSettled()
			version, _ := w.secrets.Current(secretName)
			shown := datadog.AuthMethod{Name: "thief", ClientID: "thief", AccessTokenURL: "https://thief.example.com/token"}
			thief := w.datadog.Put(datadogtest.AuthMethod{Name: shown.Name, ClientID: shown.ClientID,
				AccessTokenURL: shown.AccessTokenURL})
			w.setRecord(fmt.Sprintf("id=%s version=%s at=%s digest=%s site=datadoghq.com state=pushed", thief.ID, version,
				time.Now().UTC().Format(time.RFC3339), shown.Digest()))
			w.secrets.Create(nameOf(1), w.value("of-the-thief"))
			w.secrets.Tag(nameOf(1), secretstore.RecordTag, "id="+thief.ID)
			time.Sleep(11 * time.Minute)
			w.outside.Tokens = interceptor{w.outside.Tokens, func(r *http.Request, _ []byte) *http.Response {
				if r.URL.Host == "thief.example.com" {
					t.Error("the thief was asked for a token")
				}
				return nil
			}}
			w.wire()
			w.reconcile()
		},
		"AWSCURRENT moves, and the labels cannot be read": func(t *testing.T, w *world) {
			w.createSettled()
			w.put("second")
			w.datadog.Latency = 400 * time.Millisecond
			time.AfterFunc(300*time.Millisecond, func() { w.put("third") })
			w.resetCalls()
			w.secrets.Hook = func(op, name string) error {
				if name == "" {
					t.Errorf("%s of no secret", op)
				}
				if op == "DescribeSecret" && w.calls()["DescribeSecret"] == 3 {
					return throttled
				}
				return nil
			}
			w.mustInvoke(directSync, fault.SecretsUnavailable)
			w.wantResults("in the end")
		},
		"AWSCURRENT moves in a reconcile, which counts what it wrote": func(t *testing.T, w *world) {
			w.createSettled()
			w.put("second")
			w.beforePatch(func(n int) {
				if n == 1 {
					w.put("third")
				}
			})
			if got := w.reconcile(); got.OutOfSync != 0 || got.Settling != 1 {
				t.Errorf("%d out of sync, %d settling", got.OutOfSync, got.Settling)
			}
		},
		"a tag moves to another's auth method, and the fleet's look fails": func(t *testing.T, w *world) {
			w.createManySettled(2)
			other := w.record(nameOf(1))["id"]
			before, _ := w.datadog.Get(other)
			w.secrets.Put(nameOf(0), w.value("second-of-0", "name"))
			var once atomic.Bool
			w.secrets.Hook = func(op, name string) error {
				if op != "DescribeSecret" || name != nameOf(0) || once.Swap(true) {
					return nil
				}
				w.secrets.Tag(nameOf(0), secretstore.RecordTag, "id="+other)
				return throttled
			}
			w.reconcile()
			if after, _ := w.datadog.Get(other); after.ClientSecret != before.ClientSecret {
				t.Error("it got the client secret of a secret that is not its own")
			}
		},
	} {
		subtest(t, name, play)
	}
}
