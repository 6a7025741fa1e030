package handler_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
)

// sample reads a payload from events/ and makes it one about a secret of this world.
func (w *world) sample(name string) string {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "events", name))
	if err != nil {
		w.t.Fatal(err)
	}
	version, _ := w.secrets.Current(secretName)
	return strings.NewReplacer(
		"arn:aws:secretsmanager:us-east-1:123456789012:secret:datadog/webhooks/payments-AbCdEf", w.arn(),
		"1f2e3d4c-5b6a-4798-8899-aabbccddeeff", version,
		"2026-01-15T03:12:44Z", time.Now().UTC().Format(time.RFC3339),
		"2026-01-15T03:12:45Z", time.Now().UTC().Format(time.RFC3339),
	).Replace(string(data))
}

// labelEvent is the event of AWSCURRENT's move to where it is.
func (w *world) labelEvent() string {
	w.t.Helper()
	return w.sample("secret-label-updated.json")
}

func (w *world) arn() string {
	in := &secretsmanager.DescribeSecretInput{SecretId: aws.String(secretName)}
	out, err := w.secrets.DescribeSecret(context.Background(), in)
	if err != nil {
		w.t.Fatal(err)
	}
	return *out.ARN
}

func TestSamples(t *testing.T) {
	created := map[string]report.Trigger{
		"secret-label-updated.json":          {Type: "label", ID: "6f0c1c5e-2b1d-4b3e-9a58-0c4f6a6f9c11"},
		"cloudtrail-rotation-succeeded.json": {Type: "cloudtrail", ID: "b1f7a0c2-7a5e-4a52-8d9c-3f1f0d7e2a90"},
		"cloudtrail-put-secret-value.json":   {Type: "cloudtrail", ID: "c9a7f3de-0f51-4ed2-9e0b-5d2e7a7b1c34"},
		// The request has a name only, and the response an aRN: https://github.com/cloud-custodian/cloud-custodian/pull/6296,
		// https://github.com/wazuh/wazuh/issues/21648
		"cloudtrail-create-secret.json": {Type: "cloudtrail", ID: "d5b8e6a1-3c72-4f19-8a40-7e6d2c9b0f58"},
		"http-api-sync.json":            {Type: "http", ID: "Xy1zAbCdEfGHijk="},
		// rawPath begins with the stage: https://github.com/logandk/serverless-wsgi/issues/191
		"http-api-stage-sync.json": {Type: "http", ID: "Xy3zAbCdEfGHijk="},
		"rest-api-sync.json":       {Type: "http", ID: "8f2d6c1e-40b7-4f7c-9a55-2d9d1f1e7a63"},
		"direct-sync.json":         {Type: "direct", ID: "request-1"},
		"direct-reconcile.json":    {Type: "reconcile", ID: "request-1"},
	}
	answers := map[string]string{"direct-status.json": "never_synced", "http-api-status.json": "never_synced",
		"rotation-step.json": "null"}
	files, err := os.ReadDir(filepath.Join("..", "events"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(file.Name(), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				value := w.create()
				w.secrets.Stage(secretName, value, "NEXT")
				token := w.secrets.StartRotation(secretName, function)
				payload := strings.ReplaceAll(w.sample(file.Name()), "2a3b4c5d-6e7f-4081-92a3-b4c5d6e7f809", token)
				answer := w.mustInvoke(payload, "")
				if trigger, syncs := created[file.Name()]; syncs {
					w.wantResults("the sync", "created")
					if diff := cmp.Diff(trigger, w.lastResult().Trigger); diff != "" || w.holds() != secretIn(value) {
						t.Errorf("trigger (-want +got):\n%s", diff)
					}
					return
				}
				w.wantResults("no sync")
				if want := answers[file.Name()]; want == "" || !strings.Contains(answer, want) {
					t.Errorf("answer: %s; want %q", answer, want)
				}
				if step := file.Name() == "rotation-step.json"; step != (w.secrets.Labels(secretName)["NEXT"] == "") {
					t.Error("NEXT is still there, or was taken off")
				}
			})
		})
	}
}

