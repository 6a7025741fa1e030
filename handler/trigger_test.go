package handler_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/go-cmp/cmp"

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

func (w *world) arn() string {
	out, err := w.secrets.DescribeSecret(context.Background(), &secretsmanager.DescribeSecretInput{SecretId: aws.String(secretName)})
	if err != nil {
		w.t.Fatal(err)
	}
	return *out.ARN
}

func TestEachSampleDoesItsWork(t *testing.T) {
	samples := map[string]report.Trigger{
		"secret-label-updated.json":          {Type: "label", ID: "6f0c1c5e-2b1d-4b3e-9a58-0c4f6a6f9c11"},
		"cloudtrail-rotation-succeeded.json": {Type: "cloudtrail", ID: "b1f7a0c2-7a5e-4a52-8d9c-3f1f0d7e2a90"},
		"cloudtrail-put-secret-value.json":   {Type: "cloudtrail", ID: "c9a7f3de-0f51-4ed2-9e0b-5d2e7a7b1c34"},
		"http-api-sync.json":                 {Type: "http", ID: "Xy1zAbCdEfGHijk="},
		"rest-api-sync.json":                 {Type: "http", ID: "8f2d6c1e-40b7-4f7c-9a55-2d9d1f1e7a63"},
		"direct-sync.json":                   {Type: "direct", ID: "request-1"},
		"direct-reconcile.json":              {Type: "reconcile", ID: "request-1"},
		"direct-status.json":                 {}, // see TestSamplesThatReadOnly
		"http-api-status.json":               {},
		"rotation-step.json":                 {}, // see TestRotation
	}
	files, err := os.ReadDir(filepath.Join("..", "events"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		want, known := samples[file.Name()]
		if !known {
			t.Errorf("events/%s has no test", file.Name())
		}
		if want.Type == "" {
			continue
		}
		t.Run(file.Name(), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.secrets.Create(secretName, w.value("first"))
				if _, err := w.invoke(w.sample(file.Name())); err != nil {
					t.Fatal(err)
				}
				results := w.published()
				if len(results) != 1 || results[0].Outcome != report.Created {
					t.Fatalf("published: %+v", results)
				}
				if diff := cmp.Diff(want, results[0].Trigger); diff != "" {
					t.Errorf("trigger (-want +got):\n%s", diff)
				}
				if _, value := w.secrets.Current(secretName); w.holds() != secretIn(value) {
					t.Error("Datadog does not hold AWSCURRENT")
				}
			})
		})
	}
}

func TestSamplesThatReadOnly(t *testing.T) {
	for _, name := range []string{"direct-status.json", "http-api-status.json"} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.secrets.Create(secretName, w.value("first"))
				text, err := w.invoke(w.sample(name))
				if err != nil || !strings.Contains(text, "never_synced") || len(w.published()) > 0 {
					t.Errorf("answer: %s, %v", text, err)
				}
			})
		})
	}
}

func cloudTrail(detail string) string {
	return `{"source":"aws.secretsmanager","detail-type":"AWS API Call via CloudTrail","id":"e","time":"2000-01-01T00:00:00Z","resources":[],"detail":` + detail + `}`
}

