package handler_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
)

func TestASync(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.create()
		for _, c := range []struct {
			outcome report.Outcome
			write   string
		}{{report.Created, "POST"}, {report.Updated, "PATCH"}} {
			w.resetCalls()
			if res := w.mustSync(); res.Outcome != c.outcome {
				t.Errorf("%s; want %s", res.Outcome, c.outcome)
			}
			w.wantCalls(c.write, map[string]int{"GetSecretValue": 1, "DescribeSecret": 2, "token": 1, "list": 1, c.write: 1,
				"TagResource": 1, "PutEvents": 1})
			version, _ := w.secrets.Current(secretName)
			digest := w.record(secretName)["digest"]
			want := fmt.Sprintf("id=%s version=%s at=%s digest=%s site=datadoghq.com via=header state=pushed",
				w.method().ID, version, time.Now().UTC().Format(time.RFC3339), digest)
			if got := w.tag(secretName); got != want || len(digest) != 16 {
				t.Errorf("record %q; want %q", got, want)
			}
			w.put("second")
		}
	})
}

// The label event of a second version, of a settled secret, is tried again, and nothing is published yet.
func TestAnEventThatIsTriedAgain(t *testing.T) {
	conflict := func(w *world) { w.datadog.Fail(datadogtest.Fault{Method: "PATCH", Status: 409, Times: 1}) }
	for _, c := range []struct {
		name    string
		prepare func(w *world, first string)
		code    fault.Code
	}{
		{"the version does not show", func(w *world, _ string) {
			w.secrets.Stale = func(string, string) time.Duration { return time.Minute }
		}, fault.SecretsUnavailable},
		{"its result cannot be published", func(w *world, _ string) { w.bus.Hook = denied }, fault.PublishFailed},
		{"a failure cannot be published", func(w *world, _ string) {
			w.bus.Hook = denied
			w.secrets.Put(secretName, "{}")
		}, fault.PublishFailed},
		{"a failure that is not told yet", func(w *world, _ string) {
			w.bus.Hook = denied
			w.datadog.Fail(refusing("", 500))
		}, fault.DatadogUnavailable},
		{"the secret does not show", func(w *world, _ string) { w.purge() }, fault.SecretNotFound},
		{"the secret is not found after a conflict", func(w *world, _ string) {
			conflict(w)
			time.AfterFunc(time.Millisecond, w.purge)
		}, fault.SecretsUnavailable},
		{"another replica is behind after a conflict", func(w *world, _ string) { // no reason to write an older one
			conflict(w)
			put := time.Now()
			time.Sleep(2 * time.Second)
			w.beforePatch(func(int) {
				w.secrets.Stale = func(string, string) time.Duration { return time.Since(put) + time.Second }
			})
		}, fault.SecretsUnavailable},
		{"the next one is not honoured yet, after a write that ended a loss", func(w *world, first string) {
			w.revoke(first)
			w.datadog.Latency = 400 * time.Millisecond
			time.AfterFunc(300*time.Millisecond, func() { w.putRejected("third") })
		}, fault.CredentialRejected},
	} {
		subtest(t, c.name, func(t *testing.T, w *world) {
			first := w.createSettled()
			time.Sleep(11 * time.Minute)
			w.put("second")
			event := w.labelEvent()
			c.prepare(w, first)
			w.mustInvoke(event, c.code)
			w.wantResults("at once")
			if w.method(); len(w.metrics()["AtRisk"]) > 2 { // of reconciles
				t.Errorf("AtRisk %v", w.metrics()["AtRisk"])
			}
		})
	}
}

// In each case AWSCURRENT moves while the first round writes.
func TestASecondRound(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(w *world)
		want    report.Outcome
	}{
		{"goes on with what the first one made", func(*world) {}, report.Created},
		{"goes on with what the first one took over", func(w *world) {
			w.datadogHolds("payments", "payments-client") // without a scope, which the secret states
		}, report.Adopted},
	} {
		subtest(t, c.name, func(t *testing.T, w *world) {
			w.create()
			c.prepare(w)
			w.datadog.Latency = 400 * time.Millisecond
			time.AfterFunc(700*time.Millisecond, func() { w.secrets.Put(secretName, w.clientSecret("alone")) })
			res := w.mustSync()
			if res.Outcome != c.want || res.Verification != "accepted" {
				t.Errorf("%s, verification %s", res.Outcome, res.Verification)
			}
			w.mustHold("in the end")
		})
	}
}

