package handler_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/fleet"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
)

func TestReconcileWithNothingToDo(t *testing.T) {
	const n = 101
	inWorld(t, func(t *testing.T, w *world) {
		w.createManySettled(n)
		w.createIdle()
		w.resetCalls()
		if got := w.reconcile(); got.Secrets != n || got.InSync != n {
			t.Errorf("answer: %+v", got)
		}
		w.wantCalls("in sync", map[string]int{"ListSecrets": (n + 99) / 100, "list": 1})
	})
}

func TestSettling(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(w *world) // 5 minutes after the write
		want []string       // results of reconciles from then on
		tag  string
	}{
		{"whoever asks for syncs", func(w *world) {
			for range 3 {
				time.Sleep(time.Minute)
				w.mustSync()
			}
			w.newResults()
		}, []string{"settled"}, "state=settled"},
		{"without a verdict", func(w *world) { w.tokens.Fail(unavailable) }, nil, "state=unproven"},
		{"10 minutes after another version came and went", func(w *world) {
			first, _ := w.secrets.Current(secretName)
			w.put("second")
			w.secrets.MoveCurrent(secretName, first)
			time.Sleep(10*time.Minute - time.Second)
			if answer := w.reconcile(); answer.Outcomes[report.Updated] != 1 {
				w.t.Errorf("answer: %+v", answer)
			}
			w.wantResults("too early")
		}, []string{"settled"}, "state=settled"},
	} {
		subtest(t, c.name, func(t *testing.T, w *world) {
			w.create()
			w.reconcile()
			w.newResults()
			time.Sleep(5 * time.Minute)
			if got := w.reconcile(); got.Settling != 1 || got.OutOfSync != 0 {
				t.Errorf("after 5 min: %+v", got)
			}
			c.edit(w)
			w.reconcileFor(time.Hour)
			w.wantResults("an hour", c.want...)
			settled := c.want != nil
			if w.lastResult().PreviousSecretSafeToRevoke != settled || !strings.Contains(w.tag(secretName), c.tag) {
				t.Errorf("published last: %+v, record %s", w.lastResult(), w.tag(secretName))
			}
			if got := w.reconcile(); got.InSync != 1 || (got.Unverified == 1) == settled {
				t.Errorf("in the end: %+v", got)
			}
		})
	}
	subtest(t, "with verification off nothing is safe to revoke", func(t *testing.T, w *world) {
		w.create()
		w.reconcileFor(30 * time.Minute)
		w.wantResults("in the end", "created", "settled")
		if last := w.lastResult(); last.PreviousSecretSafeToRevoke || last.Verification != "off" {
			t.Errorf("published: %+v", last)
		}
	}, func(w *world) { w.config.VerifyCredential = false })
}

func TestWhatAReconcileRepairs(t *testing.T) {
	put := func(wait time.Duration) func(w *world) {
		return func(w *world) {
			w.put("second")
			time.Sleep(wait)
		}
	}
	for _, c := range []struct {
		name     string
		edit     func(w *world)
		want     []string
		repaired int
	}{
		{"a rotation whose event was lost", put(5*time.Minute + time.Second), []string{"updated"}, 1},
		{"a rotation whose event may still come", put(5 * time.Minute), []string{"updated"}, 0},
		{"a rotation that could not be verified before", func(w *world) {
			value := w.putRejected("second")
			w.mustInvoke(directSync, fault.CredentialRejected)
			time.Sleep(6 * time.Minute)
			w.tokens.Allow("payments-client", secretIn(value))
		}, []string{"updated"}, 0},
		{"an edited auth method", func(w *world) {
			w.editMethod(func(m *datadogtest.AuthMethod) { m.ClientSecret, m.Scope = "edited", nil })
		}, []string{"updated"}, 1},
		{"an unrelated tag, quietly", func(w *world) { w.secrets.Tag(secretName, "cost-centre", "7") }, nil, 0},
		{"age, quietly", func(w *world) { time.Sleep(25 * time.Hour) }, nil, 0},
	} {
		subtest(t, c.name, func(t *testing.T, w *world) {
			w.createSettled()
			time.Sleep(11 * time.Minute)
			c.edit(w)
			w.resetCalls()
			if answer := w.reconcile(); answer.OutOfSync > 0 || answer.Outcomes[report.Updated] != 1 {
				t.Errorf("answer: %+v", answer)
			}
			want := map[string]int{"ListSecrets": 1, "list": 1, "DescribeSecret": 3, "GetSecretValue": 1, "token": 1,
				"PATCH": 1, "TagResource": 1}
			if c.want != nil {
				want["PutEvents"] = 1
			}
			w.wantCalls("the repair", want)
			w.wantResults("the repair", c.want...)
			w.mustHold("after the repair")
			told := strings.Count(w.log.String(), `"repaired":true`)
			if got := len(w.metrics()["Repaired"]); got != c.repaired || told != c.repaired {
				t.Errorf("Repaired %d times, in %d lines of the log; want %d", got, told, c.repaired)
			}
		})
	}
}

