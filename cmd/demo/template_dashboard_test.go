package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"datadog-webhook-auth-sync/handler"
)

// TestTemplateMetrics compares what dashboard and alarms look at with what the function emits: the dashboard shows all of
// it, and neither of them anything else.
func TestTemplateMetrics(t *testing.T) {
	want := []string{
		"AWS/Lambda Errors FunctionName=Function", "AWS/Lambda Invocations FunctionName=Function", "AWS/Lambda Throttles FunctionName=Function",
		"AWS/SQS NumberOfMessagesSent QueueName=FailureQueue.QueueName", "AWS/SQS ApproximateNumberOfMessagesVisible QueueName=FailureQueue.QueueName",
	}
	for _, one := range handler.Metrics {
		want = append(want, handler.MetricNamespace+" "+one.Name+" FunctionName=Function")
	}
	s, shown := evaluate(t, nil), []string{}
	for _, w := range s.dashboard() {
		shown = append(shown, w.metrics(t)...)
	}
	slices.Sort(shown)
	same(t, want, slices.Compact(shown))
	for name, alarm := range s.alarms() {
		if alarm["Namespace"] == handler.MetricNamespace && !slices.Contains(want, metric(alarm)) {
			t.Errorf("%s watches %q, which the function does not emit", name, metric(alarm))
		}
	}
	if !slices.ContainsFunc(handler.Metrics, func(m handler.Metric) bool { return m.Name == "AlertGap" && m.Unit == "Seconds" }) {
		t.Error("AlertGapAlarmSeconds is compared with what is not in seconds")
	}
}

func TestTemplateDashboard(t *testing.T) {
	for _, given := range []map[string]string{{}, {"Enabled": "false"}, {"AlarmTopicArn": topic}, {"ReconcileSchedule": "none"}} {
		s := evaluate(t, given)
		var there, shown, titles []string
		for name := range s.alarms() {
			there = append(there, name+".Arn")
		}
		for _, w := range s.dashboard() {
			if w.Type != "alarm" && w.Properties.Region != "cn-north-1" {
				t.Errorf("%q is of region %q", w.Properties.Title, w.Properties.Region)
			}
			shown, titles = append(shown, w.Properties.Alarms...), append(titles, w.Properties.Title)
		}
		same(t, there, shown)
		if !slices.Contains(titles, "What is broken now") { // alarms send people there
			t.Errorf("no widget shows what is broken: %q", titles)
		}
	}
}

// TestTemplateDashboardURL knows the console of each partition that has one of its own.
func TestTemplateDashboardURL(t *testing.T) {
	for partition, host := range map[string]string{"aws": "console.aws.amazon.com", "aws-cn": "console.amazonaws.cn", "aws-us-gov": "console.amazonaws-us-gov.com"} {
		s := evaluate(t, nil)
		s.refs["AWS::Partition"] = partition
		equal(t, any("https://"+host+"/cloudwatch/home?region=cn-north-1#dashboards/dashboard/Dashboard"),
			s.section("Outputs")["DashboardUrl"].(fields)["Value"])
		equal(t, any("sync-cn-north-1"), s.properties("Dashboard")["DashboardName"]) // as alarms and notices link to it
	}
}

type widget struct {
	Type       string
	Properties struct {
		Title, Region string
		Metrics       [][]any
		Alarms        []string
	}
}

func (s stack) dashboard() []widget {
	s.t.Helper()
	var body struct{ Widgets []widget }
	if err := json.Unmarshal([]byte(s.properties("Dashboard")["DashboardBody"].(string)), &body); err != nil {
		s.t.Fatal("dashboard:", err)
	}
	return body.Widgets
}

// metrics are those of a widget, written as metric does. A dot stands for what is above it.
func (w widget) metrics(t *testing.T) []string {
	t.Helper()
	var metrics, above []string
	for _, row := range w.Properties.Metrics {
		var parts []string
		for i, item := range row {
			if part, ok := item.(string); ok && part == "." {
				parts = append(parts, above[i])
			} else if ok {
				parts = append(parts, part)
			}
		}
		if len(parts) != 4 {
			t.Fatalf("%q: %v has not one dimension", w.Properties.Title, row)
		}
		metrics, above = append(metrics, fmt.Sprint(strings.Join(parts[:3], " "), "=", parts[3])), parts
	}
	return metrics
}
