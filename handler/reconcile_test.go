package handler_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/fleet"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/tokencheck/tokentest"
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
		safe bool           // previousSecretSafeToRevoke of the last
		tag  string
	}{
		{"settles", func(*world) {}, []string{"settled"}, true, "state=settled"},
		{"whoever asks for syncs", func(w *world) {
			for range 3 {
				time.Sleep(time.Minute)
				if _, err := w.sync(secretName); err != nil {
					w.t.Error(err)
				}
			}
			w.newResults()
		}, []string{"settled"}, true, "state=settled"},
		{"without a verdict", func(w *world) { w.tokens.Fail(tokentest.Fault{Status: 503}) }, nil, false,
			"state=unproven"},
		{"10 minutes after another version came and went", func(w *world) {
			first, _ := w.secrets.Current(secretName)
			w.secrets.Put(secretName, w.value("second"))
			w.secrets.MoveCurrent(secretName, first)
			time.Sleep(10*time.Minute - time.Second)
			if answer := w.reconcile(); answer.Outcomes[report.Updated] != 1 {
				w.t.Errorf("answer: %+v", answer)
			}
			w.wantResults("too early")
		}, []string{"settled"}, true, "state=settled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.secrets.Create(secretName, w.value("first"))
				w.reconcile()
				w.newResults()
				time.Sleep(5 * time.Minute)
				if got := w.reconcile(); got.Settling != 1 || got.OutOfSync != 0 {
					t.Errorf("after 5 min: %+v", got)
				}
				c.edit(w)
				w.reconcileFor(time.Hour)
				w.wantResults("an hour", c.want...)
				results := w.published()
				last := results[len(results)-1]
				if last.PreviousSecretSafeToRevoke != c.safe || !strings.Contains(w.tag(secretName), c.tag) {
					t.Errorf("published last: %+v, record %s", last, w.tag(secretName))
				}
				if got := w.reconcile(); got.InSync != 1 || (got.Unverified == 1) == c.safe {
					t.Errorf("in the end: %+v", got)
				}
			})
		})
	}
	t.Run("at 10 minutes", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			w.secrets.Create(secretName, w.value("first"))
			w.reconcile()
			time.Sleep(10*time.Minute - time.Second)
			if got := w.reconcile(); got.Settling != 1 {
				t.Errorf("a second before: %+v", got)
			}
			time.Sleep(time.Second)
			if got := w.reconcile(); got.Outcomes[report.Settled] != 1 {
				t.Errorf("then: %+v", got)
			}
		})
	})
	t.Run("with verification off nothing is safe to revoke", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			w.secrets.Create(secretName, w.value("first"))
			w.reconcile()
			w.reconcileFor(15 * time.Minute)
			w.wantResults("in the end", "created", "settled")
			if last := w.published()[1]; last.PreviousSecretSafeToRevoke || last.Verification != "off" {
				t.Errorf("published: %+v", last)
			}
		}, func(w *world) { w.config.VerifyCredential = false })
	})
}

func TestWhatAReconcileRepairs(t *testing.T) {
	edit := func(w *world, edit func(m *datadogtest.AuthMethod)) {
		m := w.datadog.AuthMethods()[0]
		edit(&m)
		w.datadog.Put(m)
	}
	put := func(wait time.Duration) func(w *world) {
		return func(w *world) {
			w.secrets.Put(secretName, w.value("second"))
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
			value := w.putRejected(secretName, "second")
			_, _ = w.sync(secretName)
			time.Sleep(6 * time.Minute)
			w.tokens.Allow("payments-client", secretIn(value))
		}, []string{"updated"}, 0},
		{"an edited auth method", func(w *world) {
			edit(w, func(m *datadogtest.AuthMethod) { m.ClientSecret, m.Scope = "edited", nil })
		}, []string{"updated"}, 1},
		{"an unrelated tag, quietly", func(w *world) { w.secrets.Tag(secretName, "cost-centre", "7") }, nil, 0},
		{"age, quietly", func(w *world) { time.Sleep(25 * time.Hour) }, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.createSettled(secretName)
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
				if got := len(w.metrics()["Repaired"]); got != c.repaired {
					t.Errorf("Repaired %d times; want %d", got, c.repaired)
				}
			})
		})
	}
}

