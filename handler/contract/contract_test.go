package contract_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"datadog-webhook-auth-sync/handler/authsync"
	"datadog-webhook-auth-sync/handler/contract"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/fleet"
)

// at is what stands in a file of the contract below these names.
func at(t *testing.T, file string, names ...string) (found any) {
	t.Helper()
	text, err := contract.Files.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &found); err != nil { // JSON is YAML too
		t.Fatal(file, err)
	}
	for _, name := range names {
		members, _ := found.(map[string]any)
		if found = members[name]; found == nil {
			t.Fatalf("%s has no %q of %q", file, name, names)
		}
	}
	return found
}

func texts(list any) (all []string) {
	items, _ := list.([]any)
	for _, item := range items {
		all = append(all, fmt.Sprint(item))
	}
	return all
}

func sameSet(t *testing.T, what string, schema, code []string) {
	t.Helper()
	slices.Sort(schema)
	slices.Sort(code)
	if diff := cmp.Diff(schema, code); diff != "" || len(code) == 0 {
		t.Errorf("%s (-schema +code):\n%s", what, diff)
	}
}

// constants are the values of a package's string constants of a type or, where the type is empty, of a beginning of names.
func constants(t *testing.T, folder, typ, beginning string) (values []string) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join("..", folder, "*.go"))
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			of, _ := spec.Type.(*ast.Ident)
			literal, isLiteral := spec.Values[0].(*ast.BasicLit)
			if isLiteral && (typ != "" && of != nil && of.Name == typ || typ == "" && strings.HasPrefix(spec.Names[0].Name, beginning)) {
				value, _ := strconv.Unquote(literal.Value)
				values = append(values, value)
			}
			return true
		})
	}
	return values
}

func without(values []string, some ...string) []string {
	return slices.DeleteFunc(values, func(v string) bool { return slices.Contains(some, v) })
}

func TestEnumsAreThoseOfTheCode(t *testing.T) {
	const result = "result.schema.json"
	outcomes := texts(at(t, result, "properties", "outcome", "enum"))
	sameSet(t, "outcome", outcomes, constants(t, "authsync", "Outcome", ""))
	verdicts := append(constants(t, "tokencheck", "Outcome", ""), constants(t, "authsync", "", "verification")...)
	sameSet(t, "verification", texts(at(t, result, "properties", "verification", "enum")), without(verdicts, "none"))
	sameSet(t, "plan.action", texts(at(t, result, "properties", "plan", "properties", "action", "enum")), without(constants(t, "authsync", "Action", ""), "list"))
	one := []string{"status.schema.json", "$defs", "secretStatus", "properties"}
	sameSet(t, "state", texts(at(t, one[0], append(one[1:], "state", "enum")...)), constants(t, "fleet", "State", ""))
	sameSet(t, "reason", texts(at(t, one[0], append(one[1:], "reasons", "items", "enum")...)), constants(t, "fleet", "Reason", ""))

	var table, stated []string
	var retryable []string
	for _, row := range fault.Table {
		table = append(table, fmt.Sprint(row.Status, row.Code))
		if row.Retryable {
			retryable = append(retryable, string(row.Code))
		}
	}
	for _, branch := range at(t, "problem.schema.json", "oneOf").([]any) {
		properties := branch.(map[string]any)["properties"].(map[string]any)
		status, code := properties["status"].(map[string]any)["const"], properties["code"].(map[string]any)
		codes := texts(code["enum"])
		if one := code["const"]; one != nil {
			codes = []string{fmt.Sprint(one)}
		}
		for _, code := range codes {
			stated = append(stated, fmt.Sprint(status, code))
		}
	}
	sameSet(t, "problem's status and code", stated, table)
	sameSet(t, "retryable", texts(at(t, result, "$defs", "retryable", "if", "properties", "code", "enum")), retryable)

	// What a sync never ends with.
	elsewhere := []string{"unsupported_event", "forbidden", "not_found", "method_not_allowed", "payload_too_large",
		"unsupported_media_type", "rotation_refused", "publish_failed"}
	sameSet(t, "a result's error.code", append(texts(at(t, result, "properties", "error", "properties", "code", "enum")), elsewhere...), constants(t, "fault", "Code", ""))
}

