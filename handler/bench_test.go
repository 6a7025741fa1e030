package handler_test

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"
)

// BenchmarkWarmSync is one sync of a secret that states everything and was synced before, stand-ins included.
func BenchmarkWarmSync(b *testing.B) {
	w := newWorld(b)
	w.wire()
	w.create()
	w.mustSync()
	w.resetCalls()
	b.ReportAllocs()
	for b.Loop() {
		w.mustInvoke(directSync, "")
	}
	calls := 0
	for _, n := range w.calls() {
		calls += n
	}
	b.ReportMetric(float64(calls)/float64(b.N), "calls/op")
}

// The time of a sync is that of the calls that must follow one another, and nothing else.
func TestTheTimeOfASync(t *testing.T) {
	const ms = time.Millisecond
	const aws, token, datadog, bus = 30 * ms, 150 * ms, 250 * ms, 20 * ms
	const list, write, look, publish, record = datadog, datadog, aws, bus, aws
	for name, c := range map[string]struct {
		before func(w *world)
		want   time.Duration
	}{
		"warm": {func(w *world) {
			w.mustSync()
			w.put("second")
		}, list + write + look + publish + record}, // read and token beside the list
		"first": {func(*world) {}, list + write + look + publish + record},
		"cold":  {(*world).wire, aws + list + write + look + publish + record}, // the keys
		"a client secret alone": {func(w *world) {
			w.mustSync()
			w.secrets.Put(secretName, w.clientSecret("second"))
		}, list + token + write + look + publish + record}, // with what the list shows
	} {
		subtest(t, name, func(t *testing.T, w *world) {
			w.create()
			w.secrets.Latency = func(string, string) time.Duration { return aws }
			c.before(w)
			w.tokens.Latency, w.datadog.Latency, w.bus.Latency = token, datadog, bus
			began := time.Now()
			w.mustSync()
			if took := time.Since(began); took != c.want {
				t.Errorf("it took %v; the calls take %v", took, c.want)
			}
		})
	}
}

func TestReconcileOfTenThousand(t *testing.T) {
	if os.Getenv("BENCH") == "" {
		t.Skip("run by make bench")
	}
	const n = 10_000
	inWorld(t, func(t *testing.T, w *world) {
		for i := range n {
			w.secrets.Create(nameOf(i), w.valueOf("canary-of-many", fmt.Sprint("name=method ", i)))
		}
		w.tokens.Allow("payments-client", "canary-of-many")
		w.datadog.Latency = 50 * time.Millisecond
		runs := 1
		for ; w.reconcile().InSync < n; runs++ {
			time.Sleep(15 * time.Minute)
		}
		t.Logf("10,000 new secrets are in sync after %d runs", runs)

		// Then it only lists, and holds little memory, which is most when the last page is in.
		w.outputs, w.log.b = nil, bytes.Buffer{}
		w.resetCalls()
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
		w.wantCalls("in sync", map[string]int{"ListSecrets": n / 100, "list": 1})
		if most <= 0 || most > 64<<20 {
			t.Errorf("%d bytes held", most)
		}
		t.Logf("10,000 secrets in sync: %d calls, %d MiB held", n/100+1, most>>20)
	})
}