func TestWhatAPayloadAsksFor(t *testing.T) {
	const arn = `"` + "arn:aws:secretsmanager:us-east-1:123456789012:secret:" + secretName + `"`
	labelled := func(label, resources string) string {
		return fmt.Sprintf(`{"source":"aws.secretsmanager","detail-type":"Secret Label Updated","id":"e","time":"1999-01-01T00:00:00Z","resources":%s,"detail":{"labelUpdated":%q}}`, resources, label)
	}
	for _, c := range []struct {
		name, payload string
		syncs         bool
		code          fault.Code // of the error that Lambda gets
	}{
		{"label AWSCURRENT", labelled("AWSCURRENT", "["+arn+"]"), true, ""},
		{"label of an operator's own", labelled("NEXT", "["+arn+"]"), false, ""},
		{"label event without a resource", labelled("AWSCURRENT", "[]"), false, ""},
		{"label event, detail of another type", `{"source":"aws.secretsmanager","detail-type":"Secret Label Updated","detail":[]}`, false, ""},
		{"event of an unknown detail-type", `{"source":"aws.secretsmanager","detail-type":"New","detail":{}}`, false, ""},
		{"event of another source", `{"source":"aws.s3","detail-type":"Object Created","detail":{}}`, false, ""},
		{"event with a malformed time", `{"source":"aws.secretsmanager","detail-type":"Secret Label Updated","time":"yesterday"}`, false, ""},
		{"RotationSucceeded", cloudTrail(`{"eventName":"RotationSucceeded","additionalEventData":{"SecretId":` + arn + `}}`), true, ""},
		{"RotationFailed", cloudTrail(`{"eventName":"RotationFailed","additionalEventData":{"SecretId":` + arn + `}}`), false, ""},
		{"RotationStarted", cloudTrail(`{"eventName":"RotationStarted","additionalEventData":{"SecretId":` + arn + `}}`), false, ""},
		{"service event details", cloudTrail(`{"eventName":"RotationSucceeded","serviceEventDetails":{"secretId":` + arn + `}}`), true, ""},
		{"response ARN in capitals", cloudTrail(`{"eventName":"UpdateSecretVersionStage","responseElements":{"ARN":` + arn + `}}`), true, ""},
		{"response aRN", cloudTrail(`{"eventName":"CreateSecret","responseElements":{"aRN":` + arn + `}}`), true, ""},
		{"request by name", cloudTrail(`{"eventName":"PutSecretValue","requestParameters":{"secretId":"` + secretName + `"},"responseElements":null}`), true, ""},
		{"CreateSecret by name", cloudTrail(`{"eventName":"CreateSecret","requestParameters":{"name":"` + secretName + `"},"responseElements":"none"}`), true, ""},
		{"a write nobody knows yet", cloudTrail(`{"eventName":"MoveSecret","requestParameters":{"secretId":"` + secretName + `"}}`), true, ""},
		{"a call that failed", cloudTrail(`{"eventName":"PutSecretValue","errorCode":"AccessDenied","requestParameters":{"secretId":"` + secretName + `"}}`), false, ""},
		{"a read", cloudTrail(`{"eventName":"GetSecretValue","readOnly":true,"requestParameters":{"secretId":"` + secretName + `"}}`), false, ""},
		{"our own tag", cloudTrail(`{"eventName":"TagResource","requestParameters":{"secretId":"` + secretName + `"}}`), false, ""},
		{"UntagResource", cloudTrail(`{"eventName":"UntagResource","requestParameters":{"secretId":"` + secretName + `"}}`), false, ""},
		{"DeleteSecret", cloudTrail(`{"eventName":"DeleteSecret","requestParameters":{"secretId":"` + secretName + `"}}`), false, ""},
		{"a call that names no secret", cloudTrail(`{"eventName":"GetRandomPassword"}`), false, ""},
		{"direct", `{"action":"sync","secretId":"` + secretName + `"}`, true, ""},
		{"direct, unknown action", `{"action":"destroy"}`, false, fault.UnsupportedEvent},
		{"direct, no secretId", `{"action":"sync"}`, false, fault.BadRequest},
		{"direct, secretId of a wrong type", `{"action":"sync","secretId":7}`, false, fault.BadRequest},
		{"direct, unknown field", `{"action":"sync","secretId":"` + secretName + `","force":true}`, false, fault.BadRequest},
		{"direct, dryRun of a wrong type", `{"action":"sync","secretId":"` + secretName + `","dryRun":"yes"}`, false, fault.BadRequest},
		{"direct, out of scope", `{"action":"sync","secretId":"other/secret"}`, false, fault.SecretOutOfScope},
		{"direct, Unicode name", `{"action":"sync","secretId":"datadog/webhooks/zählen"}`, false, fault.BadRequest},
		{"direct, unknown secret", `{"action":"sync","secretId":"datadog/webhooks/nobody"}`, false, fault.SecretNotFound},
		{"load balancer", `{"httpMethod":"POST","requestContext":{"elb":{}},"path":"/sync"}`, false, fault.UnsupportedEvent},
		{"rotation of a wrong type", `{"Step":1,"ClientRequestToken":"t","SecretId":"s"}`, false, fault.UnsupportedEvent},
		{"empty object", `{}`, false, fault.UnsupportedEvent},
		{"null", `null`, false, fault.UnsupportedEvent},
		{"array", `[]`, false, fault.UnsupportedEvent},
		{"string", `"sync"`, false, fault.UnsupportedEvent},
		{"nothing", ``, false, fault.UnsupportedEvent},
		{"broken", `{"action":`, false, fault.UnsupportedEvent},
		{"a field twice", `{"action":"sync","action":"sync"}`, false, fault.UnsupportedEvent},
		{"very deep", strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000), false, fault.UnsupportedEvent},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.secrets.Create(secretName, w.value("first"))
				_, err := w.invoke(c.payload)
				if c.code == "" && err != nil || c.code != "" && (err == nil || fault.From(err).Code != c.code) {
					t.Errorf("error: %v; want %q", err, c.code)
				}
				if err != nil && !strings.HasPrefix(err.Error(), string(c.code)+": ") {
					t.Errorf("the error's text does not begin with its code: %v", err)
				}
				if got := len(w.datadog.AuthMethods()) == 1; got != c.syncs {
					t.Errorf("synced: %v", got)
				}
			})
		})
	}
}

