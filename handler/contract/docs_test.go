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
	"datadog-webhook-auth-sync/handler/report"
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
		var parsed template
		if err := yaml.Unmarshal(readFile(t, file), &parsed); err != nil {
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
		"recovered":          {"chat Rule", "events Succeeded"},
		"settled":            {"chat Rule", "events Succeeded", "rotator Rule"},
		"settled-unverified": {"chat Rule", "events Succeeded"},
		"failed":             {"chat Rule", "events Failed"},
		"failed-invalid":     {"chat Rule", "events Failed"},
		"failed-lost":        {"chat Rule", "events AlertsLost"},
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

func TestSampleSummaries(t *testing.T) {
	for name, text := range sampleEvents(t) {
		var event struct{ Detail report.Result }
		if err := json.Unmarshal([]byte(text), &event); err != nil {
			t.Fatal(name, err)
		}
		got, want := report.Summary(event.Detail), event.Detail.Summary
		if event.Detail.Error != nil { // whose cause may be shorter than its message
			got, want = got[strings.LastIndex(got, "("):], want[strings.LastIndex(want, "("):]
		}
		if got != want {
			t.Errorf("%s has the summary %q; want %q", name, want, got)
		}
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

// TestDatadogFiles compares the files for Datadog with the metrics that the function emits. Datadog's own client reads them
// in make conformance.
func TestDatadogFiles(t *testing.T) {
	names := regexp.MustCompile(`datadogwebhookauthsync\.[a-z_]+`)
	var emitted []string
	for _, metric := range handler.Metrics {
		snake := strings.ToLower(regexp.MustCompile(`([a-z])([A-Z])`).ReplaceAllString(metric.Name, "${1}_${2}"))
		emitted = append(emitted, strings.ToLower(handler.MetricNamespace)+"."+snake)
	}
	slices.Sort(emitted)
	namedIn := func(file string) []string {
		all := names.FindAllString(string(readFile(t, file)), -1)
		slices.Sort(all)
		return slices.Compact(all)
	}
	for _, file := range []string{"dashboard.json", "README.md"} {
		if diff := cmp.Diff(emitted, namedIn("../../docs/datadog/"+file)); diff != "" {
			t.Errorf("metrics of %s (-want +got):\n%s", file, diff)
		}
	}
	monitors, _ := filepath.Glob("../../docs/datadog/monitors/*.json")
	if len(monitors) == 0 {
		t.Fatal("there are no monitors")
	}
	for _, file := range monitors {
		for _, name := range namedIn(file) {
			if !slices.Contains(emitted, name) {
				t.Errorf("%s asks for %s, which the function does not emit", file, name)
			}
		}
		var m struct {
			Message, Query string
			Options        struct {
				Thresholds struct{ Critical json.Number }
			}
		}
		if err := json.Unmarshal(readFile(t, file), &m); err != nil {
			t.Fatal(file, err)
		}
		if !strings.HasSuffix(m.Query, " "+m.Options.Thresholds.Critical.String()) { // which Datadog refuses
			t.Errorf("%s has the threshold %s, but the query %s", file, m.Options.Thresholds.Critical, m.Query)
		}
		// A handle @webhook-… might be the one that does not work.
		want := "@REPLACE-tickets"
		if name := filepath.Base(file); name == "alerts-lost.json" || name == "at-risk.json" {
			want = "@REPLACE-pager"
		}
		if handles := regexp.MustCompile(`@\S+`).FindAllString(m.Message, -1); !slices.Equal(handles, []string{want}) {
			t.Errorf("%s notifies %q; want %s", file, handles, want)
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
	commands := regexp.MustCompile(`(?m)^ *perl (-pi -e '.*)$`).FindAllSubmatch(readFile(t, folder+"/README.md"), -1)
	if len(commands) != 2 {
		t.Fatalf("%d commands, want 2", len(commands))
	}
	for _, command := range commands {
		run := exec.CommandContext(t.Context(), "sh", "-c", "perl "+string(command[1]))
		run.Dir, run.Env = folder, []string{"PATH=" + filepath.Dir(perl)}
		if output, err := run.CombinedOutput(); err != nil || len(output) > 0 {
			t.Fatalf("%s: %v %s", command[0], err, output)
		}
	}
	all := string(readFile(t, folder+"/dashboard.json"))
	monitors, _ := filepath.Glob(folder + "/monitors/*.json")
	for _, file := range monitors {
		all += string(readFile(t, file))
	}
	for _, metric := range handler.Metrics {
		if !regexp.MustCompile(`datadogwebhookauthsync\.` + metric.Name + `\b`).MatchString(all) {
			t.Errorf("no file asks for %s as CloudWatch spells it", metric.Name)
		}
	}
	if strings.Contains(all, "REPLACE") || strings.Count(all, "@pagerduty-on-call") != 2 {
		t.Error("the handles were not replaced")
	}
}

func readFile(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
