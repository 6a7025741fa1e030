package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestTemplateAlarms holds the alarms to what CloudWatch accepts, at either end of the parameters, and to their topics.
func TestTemplateAlarms(t *testing.T) {
	for _, minutes := range []string{"2", "1440"} {
		s := evaluate(t, map[string]string{"ReconcileAlarmMinutes": minutes, "AlertGapAlarmSeconds": "90", "PageTopicArn": topic})
		s.refs["AWS::StackName"] = strings.Repeat("s", 128) // the longest there is
		for name, alarm := range s.alarms() {
			period, periods := number(t, alarm["Period"]), number(t, alarm["EvaluationPeriods"])
			if seconds, day := period*periods, 24*3600; seconds > day && period < 3600 || seconds > 7*day {
				t.Errorf("%s looks back %d s", name, seconds)
			}
			if m := alarm["DatapointsToAlarm"]; m != nil && number(t, m) > periods {
				t.Errorf("%s wants %d of %d periods", name, m, periods)
			}
			if description := alarm["AlarmDescription"].(string); len(description) > 1024 {
				t.Errorf("the text of %s has %d characters, more than 1,024", name, len(description))
			}
			actions := any([]any{"AlarmTopic"})
			if name == "AtRiskAlarm" {
				actions = []any{topic}
			}
			equal(t, actions, alarm["AlarmActions"])
			equal(t, actions, alarm["OKActions"])
			if alarm["TreatMissingData"] == "missing" {
				equal(t, actions, alarm["InsufficientDataActions"])
			}
		}
		equal(t, any("90"), s.alarms()["AlertGapAlarm"]["Threshold"])
		equal(t, any(minutes), s.alarms()["AtRiskAlarm"]["EvaluationPeriods"])
	}
	own := evaluate(t, map[string]string{"AlarmTopicArn": topic, "ReconcileSchedule": "none"})
	for name, alarm := range own.alarms() {
		equal(t, any([]any{topic}), alarm["AlarmActions"])
		if name == "ReconcileMissingAlarm" {
			t.Error("what nobody asked for is missed")
		}
	}
	for _, name := range []string{"AlarmTopic", "AlarmTopicPolicy", "AlarmEmailSubscription"} {
		equal(t, nil, own.section("Resources")[name])
	}
}

// TestTemplateNoticeLostOnAnotherBus holds that the alarm names the rule as CloudWatch does: by the last part of its ARN.
func TestTemplateNoticeLostOnAnotherBus(t *testing.T) {
	for bus, want := range map[string]string{"ops": "EventBusName=ops RuleName=notices", foreignBus: "EventBusName=" + foreignBus + " RuleName=-"} {
		s := evaluate(t, map[string]string{"EventBusName": bus})
		if bus == foreignBus {
			s.refs["NoticeRule.Arn"] = strings.Replace(noticeRule, "ops/", "", 1) // no rule can be made there: it is on the default bus
		}
		equal(t, "AWS/Events InvocationsFailedToBeSentToDlq "+want, metric(s.alarms()["NoticeLostAlarm"]))
	}
}

// TestReadmeAlarms holds that each alarm has a page of its name, whose head is the alarm's own text; with README=write it
// writes the head anew.
func TestReadmeAlarms(t *testing.T) {
	const folder = "docs/alarms/"
	s := evaluate(t, nil)
	for name := range s.alarms() { // what a person reads in a page is the parameter
		for _, parameter := range []string{"ReconcileAlarmMinutes", "AlertGapAlarmSeconds"} {
			s.refs[parameter] = "`" + parameter + "`"
		}
		text, links, _ := strings.Cut(s.alarms()[name]["AlarmDescription"].(string), " Page: ")
		equal(t, "docs/alarms/"+name+".md Dashboard: https://console.amazonaws.cn/cloudwatch/home?region=cn-north-1#dashboards/dashboard/sync-cn-north-1", links)
		answers := fourAnswers.FindStringSubmatch(text)
		if answers == nil {
			t.Errorf("%s does not say what happened, whether alerts are lost, what to do first and how it ends: %s", name, text)
			continue
		}
		head := fmt.Sprintf("**What happened:** %s\n\n**Alerts:** %s\n\n**First:** %s\n\n**Ends:** %s\n", answers[1], answers[2], answers[3], answers[4])
		page := readText(t, folder+name+".md")
		want := between(t, page, "alarm", head)
		if !strings.HasPrefix(page, "# "+name+"\n") {
			t.Errorf("%s.md is not headed by its name", name)
		}
		if os.Getenv("README") == "write" {
			if err := os.WriteFile(root+folder+name+".md", []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if want != page {
			t.Errorf("docs/alarms/%s.md is out of date: run make readme", name)
		}
	}
	pages, err := filepath.Glob(root + folder + "*Alarm.md")
	if err != nil {
		t.Fatal(err)
	}
	for i := range pages {
		pages[i] = strings.TrimSuffix(filepath.Base(pages[i]), ".md")
	}
	same(t, slices.Collect(maps.Keys(s.alarms())), pages)
}

var fourAnswers = regexp.MustCompile(`^([A-Z].*\.) Alerts: (.*\.) First: (.*\.) Ends: (.*\.)$`)

func (s stack) alarms() map[string]fields {
	alarms := map[string]fields{}
	for name, resource := range s.section("Resources") {
		if resource.(fields)["Type"] == "AWS::CloudWatch::Alarm" {
			alarms[name] = s.properties(name)
		}
	}
	return alarms
}

// metric is what an alarm watches: namespace, name and dimensions.
func metric(alarm fields) string {
	text := fmt.Sprint(alarm["Namespace"], " ", alarm["MetricName"])
	for _, dimension := range alarm["Dimensions"].([]any) {
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