// What Datadog took is recorded whatever fails later: here the look, so nothing else is. Of a creation, which was not
// published, only the id is, so that the next sync tells it.
func TestALookThatFailed(t *testing.T) {
	for write, next := range map[string]string{"POST": "adopted", "PATCH": "updated"} {
		subtest(t, write, func(t *testing.T, w *world) {
			if w.create(); write == "PATCH" {
				w.settle(1)
				w.put("second")
			}
			event := w.labelEvent()
			w.resetCalls()
			w.failDescribe(func() bool { return w.calls()[write] > 0 })
			w.mustInvoke(event, fault.SecretsUnavailable)
			if r := w.record(secretName); r["id"] != w.method().ID || w.isSynced(secretName) != (write == "PATCH") {
				t.Errorf("record: %q", w.tag(secretName))
			}
			w.secrets.Hook = nil
			w.mustInvoke(event, "")
			w.wantResults("the next attempt", next)
		})
	}
}

// The same in a second round, where the record of the first is not written yet.
func TestALookThatFailedInASecondRound(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createSettled()
		second := w.secrets.Put(secretName, w.value("second"))
		w.datadog.Latency = 400 * time.Millisecond
		event := w.labelEvent()
		time.AfterFunc(300*time.Millisecond, func() { w.secrets.Put(secretName, "{") })
		w.resetCalls()
		w.failDescribe(func() bool { return w.calls()["PATCH"] > 0 && w.calls()["DescribeSecret"] > 3 })
		w.mustInvoke(event, "")
		w.wantResults("then", "failed secret_invalid held accepted")
		if w.record(secretName)["version"] != second {
			t.Errorf("record: %q; want version %s", w.tag(secretName), second)
		}
	})
}

// What another invocation wrote since a round read the secret is no failure of that round.
func TestTwoInvocationsAtOnce(t *testing.T) {
	subtest(t, "an auth method that is made again", func(t *testing.T, w *world) {
		w.createSettled()
		time.Sleep(15 * time.Minute)
		w.deleteMethods(secretName)
		time.AfterFunc(time.Second, func() { // the first waits before it says that alerts are being lost
			w.setRecord("")
			w.mustSync()
		})
		w.mustSync()
		w.wantResults("in the end", "created", "updated")
	})
	for offset := 400 * time.Millisecond; offset <= 700*time.Millisecond; offset += 50 * time.Millisecond {
		subtest(t, fmt.Sprintf("the second %v after the first", offset), func(t *testing.T, w *world) {
			w.createSettled()
			w.put("second", "access_token_url", "scope=write:webhooks")
			const slow = 200 * time.Millisecond
			w.datadog.Latency, w.tokens.Latency = slow, slow
			w.secrets.Latency = func(string, string) time.Duration { return slow / 2 }
			time.AfterFunc(offset, func() { w.mustSync() })
			w.mustSync()
			time.Sleep(15 * time.Second)
			w.reconcileFor(30 * time.Minute)
			w.wantResults("a rotation", "updated", "updated", "settled")
		})
	}
}

// Scope is judged by what was read, too: here the function is another account's.
func TestAnAnswerAboutAnotherSecretIsOutOfScope(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.create()
		w.function = strings.Replace(function, "123456789012", "210987654321", 1)
		w.mustInvoke(directSync, fault.SecretOutOfScope)
		if calls := w.calls(); calls["token"]+calls["POST"]+calls["TagResource"] > 0 {
			t.Errorf("calls: %v", calls)
		}
	})
}

// Lambda ends an invocation at its deadline, with what it would have said and measured.
func TestARecordThatHangsDelaysNoAnswer(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createSettled()
		w.put("second")
		w.secrets.Latency = func(op, _ string) time.Duration {
			return map[string]time.Duration{"TagResource": time.Hour}[op]
		}
		for _, payload := range []string{directSync, `{"action":"reconcile"}`} {
			began := time.Now()
			if w.mustInvoke(payload, ""); time.Since(began) >= 120*time.Second {
				t.Errorf("%s is answered after %v", payload, time.Since(began))
			}
		}
	})
}
