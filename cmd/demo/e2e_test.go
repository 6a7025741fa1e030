package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/cmd/demo/system"
	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
)

// These tests use the deployed stack as its users do: they rotate secrets, call
// the function and its HTTP API, and look at what Datadog then holds and what
// the event bus tells. They share one system.
var start = sync.OnceValues(func() (*system.System, error) {
	return system.Start(context.Background(), system.Options{Name: "test", Log: os.Stderr})
})

func TestRotationReachesDatadog(t *testing.T) {
	u := newUser(t)

	secret := u.newClientSecret()
	version := u.rotates(secret)
	created := u.result(version)
	if got, want := created.DetailType, "Datadog Auth Method Synced"; got != want {
		t.Errorf("detail-type %q, want %q", got, want)
	}
	if diff := cmp.Diff([]string{u.secretARN}, created.Resources); diff != "" {
		t.Error("resources (-want +got):\n" + diff)
	}
	d := created.Detail
	held, _ := u.authMethod()
	for what, pair := range map[string][2]any{
		"source":            {created.Source, "datadog-webhook-auth-sync"},
		"schemaVersion":     {d.SchemaVersion, "1"},
		"outcome":           {d.Outcome, "created"},
		"secret.name":       {d.Secret.Name, u.secretName},
		"secret.arn":        {d.Secret.ARN, u.secretARN},
		"authMethod.id":     {d.AuthMethod.ID, held.ID},
		"authMethod.name":   {d.AuthMethod.Name, u.name},
		"authMethod.site":   {d.AuthMethod.Site, "datadoghq.com"},
		"verification":      {d.Verification, "accepted"},
		"trigger.type":      {d.Trigger.Type, "label"},
		"error":             {d.Error, system.Failure{}},
		"safe to revoke":    {d.PreviousSecretSafeToRevoke, false},
		"requestId missing": {d.RequestID == "", false},
		"trigger.id absent": {d.Trigger.ID == "", false},
		"lagMs missing":     {d.LagMs == nil, false},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %v, want %v", what, pair[0], pair[1])
		}
	}
	u.datadogHolds(secret)
	if m := held; m.ClientID != u.name || m.AccessTokenURL != u.TokenURL || m.Scope == nil || *m.Scope != "read:webhooks" || m.Audience != nil {
		t.Errorf("Datadog holds %+v", m)
	}
	if record := u.record(); !strings.Contains(record, "id="+held.ID+" version="+version+" ") {
		t.Errorf("the record %q tells neither the auth method nor the version", record)
	}

	secret = u.newClientSecret()
	updated := u.result(u.rotates(secret))
	if updated.Detail.Outcome != "updated" || updated.Detail.AuthMethod.ID != held.ID {
		t.Errorf("the second rotation: %s", updated.Raw)
	}
	u.datadogHolds(secret)
	if n := len(u.results()); n != 2 {
		t.Errorf("two rotations had %d results", n)
	}
}

func TestOtherLabelsAndTagsDoNothing(t *testing.T) {
	u := newUser(t)
	version := u.rotates(u.newClientSecret())
	u.result(version)
	u.Datadog.ResetCalls()
	u.stages("NEXT", "", u.credential(u.newClientSecret()))
	_, err := u.SecretsManager().TagResource(u.ctx, &secretsmanager.TagResourceInput{
		SecretId: &u.secretARN, Tags: []types.Tag{{Key: aws.String("owner"), Value: aws.String("me")}},
	})
	u.must(err)
	// Whatever these had caused would come before what this rotation does.
	last := u.rotates(u.newClientSecret())
	u.result(last)
	if results := u.results(); len(results) != 2 {
		t.Errorf("%d results, want those of the two rotations", len(results))
	}
	if n := u.writes(); n != 1 {
		t.Errorf("%d writes to Datadog, want 1", n)
	}
}