// V is settled, W comes and goes; the invocation that read W is killed when its PATCH is on the wire, and that lands
// last. A reconcile in between must not take V for settled still.
func TestALatePatchOfARolledBackVersionIsRepaired(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createSettled(secretName)
		v, _ := w.secrets.Current(secretName)
		time.Sleep(time.Minute)
		w.secrets.Put(secretName, w.value("W"))
		w.datadog.Fail(datadogtest.Fault{Method: "PATCH", Times: 1, Delay: 5 * time.Minute})
		_, _ = w.invokeIn(3*time.Second, w.sample("secret-label-updated.json")) // and nobody tries again
		w.secrets.MoveCurrent(secretName, v)
		w.reconcile() // the event of the way back is lost
		w.reconcileFor(time.Hour)
		w.mustHold("after an hour")
	})
}

// Lists of secrets may be minutes old: each secret is judged again as it is now.
func TestAStaleListWritesNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createSettled(secretName)
		w.secrets.Stale = func(op, _ string) time.Duration {
			return map[string]time.Duration{"ListSecrets": 5 * time.Minute}[op]
		}
		time.Sleep(time.Hour)
		w.secrets.Put(secretName, w.value("second"))
		time.Sleep(5 * time.Minute)
		if _, err := w.sync(secretName); err != nil {
			t.Fatal(err)
		}
		w.resetCalls()
		if answer := w.reconcile(); answer.Settling != 1 || len(answer.Outcomes) > 0 {
			t.Errorf("answer: %+v", answer)
		}
		w.wantCalls("the reconcile", map[string]int{"ListSecrets": 1, "list": 1, "DescribeSecret": 1})
	})
}

// A run that has time for few begins with what loses alerts.
func TestARotationComesBeforeARefresh(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createManySettled(100)
		time.Sleep(25 * time.Hour)
		w.secrets.Put(nameOf(99), w.numbered(99, "second"))
		w.datadog.Fail(datadogtest.Fault{Method: "PATCH", Delay: 4 * time.Second})
		_, err := w.invokeIn(27*time.Second, `{"action":"reconcile"}`)
		if !w.isSynced(nameOf(99)) {
			t.Error("the rotation waits behind refreshes", err)
		}
	})
}

func TestReconcileStopsBeforeTheDeadline(t *testing.T) {
	const n = 200
	inWorld(t, func(t *testing.T, w *world) {
		for i := range n {
			w.secrets.Create(nameOf(i), w.numbered(i, "first"))
		}
		w.datadog.Latency = time.Second
		started := time.Now()
		first := w.reconcile()
		created := first.Outcomes[report.Created]
		if took := time.Since(started); took > 118*time.Second || first.LeftOver == 0 || first.LeftOver+created != n {
			t.Errorf("after %v: %+v", took, first)
		}
		w.datadog.Latency = 0
		if second := w.reconcile(); second.Outcomes[report.Created] != first.LeftOver || second.LeftOver != 0 {
			t.Errorf("second run: %+v", second)
		}
	})
}

// Two new secrets of one client: the second one sees what the first created.
func TestCreatesOfOneReconcileSeeEachOther(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.datadog.Latency = 200 * time.Millisecond
		w.secrets.Create(secretName+"-a", w.value("one"))
		w.secrets.Create(secretName+"-b", w.value("one"))
		answer := w.reconcile()
		if answer.Outcomes[report.Created] != 1 || !onlyMismatches(answer, 1) {
			t.Errorf("answer: %+v", answer)
		}
		if got := len(w.datadog.AuthMethods()); got != 1 {
			t.Errorf("%d auth methods", got)
		}
	})
}

// onlyMismatches reports whether n secrets fail, all of them with auth_method_mismatch.
func onlyMismatches(answer fleet.Reconciliation, n int) bool {
	return len(answer.Failures) == n && !slices.ContainsFunc(answer.Failures, func(r report.Result) bool {
		return r.Error.Code != fault.AuthMethodMismatch
	})
}

func TestTwoSecretsOnOneAuthMethod(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createSettled(secretName)
		m := w.datadog.AuthMethods()[0]
		w.secrets.Create(secretName+"-b", w.value("another"))
		w.secrets.Tag(secretName+"-b", secretstore.RecordTag, "id="+m.ID)
		w.newResults()
		for range 2 {
			answer := w.reconcile()
			if !onlyMismatches(answer, 2) {
				t.Errorf("answer: %+v", answer)
			}
			time.Sleep(15 * time.Minute)
		}
		if got := w.newResults(); len(got) != 2 {
			t.Errorf("published: %v", got)
		}
		if w.holds() != m.ClientSecret {
			t.Error("one of them was written")
		}
		w.secrets.Untag(secretName+"-b", secretstore.RecordTag) // one period later, as the list may be stale
		w.reconcileFor(30 * time.Minute)
		if s := w.status(`{"secretId":"` + secretName + `"}`).Secrets[0]; s.Failing != nil {
			t.Errorf("status: %+v", s)
		}
	})
}

