package handler

import (
	"encoding/json"
	"io"
	"time"

	"datadog-webhook-auth-sync/handler/authsync"
	"datadog-webhook-auth-sync/handler/fleet"
)

// MetricNamespace is where CloudWatch keeps the metrics. Their one dimension is FunctionName.
const MetricNamespace = "DatadogWebhookAuthSync"

// Metric is one that the function emits.
type Metric struct{ Name, Unit string }

// Metrics are all there are; the template's alarms and dashboard are held to them.
var Metrics = []Metric{
	{"SyncCreated", "Count"},
	{"SyncUpdated", "Count"},
	{"SyncAdopted", "Count"},
	{"SyncSettled", "Count"},
	{"SyncFailed", "Count"},
	{"AlertGap", "Seconds"}, // from the label's move to Datadog's 2xx
	{"SyncDuration", "Milliseconds"},
	{"StillDue", "Count"}, // secrets out of step after a reconcile
	{"LeftOver", "Count"}, // of these, those that it did not get to
	{"ReconcileDone", "Count"},
}

var outcomeMetric = map[authsync.Outcome]string{authsync.Created: "SyncCreated", authsync.Updated: "SyncUpdated",
	authsync.Adopted: "SyncAdopted", authsync.Settled: "SyncSettled", authsync.Failed: "SyncFailed"}

// meter writes metrics in CloudWatch's embedded metric format, whatever the log level.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
type meter struct {
	out          io.Writer
	functionName string
	now          func() time.Time
}

func (m meter) sync(res authsync.Result) {
	name, counts := outcomeMetric[res.Outcome]
	if !counts || !res.Counts() || res.DryRun {
		return
	}
	values := map[string]float64{name: 1, "SyncDuration": float64(res.DurationMs)}
	if res.LagMs != nil && res.Trigger.Type == "label" { // a trail may be minutes late
		values["AlertGap"] = float64(*res.LagMs) / 1000
	}
	m.emit(values)
}

func (m meter) reconcile(answer fleet.Reconciliation) {
	m.emit(map[string]float64{"ReconcileDone": 1, "LeftOver": float64(answer.LeftOver),
		"StillDue": float64(answer.LeftOver + answer.Outcomes[authsync.Failed])})
}

func (m meter) emit(values map[string]float64) {
	var definitions []Metric
	line := map[string]any{"FunctionName": m.functionName}
	for _, metric := range Metrics {
		if value, ok := values[metric.Name]; ok {
			definitions = append(definitions, metric)
			line[metric.Name] = value
		}
	}
	line["_aws"] = map[string]any{"Timestamp": m.now().UnixMilli(), "CloudWatchMetrics": []any{map[string]any{
		"Namespace": MetricNamespace, "Dimensions": [][]string{{"FunctionName"}}, "Metrics": definitions}}}
	text, err := json.Marshal(line)
	if err != nil {
		panic(err) // numbers and names always encode
	}
	_, _ = m.out.Write(append(text, '\n')) // where a log line is lost, so is its metric
}
