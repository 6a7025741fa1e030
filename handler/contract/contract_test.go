package contract_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"datadog-webhook-auth-sync/handler/contract"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/fleet"
	"datadog-webhook-auth-sync/handler/report"
)

// That every answer and event follows the schemas is what the tests of handler and cmd/demo hold. These hold that the
// schemas promise no more than the code has, and that they refuse what they should.

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
	if diff := cmp.Diff(slices.Sorted(slices.Values(schema)), slices.Sorted(slices.Values(code))); diff != "" {
		t.Errorf("%s (-schema +code):\n%s", what, diff)
	}
}

func TestCodesAreThoseOfTheTable(t *testing.T) {
	// A sync never ends with these.
	notOfSyncs := []fault.Code{fault.UnsupportedEvent, fault.Forbidden, fault.NotFound, fault.MethodNotAllowed, fault.PayloadTooLarge,
		fault.UnsupportedMediaType, fault.RotationRefused, fault.PublishFailed}
	var all, retryable, ofSyncs, described []string
	for _, row := range fault.Table {
		all = append(all, fmt.Sprint(row.Status, row.Code))
		if row.Retryable {
			retryable = append(retryable, string(row.Code))
		}
		if !slices.Contains(notOfSyncs, row.Code) {
			ofSyncs = append(ofSyncs, string(row.Code))
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
			described = append(described, fmt.Sprint(status, code))
		}
	}
	sameSet(t, "status and code of a problem", described, all)
	sameSet(t, "retryable codes", texts(at(t, "result.schema.json", "$defs", "retryable", "if", "properties", "code", "enum")), retryable)
	sameSet(t, "error.code of a result", texts(at(t, "result.schema.json", "properties", "error", "properties", "code", "enum")), ofSyncs)
}

func TestFieldsAreThoseOfTheCode(t *testing.T) {
	for _, c := range []struct {
		document any
		schema   []string
	}{
		{report.Result{}, []string{"result.schema.json"}},
		{report.SecretRef{}, []string{"result.schema.json", "$defs", "secret"}},
		{report.AuthMethodRef{}, []string{"result.schema.json", "$defs", "authMethod"}},
		{report.Trigger{}, []string{"result.schema.json", "properties", "trigger"}},
		{report.Plan{}, []string{"result.schema.json", "properties", "plan"}},
		{report.Change{}, []string{"result.schema.json", "$defs", "change"}},
		{report.Held{}, []string{"result.schema.json", "properties", "held"}},
		{report.Failure{}, []string{"result.schema.json", "$defs", "failure"}},
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
			if !strings.HasPrefix(options, "omit") {
				always = append(always, name)
			}
		}
		what := strings.Join(c.schema, "/")
		sameSet(t, what, slices.Collect(maps.Keys(schema["properties"].(map[string]any))), all)
		sameSet(t, "required in "+what, texts(schema["required"]), always)
	}
}

func TestEveryStatusIsDescribed(t *testing.T) {
	described := map[int]bool{}
	for path, method := range map[string]string{"/sync": "post", "/status": "get"} {
		for status := range at(t, "openapi.yaml", "paths", path, method, "responses").(map[string]any) {
			code, err := strconv.Atoi(status)
			if err != nil {
				t.Fatal(err)
			}
			described[code] = true
			for _, kind := range []string{"application/json", "application/problem+json", "text/html"} {
				header := http.Header{"Content-Type": {kind}}
				if code == http.StatusMethodNotAllowed {
					header.Set("Allow", "GET")
				}
				// No body is an array, so this one must be refused for that, or the kind for what it is.
				if err := contract.ValidateHTTP(path, code, header, []byte("[]")); err == nil ||
					!strings.Contains(err.Error(), "got array") && !strings.Contains(err.Error(), "answers "+status+" with "+kind) {
					t.Errorf("%s %s %s: %v", path, status, kind, err)
				}
			}
		}
	}
	for _, row := range fault.Table {
		if !described[row.Status] {
			t.Errorf("%d is not described", row.Status)
		}
	}
}