// A team chooses its version ids.
func TestAnyVersionIDIsRecorded(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		const id = "00000000 lost=credential_rejected since=2020-01-01T00:00:00Z"
		w.createSettled()
		w.secrets.NewID = func() string { return id }
		w.put("second")
		w.mustSync()
		w.reconcileFor(time.Hour)
		w.wantResults("an hour", "updated", "settled")
		s := w.status("null").Secrets[0]
		if repaired := w.metrics()["Repaired"]; !s.Settled || s.RecordedVersionID != id || len(repaired) > 0 {
			t.Errorf("status: %+v; Repaired %v", s, repaired)
		}
	})
}

// Lists of secrets may be minutes old: each secret is judged again as it is now.
func TestAStaleListWritesNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createSettled()
		w.secrets.Stale = func(op, _ string) time.Duration {
			return map[string]time.Duration{"ListSecrets": 5 * time.Minute}[op]
		}
		time.Sleep(time.Hour)
		w.put("second")
		time.Sleep(5 * time.Minute)
		w.mustSync()
		w.resetCalls()
		if answer := w.reconcile(); answer.Settling != 1 || len(answer.Outcomes) > 0 {
			t.Errorf("answer: %+v", answer)
		}
		w.wantCalls("the reconcile", map[string]int{"ListSecrets": 1, "list": 1, "DescribeSecret": 1})
	})
}

// A run that has time for few begins with what loses alerts. New secrets come last, since no webhook waits for them.
func TestARotationComesBeforeRefreshesAndNewSecrets(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createManySettled(100)
		time.Sleep(25 * time.Hour)
		w.secrets.Put(nameOf(99), w.numbered(99, "second"))
		for i := range 100 {
			w.secrets.Create(nameOf(100+i), w.numbered(100+i, "first"))
		}
		w.datadog.Fail(datadogtest.Fault{Method: "PATCH", Delay: 4 * time.Second})
		w.resetCalls()
		text, _ := w.invokeIn(27*time.Second, `{"action":"reconcile"}`)
		var answer fleet.Reconciliation
		if json.Unmarshal([]byte(text), &answer) != nil || answer.LeftOver != 200-fleet.Workers {
			t.Errorf("answer: %s", text)
		}
		if calls := w.calls(); !w.isSynced(nameOf(99)) || calls["PATCH"] != fleet.Workers || calls["POST"] > 0 {
			t.Errorf("the rotation waits behind others: %v", calls)
		}
	})
}

func TestTwoSecretsOnOneAuthMethod(t *testing.T) {
	for throttles := range 4 { // of DescribeSecret
		subtest(t, fmt.Sprintf("%d calls are throttled", throttles), func(t *testing.T, w *world) {
			w.createSettled()
			m := w.method()
			w.secrets.Create(secretName+"-b", w.value("another"))
			w.secrets.Tag(secretName+"-b", secretstore.RecordTag, "id="+m.ID)
			w.secrets.Fail("DescribeSecret", throttles, throttled)
			for i := range 3 {
				if answer := w.reconcile(); i > 0 && len(answer.Failures) != 2 {
					t.Errorf("answer: %+v", answer)
				}
				time.Sleep(15 * time.Minute)
			}
			got := w.newResults()
			mismatches := strings.Count(strings.Join(got, ", "), "failed auth_method_mismatch")
			if len(got) != 2 || mismatches != 2 || w.holds() != m.ClientSecret {
				t.Errorf("published: %v, or one of them was written", got)
			}
			w.secrets.Untag(secretName+"-b", secretstore.RecordTag) // one period later, as the list may be stale
			w.reconcileFor(30 * time.Minute)
			if s := w.status(`{"secretId":"` + secretName + `"}`).Secrets[0]; s.Failing != nil {
				t.Errorf("status: %+v", s)
			}
		})
	}
}