// A failed sync of a secret in scope is published once it is past its grace; what else becomes of it depends on who waits
// for an answer.
func TestHowFailuresEnd(t *testing.T) {
	for _, c := range []struct {
		name      string
		code      fault.Code
		retryable bool
		published bool
		broken    func(w *world)
	}{
		{"a rejected credential", fault.CredentialRejected, true, true, func(w *world) { w.tokens.Revoke("payments-client", w.secret[len(w.secret)-1]) }},
		{"an invalid secret", fault.SecretInvalid, false, true, func(w *world) { w.secrets.Put(secretName, `{"client_secret":7}`) }},
		{"a name that is another client's", fault.AuthMethodMismatch, false, true, func(w *world) { w.datadogHolds("payments", "another client") }},
		{"a pinned auth method that is gone", fault.AuthMethodNotFound, false, true, func(w *world) {
			w.secrets.Put(secretName, w.value("pinned", "auth_method_id=aaaaaaaa-0000-4000-8000-000000000001"))
		}},
		{"refused keys", fault.DatadogUnauthorized, true, true, func(w *world) { w.datadog.SetKeys("another", "another") }},
		{"keys that are not there", fault.DatadogUnauthorized, true, true, func(w *world) { w.purge("datadog/keys"); w.start() }},
		{"keys that may not be read", fault.SecretAccessDenied, true, true, func(w *world) {
			w.secrets.Hook = func(_, secret string) error { return map[string]error{"datadog/keys": secretDenied}[secret] }
			w.start()
		}},
		{"Datadog says 400", fault.DatadogRejected, false, true, func(w *world) { w.datadog.Fail(refusing("POST", 400)) }},
		{"Datadog is down", fault.DatadogUnavailable, true, true, func(w *world) { w.datadog.Fail(refusing("", 500)) }},
		{"Datadog throttles", fault.DatadogThrottled, true, true, func(w *world) { w.datadog.Fail(refusing("", 429)) }},
		{"Datadog talks nonsense", fault.DatadogUnavailable, true, true, func(w *world) { w.datadog.Fail(saying(200, "<html>")) }},
		{"Secrets Manager throttles", fault.SecretsUnavailable, true, true, func(w *world) { w.secrets.Fail("DescribeSecret", 99, throttled) }},
		{"KMS refuses", fault.SecretAccessDenied, true, true, func(w *world) { w.secrets.Fail("GetSecretValue", 99, kmsDenied) }},
		{"no such secret", fault.SecretNotFound, false, false, func(w *world) { w.purge(secretName) }},
	} {
		for _, from := range []string{"an event within its grace", "an event past it", "a direct call"} {
			t.Run(c.name+", "+from, func(t *testing.T) {
				inWorld(t, func(t *testing.T, w *world) {
					w.secrets.Create(secretName, w.value("first"))
					payload := w.sample("cloudtrail-rotation-succeeded.json")
					if from == "a direct call" {
						payload = w.sample("direct-sync.json")
					}
					if from == "an event past it" {
						time.Sleep(150 * time.Second)
					}
					retried := c.retryable && from == "an event within its grace"
					arn := w.arn()
					c.broken(w)
					_, err := w.invoke(payload)
					if wantErr := retried || from == "a direct call"; (err != nil) != wantErr {
						t.Errorf("Lambda gets %v", err)
					}
					if err != nil {
						e, ok := errors.AsType[*fault.Error](err)
						if !ok || e.Code != c.code || e.Retryable != c.retryable {
							t.Errorf("error: %+v; want %s, retryable %v", err, c.code, c.retryable)
						}
					}
					results := w.published()
					told := c.published && !retried
					if told != (len(results) == 1) {
						t.Fatalf("published: %+v", results)
					}
					if told && (results[0].Outcome != report.Failed || results[0].Error.Code != c.code || results[0].Error.Hint == "" || results[0].Secret.Name != secretName) {
						t.Errorf("published: %+v", results[0])
					}
					for _, e := range w.bus.Events() {
						if *e.DetailType != "Datadog Auth Method Sync Failed" || *e.Source != "datadog-webhook-auth-sync" || len(e.Resources) > 0 && e.Resources[0] != arn {
							t.Errorf("event: %s of %s about %v", *e.DetailType, *e.Source, e.Resources)
						}
					}
				})
			})
		}
	}
}

