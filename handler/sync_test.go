package handler_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore/secretstoretest"
)

// calls counts what the function did beyond itself since the last ResetCalls.
func (w *world) calls(events int) map[string]int {
	all := w.secrets.Calls()
	for _, c := range w.datadog.Calls() {
		what := c.Method
		if c.Path == datadogtest.ListPath {
			what = "list"
		}
		all[what]++
	}
	if n := len(w.tokens.Calls()); n > 0 {
		all["token"] = n
	}
	if n := w.bus.Calls() - events; n > 0 {
		all["PutEvents"] = n
	}
	return all
}

func (w *world) resetCalls() int {
	w.secrets.ResetCalls()
	w.datadog.ResetCalls()
	w.tokens.ResetCalls()
	return w.bus.Calls()
}

func TestASyncMakesNoCallTooMany(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, w.value("first"))
		first, err := w.sync(secretName)
		if err != nil || first.Outcome != report.Created {
			t.Fatalf("first sync: %v, %v", first, err)
		}
		want := map[string]int{"GetSecretValue": 1, "DescribeSecret": 2, "token": 1, "list": 1, "POST": 1, "TagResource": 1, "PutEvents": 1}
		if diff := cmp.Diff(want, w.calls(0)); diff != "" {
			t.Errorf("first sync (-want +got):\n%s", diff)
		}
		w.secrets.Put(secretName, w.value("second"))
		events := w.resetCalls()
		second, err := w.sync(secretName)
		if err != nil || second.Outcome != report.Updated {
			t.Fatalf("second sync: %v, %v", second, err)
		}
		want = map[string]int{"GetSecretValue": 1, "DescribeSecret": 2, "token": 1, "PATCH": 1, "TagResource": 1, "PutEvents": 1}
		if diff := cmp.Diff(want, w.calls(events)); diff != "" {
			t.Errorf("second sync (-want +got):\n%s", diff)
		}
	})
}

// The first PATCH is held back while a second rotation comes and goes; read → PATCH → publish would end stale.
func TestOverlappingRotationsEndOnAWSCURRENT(t *testing.T) {
	for delay := time.Duration(0); delay <= 4*time.Second; delay += 250 * time.Millisecond {
		for gap := 50 * time.Millisecond; gap <= 2*time.Second; gap *= 3 {
			t.Run(fmt.Sprintf("PATCH late by %v, rotations %v apart", delay, gap), func(t *testing.T) {
				inWorld(t, func(t *testing.T, w *world) {
					w.secrets.Create(secretName, w.value("created"))
					if _, err := w.sync(secretName); err != nil {
						t.Fatal(err)
					}
					w.datadog.Latency = 200 * time.Millisecond
					w.datadog.Fail(datadogtest.Fault{Method: "PATCH", Times: 1, Delay: delay})
					var under sync.WaitGroup
					w.secrets.OnLabel = func(e secretstoretest.Event) {
						under.Go(func() {
							if _, err := w.invoke(label(e)); err != nil {
								t.Error(err)
							}
						})
					}
					w.secrets.Put(secretName, w.value("first"))
					time.Sleep(gap)
					w.secrets.Put(secretName, w.value("second"))
					under.Wait()
					if _, current := w.secrets.Current(secretName); w.holds() != secretIn(current) {
						t.Error("Datadog holds a client secret that is not AWSCURRENT's")
					}
				})
			})
		}
	}
}
