package handler_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler"
	"datadog-webhook-auth-sync/handler/fault"
)

// One line tells why a sync failed.
func TestTheLogLineOfASync(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.create()
		version, _ := w.secrets.Current(secretName)
		w.tokens.Revoke("payments-client", w.secret[len(w.secret)-1])
		w.tokens.Latency, w.datadog.Latency = 100*time.Millisecond, 50*time.Millisecond
		w.http(w.sample("http-api-sync.json"))

		var line map[string]any
		first, _, _ := strings.Cut(w.log.String(), "\n")
		if err := json.Unmarshal([]byte(first), &line); err != nil {
			t.Fatal(err)
		}
		delete(line, "time")
		failure, _ := line["error"].(map[string]any)
		want := map[string]any{
			"level": "WARN", "msg": "sync", "outcome": "failed", "requestId": "request-1", "durationMs": 300.0,
			"caller":       "arn:aws:sts::123456789012:assumed-role/Operator/alex",
			"secret":       map[string]any{"arn": w.arn(), "name": secretName, "versionId": version},
			"trigger":      map[string]any{"type": "http", "id": "Xy1zAbCdEfGHijk="},
			"authMethod":   map[string]any{"name": "payments", "site": "datadoghq.com"},
			"verification": "rejected",
			"failing":      line["failing"],
			"error":        failure,
			"summary":      line["summary"],
		}
		caused := strings.Contains(fmt.Sprint(failure["message"]), "401 invalid_client")
		if diff := cmp.Diff(want, line); diff != "" || !caused {
			t.Errorf("line (-want +got):\n%s", diff)
		}
	})
}

// point is a value of a metric.
type point struct {
	metric string
	at     time.Time
	value  float64
}

// points are the values of metrics in the log, each line checked against the format.
func (w *world) points() (all []point) {
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
				all = append(all, point{m.Name, time.UnixMilli(head.AWS.Timestamp), values[m.Name].(float64)})
			}
		}
	}
	return all
}

// metrics are the values in the log, by name.
func (w *world) metrics() map[string][]float64 {
	all := map[string][]float64{}
	for _, p := range w.points() {
		all[p.metric] = append(all[p.metric], p.value)
	}
	return all
}

func TestMetrics(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.create()
		w.reconcile()
		w.datadog.Latency = 100 * time.Millisecond
		w.put("second")
		event := w.labelEvent()
		time.Sleep(2 * time.Second)
		w.mustInvoke(event, "")
		w.put("third")
		w.mustInvoke(strings.Replace(w.labelEvent(), `"time"`, `"when"`, 1), "")
		w.put("fourth")
		w.mustInvoke(w.sample("cloudtrail-rotation-succeeded.json"), "") // a trail may be minutes late
		w.secrets.Create(secretName+"-bad", "{}")
		w.reconcile()
		_, _ = w.sync("elsewhere/payments") // out of scope
		w.mustInvoke(strings.Replace(dryRun, secretName, secretName+"-bad", 1), fault.SecretInvalid)
		w.mustInvoke(dryRunAll, "")
		want := map[string][]float64{
			"SyncCreated": {1}, "SyncUpdated": {1, 1, 1}, "AlertGap": {2.2}, "SyncFailed": {1},
			"SyncDuration":  {0, 200, 200, 200, 0},
			"ReconcileDone": {1, 1}, "LeftOver": {0, 0}, "Secrets": {1, 2}, "Failing": {0, 1}, "AtRisk": {0, 0},
			"Unverified": {0, 0},
		}
		if diff := cmp.Diff(want, w.metrics()); diff != "" {
			t.Errorf("metrics (-want +got):\n%s", diff)
		}
	}, func(w *world) { w.config.LogLevel = 8 }) // error
}
