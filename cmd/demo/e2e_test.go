package main

import (
	"context"
	"encoding/json"
	"fmt"
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
// the event bus tells. They share one system, and take turns.
var start = sync.OnceValues(func() (*system.System, error) {
	ctx := context.Background()
	s, err := system.Start(ctx, system.Options{Name: "test", Log: os.Stderr, Before: old.store,
		Overrides: map[string]string{"PageTopicArn": pageTopic},
		Meanwhile: func(ctx context.Context, s *system.System) error {
			_, err := s.DeploySample(ctx, "pager", `{"Resources": {"Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "pager"}}}}`, nil)
			return err
		}})
	if err != nil {
		return nil, err
	}
	return s, old.hide(ctx, s)
})

const pageTopic = "arn:aws:sns:" + system.Region + ":" + system.Account + ":pager"

// old are teams whose secrets were last changed an hour ago. Until a test wants
// them they are marked for deletion, so that nobody sees them.
var old veterans

type veterans struct{ left []*team }

func (v *veterans) store(s *system.System) (secrets []system.Stored) {
	for i := range 42 {
		t, secret := oldTeam(s, fmt.Sprintf("old-%02d", i))
		v.left, secrets = append(v.left, t), append(secrets, secret)
	}
	return secrets
}

func (v *veterans) hide(ctx context.Context, s *system.System) error {
	for _, t := range v.left {
		if _, err := s.SecretsManager().DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: &t.secretARN}); err != nil {
			return err
		}
	}
	return nil
}

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
	if record := u.recorded(); !strings.Contains(record, "id="+held.ID+" version="+version+" ") {
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
		"cloudtrail-create-secret.json":      {nil, "", true},
		"direct-sync.json":                   {nil, outcome, true},
		"direct-reconcile.json":              {nil, `"outcomes":{`, true},
		"direct-status.json":                 {nil, `"state":"out_of_sync"`, false},
		"http-api-sync.json":                 {nil, `"statusCode":200`, true},
		"http-api-status.json":               {nil, `\"state\":\"out_of_sync\"`, false},
		"http-api-stage-sync.json":           {nil, `"statusCode":200`, true},
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

// TestRejectedCredential follows a rotation to a client secret that the identity
// provider refuses: at first nobody is told, since it may only be late; then
// that it is refused; once the one before is refused too, that alerts are lost;
// and in the end that it is over.
func TestRejectedCredential(t *testing.T) {
	u := newUser(t)
	working := u.first
	u.syncs("created")
	u.Datadog.ResetCalls()

	refused := clientSecretMark + "refused"
	version := u.rotates(refused)
	u.reportsNothing(version)
	if status := u.status(); status.State != "out_of_sync" || status.Reasons[0] != "other_version" || status.Failing == nil || status.Failing.Told {
		t.Errorf("within its grace: the status is %+v", status)
	}
	if body, failed := u.invokes(u.labelEvent(time.Now())); !failed || !strings.Contains(body, `"credential_rejected: `) {
		t.Errorf("an event within its grace: %s", body)
	}

	body, failed := u.invokes(u.labelEvent(time.Now().Add(-3 * time.Minute)))
	if failed {
		t.Errorf("an event that is told: %s", body)
	}
	var answer system.Result
	u.must(json.Unmarshal([]byte(body), &answer))
	if diff := cmp.Diff(u.published(answer.RequestID).Detail, answer); diff != "" {
		t.Errorf("the answer and the event differ (-event +answer):\n%s", diff)
	}
	if e := answer.Error; answer.Outcome != "failed" || e.Code != "credential_rejected" || !e.Retryable || e.Hint == "" ||
		answer.Verification != "rejected" || answer.Held.Verification != "accepted" || answer.LagMs != nil || answer.Secret.VersionID != version {
		t.Errorf("the result: %s", body)
	}
	since := u.status().Failing.Since
	if answer := u.reconciles(); answer.Failing != 1 || answer.AtRisk != 0 { // which tells nothing new
		t.Errorf("a reconcile while nothing is lost: %+v", answer)
	}
	if body, failed := u.invokes(map[string]any{"action": "sync", "secretId": u.secretName}); !failed || !strings.Contains(body, `"credential_rejected: `) {
		t.Errorf("a direct call: %s", body)
	}
	if n := u.writes(); n != 0 {
		t.Errorf("Datadog got %d writes of a credential that does not work", n)
	}
	u.datadogHolds(working)

	u.Tokens.Revoke(u.name, working)
	u.reconciles()
	if answer := u.reconciles(); answer.Failing != 1 || answer.AtRisk != 1 { // which tells nothing new
		t.Errorf("a reconcile while alerts are lost: %+v", answer)
	}
	if f := u.status().Failing; f == nil || f.Code != "credential_rejected" || !f.Lost || !f.Since.Equal(since) {
		t.Errorf("once alerts are lost, the status has %+v; it failed since %v", f, since)
	}

	mended := u.newClientSecret()
	recovered := u.result(u.rotates(mended)).Detail.Recovered
	if diff := cmp.Diff(&system.Recovered{Code: "credential_rejected", Since: since}, recovered); diff != "" {
		t.Errorf("the recovery (-want +got):\n%s", diff)
	}
	u.datadogHolds(mended)
	var told []string
	for _, result := range u.results() {
		d := result.Detail
		if told = append(told, d.Outcome); d.Held != nil {
			told[len(told)-1] += ", held " + d.Held.Verification
		}
	}
	want := []string{"created", "failed, held accepted", "failed, held rejected", "updated"}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("what was told (-want +got):\n%s", diff)
	}
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

// TestAccessTokenInPlaceOfKeys moves to a service access token, and back, without a gap.
func TestAccessTokenInPlaceOfKeys(t *testing.T) {
	u := newUser(t)
	u.result(u.rotates(u.newClientSecret()))
	for _, move := range []func(context.Context) error{u.ReplaceKeysByToken, u.RotateDatadogKeys} {
		u.must(move(u.ctx))
		secret := u.newClientSecret()
		if event := u.result(u.rotates(secret)); event.Detail.Outcome != "updated" {
			t.Errorf("the result event: %s", event.Raw)
		}
		u.datadogHolds(secret)
	}
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

// TestFailureQueue has events fail that come through Lambda's queue. What was
// told is not kept. What Lambda could not have told, it tries again; on AWS the
// third try comes after three minutes and is past its grace, here it is not.
func TestFailureQueue(t *testing.T) {
	permanent, refused, young := newUser(t), newUser(t), newUser(t)
	permanent.puts(`{"client_id": "no client secret"}`)
	if told := permanent.publishes("secret_invalid"); told.Detail.Error.Retryable {
		t.Errorf("a result of a secret that is invalid: %s", told.Raw)
	}
	for _, u := range []*user{refused, young} {
		u.Tokens.Revoke(u.name, u.first)
	}
	permanent.invokesAsync(permanent.labelEvent(time.Now()))
	refused.invokesAsync(refused.labelEvent(time.Now().Add(-3 * time.Minute)))
	refused.publishes("credential_rejected")
	young.invokesAsync(young.labelEvent(time.Now()))

	failed, err := young.WaitFailure(young.ctx, func(f system.FailedInvocation) bool {
		return strings.Contains(string(f.RequestPayload), young.secretARN)
	})
	young.must(err)
	if n := failed.RequestContext.ApproximateInvokeCount; n != 3 {
		t.Errorf("it was tried %d times, want 3", n)
	}
	if text := failed.ResponsePayload.ErrorMessage; !strings.HasPrefix(text, "credential_rejected: ") {
		t.Errorf("the error is %q", text)
	}
	for u, want := range map[*user]int{permanent: 1, refused: 1, young: 0} {
		if n := len(u.results()); n != want {
			t.Errorf("%s has %d results, want %d", u.name, n, want)
		}
	}
	failures, err := permanent.Failures(permanent.ctx)
	permanent.must(err)
	for _, f := range failures {
		for _, u := range []*user{permanent, refused} {
			if strings.Contains(string(f.RequestPayload), u.secretARN) {
				t.Errorf("what was told is in the failure queue: %s", f.RequestPayload)
			}
		}
	}
}

// publishes waits for the first failure of that code.
func (u *user) publishes(code string) system.Event {
	u.t.Helper()
	event, err := u.WaitEvent(u.ctx, func(e system.Event) bool {
		return e.Detail.Secret.ARN == u.secretARN && e.Detail.Error.Code == code
	})
	u.must(err)
	return event
}