func TestEventBridge(t *testing.T) {
	const arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:" + secretName
	event := func(kind string, resources []string, detail string) string {
		text, _ := json.Marshal(object{"source": "aws.secretsmanager", "detail-type": kind, "id": "e",
			"time": "2000-01-01T00:00:00Z", "resources": resources, "detail": json.RawMessage(detail)})
		return string(text)
	}
	label := func(label string, resources ...string) string {
		return event("Secret Label Updated", resources, `{"labelUpdated":"`+label+`"}`)
	}
	call := func(detail string) string { return event("AWS API Call via CloudTrail", nil, "{"+detail+"}") }
	service := func(detail string) string { return event("AWS Service Event via CloudTrail", nil, "{"+detail+"}") }
	const (
		byName = `"requestParameters":{"secretId":"` + secretName + `"}`
		byARN  = `"additionalEventData":{"SecretId":"` + arn + `"}`
		other  = "datadog/webhooks/other" // which does not exist
	)
	for _, c := range []struct {
		name, payload string
		syncs         bool
	}{
		{"label AWSCURRENT", label("AWSCURRENT", arn), true},
		{"label AWSCURRENT, without a time",
			strings.Replace(label("AWSCURRENT", arn), `"time":"2000-01-01T00:00:00Z"`, `"more":1`, 1), true},
		{"label of an operator's own", label("NEXT", arn), false},
		{"label AWSCURRENT of nothing", label("AWSCURRENT"), false},
		{"label AWSCURRENT of an empty ARN", label("AWSCURRENT", "", arn), false},
		{"label, detail of another type", event("Secret Label Updated", []string{arn}, `[]`), false},
		{"an unknown detail-type", event("Secret Renamed", []string{arn}, `{"labelUpdated":"AWSCURRENT"}`), false},
		{"another source", strings.Replace(label("AWSCURRENT", arn), "aws.secretsmanager", "aws.s3", 1), false},
		{"a malformed time", strings.Replace(label("AWSCURRENT", arn), "2000-01-01T00:00:00Z", "yesterday", 1), false},
		{"another account's secret", label("AWSCURRENT", strings.Replace(arn, "123456789012", "210987654321", 1)), false},

		{"RotationSucceeded", service(`"eventName":"RotationSucceeded",` + byARN), true},
		// https://docs.aws.amazon.com/secretsmanager/latest/userguide/cloudtrail_log_entries.html
		{"RotationFailed", service(`"eventName":"RotationFailed",` + byARN), false},
		{"RotationAbandoned", service(`"eventName":"RotationAbandoned",` + byARN), false},
		{"TestRotationSucceeded", service(`"eventName":"TestRotationSucceeded",` + byARN), false},
		{"another account's rotation", service(`"eventName":"RotationSucceeded",` +
			strings.Replace(byARN, "123456789012", "210987654321", 1)), false},
		{"a call", call(`"eventName":"PutSecretValue","responseElements":null,` + byName), true},
		{"RotateSecret", call(`"eventName":"RotateSecret",` + byName), true},
		{"a write of the future", call(`"eventName":"MoveSecret",` + byName), true},
		{"a call that failed", call(`"eventName":"PutSecretValue","errorCode":"AccessDenied",` + byName), false},
		{"a read", call(`"eventName":"GetSecretValue","readOnly":true,` + byName), false},
		{"TagResource", call(`"eventName":"TagResource",` + byName), false},
		{"UntagResource", call(`"eventName":"UntagResource",` + byName), false},
		{"DeleteSecret", call(`"eventName":"DeleteSecret",` + byName), false},
		{"a call that names no secret", call(`"eventName":"GetRandomPassword","requestParameters":null`), false},
		{"a call, detail of another type", event("AWS API Call via CloudTrail", []string{arn}, `"x"`), false},

		{"resources before all else", event("AWS API Call via CloudTrail", []string{arn},
			`{"additionalEventData":{"SecretId":"`+other+`"}}`), true},
		{"additionalEventData before serviceEventDetails", service(
			byARN + `,"serviceEventDetails":{"secretId":"` + other + `"}`), true},
		{"serviceEventDetails before responseElements", service(
			`"serviceEventDetails":{"secretId":"` + arn + `"},"responseElements":{"arn":"` + other + `"}`), true},
		{"arn before aRN", call(`"responseElements":{"aRN":"` + other + `","arn":"` + arn + `"}`), true},
		{"aRN before ARN", call(`"responseElements":{"ARN":"` + other + `","aRN":"` + arn + `"}`), true},
		{"ARN before requestParameters", call(
			`"responseElements":{"ARN":"` + arn + `"},"requestParameters":{"secretId":"` + other + `"}`), true},
		{"secretId before name", call(`"requestParameters":{"name":"` + other + `","secretId":"` + secretName + `"}`), true},
		{"name, no object before it", call(
			`"responseElements":"none","requestParameters":{"name":"` + secretName + `"}`), true},
	} {
		subtest(t, c.name, func(t *testing.T, w *world) {
			w.create()
			w.mustInvoke(c.payload, "") // or Lambda tries again
			if got := len(w.datadog.AuthMethods()) == 1; got != c.syncs {
				t.Errorf("synced: %v", got)
			}
			tried := len(w.datadog.Calls())+len(w.published()) > 0 || strings.Contains(w.log.String(), `"msg":"sync"`)
			if !c.syncs && tried {
				t.Error("Datadog was called, or something published, or the log tells of a sync")
			}
		})
	}
}

