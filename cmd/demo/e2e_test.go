package main

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/cmd/demo/system"
)

// These tests use the deployed stack as its users do: they rotate secrets, call
// the function and its HTTP API, and look at what Datadog then holds and what
// the event bus tells. They share one system, and take turns.
var start = sync.OnceValues(func() (*system.System, error) {
	return system.Start(context.Background(), system.Options{Name: "test", Log: os.Stderr,
		Overrides: map[string]string{"PageTopicArn": pageTopic},
		Meanwhile: func(ctx context.Context, s *system.System) error {
			const template = `{"Resources": {"Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "pager"}}}}`
			if _, err := s.CreateStack(ctx, "pager", template, nil); err != nil {
				return err
			}
			_, err := s.Subscribe(ctx, pageTopic, "on-call")
			return err
		}})
})

const pageTopic = "arn:aws:sns:" + system.Region + ":" + system.Account + ":pager"

func TestRotationReachesDatadog(t *testing.T) {
	u := newUser(t)

	secret := u.newClientSecret()
	version := u.rotates(secret)
	created := u.result(version)
	held, _ := u.authMethod()
	want := created // what differs from one to the next
	want.Source, want.DetailType = "datadog-webhook-auth-sync", "Datadog Auth Method Synced"
	want.Resources = []string{u.secretARN}
	d := &want.Detail
	d.SchemaVersion, d.Outcome, d.Verification, d.Trigger.Type = "1", "created", "accepted", "label"
	d.Secret.ARN, d.Secret.Name, d.Secret.VersionID = u.secretARN, u.secretName, version
	d.AuthMethod.ID, d.AuthMethod.Name, d.AuthMethod.Site = held.ID, u.name, "datadoghq.com"
	d.Error, d.Held, d.Recovered, d.PreviousSecretSafeToRevoke = system.Failure{}, nil, nil, false
	if diff := cmp.Diff(want, created); diff != "" || d.RequestID == "" || d.Trigger.ID == "" || d.LagMs == nil {
		t.Errorf("the result %+v (-want +got):\n%s", created, diff)
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
		t.Errorf("the second rotation: %s", updated.Detail.Summary)
	}
	u.datadogHolds(secret)
	if n := len(u.results()); n != 2 {
		t.Errorf("two rotations had %d results", n)
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
	u.enablesRotation()
	u.stages("AWSPENDING", token, "")
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
		t.Errorf("a result of a secret that is invalid: %s", told.Detail.Summary)
	}
	for _, u := range []*user{refused, young} {
		u.Tokens.Revoke(u.name, u.first)
	}
	permanent.invokesAsync(permanent.labelEvent(time.Now()))
	refused.invokesAsync(refused.labelEvent(time.Now().Add(-3 * time.Minute)))
	refused.publishes("credential_rejected")
	young.invokesAsync(young.labelEvent(time.Now()))

	failed, err := young.Failures.Wait(young.ctx, func(f system.FailedInvocation) bool {
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
	failures, err := permanent.Failures.All(permanent.ctx)
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
	return u.waits(func(r system.Result) bool { return r.Error.Code == code })
}