func TestAResultThatCannotBePublished(t *testing.T) {
	broken := func(w *world) {
		w.secrets.Create(secretName, w.value("first"))
		w.bus.Hook = denied
	}
	t.Run("is an error of an event, so that it is tried again", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			broken(w)
			_, err := w.invoke(w.sample("secret-label-updated.json"))
			if err == nil || fault.From(err).Code != fault.PublishFailed {
				t.Errorf("error: %v", err)
			}
		})
	})
	t.Run("is a warning in an answer", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			broken(w)
			res, err := w.sync(secretName)
			if err != nil || !strings.Contains(strings.Join(res.Warnings, "\n"), "could not be published") {
				t.Errorf("answer: %+v, %v", res, err)
			}
		})
	})
}

func TestAnEventAboutAnotherSecretIsNobodysFailure(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, w.value("first"))
		payload := strings.ReplaceAll(w.sample("cloudtrail-rotation-succeeded.json"), "datadog/webhooks/", "elsewhere/")
		if _, err := w.invoke(payload); err != nil || len(w.published()) > 0 || w.log.String() != "" {
			t.Errorf("error %v, published %v, log %s", err, w.published(), w.log.String())
		}
	})
}

func TestNothingToDo(t *testing.T) {
	for name, idle := range map[string]func(w *world){
		"marked for deletion": func(w *world) { w.secrets.Delete(secretName) },
		"a replica":           func(w *world) { w.secrets.SetPrimaryRegion(secretName, "eu-west-1") },
		"no version yet": func(w *world) {
			w.purge(secretName)
			w.secrets.Create(secretName, "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.secrets.Create(secretName, w.value("first"))
				idle(w)
				res, err := w.sync(secretName)
				if err != nil || res.Outcome != report.Skipped || len(res.Warnings) != 1 {
					t.Errorf("answer: %+v, %v", res, err)
				}
				if len(w.published()) > 0 || len(w.secrets.Tags(secretName)) > 0 || len(w.datadog.Calls()) > 0 {
					t.Error("it was published, recorded or pushed")
				}
			})
		})
	}
}

func TestDryRunWritesNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, w.value("first", "scope=a"))
		plan := func() *report.Plan {
			t.Helper()
			text, err := w.invoke(`{"action":"sync","secretId":"` + secretName + `","dryRun":true}`)
			var res report.Result
			if json.Unmarshal([]byte(text), &res) != nil || err != nil || res.Outcome != report.Planned || res.Verification != "accepted" {
				t.Fatalf("answer: %s, %v", text, err)
			}
			return res.Plan
		}
		if got := plan(); got.Action != report.Create {
			t.Errorf("first plan: %+v", got)
		}
		if len(w.datadog.AuthMethods()) > 0 {
			t.Fatal("a dry run wrote to Datadog")
		}
		if _, err := w.sync(secretName); err != nil {
			t.Fatal(err)
		}
		w.secrets.Put(secretName, w.value("second", "scope=b"))
		events, record := len(w.published()), w.secrets.Tags(secretName)
		a, b := "a", "b"
		want := &report.Plan{Action: report.Update, Changes: []report.Change{{Attribute: "scope", From: &a, To: &b}, {Attribute: "client_secret"}}}
		if diff := cmp.Diff(want, plan()); diff != "" {
			t.Errorf("second plan (-want +got):\n%s", diff)
		}
		if w.holds() == w.secret[len(w.secret)-1] || len(w.published()) != events || cmp.Diff(record, w.secrets.Tags(secretName)) != "" {
			t.Error("a dry run was written, published or recorded")
		}
	})
}
