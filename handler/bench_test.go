package handler_test

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/report"
)

// BenchmarkWarmSync is one sync of a secret that states everything and was synced before, stand-ins included.
func BenchmarkWarmSync(b *testing.B) {
	w := newWorld(b)
	w.wire()
	w.secrets.Create(secretName, w.value("first"))
	payload := `{"action":"sync","secretId":"` + secretName + `"}`
	if _, err := w.invoke(payload); err != nil {
		b.Fatal(err)
	}
	events := w.resetCalls()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.invoke(payload); err != nil {
			b.Fatal(err)
		}
	}
	calls := 0
	for _, n := range w.calls(events) {
		calls += n
	}
	b.ReportMetric(float64(calls)/float64(b.N), "calls/op")
}

// The time of a sync is that of the round trips that must follow one another, and nothing else.
func TestASyncWaitsForNothingThatItCouldDoMeanwhile(t *testing.T) {
	const aws, token, datadog, publish = 30 * time.Millisecond, 150 * time.Millisecond, 200 * time.Millisecond, 20 * time.Millisecond
	slow := func(w *world) {
		w.secrets.Latency = func(string, string) time.Duration { return aws }
		w.tokens.Latency, w.datadog.Latency, w.bus.Latency = token, datadog, publish
	}
	for _, c := range []struct {
		name   string
		before func(w *world)
		want   time.Duration
	}{
		{"warm: read, token, PATCH, look, record", func(w *world) {
			if _, err := w.sync(secretName); err != nil {
				t.Fatal(err)
			}
			w.secrets.Put(secretName, w.value("second"))
		}, aws + token + datadog + aws + aws},
		{"first: read, list, token, POST, look, record", func(*world) {}, aws + datadog + token + datadog + aws + aws},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.secrets.Create(secretName, w.value("first"))
				c.before(w)
				slow(w)
				began := time.Now()
				if _, err := w.sync(secretName); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took != c.want {
					t.Errorf("it took %v; the round trips take %v", took, c.want)
				}
			})
		})
	}
	// The keys are read while the function starts, and by the first sync that comes before they are there.
	t.Run("cold: the keys beside everything before Datadog", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			w.secrets.Create(secretName, w.value("first"))
			slow(w)
			w.wire()
			began := time.Now()
			if _, err := w.sync(secretName); err != nil {
				t.Fatal(err)
			}
			if took, want := time.Since(began), aws+datadog+token+datadog+aws+aws; took != want {
				t.Errorf("it took %v; the round trips take %v", took, want)
			}
		})
	})
}

func TestReconcileOfTenThousand(t *testing.T) {
	if os.Getenv("BENCH") == "" {
		t.Skip("run by make bench")
	}
	const n = 10_000
	inWorld(t, func(t *testing.T, w *world) {
		for i := range n {
			w.secrets.Create(fmt.Sprintf("%s-%05d", secretName, i), w.valueOf("canary-of-many", fmt.Sprintf("name=method %05d", i)))
		}
		w.tokens.Allow("payments-client", "canary-of-many")
		w.datadog.Latency = 50 * time.Millisecond

		// All due, and a 429 that asks for 10 s every so often.
		runs, left, began := 0, n, time.Now()
		for ; left > 0 && runs < 100; runs++ {
			for range 3 {
				w.datadog.Fail(datadogtest.Throttled(10))
			}
			answer := w.reconcile()
			if answer.Outcomes[report.Failed] > 0 {
				t.Fatalf("run %d: %+v", runs, answer.Failures[0])
			}
			left = answer.LeftOver
			w.datadog.ClearFaults()
			time.Sleep(15 * time.Minute)
		}
		if left > 0 || len(w.datadog.AuthMethods()) != n {
			t.Fatalf("%d left over after %d runs", left, runs)
		}
		t.Logf("10,000 secrets out of sync under 429s: %d runs, %v of virtual time", runs, time.Since(began))
		for settled := false; !settled; time.Sleep(15 * time.Minute) {
			answer := w.reconcile()
			settled = answer.InSync == n
		}

		// All in sync: lists only, and little memory, which is most when the last page is in.
		w.said, w.log.b = nil, bytes.Buffer{}
		events := w.resetCalls()
		live := func() int64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.GC() // pools are emptied by the second
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		before, most := live(), int64(0)
		w.secrets.Hook = func(op, _ string) error {
			if op == "ListSecrets" && w.secrets.Calls()[op] == n/100 {
				most = live() - before
			}
			return nil
		}
		if answer := w.reconcile(); answer.InSync != n {
			t.Errorf("answer: %+v", answer)
		}
		if diff := cmp.Diff(map[string]int{"ListSecrets": n / 100, "list": 1}, w.calls(events)); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
		if most <= 0 || most > 64<<20 {
			t.Errorf("%d bytes held", most)
		}
		t.Logf("10,000 secrets in sync: %d calls, %d MiB held", n/100+1, most>>20)
	})
}