// TestSchemasRefuse edits one thing of a document that the schema accepts.
func TestSchemasRefuse(t *testing.T) {
	const arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:datadog/webhooks/payments-AbCdEf"
	documents := map[string]string{
		"problem": `{"type":"about:blank","title":"Not Found","status":404,"detail":"No.","code":"not_found","retryable":false,"requestId":"r"}`,
		"status": `{"secrets":[{"secret":{"arn":"` + arn + `","name":"p","versionId":"v"},"authMethod":{"id":"9c8b7a69-5f4e-4d3c-8b2a-190817263544","site":"s"},` +
			`"state":"in_sync","reasons":[],"recordedVersionId":"v","settled":true,"pushedAt":"2026-01-15T03:12:44Z"}]}`,
		"reconciliation": `{"schemaVersion":"1","requestId":"r","dryRun":false,"secrets":1,"inSync":0,"settling":0,"outOfSync":1,"outcomes":{"skipped":1},` +
			`"failing":0,"atRisk":0,"unverified":0,"leftOver":0,"durationMs":1}`,
	}
	maps.Copy(documents, sampleEvents(t))
	for _, c := range []struct{ document, old, new string }{
		{"updated", `"updated"`, `"settled"`},
		{"updated", `"updated"`, `"refreshed"`},
		{"updated", `"accepted"`, `"rejected"`},
		{"updated", `"label"`, `"http"`}, // which has no lag
		{"updated", `"id":"9c8b7a69-5f4e-4d3c-8b2a-190817263544",`, ``},
		{"updated", `"9c8b7a69-5f4e-4d3c-8b2a-190817263544"`, `"42"`},
		{"updated", `"previousSecretSafeToRevoke":false`, `"previousSecretSafeToRevoke":true`},
		{"updated", `"durationMs":412`, `"durationMs":412,"client_secret":"x"`},
		{"updated", `"durationMs":412`, `"durationMs":412,"plan":{"action":"update","changes":[{"attribute":"client_secret"}]}`},
		{"updated", `"durationMs":412`, `"durationMs":412,"held":{"versionId":"v","verification":"accepted"}`},
		{"updated", `): updated`, `): @here updated`},
		{"updated", `"detail":`, `"details":`},
		{"updated", "Synced", "Sync Failed"},
		{"recovered", `"since":"2026-01-15T03:12:45Z"`, `"since":"last night"`},
		{"recovered", `"since":`, `"lost":true,"since":`},
		{"settled", `"accepted"`, `"off"`},
		{"settled", `"type":"reconcile"`, `"type":"label"`},
		{"settled", `"previousSecretSafeToRevoke":true`, `"previousSecretSafeToRevoke":false`},
		{"failed", `"durationMs"`, `"recovered":{"code":"deadline","since":"2026-01-15T03:12:45Z"},"durationMs"`},
		{"failed", `"verification":"rejected"`, `"verification":"off"`},
		{"failed", `"failed"`, `"skipped"`},
		{"failed", `"error":`, `"fault":`},
		{"failed-invalid", `"retryable":false`, `"retryable":true`},
		{"failed-invalid", `"code":"secret_invalid"`, `"code":"secret_not_found"`},
		{"failed-invalid", `"code":"secret_invalid"`, `"code":"forbidden"`},
		{"failed-lost", `"held":{"versionId":"0a1b2c3d-4e5f-4607-8899-aabbccddeeff",`, `"held":{`},
		{"problem", `404`, `405`},
		{"problem", `"not_found"`, `"no_such_code"`},
		{"problem", `"retryable":false`, `"retryable":true`},
		{"problem", `"requestId"`, `"id"`},
		{"status", `"in_sync"`, `"out_of_sync"`},
		{"status", `[],"rec`, `["record_old"],"rec`},
		{"status", `"recordedVersionId":"v",`, ``},
		{"status", `"in_sync","reasons":[]`, `"out_of_sync","reasons":["not_verified"]`},
		{"status", `"in_sync","reasons":[]`, `"out_of_sync","reasons":["failing"]`}, // without failing
		{"status", `"in_sync","reasons":[]`, `"settling","reasons":["settling"]`},   // but settled
		{"status", `"versionId":"v"`, `"version":"v"`},
		{"reconciliation", `"skipped"`, `"planned"`},
		{"reconciliation", `"skipped"`, `"idle"`},
		{"reconciliation", `"leftOver":0`, `"leftOver":0,"plans":[]`},
		{"reconciliation", `"leftOver":0`, `"leftOver":0,"unmanaged":[{"id":"9c8b7a69-5f4e-4d3c-8b2a-190817263544","name":"a"}]`},
	} {
		schema := c.document
		if documents[c.document][:12] == `{"version":"` {
			schema = "event"
		}
		if err := contract.Validate(schema, []byte(documents[c.document])); err != nil {
			t.Fatal(err)
		}
		edited := strings.Replace(documents[c.document], c.old, c.new, 1)
		if err := contract.Validate(schema, []byte(edited)); err == nil || edited == documents[c.document] {
			t.Errorf("%s for %s is no fault in %s", c.new, c.old, c.document)
		}
	}
}

// sampleEvents are the files of events, by their names, without white space.
func sampleEvents(t *testing.T) map[string]string {
	t.Helper()
	files, err := fs.Glob(contract.Files, "events/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no sample events: ", err)
	}
	events := map[string]string{}
	for _, file := range files {
		text, err := contract.Files.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, text); err != nil {
			t.Fatal(file, err)
		}
		events[strings.TrimSuffix(path.Base(file), ".json")] = compact.String()
	}
	return events
}