func TestUnsupportedPayloads(t *testing.T) {
	const unsupported, bad = fault.UnsupportedEvent, fault.BadRequest
	for name, c := range map[string]struct {
		payload string
		code    fault.Code
	}{
		"unknown action":             {`{"action":"destroy"}`, unsupported},
		"no secretId":                {`{"action":"sync"}`, bad},
		"secretId empty":             {`{"action":"sync","secretId":""}`, bad},
		"secretId of a wrong type":   {`{"action":"sync","secretId":7}`, bad},
		"unknown field":              {`{"action":"sync","secretId":"` + secretName + `","force":true}`, bad},
		"dryRun of a wrong type":     {`{"action":"sync","secretId":"` + secretName + `","dryRun":"yes"}`, bad},
		"nextToken of a wrong type":  {`{"action":"status","nextToken":7}`, bad},
		"status, unknown field":      {`{"action":"status","all":true}`, bad},
		"reconcile, wrong type":      {`{"action":"reconcile","dryRun":"no"}`, bad},
		"reconcile, unknown field":   {`{"action":"reconcile","force":true}`, bad},
		"a load balancer":            {`{"httpMethod":"POST","requestContext":{"elb":{}},"path":"/sync"}`, unsupported},
		"payload 2.0 without http":   {`{"version":"2.0","requestContext":{"http":null},"rawPath":"/sync"}`, unsupported},
		"a malformed request":        {`{"httpMethod":"POST","requestContext":{},"headers":7}`, unsupported},
		"a rotation of a wrong type": {`{"Step":1,"ClientRequestToken":"t","SecretId":"s"}`, unsupported},
		"a rotation's secret too":    {`{"Step":"s","ClientRequestToken":"t","SecretId":1}`, unsupported},
		"a rotation's token too":     {`{"Step":"s","ClientRequestToken":1,"SecretId":"s"}`, unsupported},
		"an empty object":            {`{}`, unsupported},
		"an array":                   {`[]`, unsupported},
		"very deep":                  {strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000), unsupported},
	} {
		subtest(t, name, func(t *testing.T, w *world) {
			w.create()
			_, err := w.invoke(c.payload)
			if !fault.Is(err, c.code) || !strings.HasPrefix(err.Error(), string(c.code)+": ") {
				t.Errorf("error: %v; want %s", err, c.code)
			}
			if len(w.datadog.AuthMethods()) > 0 {
				t.Error("it was synced")
			}
		})
	}
}