// What the code has no constants for is looked for in what it says.
func TestEnumsAreThoseOfTheAnswers(t *testing.T) {
	f := newFunction()
	samples, err := filepath.Glob("../../events/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, sample := range append([]string{"../../events/direct-reconcile.json"}, samples...) { // while the secret is due
		text, err := os.ReadFile(sample)
		if err != nil {
			t.Fatal(err)
		}
		payload := strings.ReplaceAll(string(text), "arn:aws:secretsmanager:us-east-1:123456789012:secret:datadog/webhooks/payments-AbCdEf", f.arn)
		if _, err := f.invoke(t.Context(), payload); err != nil && !strings.Contains(sample, "rotation-step") {
			t.Error(sample, err)
		}
	}
	triggers := map[string]bool{}
	for _, e := range f.bus.Events() {
		var res authsync.Result
		if err := json.Unmarshal([]byte(*e.Detail), &res); err != nil {
			t.Fatal(err)
		}
		triggers[res.Trigger.Type] = true
	}
	const result = "result.schema.json"
	sameSet(t, "trigger.type", texts(at(t, result, "properties", "trigger", "properties", "type", "enum")), slices.Collect(maps.Keys(triggers)))

	var planned authsync.Result
	text, err := newFunction().invoke(t.Context(), `{"action":"sync","dryRun":true,"secretId":"`+secretName+`"}`)
	if err != nil || json.Unmarshal(text, &planned) != nil || planned.Plan == nil {
		t.Fatalf("%s, %v", text, err)
	}
	var attributes []string
	for _, change := range planned.Plan.Changes {
		attributes = append(attributes, change.Attribute)
	}
	sameSet(t, "attribute", texts(at(t, result, "$defs", "change", "properties", "attribute", "enum")), attributes)
}

func TestFieldsAreThoseOfTheCode(t *testing.T) {
	for _, c := range []struct {
		document any
		schema   []string
	}{
		{authsync.Result{}, []string{"result.schema.json"}},
		{authsync.SecretRef{}, []string{"result.schema.json", "$defs", "secret"}},
		{authsync.AuthMethodRef{}, []string{"result.schema.json", "$defs", "authMethod"}},
		{authsync.Trigger{}, []string{"result.schema.json", "properties", "trigger"}},
		{authsync.Plan{}, []string{"result.schema.json", "properties", "plan"}},
		{authsync.Change{}, []string{"result.schema.json", "$defs", "change"}},
		{fault.Error{}, []string{"result.schema.json", "properties", "error"}},
		{fleet.Reconciliation{}, []string{"reconciliation.schema.json"}},
		{fleet.Status{}, []string{"status.schema.json"}},
		{fleet.SecretStatus{}, []string{"status.schema.json", "$defs", "secretStatus"}},
	} {
		schema := at(t, c.schema[0], c.schema[1:]...).(map[string]any)
		var all, always []string
		for _, field := range reflect.VisibleFields(reflect.TypeOf(c.document)) {
			name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
			if name == "" || name == "-" {
				continue
			}
			all = append(all, name)
			if options != "omitempty" {
				always = append(always, name)
			}
		}
		sameSet(t, strings.Join(c.schema, "/"), slices.Collect(maps.Keys(schema["properties"].(map[string]any))), all)
		if diff := cmp.Diff(slices.Sorted(slices.Values(texts(schema["required"]))), slices.Sorted(slices.Values(always))); diff != "" {
			t.Errorf("required in %q (-schema +code):\n%s", c.schema, diff)
		}
		if schema["additionalProperties"] != false {
			t.Errorf("%q is open", c.schema)
		}
	}
}

