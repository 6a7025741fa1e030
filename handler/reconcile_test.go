package handler_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/fleet"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/secretstore/secretstoretest"
)

func (w *world) reconcile() fleet.Reconciliation {
	w.t.Helper()
	text, err := w.invoke(`{"action":"reconcile"}`)
	var answer fleet.Reconciliation
	if err != nil || json.Unmarshal([]byte(text), &answer) != nil {
		w.t.Fatalf("reconcile: %s, %v", text, err)
	}
	return answer
}

// settled makes n secrets and has them synced and settled.
func (w *world) settled(n int) {
	w.t.Helper()
	for i := range n {
		name := fmt.Sprintf("%s-%d", secretName, i)
		w.secrets.Create(name, w.value(fmt.Sprint("of-", i), fmt.Sprintf("name=method %d", i)))
	}
	if got := w.reconcile(); got.Outcomes[report.Created] != n {
		w.t.Fatalf("first reconcile: %+v", got)
	}
	time.Sleep(11 * time.Minute)
	if got := w.reconcile(); got.Outcomes[report.Settled] != n {
		w.t.Fatalf("second reconcile: %+v", got)
	}
}

func TestReconcileWithNothingToDo(t *testing.T) {
	const n = 250
	inWorld(t, func(t *testing.T, w *world) {
		w.settled(n)
		events := w.resetCalls()
		if got := w.reconcile(); got.Secrets != n || got.InSync != n || got.OutOfSync != 0 {
			t.Errorf("answer: %+v", got)
		}
		if diff := cmp.Diff(map[string]int{"ListSecrets": (n + 99) / 100, "list": 1}, w.calls(events)); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
	})
}

func TestSettling(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, w.value("first"))
		if _, err := w.sync(secretName); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Minute)
		if got := w.reconcile(); got.Settling != 1 || got.OutOfSync != 0 {
			t.Errorf("before 10 min: %+v", got)
		}
		time.Sleep(2 * time.Minute)
		if got := w.reconcile(); got.Outcomes[report.Settled] != 1 {
			t.Errorf("after 10 min: %+v", got)
		}
		results := w.published()
		last := results[len(results)-1]
		if last.Outcome != report.Settled || !last.PreviousSecretSafeToRevoke || last.Verification != "accepted" || last.Trigger.Type != "reconcile" {
			t.Errorf("published: %+v", last)
		}
		if events := w.bus.Events(); *events[len(events)-1].DetailType != "Datadog Auth Method Settled" {
			t.Errorf("detail-type: %s", *events[len(events)-1].DetailType)
		}
		if got := w.reconcile(); got.InSync != 1 {
			t.Errorf("afterwards: %+v", got)
		}
	})
}

func TestWhatReconcileRepairs(t *testing.T) {
	for _, c := range []struct {
		name  string
		edit  func(w *world, id string)
		calls map[string]int // beyond the lists, one Describe before and one after, the value, the proof and the record
		event string         // outcome that is published
	}{
		{"a deleted auth method", func(w *world, id string) { w.datadog.Delete(id) }, map[string]int{"POST": 1, "PutEvents": 1}, "created"},
		{"an edited auth method", func(w *world, id string) {
			m, _ := w.datadog.Get(id)
			m.ClientSecret, m.Scope = "edited", nil
			w.datadog.Put(m)
		}, map[string]int{"PATCH": 1, "PutEvents": 1}, "updated"},
		{"a rotation whose event was lost", func(w *world, _ string) { w.secrets.Put(secretName, w.value("second")) }, map[string]int{"PATCH": 1, "PutEvents": 1}, "updated"},
		{"an unrelated change, quietly", func(w *world, _ string) { w.secrets.Tag(secretName, "team", "payments") }, map[string]int{"PATCH": 1}, ""},
		{"age, quietly", func(w *world, _ string) { time.Sleep(25 * time.Hour) }, map[string]int{"PATCH": 1}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.secrets.Create(secretName, w.value("first"))
				w.reconcile()
				time.Sleep(11 * time.Minute)
				w.reconcile()
				time.Sleep(11 * time.Minute)
				c.edit(w, w.datadog.AuthMethods()[0].ID)
				published := len(w.published())
				events := w.resetCalls()
				answer := w.reconcile()
				if answer.OutOfSync > 0 || len(answer.Outcomes) != 1 || answer.Outcomes[report.Failed] > 0 {
					t.Errorf("answer: %+v", answer)
				}
				want := map[string]int{"ListSecrets": 1, "list": 1, "DescribeSecret": 2, "GetSecretValue": 1, "TagResource": 1, "token": 1}
				for call, n := range c.calls {
					want[call] = n
				}
				if diff := cmp.Diff(want, w.calls(events)); diff != "" {
					t.Errorf("calls (-want +got):\n%s", diff)
				}
				got := w.outcomes()[published:]
				if len(got) > 1 || strings.Join(got, "") != c.event {
					t.Errorf("published: %v; want %q", got, c.event)
				}
				if _, value := w.secrets.Current(secretName); w.holds() != secretIn(value) {
					t.Error("Datadog does not hold AWSCURRENT")
				}
			})
		})
	}
}