// TestSamples sends each sample of events/, as it would come for a secret that
// Datadog has not got yet.
func TestSamples(t *testing.T) {
	const outcome = `"outcome":"created"`
	samples := map[string]struct {
		prepare func(u *user) // nil: nothing
		answer  string        // what the answer contains
		holds   bool          // Datadog holds AWSCURRENT then
	}{
		"secret-label-updated.json":          {nil, "", true},
		"cloudtrail-rotation-succeeded.json": {nil, "", true},
		"cloudtrail-put-secret-value.json":   {nil, "", true},
		"direct-sync.json":                   {nil, outcome, true},
		"direct-reconcile.json":              {nil, `"outcomes":{`, true},
		"direct-status.json":                 {nil, `"state":"due"`, false},
		"http-api-sync.json":                 {nil, `"statusCode":200`, true},
		"http-api-status.json":               {nil, `\"state\":\"due\"`, false},
		"rest-api-sync.json":                 {nil, `"statusCode":200`, true},
		"rotation-step.json": {func(u *user) {
			u.enablesRotation()
			u.stages("NEXT", "", u.credential(u.newClientSecret()))
			u.stages("AWSPENDING", "2a3b4c5d-6e7f-4081-92a3-b4c5d6e7f809", "") // the sample's token
		}, "null", false},
	}
	files, err := filepath.Glob("../../events/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no samples: ", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			sample, ok := samples[filepath.Base(file)]
			if !ok {
				t.Fatal("this test does not know what the sample does")
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			u := newUser(t)
			if sample.prepare != nil {
				sample.prepare(u)
			}
			body, failed := u.invokes(u.asMine(text))
			if failed || !strings.Contains(body, sample.answer) {
				t.Errorf("the answer is %s, which does not contain %s", body, sample.answer)
			}
			if sample.holds {
				u.datadogHolds(u.first)
			}
		})
	}
}

func TestRejectedCredential(t *testing.T) {
	u := newUser(t)
	working := u.newClientSecret()
	u.result(u.rotates(working))
	u.Datadog.ResetCalls()

	refused := clientSecretMark + "refused"
	version := u.rotates(refused)
	event := u.result(version)
	if event.DetailType != "Datadog Auth Method Sync Failed" || event.Detail.Outcome != "failed" ||
		event.Detail.Error.Code != "credential_rejected" || !event.Detail.Error.Retryable || event.Detail.Error.Hint == "" ||
		event.Detail.Verification != "rejected" || event.Detail.LagMs != nil {
		t.Errorf("the result event: %s", event.Raw)
	}
	mine := fmt.Sprintf(`{"secretId": %q}`, u.secretName)
	problem := u.isProblem(u.asks("POST", "/sync", nil, mine, true), http.StatusUnprocessableEntity, "credential_rejected")
	if problem.Result.Secret.VersionID != version {
		t.Errorf("the problem's result is %+v", problem.Result)
	}
	body, failed := u.invokes(map[string]any{"action": "sync", "secretId": u.secretName})
	if !failed || !strings.Contains(body, `"credential_rejected: `) {
		t.Errorf("a direct call: %s", body)
	}
	if n := u.writes(); n != 0 {
		t.Errorf("Datadog got %d writes of a credential that does not work", n)
	}
	u.datadogHolds(working)

	u.Tokens.Allow(u.name, refused)
	if answer := u.asks("POST", "/sync", nil, mine, true); answer.Status != http.StatusOK {
		t.Errorf("once the identity provider knows it: %d %s", answer.Status, answer.Body)
	}
	u.datadogHolds(refused)
}

// TestOverlappingRotations has the older client secret reach Datadog after the
// newer one.
func TestOverlappingRotations(t *testing.T) {
	u := newUser(t)
	u.result(u.rotates(u.newClientSecret()))
	u.Datadog.ResetCalls()
	u.Datadog.Fail(datadogtest.Fault{Method: "PATCH", Path: datadogtest.MethodPath + "/*", Times: 1, Delay: 1500 * time.Millisecond})

	older, newer := u.newClientSecret(), u.newClientSecret()
	u.rotates(older)
	u.must(until(u.ctx, func() bool { return u.writes() == 1 }))
	u.rotates(newer)
	u.must(until(u.ctx, func() bool { return len(u.results()) == 3 }))
	u.datadogHolds(newer)

	held := 0
	for _, call := range u.Datadog.Calls() {
		if call.Committed {
			held++
		}
	}
	if held != 3 {
		t.Errorf("Datadog took %d writes, want 3: the newer, the older late, and the newer again", held)
	}
}

func TestAuthMethodDeletedAtDatadogComesBack(t *testing.T) {
	u := newUser(t)
	first := u.result(u.rotates(u.newClientSecret()))
	u.Datadog.Delete(first.Detail.AuthMethod.ID)
	secret := u.newClientSecret()
	second := u.result(u.rotates(secret))
	if second.Detail.Outcome != "created" || second.Detail.AuthMethod.ID == first.Detail.AuthMethod.ID {
		t.Errorf("the result event: %s", second.Raw)
	}
	u.datadogHolds(secret)
}

func TestAuthMethodOfTheSameClientIsAdopted(t *testing.T) {
	u := newUser(t)
	there := u.Datadog.Put(datadogtest.AuthMethod{Name: u.name, ClientID: u.name, ClientSecret: "old", AccessTokenURL: u.TokenURL})
	secret := u.newClientSecret()
	event := u.result(u.rotates(secret))
	if event.Detail.Outcome != "adopted" || event.Detail.AuthMethod.ID != there.ID {
		t.Errorf("the result event: %s", event.Raw)
	}
	u.datadogHolds(secret)
}