func TestEveryStatusIsDescribed(t *testing.T) {
	described := map[string]bool{}
	for path, method := range map[string]string{"/sync": "post", "/status": "get"} {
		for status := range at(t, "openapi.yaml", "paths", path, method, "responses").(map[string]any) {
			described[status] = true
			code, _ := strconv.Atoi(status)
			for _, kind := range []string{"application/json", "application/problem+json"} {
				header := http.Header{"Content-Type": {kind}, "Allow": {"GET"}}
				if code != http.StatusMethodNotAllowed {
					header.Del("Allow")
				}
				// Nothing is described as an array: it must be refused for that alone.
				if err := contract.ValidateHTTP(path, code, header, []byte("[]")); err == nil || !strings.Contains(err.Error(), "got array") && !strings.Contains(err.Error(), "answers "+status+" with "+kind) {
					t.Errorf("%s %s %s: %v", path, status, kind, err)
				}
			}
		}
	}
	for _, row := range fault.Table {
		if !described[strconv.Itoa(row.Status)] {
			t.Errorf("%d is not described", row.Status)
		}
	}
}

// Documents that differ from a good one in one thing that must not be.
func TestSchemasRefuse(t *testing.T) {
	const arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:datadog/webhooks/payments-AbCdEf"
	problem := `{"type":"about:blank","title":"Not Found","status":404,"detail":"No.","code":"not_found","retryable":false,"requestId":"r"}`
	status := `{"secrets":[{"secret":{"arn":"` + arn + `","name":"p","versionId":"v"},"authMethod":{"id":"9c8b7a69-5f4e-4d3c-8b2a-190817263544","name":"p","site":"s"},"state":"in_step","reasons":[],"recordedVersionId":"v","pushedAt":"2026-01-15T03:12:44Z"}]}`
	reconciliation := `{"schemaVersion":"1","requestId":"r","dryRun":false,"secrets":1,"inStep":0,"settling":0,"due":1,"outcomes":{"skipped":1},"leftOver":0,"durationMs":1}`
	for _, c := range []struct{ schema, document, old, new string }{
		{"event", event(t, "updated"), `"accepted"`, `"rejected"`},
		{"event", event(t, "updated"), `"updated"`, `"settled"`},
		{"event", event(t, "updated"), `"updated"`, `"refreshed"`},
		{"event", event(t, "updated"), `"label"`, `"http"`}, // which has no lag
		{"event", event(t, "updated"), `"id":"9c8b7a69-5f4e-4d3c-8b2a-190817263544",`, ``},
		{"event", event(t, "updated"), `"9c8b7a69-5f4e-4d3c-8b2a-190817263544"`, `"42"`},
		{"event", event(t, "updated"), `"previousSecretSafeToRevoke":false`, `"previousSecretSafeToRevoke":true`},
		{"event", event(t, "updated"), `"durationMs":412`, `"durationMs":412,"client_secret":"x"`},
		{"event", event(t, "updated"), `"durationMs":412`, `"durationMs":412,"plan":{"action":"update","changes":[{"attribute":"client_secret"}]}`},
		{"event", event(t, "updated"), `"detail":`, `"details":`},
		{"event", event(t, "updated"), "Synced", "Sync Failed"},
		{"event", event(t, "settled"), `"recorded"`, `"off"`},
		{"event", event(t, "settled"), `"type":"reconcile"`, `"type":"label"`},
		{"event", event(t, "failed"), `"failed"`, `"skipped"`},
		{"event", event(t, "failed"), `"retryable":false`, `"retryable":true`},
		{"event", event(t, "failed"), `"secret_invalid"`, `"secret_not_found"`},
		{"event", event(t, "failed"), `"secret_invalid"`, `"forbidden"`},
		{"event", event(t, "failed"), `"error":`, `"fault":`},
		{"problem", problem, `404`, `405`},
		{"problem", problem, `"not_found"`, `"no_such_code"`},
		{"problem", problem, `"retryable":false`, `"retryable":true`},
		{"problem", problem, `"requestId"`, `"id"`},
		{"status", status, `"in_step"`, `"due"`},
		{"status", status, `[],"rec`, `["record_old"],"rec`},
		{"status", status, `"recordedVersionId":"v",`, ``},
		{"status", status, `"versionId":"v"`, `"version":"v"`},
		{"reconciliation", reconciliation, `"skipped"`, `"planned"`},
		{"reconciliation", reconciliation, `"skipped"`, `"idle"`},
		{"reconciliation", reconciliation, `"leftOver":0`, `"leftOver":0,"plans":[]`},
	} {
		if err := contract.Validate(c.schema, []byte(c.document)); err != nil {
			t.Fatal(err)
		}
		edited := strings.Replace(c.document, c.old, c.new, 1)
		if err := contract.Validate(c.schema, []byte(edited)); err == nil || edited == c.document {
			t.Errorf("%s for %s is no fault in %s", c.new, c.old, c.schema)
		}
	}
}