// What keeps Datadog from serving anybody is the run's trouble, which few secrets fail for.
func TestDatadogsTroubleIsTheRuns(t *testing.T) {
	const n = 20
	for _, c := range []struct {
		name     string
		fault    datadogtest.Fault
		code     fault.Code
		failures int // secrets that meet it first
	}{
		{"keys that may only read", datadogtest.Fault{Method: "PATCH", Status: 403}, fault.DatadogUnauthorized, 2},
		{"500 to every write", datadogtest.Fault{Method: "PATCH", Status: 500}, fault.DatadogUnavailable, 2},
		{"no room", datadogtest.Fault{Method: "PATCH", Status: 429, Header: http.Header{"X-Ratelimit-Reset": {"300"}}},
			fault.DatadogThrottled, 0},
		{"500 to the list", datadogtest.Fault{Method: "GET", Status: 500}, fault.DatadogUnavailable, 0},
		{"another organisation's list", datadogtest.Fault{Method: "GET", Body: noMethods}, fault.DatadogUnauthorized, 0},
	} {
		subtest(t, c.name, func(t *testing.T, w *world) {
			w.createManySettled(n)
			for i := range n {
				w.secrets.Put(nameOf(i), w.numbered(i, "second"))
			}
			w.datadog.Fail(c.fault)
			w.resetCalls()
			answer := w.reconcile()
			told := answer.Error != nil && answer.Error.Code == c.code
			if !told || answer.LeftOver != n-c.failures || len(answer.Failures) != c.failures || answer.Failing > 0 {
				t.Errorf("answer: %+v", answer)
			}
			if done := w.metrics()["ReconcileDone"]; len(done) > 2 {
				t.Errorf("ReconcileDone: %v", done)
			}
			if c.failures == 0 && w.calls()["PATCH"] > fleet.Workers {
				t.Errorf("%d PATCHes, though the run stops", w.calls()["PATCH"])
			}
			w.reconcileFor(45 * time.Minute)
			if told := w.newResults(); len(told) > 2 {
				t.Errorf("published: %v", told)
			}
			w.datadog.ClearFaults()
			w.reconcileFor(15 * time.Minute)
			w.mustBeSynced(0, n)
		})
	}
	subtest(t, "no room in a dry run", func(t *testing.T, w *world) {
		for i := range 3 {
			pin := fmt.Sprintf("aaaaaaaa-0000-4000-8000-%012d", i)
			w.secrets.Create(nameOf(i), w.value(fmt.Sprintf("of-%d", i), "auth_method_id="+pin))
			w.datadog.Fail(datadogtest.Fault{Method: "GET", Path: datadogtest.MethodPath + "/" + pin, Status: 429,
				Header: http.Header{"X-Ratelimit-Reset": {"300"}}})
		}
		if answer := w.dryReconcile(); answer.Error == nil || answer.LeftOver != 3 || len(answer.Failures) > 0 {
			t.Errorf("answer: %+v", answer)
		}
	})
	subtest(t, "Secrets Manager's list fails", func(t *testing.T, w *world) {
		w.createSettled()
		w.secrets.Fail("ListSecrets", 9, throttled)
		if answer := w.reconcile(); answer.Error == nil || answer.Error.Code != fault.SecretsUnavailable {
			t.Errorf("answer: %+v", answer)
		}
		if got := w.metrics(); len(got["ReconcileDone"]) != 2 || len(got["Secrets"]) != 2 {
			t.Errorf("metrics: %v", got)
		}
	})
}

// mustBeSynced fails the test for each numbered secret that is not synced.
func (w *world) mustBeSynced(from, to int) {
	w.t.Helper()
	for i := from; i < to; i++ {
		if !w.isSynced(nameOf(i)) {
			w.t.Errorf("%s is not synced", nameOf(i))
		}
	}
}

// What stands before Datadog refuses what some secrets state, whatever the keys.
func TestSecretsThatDatadogRefusesStopNoRun(t *testing.T) {
	const all, n = 12, 3
	for _, status := range []int{403, 500} {
		subtest(t, fmt.Sprint(status), func(t *testing.T, w *world) {
			w.createManySettled(all)
			for i := range all {
				if i < n {
					w.datadog.Fail(datadogtest.Fault{Method: "PATCH", Status: status, Delay: 2 * time.Second,
						Path: datadogtest.MethodPath + "/" + w.record(nameOf(i))["id"]}) // after others
				}
				w.secrets.Put(nameOf(i), w.numbered(i, "second"))
			}
			if answer := w.reconcile(); answer.Error != nil || len(answer.Failures) != n {
				t.Errorf("answer: %+v", answer)
			}
			w.mustBeSynced(n, all)
			w.reconcileFor(3 * time.Hour)
			told := strings.Count(strings.Join(w.newResults(), ", "), "failed")
			if told != n {
				t.Errorf("%d failures were published; want one for each secret", told)
			}
		})
	}
}

