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
	lost := "InvocationsFailedToBeSentToDlq "
	table := []struct{ name, without, with, text string }{
		{"AtRiskAlarm", "", "", own + " AtRisk FunctionName=Function: Maximum >= 1 in 1 of 1 minutes, as before in silence"},
		{"FailingAlarm", "", "", own + " Failing FunctionName=Function: Maximum >= 1 in 2 of 60 minutes"},
		{"AlertGapAlarm", "", "", own + " AlertGap FunctionName=Function: Maximum > 300 in 1 of 30 minutes"},
		{"RepairedAlarm", "", "", own + " Repaired FunctionName=Function: Sum >= 1 in 1 of 60 minutes"},
		{"RecordFailedAlarm", "", "", own + " RecordFailed FunctionName=Function: Sum >= 1 in 1 of 60 minutes"},
		{"ReconcileMissingAlarm", "ReconcileSchedule Enabled", "", own + " ReconcileDone FunctionName=Function: Sum < 1 in 60 of 60 minutes, told of silence"},
		{"FailureQueueAlarm", "", "", "AWS/SQS NumberOfMessagesSent QueueName=FailureQueue.QueueName: Sum >= 1 in 1 of 30 minutes"},
		{"LabelEventLostAlarm", "", "", "AWS/Events " + lost + "RuleName=FunctionLabelUpdated: Sum >= 1 in 1 of 30 minutes"},
		{"TrailEventLostAlarm", "", "", "AWS/Events " + lost + "RuleName=FunctionRotationSucceeded: Sum >= 1 in 1 of 30 minutes"},
		{"NoticeLostAlarm", "", "AlarmTopicArn", "AWS/Events " + lost + "RuleName=NoticeRule: Sum >= 1 in 1 of 30 minutes"},
		{"ReconcileLostAlarm", "ReconcileSchedule", "", "AWS/Scheduler InvocationsFailedToBeSentToDeadLetterCount ScheduleGroup=ScheduleGroup: Sum >= 1 in 1 of 30 minutes"},
		{"FailureLostAlarm", "", "", "AWS/Lambda DestinationDeliveryFailures FunctionName=Function: Sum >= 1 in 1 of 30 minutes"},
		{"ThrottlesAlarm", "", "", "AWS/Lambda Throttles FunctionName=Function: Sum >= 1 in 1 of 30 minutes"},
	}
	for _, given := range []map[string]string{{}, {"Enabled": "false"}, {"ReconcileSchedule": "none"}, {"Enabled": "false", "ReconcileSchedule": "none"},
		{"AlarmTopicArn": topic}, {"AlarmTopicArn": topic, "Enabled": "false"}} {
		s, want, got := evaluate(t, given), map[string]string{}, map[string]string{}
		for _, row := range table {
			unwanted := slices.ContainsFunc(strings.Fields(row.without), func(name string) bool { return given[name] != "" })
			if !unwanted && (row.with == "" || given[row.with] != "") {
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
// the headings of docs/operations.md.
func TestTemplateAlarmLimits(t *testing.T) {
	operations, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for given, actions := range map[string][]any{"": {}, topic: {topic}} {
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
				if alarm["TreatMissingData"] == "missing" {
					equal(t, any(actions), alarm["InsufficientDataActions"])
				}
				description := alarm["AlarmDescription"].(string)
				if !fourAnswers.MatchString(description) || len(description) > 1024 {
					t.Errorf("%s does not say, in 1,024 characters, what happened, whether alerts are lost, what to do first and how it ends: %s", name, description)
				}
				if strings.Contains(description, " dashboard ") && !strings.Contains(description, "What is broken now on the dashboard sync-cn-north-1") {
					t.Errorf("%s does not name the dashboard, or its panel: %s", name, description)
				}
				for _, place := range regexp.MustCompile(`docs/[a-z]+\.md, \w+`).FindAllString(description, -1) {
					heading, ok := strings.CutPrefix(place, "docs/operations.md, ")
					if !ok || !strings.Contains(string(operations), "\n## "+heading+"\n") {
						t.Errorf("%s sends people to %s, which is not where the commands are", name, place)
					}
				}
			}
		}
	}
}

var fourAnswers = regexp.MustCompile(`^[A-Z].*\. Alerts: .*\. First: .*\. Ends: .*\.$`)

// TestTemplateNoticeLostOnAnotherBus holds that the alarm names the rule as CloudWatch does: by the last part of its ARN.
func TestTemplateNoticeLostOnAnotherBus(t *testing.T) {
	for bus, want := range map[string]string{"ops": "EventBusName=ops RuleName=notices", foreignBus: "EventBusName=" + foreignBus + " RuleName=-"} {
		s := evaluate(t, map[string]string{"AlarmTopicArn": topic, "EventBusName": bus})
		if bus == foreignBus {
			s.refs["NoticeRule.Arn"] = strings.Replace(noticeRule, "ops/", "", 1) // no rule can be made there: it is on the default bus
		}
		alarm := s.alarms()["NoticeLostAlarm"]
		equal(t, "AWS/Events InvocationsFailedToBeSentToDlq "+want, metric(func(name string) any { return alarm[name] }))
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
	silence := map[any]string{"notBreaching": "", "ignore": ", as before in silence", "missing": ", told of silence"}
	inSilence, known := silence[take("TreatMissingData")]
	if !known {
		t.Error("it is not said what missing data mean")
	}
	if told := take("InsufficientDataActions"); (told != nil) != (inSilence == silence["missing"]) {
		t.Errorf("silence is told to %v", told)
	}
	equal(t, any(60), take("Period"))
	n, m := take("EvaluationPeriods"), take("DatapointsToAlarm")
	if m == nil {
		m = n
	}
	same(t, []string{"AlarmActions", "AlarmDescription", "OKActions"}, slices.Collect(maps.Keys(alarm)))
	return text + fmt.Sprintf(" in %v of %v minutes", m, n) + inSilence
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