func TestDatadogKeysRotate(t *testing.T) {
	u := newUser(t)
	u.result(u.rotates(u.newClientSecret()))
	u.must(u.RotateDatadogKeys(u.ctx))
	secret := u.newClientSecret()
	if event := u.result(u.rotates(secret)); event.Detail.Outcome != "updated" {
		t.Errorf("the result event: %s", event.Raw)
	}
	u.datadogHolds(secret)
}

// TestRotationFunction plays Secrets Manager's part, which the emulator leaves
// out: it calls the four steps.
func TestRotationFunction(t *testing.T) {
	u := newUser(t)
	const token = "7b1f0c52-52a8-4f0a-9d5e-7c7b0d8f1a11"
	step := func(name string) (string, bool) {
		return u.invokes(map[string]string{"Step": name, "SecretId": u.secretARN, "ClientRequestToken": token,
			"RotationToken": clientSecretMark + "rotation-token"})
	}
	refused := func(why string) {
		t.Helper()
		if body, failed := step("createSecret"); !failed || !strings.Contains(body, `"rotation_refused: `) {
			t.Errorf("%s: %s", why, body)
		}
	}
	refused("the token is no version")
	u.stages("AWSPENDING", token, "")
	refused("rotation is not enabled")
	u.enablesRotation()
	u.stages("AWSPENDING", token, "")
	refused("nothing is staged")

	secret := clientSecretMark + "staged"
	u.stages("NEXT", "", u.credential(secret))
	succeeds := func(name string) {
		t.Helper()
		for range 2 { // a step may be repeated
			if body, failed := step(name); failed {
				t.Fatalf("%s: %s", name, body)
			}
		}
	}
	succeeds("createSecret")
	succeeds("setSecret")
	if body, failed := step("testSecret"); !failed || !strings.Contains(body, `"credential_rejected: `) {
		t.Errorf("testSecret of a credential that is refused: %s", body)
	}
	u.Tokens.Allow(u.name, secret)
	succeeds("testSecret")
	succeeds("finishSecret")
	u.result(token)
	u.datadogHolds(secret)
}

func TestFailureQueue(t *testing.T) {
	label := func(u *user) map[string]any {
		return map[string]any{
			"version": "0", "id": "event-of-" + u.name, "source": "aws.secretsmanager", "detail-type": "Secret Label Updated",
			"account": system.Account, "region": system.Region, "time": time.Now().UTC().Format(time.RFC3339),
			"resources": []string{u.secretARN}, "detail": map[string]any{"name": u.secretName, "labelUpdated": "AWSCURRENT"},
		}
	}
	permanent, retryable := newUser(t), newUser(t)
	permanent.puts(`{"client_id": "no client secret"}`)
	permanent.invokesAsync(label(permanent))
	retryable.Tokens.Revoke(retryable.name, retryable.first)
	retryable.invokesAsync(label(retryable))

	failed, err := retryable.WaitFailure(retryable.ctx, func(f system.FailedInvocation) bool {
		return strings.Contains(string(f.RequestPayload), retryable.secretARN)
	})
	retryable.must(err)
	if n := failed.RequestContext.ApproximateInvokeCount; n != 3 {
		t.Errorf("it was tried %d times, want 3", n)
	}
	if text := failed.ResponsePayload.ErrorMessage; !strings.HasPrefix(text, "credential_rejected: ") {
		t.Errorf("the error is %q", text)
	}
	if results := retryable.results(); len(results) != 1 || results[0].Detail.Error.Code != "credential_rejected" {
		t.Errorf("the results of the event's tries: %v", results)
	}

	// One result is of the secret's own event, and one of the event that was sent.
	permanent.must(until(permanent.ctx, func() bool { return len(permanent.results()) >= 2 }))
	results := permanent.results()
	for _, event := range results {
		if event.Detail.Error.Code != "secret_invalid" || event.Detail.Error.Retryable {
			t.Errorf("a result of a secret that is invalid: %s", event.Raw)
		}
	}
	if len(results) != 2 {
		t.Errorf("%d results of a secret that is invalid, want 2", len(results))
	}
	failures, err := permanent.Failures(permanent.ctx)
	permanent.must(err)
	for _, f := range failures {
		if strings.Contains(string(f.RequestPayload), permanent.secretARN) {
			t.Error("what no retry mends is in the failure queue")
		}
	}
}
