package official_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/DataDog/datadog-api-client-go/v2/api/datadogV1"
	"go.yaml.in/yaml/v3"
)

// files is the folder of what is made for Datadog.
const files = "../../../../docs/datadog/"

// TestFilesAreDatadogs has the official client read each file that is to be imported: it knows every field, and every value
// of those that have a fixed choice.
func TestFilesAreDatadogs(t *testing.T) {
	bodies := map[string]any{files + "dashboard.json": &datadogV1.Dashboard{}, files + "pipeline.json": &datadogV1.LogsPipeline{}}
	monitors, _ := filepath.Glob(files + "monitors/*.json")
	for _, monitor := range monitors {
		bodies[monitor] = &datadogV1.Monitor{}
	}
	if len(monitors) == 0 {
		t.Fatal("there are no monitors")
	}
	for file, model := range bodies {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		understands(t, filepath.Base(file), text, model)
	}
}

// TestEventsAreDatadogs has the official client read what events.yaml posts for each sample event.
func TestEventsAreDatadogs(t *testing.T) {
	text, err := os.ReadFile(files + "events.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var template struct {
		Resources map[string]struct {
			Properties struct {
				EventPattern struct {
					DetailType []string `yaml:"detail-type"`
				} `yaml:"EventPattern"`
				Targets []struct {
					InputTransformer struct {
						InputPathsMap map[string]string `yaml:"InputPathsMap"`
						InputTemplate string            `yaml:"InputTemplate"`
					} `yaml:"InputTransformer"`
				} `yaml:"Targets"`
			} `yaml:"Properties"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal(text, &template); err != nil {
		t.Fatal(err)
	}
	samples, _ := filepath.Glob("../../../contract/events/*.json")
	posted := 0
	for _, sample := range samples {
		text, err := os.ReadFile(sample)
		if err != nil {
			t.Fatal(err)
		}
		var event map[string]any
		if err := json.Unmarshal(text, &event); err != nil {
			t.Fatal(err)
		}
		for rule, resource := range template.Resources {
			for _, kind := range resource.Properties.EventPattern.DetailType {
				if kind != event["detail-type"] {
					continue
				}
				input := resource.Properties.Targets[0].InputTransformer
				body := input.InputTemplate
				for name, path := range input.InputPathsMap {
					var value any = event
					for step := range strings.SplitSeq(strings.TrimPrefix(path, "$."), ".") {
						value = value.(map[string]any)[step]
					}
					body = strings.ReplaceAll(body, "<"+name+">", value.(string))
				}
				var request datadogV1.EventCreateRequest
				understands(t, filepath.Base(sample)+" by "+rule, []byte(body), &request)
				// https://docs.datadoghq.com/api/latest/events/#post-an-event and https://docs.datadoghq.com/getting_started/tagging/
				if n := len(request.GetAggregationKey()); n == 0 || n > 100 || len(request.Text) > 4000 {
					t.Errorf("%s by %s breaks a limit: %s", sample, rule, body)
				}
				for _, tag := range request.Tags {
					if len(tag) > 200 || strings.HasSuffix(tag, ":") || strings.ContainsAny(tag, "<>") {
						t.Errorf("%s by %s has the tag %q", sample, rule, tag)
					}
				}
				posted++
			}
		}
	}
	if posted < len(samples) {
		t.Errorf("%d events of %d samples", posted, len(samples))
	}
}

// understands decodes text into a model of the client, and looks for whatever the client did not know.
func understands(t *testing.T, what string, text []byte, model any) {
	t.Helper()
	if err := json.Unmarshal(text, model); err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	unknown(t, what, reflect.ValueOf(model))
}

// unknown looks for what the client's models set aside: fields that they lack, and objects with a value that they lack.
func unknown(t *testing.T, what string, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			unknown(t, what, v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			unknown(t, what, v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			switch field := v.Type().Field(i); {
			case !field.IsExported():
			case field.Name == "AdditionalProperties":
				if v.Field(i).Len() > 0 {
					t.Errorf("%s: the client's %s has no %v", what, v.Type().Name(), v.Field(i).MapKeys())
				}
			case field.Name == "UnparsedObject":
				if !v.Field(i).IsZero() {
					t.Errorf("%s: the client's %s did not understand %v", what, v.Type().Name(), v.Field(i))
				}
			default:
				unknown(t, what, v.Field(i))
			}
		}
	}
}