// A reconcile counts what it found itself, recorded or not. A page neither ends nor begins because a secret could not
// be read. What is lost after the list was read is counted by the next one: the page looks further back than a minute.
func TestWhatAReconcileCounts(t *testing.T) {
	type counts struct{ Secrets, Failing, AtRisk int }
	lose := func(w *world) {
		w.revoke(w.createSettled())
		w.putRejected("second")
	}
	purgeAt := func(call int) func(w *world) { // of DescribeSecret
		return func(w *world) {
			w.create()
			w.secrets.Hook = func(op, _ string) error {
				if op == "DescribeSecret" && w.secrets.Calls()[op] == call {
					w.secrets.Hook = nil
					w.purge()
				}
				return nil
			}
		}
	}
	for name, c := range map[string]struct {
		prepare func(w *world)
		want    counts
	}{
		"lost, and not readable any more": {func(w *world) {
			lose(w)
			w.mustInvoke(directSync, fault.CredentialRejected)
			w.secrets.Fail("DescribeSecret", 100, secretDenied)
		}, counts{1, 1, 1}},
		"lost, and the bus takes nothing": {func(w *world) {
			lose(w)
			w.bus.Hook = denied
		}, counts{1, 0, 1}},
		"lost, and the tag is refused": {func(w *world) {
			lose(w)
			w.secrets.Fail("TagResource", 99, secretDenied)
		}, counts{1, 1, 1}},
		"lost, and Datadog takes no write": {func(w *world) {
			w.revoke(w.createSettled())
			w.put("second")
			w.datadog.Fail(datadogtest.Fault{Method: "PATCH", Status: 429})
		}, counts{1, 0, 1}},
		"lost since the list was read": {func(w *world) {
			first := w.createSettled()
			w.secrets.Latency = func(op, _ string) time.Duration {
				return map[string]time.Duration{"ListSecrets": time.Minute}[op]
			}
			time.AfterFunc(40*time.Second, func() {
				w.revoke(first)
				w.putRejected("second")
				w.mustInvoke(directSync, fault.CredentialRejected)
			})
		}, counts{1, 0, 0}},
		"purged since the list was read":  {purgeAt(1), counts{}},
		"purged since it was judged anew": {purgeAt(2), counts{}},
	} {
		subtest(t, name, func(t *testing.T, w *world) {
			c.prepare(w)
			answer := w.reconcile()
			if got := (counts{answer.Secrets, answer.Failing, answer.AtRisk}); got != c.want || answer.Error != nil &&
				answer.Error.Code != fault.DatadogThrottled {
				t.Errorf("counts %+v, error %v; want %+v", got, answer.Error, c.want)
			}
		})
	}
}

func TestADryReconcile(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createManySettled(2)
		w.secrets.Put(nameOf(0), w.numbered(0, "second"))
		w.secrets.Create(nameOf(2), w.numbered(2, "first"))
		w.secrets.Create(nameOf(3), "{}")
		w.datadogHolds("method 4", "payments-client")
		w.secrets.Create(nameOf(4), w.numbered(4, "first"))
		other := w.datadogHolds("of no secret", "other-client")
		w.resetCalls()
		answer := w.dryReconcile()
		if len(answer.Failures) != 1 || answer.OutOfSync != 4 {
			t.Errorf("answer: %+v", answer)
		}
		actions := map[string]string{}
		for _, p := range answer.Plans {
			actions[p.Secret.Name] = p.Plan.Action
			if p.Verification != "accepted" {
				t.Errorf("verification of %s: %q", p.Secret.Name, p.Verification)
			}
		}
		want := map[string]string{nameOf(0): "update", nameOf(2): "create", nameOf(4): "adopt"}
		if diff := cmp.Diff(want, actions); diff != "" {
			t.Errorf("plans (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]fleet.Unmanaged{{ID: other.ID, Name: other.Name}}, answer.Unmanaged); diff != "" {
			t.Errorf("unmanaged (-want +got):\n%s", diff)
		}
		calls := w.calls()
		if calls["TagResource"]+calls["PutEvents"]+calls["POST"]+calls["PATCH"] > 0 {
			t.Errorf("a dry run called %v", calls)
		}
	})
}
