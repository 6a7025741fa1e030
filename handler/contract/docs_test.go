package contract_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"datadog-webhook-auth-sync/handler"
	"datadog-webhook-auth-sync/handler/contract"
)

// template is a CloudFormation template; a reference in it reads as the name that it refers to.
type template struct {
	Resources map[string]struct {
		Type       string         `yaml:"Type"`
		Properties map[string]any `yaml:"Properties"`
	} `yaml:"Resources"`
}

// templates are the samples in docs.
func templates(t *testing.T) map[string]template {
	t.Helper()
	samples, _ := filepath.Glob("../../docs/samples/*.yaml")
	all := map[string]template{}
	for _, file := range append(samples, "../../docs/datadog/events.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var parsed template
		if err := yaml.Unmarshal(text, &parsed); err != nil {
			t.Fatal(file, err)
		}
		all[strings.TrimSuffix(filepath.Base(file), ".yaml")] = parsed
	}
	return all
}

// TestSampleRules sends each sample event past every rule of the samples.
func TestSampleRules(t *testing.T) {
	want := map[string][]string{
		"created":            {"chat Rule", "events Succeeded"},
		"updated":            {"chat Rule", "events Succeeded"},
		"recovered":          {"chat Rule", "events Succeeded", "pager Rule"},
		"settled":            {"chat Rule", "events Succeeded", "rotator Rule"},
		"settled-unverified": {"chat Rule", "events Succeeded"},
		"failed":             {"chat Rule", "events Failed"},
		"failed-invalid":     {"chat Rule", "events Failed"},
		"failed-lost":        {"chat Rule", "events AlertsLost", "pager Rule"},
	}
	got := map[string][]string{}
	for name, text := range sampleEvents(t) {
		if err := contract.Validate("event", []byte(text)); err != nil {
			t.Error(name, err)
		}
		for _, account := range []string{"AWS::AccountId", "another"} {
			var event map[string]any
			if err := json.Unmarshal([]byte(strings.ReplaceAll(text, `"account":"123456789012"`, `"account":"`+account+`"`)), &event); err != nil {
				t.Fatal(err)
			}
			for file, template := range templates(t) {
				for rule, resource := range template.Resources {
					if resource.Type != "AWS::Events::Rule" || !matches(t, resource.Properties["EventPattern"], event) {
						continue
					}
					if account == "another" {
						t.Errorf("%s %s takes %s of another account", file, rule, name)
						continue
					}
					got[name] = append(got[name], file+" "+rule)
					inputIsThere(t, resource.Properties["Targets"].([]any)[0].(map[string]any), event)
				}
			}
		}
		slices.Sort(got[name])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rules that take an event (-want +got):\n%s", diff)
	}
}

// matches is EventBridge's matching, as far as the samples use it: lists, one item of which must match, {exists: …} and $or.
func matches(t *testing.T, pattern, event any) bool {
	t.Helper()
	switch pattern := pattern.(type) {
	case map[string]any:
		members, _ := event.(map[string]any)
		for name, want := range pattern {
			if name == "$or" {
				if !slices.ContainsFunc(want.([]any), func(one any) bool { return matches(t, one, event) }) {
					return false
				}
			} else if !matches(t, want, members[name]) {
				return false
			}
		}
		return true
	case []any:
		return slices.ContainsFunc(pattern, func(one any) bool {
			filter, ok := one.(map[string]any)
			if !ok {
				return one == event
			}
			if len(filter) != 1 || filter["exists"] == nil {
				t.Fatalf("this test does not know the filter %v", filter)
			}
			return filter["exists"] == (event != nil)
		})
	}
	t.Fatalf("EventBridge takes no %T in a pattern", pattern)
	return false
}

// inputIsThere looks for what a target's input takes from the event.
func inputIsThere(t *testing.T, target, event map[string]any) {
	t.Helper()
	take := func(path any) (found any) {
		found = event
		for step := range strings.SplitSeq(strings.TrimPrefix(path.(string), "$."), ".") {
			members, _ := found.(map[string]any)
			found = members[step]
		}
		return found
	}
	if path := target["InputPath"]; path != nil && take(path) == nil {
		t.Errorf("the event lacks %s", path)
	}
	transformer, _ := target["InputTransformer"].(map[string]any)
	paths, _ := transformer["InputPathsMap"].(map[string]any)
	for name, path := range paths {
		if take(path) == nil || !strings.Contains(transformer["InputTemplate"].(string), "<"+name+">") {
			t.Errorf("the event lacks %s, or the template does not use it", path)
		}
	}
}