// A list that still shows a secret that was deleted makes its successor share. Nobody is told, as that does not stay.
func TestATagThatMovedToAnotherSecret(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createSettled(secretName)
		w.secrets.Create(secretName+"-b", w.value("first-of-b", "name=payments"))
		w.secrets.Stale = func(op, secret string) time.Duration {
			if op == "ListSecrets" && secret == secretName {
				return time.Minute
			}
			return 0
		}
		time.Sleep(time.Hour)
		w.secrets.Tag(secretName+"-b", secretstore.RecordTag, w.tag(secretName))
		w.secrets.Delete(secretName)
		if answer := w.reconcile(); !onlyMismatches(answer, 1) {
			t.Errorf("answer: %+v", answer)
		}
		w.reconcileFor(30 * time.Minute)
		for _, r := range w.newResults() {
			if strings.HasPrefix(r, "failed") {
				t.Errorf("published: %s", r)
			}
		}
	})
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
		{"another organisation's list", datadogtest.Fault{Method: "GET", Body: `{"data":[],"included":[]}`}, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.createManySettled(n)
				for i := range n {
					w.secrets.Put(nameOf(i), w.numbered(i, "second"))
				}
				w.datadog.Fail(c.fault)
				w.resetCalls()
				answer := w.reconcile()
				told := answer.Error != nil && (c.code == "" || answer.Error.Code == c.code)
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
				for i := range n {
					if !w.isSynced(nameOf(i)) {
						t.Errorf("%s is not synced once the trouble is over", nameOf(i))
					}
				}
			})
		})
	}
	t.Run("Secrets Manager's list fails", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			w.createSettled(secretName)
			w.secrets.Fail("ListSecrets", 9, throttled)
			if answer := w.reconcile(); answer.Error == nil || answer.Error.Code != fault.SecretsUnavailable {
				t.Errorf("answer: %+v", answer)
			}
			if got := w.metrics(); len(got["ReconcileDone"]) != 2 || len(got["Secrets"]) != 2 {
				t.Errorf("metrics: %v", got)
			}
		})
	})
}

// A reconcile counts what it found itself where that could be neither published nor recorded, so that no page ends.
func TestAReconcileCountsWhatItCouldNotRecord(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		first := w.createSettled(secretName)
		w.putRejected(secretName, "second")
		w.revoke(first)
		w.bus.Hook = denied
		if answer := w.reconcile(); answer.AtRisk != 1 {
			t.Errorf("the bus refuses: %+v", answer)
		}
		w.bus.Hook = nil
		w.secrets.Fail("TagResource", 99, secretDenied)
		if answer := w.reconcile(); answer.Failing != 1 || answer.AtRisk != 1 {
			t.Errorf("the tag is refused: %+v", answer)
		}
	})
}

func TestASecretThatIsGoneSinceTheList(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createSettled(secretName)
		w.secrets.Put(secretName, w.value("second"))
		w.secrets.Hook = func(op, _ string) error {
			if op == "DescribeSecret" {
				w.secrets.Hook = nil
				w.purge(secretName)
			}
			return nil
		}
		if answer := w.reconcile(); answer.Secrets != 0 || len(answer.Outcomes) > 0 || answer.Error != nil {
			t.Errorf("answer: %+v", answer)
		}
	})
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
		before, tags := w.datadog.AuthMethods(), w.tag(nameOf(0))
		w.resetCalls()
		text, err := w.invoke(`{"action":"reconcile","dryRun":true}`)
		var answer fleet.Reconciliation
		if err != nil || json.Unmarshal([]byte(text), &answer) != nil {
			t.Fatalf("answer: %s, %v", text, err)
		}
		if len(answer.Failures) != 1 || answer.OutOfSync != 4 {
			t.Errorf("answer: %s", text)
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
		if calls["TagResource"]+calls["PutEvents"]+calls["POST"]+calls["PATCH"] > 0 || w.tag(nameOf(0)) != tags {
			t.Errorf("a dry run called %v", calls)
		}
		if diff := cmp.Diff(before, w.datadog.AuthMethods()); diff != "" {
			t.Errorf("a dry run wrote:\n%s", diff)
		}
	})
}