// A retryable failure of an event younger than 150 s is an error, so that Lambda tries again. Any other failure of an
// event is published. A direct call returns every failure, and HTTP answers with it.
func TestHowFailuresEnd(t *testing.T) {
	for _, c := range []struct {
		name      string
		code      fault.Code
		retryable bool
		fail      func(w *world)
	}{
		{"a rejected credential", fault.CredentialRejected, true, func(w *world) { w.putRejected("second") }},
		{"an invalid secret", fault.SecretInvalid, false, func(w *world) { w.secrets.Put(secretName, "[]") }},
		{"another client's name", fault.AuthMethodMismatch, false, func(w *world) { w.datadogHolds("payments", "another") }},
		{"a pinned auth method that is gone", fault.AuthMethodNotFound, false, func(w *world) {
			w.put("pinned", "auth_method_id=aaaaaaaa-0000-4000-8000-000000000001")
		}},
		{"Datadog refuses", fault.DatadogRejected, false, func(w *world) { w.datadog.Fail(refusing("POST", 400)) }},
		{"Datadog is down", fault.DatadogUnavailable, true, func(w *world) { w.datadog.Fail(refusing("", 500)) }},
		{"Datadog answers HTML", fault.DatadogUnavailable, true, func(w *world) {
			w.datadog.Fail(datadogtest.Fault{Status: 200, Body: "<html>"})
		}},
		{"Datadog throttles", fault.DatadogThrottled, true, func(w *world) { w.datadog.Fail(refusing("", 429)) }},
		{"refused keys", fault.DatadogUnauthorized, true, func(w *world) { w.datadog.SetKeys("another", "another") }},
		{"Secrets Manager throttles", fault.SecretsUnavailable, true, func(w *world) {
			w.secrets.Fail("DescribeSecret", 99, throttled)
		}},
		{"KMS refuses", fault.SecretAccessDenied, true, func(w *world) { w.secrets.Fail("GetSecretValue", 99, kmsDenied) }},
		{"no such secret", fault.SecretNotFound, false, (*world).purge},
	} {
		for from, sample := range map[string]string{"a young event": "cloudtrail-rotation-succeeded.json",
			"an old event": "cloudtrail-rotation-succeeded.json", "a direct call": "direct-sync.json"} {
			subtest(t, c.name+", "+from, func(t *testing.T, w *world) {
				w.create()
				payload := w.sample(sample)
				if from == "an old event" {
					time.Sleep(150 * time.Second)
				}
				again := c.retryable && from == "a young event"
				c.fail(w)
				_, err := w.invoke(payload)
				if wantErr := again || from == "a direct call"; (err != nil) != wantErr {
					t.Errorf("Lambda gets %v", err)
				}
				if err != nil && (fault.From(err).Code != c.code || fault.From(err).Retryable != c.retryable) {
					t.Errorf("error: %v; want %s, retryable %v", err, c.code, c.retryable)
				}
				if from == "a direct call" && c.retryable {
					return // told once it has lasted
				}
				results := w.published()
				if tell := !again && c.code != fault.SecretNotFound; (len(results) == 1) != tell {
					t.Fatalf("published: %+v", results)
				}
				for _, res := range results {
					if res.Outcome != report.Failed || res.Error.Code != c.code || res.Secret.Name != secretName {
						t.Errorf("published: %+v", res)
					}
				}
			})
		}
		subtest(t, c.name+", HTTP", func(t *testing.T, w *world) {
			w.create()
			c.fail(w)
			got := w.http(request20(syncBody))
			got.mustRefuse(t, c.code)
			res := got.problem(t).Result
			if res == nil || res.Outcome != report.Failed || res.Secret.Name != secretName {
				t.Errorf("result: %+v", res)
			}
			if after := got.Headers["Retry-After"]; (after != "") != (got.StatusCode == 503) {
				t.Errorf("Retry-After: %q", after)
			}
		})
	}
}

func TestNothingToDo(t *testing.T) {
	for name, prepare := range map[string]func(w *world){
		"marked for deletion": func(w *world) { w.secrets.Delete(secretName) },
		"a replica":           func(w *world) { w.secrets.SetPrimaryRegion(secretName, "eu-west-1") },
		"no version yet": func(w *world) {
			w.purge()
			w.secrets.Create(secretName, "")
		},
	} {
		subtest(t, name, func(t *testing.T, w *world) {
			w.create()
			prepare(w)
			if res := w.mustSync(); res.Outcome != report.Skipped || len(res.Warnings) != 1 {
				t.Errorf("answer: %+v", res)
			}
			if len(w.published()) > 0 || len(w.secrets.Tags(secretName)) > 0 || len(w.datadog.AuthMethods()) > 0 {
				t.Error("it was published, recorded or pushed")
			}
		})
	}
}

func TestDryRunWritesNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		mustPlan := func(want *report.Plan) {
			t.Helper()
			w.resetCalls()
			var res report.Result
			text := w.mustInvoke(dryRun, "")
			w.wantCalls("a dry run", map[string]int{"GetSecretValue": 1, "DescribeSecret": 1, "token": 1, "list": 1})
			if json.Unmarshal([]byte(text), &res) != nil || res.Outcome != report.Planned || res.Verification != "accepted" {
				t.Errorf("answer: %s", text)
			}
			if diff := cmp.Diff(want, res.Plan); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		}
		w.secrets.Create(secretName, w.value("first", "scope=a", "audience"))
		mustPlan(&report.Plan{Action: "create", Changes: []report.Change{{Attribute: "name", To: "payments"},
			{Attribute: "access_token_url", To: tokenURL}, {Attribute: "client_id", To: "payments-client"},
			{Attribute: "scope", To: "a"}, {Attribute: "client_secret"}}})
		w.mustSync()
		w.put("second", "scope=b", "audience")
		mustPlan(&report.Plan{Action: "update",
			Changes: []report.Change{{Attribute: "scope", From: "a", To: "b"}, {Attribute: "client_secret"}}})
	})
}