// V is settled, W comes and goes; the invocation that read W is killed when its PATCH is on the wire, and that lands last.
// A reconcile in between must not take V for settled still.
func TestALatePatchOfARolledBackVersionIsRepaired(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, w.value("V"))
		w.reconcile()
		time.Sleep(11 * time.Minute)
		w.reconcile()
		v, _ := w.secrets.Current(secretName)
		time.Sleep(time.Minute)

		w.secrets.Put(secretName, w.value("W"))
		w.datadog.Fail(datadogtest.Fault{Method: "PATCH", Times: 1, Delay: 5 * time.Minute})
		_, _ = w.invokeIn(3*time.Second, w.sample("secret-label-updated.json")) // and nobody tries again
		w.secrets.MoveCurrent(secretName, v)
		w.reconcile() // the event of the way back is lost
		for range 4 {
			time.Sleep(15 * time.Minute)
			w.reconcile()
		}
		if _, value := w.secrets.Current(secretName); w.holds() != secretIn(value) {
			t.Error("Datadog holds W")
		}
	})
}

func TestOneSecretsFailureStopsNoOther(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName+"-bad", "{}")
		w.secrets.Create(secretName+"-good", w.value("good"))
		answer := w.reconcile()
		if answer.Outcomes[report.Created] != 1 || answer.Outcomes[report.Failed] != 1 || len(answer.Failures) != 1 || answer.Failures[0].Error.Code != fault.SecretInvalid {
			t.Errorf("answer: %+v", answer)
		}
		if got := len(w.published()); got != 2 {
			t.Errorf("%d results published; want 2", got)
		}
		if strings.Contains(w.log.String(), `"failures"`) {
			t.Error("the line of the reconcile repeats the lines of its secrets")
		}
	})
}

func TestARefusedKeyStopsTheRunOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 40 {
			w.secrets.Create(fmt.Sprintf("%s-%d", secretName, i), w.value("x", fmt.Sprintf("name=m%d", i)))
		}
		w.datadog.Fail(datadogtest.Fault{Method: "POST", Status: 403}) // it may read, but not write
		answer := w.reconcile()
		if answer.Error == nil || answer.Error.Code != fault.DatadogUnauthorized || answer.LeftOver != 40 || len(answer.Failures)+len(w.published()) > 0 {
			t.Errorf("answer: %+v; %d published", answer, len(w.published()))
		}
		if posts := w.calls(0)["POST"]; posts > fleet.Workers+1 {
			t.Errorf("%d POSTs", posts)
		}
	})
}

func TestAListThatFailsIsInTheAnswer(t *testing.T) {
	for name, broken := range map[string]func(w *world){
		"Datadog's":         func(w *world) { w.datadog.Fail(refusing("GET", 500)) },
		"Secrets Manager's": func(w *world) { w.secrets.Fail("ListSecrets", 9, throttled) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.secrets.Create(secretName, w.value("first"))
				broken(w)
				answer := w.reconcile()
				if answer.Error == nil || !answer.Error.Retryable || len(answer.Outcomes) > 0 || answer.LeftOver != answer.Secrets {
					t.Errorf("answer: %+v", answer)
				}
				if done := w.metrics()["ReconcileDone"]; len(done) > 0 {
					t.Errorf("ReconcileDone: %v", done)
				}
			})
		})
	}
}

// Datadog's trouble is the run's: it is told for no secret, and after the third one the rest waits.
func TestDatadogsTroubleIsTheRuns(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 40 {
			name := fmt.Sprintf("%s-%d", secretName, i)
			w.secrets.Create(name, w.value("x"))
			w.secrets.Tag(name, secretstore.RecordTag, "id="+w.datadogHolds(fmt.Sprint(i), "payments-client").ID)
		}
		w.datadog.Fail(datadogtest.Fault{Method: "PATCH", Status: 500})
		answer := w.reconcile()
		if answer.Error == nil || answer.Error.Code != fault.DatadogUnavailable || answer.LeftOver != 40 || answer.Failing > 0 || len(answer.Failures)+len(w.published()) > 0 {
			t.Errorf("answer: %+v; %d published", answer, len(w.published()))
		}
		if patched := w.calls(0)["PATCH"]; patched > 5*(fleet.Workers+2) {
			t.Errorf("%d PATCHes", patched)
		}
	})
}

