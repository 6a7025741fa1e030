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

// TestSampleRules reads what cannot be seen where the end-to-end tests deploy the samples: which events a rule leaves out.
// Another account may put events on the same bus.
func TestSampleRules(t *testing.T) {
	samples, _ := filepath.Glob("../../docs/samples/*.yaml")
	for _, file := range append(samples, "../../docs/datadog/events.yaml") {
		var template struct {
			Resources map[string]struct {
				Type       string `yaml:"Type"`
				Properties struct {
					EventPattern struct {
						Source, Account []string
						Detail          struct {
							PreviousSecretSafeToRevoke []bool `yaml:"previousSecretSafeToRevoke"`
						}
					} `yaml:"EventPattern"`
				} `yaml:"Properties"`
			} `yaml:"Resources"`
		}
		if err := yaml.Unmarshal(readFile(t, file), &template); err != nil {
			t.Fatal(file, err)
		}
		rules := 0
		for name, resource := range template.Resources {
			if resource.Type != "AWS::Events::Rule" {
				continue
			}
			rules++
			pattern := resource.Properties.EventPattern // a reference in it reads as the name that it refers to
			if !slices.Equal(pattern.Source, []string{"datadog-webhook-auth-sync"}) ||
				!slices.Equal(pattern.Account, []string{"AWS::AccountId"}) {
				t.Errorf("%s %s takes the events of others: %+v", file, name, pattern)
			}
			revokes := filepath.Base(file) == "rotator.yaml"
			if slices.Equal(pattern.Detail.PreviousSecretSafeToRevoke, []bool{true}) != revokes {
				t.Errorf("%s %s takes %+v", file, name, pattern)
			}
		}
		if rules == 0 {
			t.Errorf("%s has no rule", file)
		}
	}
}

func TestSampleSummaries(t *testing.T) {
	for name, text := range sampleEvents(t) {
		var event struct{ Detail report.Result }
		if err := json.Unmarshal([]byte(text), &event); err != nil {
			t.Fatal(name, err)
		}
		if err := contract.Validate("event", []byte(text)); err != nil {
			t.Error(name, err)
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
