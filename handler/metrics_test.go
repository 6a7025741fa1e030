package handler_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler"
	"datadog-webhook-auth-sync/handler/secretstore/secretstoretest"
)

// metrics are the values in the log, by name, each line checked against the format.
func (w *world) metrics() map[string][]float64 {
	all := map[string][]float64{}
	for line := range strings.Lines(w.log.String()) {
		var head struct {
			AWS struct {
				Timestamp         int64
				CloudWatchMetrics []struct {
					Namespace  string
					Dimensions [][]string
					Metrics    []handler.Metric
				}
			} `json:"_aws"`
			FunctionName string
		}
		var values map[string]any
		if json.Unmarshal([]byte(line), &head) != nil || json.Unmarshal([]byte(line), &values) != nil {
			w.t.Fatalf("no JSON: %s", line)
		}
		for _, directive := range head.AWS.CloudWatchMetrics {
			dimensions := cmp.Diff([][]string{{"FunctionName"}}, directive.Dimensions)
			known := directive.Namespace == handler.MetricNamespace && dimensions == ""
			if !known || head.FunctionName != "sync" || head.AWS.Timestamp == 0 {
				w.t.Errorf("metric line: %s", line)
			}
			for _, m := range directive.Metrics {
				all[m.Name] = append(all[m.Name], values[m.Name].(float64))
			}
		}
	}
	return all
}

func TestMetrics(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, w.value("first"))
		w.reconcile()
		w.datadog.Latency = 100 * time.Millisecond
		var event secretstoretest.Event
		w.secrets.OnLabel = func(e secretstoretest.Event) { event = e }
		w.secrets.Put(secretName, w.value("second"))
		time.Sleep(2 * time.Second)
		if _, err := w.invoke(label(event)); err != nil {
			t.Fatal(err)
		}
		w.secrets.Create(secretName+"-bad", "{}")
		w.reconcile()
		_, _ = w.sync("elsewhere/payments") // out of scope
		for _, dry := range []string{`{"action":"sync","secretId":"` + secretName + `-bad","dryRun":true}`,
			`{"action":"reconcile","dryRun":true}`} {
			_, _ = w.invoke(dry)
		}
		want := map[string][]float64{
			"SyncCreated": {1}, "SyncUpdated": {1}, "AlertGap": {2.2}, "SyncFailed": {1}, "SyncDuration": {0, 200, 0},
			"ReconcileDone": {1, 1}, "LeftOver": {0, 0}, "Secrets": {1, 2}, "Failing": {0, 1}, "AtRisk": {0, 0},
			"Unverified": {0, 0},
		}
		if diff := cmp.Diff(want, w.metrics()); diff != "" {
			t.Errorf("metrics (-want +got):\n%s", diff)
		}
	}, func(w *world) { w.config.LogLevel = 8 }) // error
}
