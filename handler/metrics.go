package handler

import (
	"encoding/json"
	"io"
	"time"

	"datadog-webhook-auth-sync/handler/fleet"
	"datadog-webhook-auth-sync/handler/report"
)

// MetricNamespace is where CloudWatch keeps the metrics. Their one dimension is FunctionName.
const MetricNamespace = "DatadogWebhookAuthSync"

// Metric is one that the function emits.
type Metric struct {
	Name, Unit string
	Means      string `json:"-"`
}

// Metrics are all there are. The template's alarms and dashboard are held to them, and the documents have them.
var Metrics = []Metric{
	{"SyncCreated", "Count", "an auth method was created"},
	{"SyncUpdated", "Count", "an auth method was updated"},
	{"SyncAdopted", "Count", "an auth method was taken over"},
	{"SyncSettled", "Count", "a secret was settled"},
	{"SyncFailed", "Count", "a failure was published"},
	{"RecordFailed", "Count", "a record could not be written"},
	{"Repaired", "Count",
		"a reconcile repaired a rotation whose event did not come, or an auth method that somebody else changed"},
	{"AlertGap", "Seconds",
		"from the time of a label event to Datadog's 2xx, of the first write of each version after a secret's first"},
	{"SyncDuration", "Milliseconds", "of each sync that one of the counts above counts, or AtRisk"},
	{"Secrets", "Count", "secrets in scope; this and the next four as each reconcile leaves them"},
	{"Failing", "Count", "of these, those with a failure that was published or could not be recorded"},
	{"AtRisk", "Count", "of these, those whose held credential was rejected: alerts are being lost; also 1 at once, " +
		"when any other sync finds that"},
	{"Unverified", "Count", "of these, those that no token endpoint gave a verdict on"},
	{"LeftOver", "Count", "secrets out of sync that the next reconcile has to sync"},
	{"ReconcileDone", "Count", "a reconcile ended without an error of its own"},
}

var outcomeMetric = map[report.Outcome]string{report.Created: "SyncCreated", report.Updated: "SyncUpdated",
	report.Adopted: "SyncAdopted", report.Settled: "SyncSettled"}

// meter writes metrics in CloudWatch's embedded metric format, whatever the log level.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
type meter struct {
	out          io.Writer
	functionName string
}

func (m meter) sync(res report.Result) {
	values := map[string]float64{}
	count := func(is bool, name string) {
		if is {
			values[name] = 1
		}
	}
	name, wrote := outcomeMetric[res.Outcome]
	count(wrote, name)
	count(res.Outcome == report.Failed && res.Told, "SyncFailed")
	count(res.RecordFailed, "RecordFailed")
	count(res.Repaired, "Repaired")
	count(res.Losing() && res.Trigger.Type != report.TriggerReconcile, "AtRisk")
	if len(values) > 0 {
		values["SyncDuration"] = float64(res.DurationMs)
	}
	if wrote && res.FirstPush && res.Trigger.Type == "label" && res.LagMs != nil { // a trail may be minutes late
		values["AlertGap"] = float64(*res.LagMs) / 1000
	}
	m.emit(values)
}

func (m meter) reconcile(answer fleet.Reconciliation) {
	values := map[string]float64{}
	if answer.Listed {
		values = map[string]float64{"Secrets": float64(answer.Secrets), "Failing": float64(answer.Failing),
			"AtRisk": float64(answer.AtRisk), "Unverified": float64(answer.Unverified), "LeftOver": float64(answer.LeftOver)}
	}
	if answer.Error == nil {
		values["ReconcileDone"] = 1
	}
	m.emit(values)
}

func (m meter) emit(values map[string]float64) {
	if len(values) == 0 {
		return
	}
	var definitions []Metric
	line := map[string]any{"FunctionName": m.functionName}
	for _, metric := range Metrics {
		if value, ok := values[metric.Name]; ok {
			definitions = append(definitions, metric)
			line[metric.Name] = value
		}
	}
	line["_aws"] = map[string]any{"Timestamp": time.Now().UnixMilli(), "CloudWatchMetrics": []any{map[string]any{
		"Namespace": MetricNamespace, "Dimensions": [][]string{{"FunctionName"}}, "Metrics": definitions}}}
	text, _ := json.Marshal(line)          // numbers and names always encode
	_, _ = m.out.Write(append(text, '\n')) // where a log line is lost, so is its metric
}