func TestTwoSecretsOnOneAuthMethod(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		id := w.datadogHolds("shared", "payments-client").ID
		for _, name := range []string{secretName + "-a", secretName + "-b"} {
			w.secrets.Create(name, w.value(name))
			w.secrets.Tag(name, secretstore.RecordTag, "id="+id)
		}
		answer := w.reconcile()
		if len(answer.Failures) != 2 || answer.Failures[0].Error.Code != fault.AuthMethodMismatch {
			t.Errorf("answer: %+v", answer)
		}
		if m, _ := w.datadog.Get(id); m.ClientSecret != "unknown" {
			t.Error("one of them was pushed")
		}
	})
}

// Two new secrets of one client: the second must see what the first created.
func TestCreatesOfOneReconcileSeeEachOther(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.datadog.Latency = 200 * time.Millisecond
		w.secrets.Create(secretName+"-a", w.value("one"))
		w.secrets.Create(secretName+"-b", w.value("one"))
		answer := w.reconcile()
		if answer.Outcomes[report.Created] != 1 || len(answer.Failures) != 1 || answer.Failures[0].Error.Code != fault.AuthMethodMismatch {
			t.Errorf("answer: %+v", answer)
		}
		if got := len(w.datadog.AuthMethods()); got != 1 {
			t.Errorf("%d auth methods", got)
		}
	})
}

func TestADryReconcile(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, w.value("first"))
		text, err := w.invoke(`{"action":"reconcile","dryRun":true}`)
		var answer fleet.Reconciliation
		if json.Unmarshal([]byte(text), &answer) != nil || err != nil || len(answer.Plans) != 1 || answer.Plans[0].Plan.Action != report.Create || answer.Plans[0].Verification != "" {
			t.Errorf("answer: %s, %v", text, err)
		}
		if len(w.tokens.Calls()) > 0 || len(w.datadog.AuthMethods()) > 0 || len(w.published()) > 0 || len(w.secrets.Tags(secretName)) > 0 {
			t.Error("a dry run did something")
		}
	})
}

func TestReconcileStopsBeforeTheDeadline(t *testing.T) {
	const n = 1000
	inWorld(t, func(t *testing.T, w *world) {
		for i := range n {
			w.secrets.Create(fmt.Sprintf("%s-%d", secretName, i), w.value("x", fmt.Sprintf("name=m%d", i)))
		}
		w.datadog.Latency = time.Second
		started := time.Now()
		first := w.reconcile()
		if took := time.Since(started); took > 118*time.Second || first.LeftOver == 0 || first.LeftOver+first.Outcomes[report.Created] != n {
			t.Errorf("after %v: %+v", took, first)
		}
		w.datadog.Latency = 0
		if second := w.reconcile(); second.Outcomes[report.Created] != first.LeftOver || second.LeftOver != 0 {
			t.Errorf("second run: %+v", second)
		}
	})
}

func TestSixteenFirstSyncsAtOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.datadog.Latency = 200 * time.Millisecond
		w.secrets.Create(secretName, w.value("first"))
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				if _, err := w.sync(secretName); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		count := map[string]int{}
		for _, outcome := range w.outcomes() {
			count[outcome]++
		}
		if w.holds(); count["created"] != 1 || count["created"]+count["adopted"]+count["updated"] != 16 {
			t.Errorf("published: %v", count)
		}
	})
}

func TestABurstOfRotationsPublishesNoFailure(t *testing.T) {
	for _, apart := range []time.Duration{0, 30 * time.Millisecond, 300 * time.Millisecond} {
		t.Run(apart.String(), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.secrets.Create(secretName, w.value("0"))
				if _, err := w.sync(secretName); err != nil {
					t.Fatal(err)
				}
				w.datadog.Latency = 200 * time.Millisecond
				w.secrets.Stale = func(string, string) time.Duration { return 150 * time.Millisecond }
				var all sync.WaitGroup
				w.secrets.OnLabel = func(e secretstoretest.Event) {
					all.Go(func() {
						time.Sleep(300 * time.Millisecond)
						if _, err := w.invoke(label(e)); err != nil {
							t.Error(err)
						}
					})
				}
				for i := range 16 {
					w.secrets.Put(secretName, w.value(fmt.Sprint(i+1)))
					time.Sleep(apart)
				}
				all.Wait()
				for _, res := range w.published() {
					if res.Outcome == report.Failed {
						t.Errorf("published: %+v", res)
					}
				}
				if _, value := w.secrets.Current(secretName); w.holds() != secretIn(value) {
					t.Error("Datadog does not hold AWSCURRENT")
				}
			})
		})
	}
}
