package main_test

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"datadog-webhook-auth-sync/handler"
)

// TestTemplateAlarms knows every alarm: what it watches, when it is raised, and which parameters take it away.
func TestTemplateAlarms(t *testing.T) {
	const own = handler.MetricNamespace
	table := []struct{ name, without, text string }{
		{"SyncFailedAlarm", "", own + " SyncFailed FunctionName=Function: Sum >= 1 in 1 of 60 minutes"},
		{"AlertGapAlarm", "", own + " AlertGap FunctionName=Function: Maximum > 60 in 1 of 30 minutes"},
		{"StillDueAlarm", "", own + " StillDue FunctionName=Function: Maximum >= 1 in 2 of 60 minutes"},
		{"ReconcileMissingAlarm", "ReconcileSchedule Enabled", own + " ReconcileDone FunctionName=Function: Sum < 1, or nothing, in 60 of 60 minutes"},
		{"FailureQueueAlarm", "", "AWS/SQS NumberOfMessagesSent QueueName=FailureQueue.QueueName: Sum >= 1 in 1 of 30 minutes"},
		{"LabelEventLostAlarm", "", "AWS/Events InvocationsFailedToBeSentToDlq RuleName=FunctionLabelUpdated: Sum >= 1 in 1 of 30 minutes"},
		{"TrailEventLostAlarm", "", "AWS/Events InvocationsFailedToBeSentToDlq RuleName=FunctionRotationSucceeded: Sum >= 1 in 1 of 30 minutes"},
		{"ReconcileLostAlarm", "ReconcileSchedule", "AWS/Scheduler InvocationsFailedToBeSentToDeadLetterCount ScheduleGroup=ScheduleGroup: Sum >= 1 in 1 of 30 minutes"},
		{"FailureLostAlarm", "", "AWS/Lambda DestinationDeliveryFailures FunctionName=Function: Sum >= 1 in 1 of 30 minutes"},
		{"ErrorsAlarm", "", "AWS/Lambda Errors FunctionName=Function: Sum >= 1 in 1 of 30 minutes"},
		{"ThrottlesAlarm", "", "AWS/Lambda Throttles FunctionName=Function: Sum >= 1 in 1 of 30 minutes"},
	}
	for _, given := range []map[string]string{{}, {"Enabled": "false"}, {"ReconcileSchedule": "none"}, {"Enabled": "false", "ReconcileSchedule": "none"}} {
		s, want, got := evaluate(t, given), map[string]string{}, map[string]string{}
		for _, row := range table {
			if !slices.ContainsFunc(strings.Fields(row.without), func(name string) bool { return given[name] != "" }) {
				want[row.name] = row.text
			}
		}
		for name, alarm := range s.alarms() {
			got[name] = spell(t, alarm)
		}
		equal(t, want, got)
	}
}

// TestTemplateAlarmLimits holds the alarms to what CloudWatch accepts, at either end of the parameters, to their topic and to
// README's headings.
func TestTemplateAlarmLimits(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for given, actions := range map[string][]any{"": {}, "arn:aws-cn:sns:cn-north-1:111122223333:on-call": {"arn:aws-cn:sns:cn-north-1:111122223333:on-call"}} {
		for _, minutes := range []string{"2", "1440"} {
			s := evaluate(t, map[string]string{"AlarmTopicArn": given, "ReconcileAlarmMinutes": minutes, "AlertGapAlarmSeconds": "90"})
			equal(t, any("90"), s.alarms()["AlertGapAlarm"]["Threshold"])
			for name, alarm := range s.alarms() {
				periods := number(t, alarm["EvaluationPeriods"])
				if seconds := number(t, alarm["Period"]) * periods; seconds > 24*3600 {
					t.Errorf("%s looks back %d s, more than a day", name, seconds)
				}
				if m := alarm["DatapointsToAlarm"]; m != nil && number(t, m) > periods {
					t.Errorf("%s wants %d of %d periods", name, m, periods)
				}
				equal(t, any(actions), alarm["AlarmActions"])
				equal(t, any(actions), alarm["OKActions"])
				description := alarm["AlarmDescription"].(string)
				if !strings.Contains(description, ". First: ") || len(description) > 1024 {
					t.Errorf("%s does not say, in 1,024 characters, what it means and what to do first", name)
				}
				for _, heading := range regexp.MustCompile(`README, (\w+)`).FindAllStringSubmatch(description, -1) {
					if !strings.Contains(string(readme), "\n## "+heading[1]+"\n") {
						t.Errorf("%s sends people to %s, which README.md does not have", name, heading[1])
					}
				}
			}
		}
	}
}

func (s stack) alarms() map[string]fields {
	alarms := map[string]fields{}
	for name, resource := range s.section("Resources") {
		if resource.(fields)["Type"] == "AWS::CloudWatch::Alarm" {
			alarms[name] = s.properties(name)
		}
	}
	return alarms
}

// spell says in a line what raises an alarm. It knows every property that bears on that, in the one way that the template
// uses it, and refuses others.
func spell(t *testing.T, alarm fields) string {
	t.Helper()
	alarm = maps.Clone(alarm)
	take := func(name string) any {
		value := alarm[name]
		delete(alarm, name)
		return value
	}
	text := metric(take) + fmt.Sprint(": ", take("Statistic"))
	switch take("ComparisonOperator") {
	case "GreaterThanOrEqualToThreshold":
		text += " >= "
	case "GreaterThanThreshold":
		text += " > "
	case "LessThanThreshold":
		text += " < "
	}
	text += fmt.Sprint(take("Threshold"))
	switch take("TreatMissingData") {
	case "breaching":
		text += ", or nothing,"
	case "notBreaching":
	default:
		t.Error("it is not said what missing data mean")
	}
	equal(t, any(60), take("Period"))
	n, m := take("EvaluationPeriods"), take("DatapointsToAlarm")
	if m == nil {
		m = n
	}
	same(t, []string{"AlarmActions", "AlarmDescription", "OKActions"}, slices.Collect(maps.Keys(alarm)))
	return text + fmt.Sprintf(" in %v of %v minutes", m, n)
}

func metric(property func(name string) any) string {
	text := fmt.Sprint(property("Namespace"), " ", property("MetricName"))
	for _, dimension := range property("Dimensions").([]any) {
		text += fmt.Sprintf(" %v=%v", dimension.(fields)["Name"], dimension.(fields)["Value"])
	}
	return text
}

// number reads what is given as a number or, by a parameter, as text.
func number(t *testing.T, value any) int {
	t.Helper()
	n, err := strconv.Atoi(fmt.Sprint(value))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