// TestSampleTopics holds that EventBridge may publish to each topic, which is encrypted with a key that it may use. It has
// no Condition, which EventBridge does not support there; the emulator would not notice. What a topic refuses is kept in a
// queue that the rule may fill.
func TestSampleTopics(t *testing.T) {
	statement := func(policy any) map[string]any {
		all := policy.(map[string]any)["Statement"].([]any)
		return all[len(all)-1].(map[string]any)
	}
	for _, name := range []string{"chat", "pager"} {
		resources := templates(t)[name].Resources
		got := []any{resources["Topic"].Properties["KmsMasterKeyId"], resources["TopicPolicy"].Properties["Topics"],
			statement(resources["TopicPolicy"].Properties["PolicyDocument"]), statement(resources["Key"].Properties["KeyPolicy"]),
			resources["Rule"].Properties["Targets"].([]any)[0].(map[string]any)["DeadLetterConfig"],
			resources["UndeliveredPolicy"].Properties["Queues"], statement(resources["UndeliveredPolicy"].Properties["PolicyDocument"])}
		events := map[string]any{"Service": "events.amazonaws.com"}
		want := []any{"Key", []any{"Topic"},
			map[string]any{"Sid": "PublishResults", "Effect": "Allow", "Principal": events, "Action": "sns:Publish", "Resource": "Topic"},
			map[string]any{"Sid": "EncryptResults", "Effect": "Allow", "Principal": events, "Action": []any{"kms:Decrypt", "kms:GenerateDataKey*"}, "Resource": "*"},
			map[string]any{"Arn": "Undelivered.Arn"}, []any{"Undelivered"},
			map[string]any{"Sid": "DeadLettersOfRule", "Effect": "Allow", "Principal": events, "Action": "sqs:SendMessage", "Resource": "Undelivered.Arn",
				"Condition": map[string]any{"ArnEquals": map[string]any{"aws:SourceArn": "Rule.Arn"}}}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestDatadogFiles holds the files for Datadog to the metrics that the function emits and to the warning that comes with
// them. Datadog's own client reads them in make conformance.
func TestDatadogFiles(t *testing.T) {
	known := map[string]bool{} // by the name that Datadog gives a metric: is it on the dashboard?
	for _, metric := range handler.Metrics {
		snake := strings.ToLower(regexp.MustCompile(`([a-z])([A-Z])`).ReplaceAllString(metric.Name, "${1}_${2}"))
		known[strings.ToLower(handler.MetricNamespace)+"."+snake] = false
	}
	files, _ := filepath.Glob("../../docs/datadog/*.json")
	monitors, _ := filepath.Glob("../../docs/datadog/monitors/*.json")
	if len(files) == 0 || len(monitors) == 0 {
		t.Fatal("there are no files")
	}
	for _, file := range append(files, monitors...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(text) {
			t.Errorf("%s is no JSON", file)
		}
		for _, name := range regexp.MustCompile(`datadogwebhookauthsync\.[a-z_]+`).FindAllString(string(text), -1) {
			if _, ok := known[name]; !ok {
				t.Errorf("%s asks for %s, which the function does not emit", file, name)
			}
			if filepath.Base(file) == "dashboard.json" {
				known[name] = true
			}
		}
		if strings.Contains(string(text), "@webhook-") {
			t.Errorf("%s notifies by a webhook, which may be the one that does not work", file)
		}
	}
	readme, err := os.ReadFile("../../docs/datadog/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, shown := range known {
		if !shown || !strings.Contains(string(readme), " "+name+" ") && !strings.Contains(string(readme), " "+name+"\n") {
			t.Errorf("the dashboard or README.md lacks %s", name)
		}
	}
	for _, monitor := range monitors {
		text, err := os.ReadFile(monitor)
		if err != nil {
			t.Fatal(err)
		}
		var m struct {
			Message, Query string
			Options        struct {
				Thresholds struct{ Critical json.Number }
			}
		}
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(m.Query, " "+m.Options.Thresholds.Critical.String()) { // which Datadog refuses
			t.Errorf("%s has the threshold %s, but the query %s", monitor, m.Options.Thresholds.Critical, m.Query)
		}
		pages := map[string]bool{"alerts-lost.json": true, "at-risk.json": true}[filepath.Base(monitor)]
		if handles := regexp.MustCompile(`@\S+`).FindAllString(m.Message, -1); len(handles) != 1 || handles[0] != map[bool]string{true: "@REPLACE-pager", false: "@REPLACE-tickets"}[pages] {
			t.Errorf("%s notifies %q", monitor, handles)
		}
	}
}

// TestDatadogReadme runs the two commands of README.md that edit files.
func TestDatadogReadme(t *testing.T) {
	perl, err := exec.LookPath("perl")
	if err != nil {
		t.Skip(err)
	}
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS("../../docs/datadog")); err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../docs/datadog/README.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile(`(?m)^    perl (-pi -e '.*)$`).FindAllSubmatch(readme, -1)
	if len(commands) != 2 {
		t.Fatalf("%d commands, want 2", len(commands))
	}
	for _, command := range commands {
		run := exec.CommandContext(t.Context(), "sh", "-c", "perl "+string(command[1]))
		run.Dir, run.Env = folder, []string{"PATH=" + filepath.Dir(perl)}
		if said, err := run.CombinedOutput(); err != nil || len(said) > 0 {
			t.Fatalf("%s: %v %s", command[0], err, said)
		}
	}
	var all []byte
	files, _ := filepath.Glob(folder + "/monitors/*.json")
	for _, file := range append(files, folder+"/dashboard.json") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	var names, want []string
	for _, name := range regexp.MustCompile(`datadogwebhookauthsync\.\w+`).FindAllString(string(all), -1) {
		names = append(names, strings.TrimPrefix(name, "datadogwebhookauthsync."))
	}
	for _, metric := range handler.Metrics {
		want = append(want, metric.Name)
	}
	slices.Sort(names)
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Compact(names)); diff != "" {
		t.Errorf("metrics by the name of CloudWatch (-want +got):\n%s", diff)
	}
	if strings.Contains(string(all), "REPLACE") || strings.Count(string(all), "@pagerduty-on-call") != 2 {
		t.Error("the handles were not replaced")
	}
}