// event is a sample, without white space.
func event(t *testing.T, name string) string {
	t.Helper()
	text, err := contract.Files.ReadFile("events/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		t.Fatal(name, err)
	}
	return compact.String()
}

func TestRules(t *testing.T) {
	rules := map[string]string{ // event → the rules that it must match
		"created": "SyncedToChat", "updated": "SyncedToChat", "settled": "OldSecretToRotator", "settled-unproven": "",
		"failed": "PermanentFailureToPager", "failed-retryable": "",
	}
	files, err := fs.Glob(contract.Files, "events/*.json")
	if err != nil || len(files) != len(rules) {
		t.Errorf("%d events, %v; want %d", len(files), err, len(rules))
	}
	resources := at(t, "rules.yaml", "Resources").(map[string]any)
	for name, want := range rules {
		text := event(t, name)
		if err := contract.Validate("event", []byte(text)); err != nil {
			t.Error(name, err)
		}
		var e map[string]any
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Fatal(err)
		}
		var matched []string
		for rule, resource := range resources {
			r := resource.(map[string]any)
			if r["Type"] != "AWS::Events::Rule" {
				continue
			}
			properties := r["Properties"].(map[string]any)
			if !matches(t, properties["EventPattern"].(map[string]any), e) {
				continue
			}
			matched = append(matched, rule)
			inputIsThere(t, properties["Targets"].([]any)[0].(map[string]any), e)
		}
		if got := strings.Join(matched, " "); got != want {
			t.Errorf("%s matches %q; want %q", name, got, want)
		}
	}
}

// matches is EventBridge's matching, as far as the rules need it: lists of values, one of which must be the event's.
func matches(t *testing.T, pattern, event map[string]any) bool {
	for name, want := range pattern {
		switch want := want.(type) {
		case map[string]any:
			inner, ok := event[name].(map[string]any)
			if !ok || !matches(t, want, inner) {
				return false
			}
		case []any:
			if !slices.Contains(want, event[name]) {
				return false
			}
		default:
			t.Fatalf("EventBridge takes no %T in a pattern, at %s", want, name)
		}
	}
	return true
}

// inputIsThere looks for what a target's input takes from the event.
func inputIsThere(t *testing.T, target, event map[string]any) {
	t.Helper()
	transformer, _ := target["InputTransformer"].(map[string]any)
	paths, _ := transformer["InputPathsMap"].(map[string]any)
	for name, path := range paths {
		var found any = event
		for _, step := range strings.Split(strings.TrimPrefix(path.(string), "$."), ".") {
			members, _ := found.(map[string]any)
			found = members[step]
		}
		if found == nil || !strings.Contains(transformer["InputTemplate"].(string), "<"+name+">") {
			t.Errorf("the target %v takes %s, which the event does not have or the text does not use", target["Id"], path)
		}
	}
}
