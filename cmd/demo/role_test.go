package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// TestRoleNeedsEachAction takes each action away in turn, and looks for what
// then fails. That the role suffices is what every other test shows.
func TestRoleNeedsEachAction(t *testing.T) {
	u := newUser(t)
	mine := fmt.Sprintf(`{"secretId": %q}`, u.secretName)
	denied := func(u *user) {
		u.isProblem(u.asks("POST", "/sync", nil, mine, true), http.StatusForbidden, "secret_access_denied")
	}
	warned := func(what string) func(*user) {
		return func(u *user) {
			answer := u.asks("POST", "/sync", nil, mine, true)
			if answer.Status != http.StatusOK || !strings.Contains(strings.Join(u.document(answer).Warnings, "; "), what) {
				u.t.Errorf("%d %s, want a warning that holds %q", answer.Status, answer.Body, what)
			}
		}
	}
	const token = "0a9ff4bd-6b0c-4c43-8a26-37ad5cb3a8b2"
	refusedStep := func(step string, of *user) func(*user) {
		return func(u *user) {
			body, failed := u.invokes(map[string]string{"Step": step, "SecretId": of.secretARN, "ClientRequestToken": token})
			if !failed || !strings.Contains(body, `"secret_access_denied: `) {
				u.t.Errorf("%s: %s", step, body)
			}
		}
	}
	u.enablesRotation()
	u.stages("NEXT", "", u.credential(u.newClientSecret()))
	u.stages("AWSPENDING", token, "")
	pending := newUser(t)
	pending.enablesRotation()
	pending.stages("AWSPENDING", token, pending.credential(pending.newClientSecret()))

	effects := map[string]func(*user){
		"secretsmanager:DescribeSecret":           denied,
		"secretsmanager:GetSecretValue":           denied,
		"secretsmanager:TagResource":              warned("recorded"),
		"secretsmanager:PutSecretValue":           refusedStep("createSecret", u),
		"secretsmanager:UpdateSecretVersionStage": refusedStep("finishSecret", pending),
		"secretsmanager:ListSecrets": func(u *user) {
			if body, _ := u.invokes(map[string]string{"action": "reconcile"}); !strings.Contains(body, `"secret_access_denied`) { // error or answer
				u.t.Errorf("reconcile: %s", body)
			}
		},
		"events:PutEvents": func(u *user) {
			warned("published")(u)
			body, failed := u.invokes(u.labelEvent(time.Now().Add(-time.Hour)))
			if !failed || !strings.Contains(body, `"publish_failed: `) {
				u.t.Errorf("an event whose result is not published: %s", body)
			}
		},
	}
	// The emulator enforces none of these.
	lenient := []string{"logs:CreateLogStream", "logs:PutLogEvents", "sqs:SendMessage"}

	actions, err := u.AllowedActions(u.ctx)
	u.must(err)
	for _, action := range actions {
		if slices.Contains(lenient, action) {
			continue
		}
		t.Run(action, func(t *testing.T) {
			u := u.in(t)
			effect, ok := effects[action]
			if !ok {
				t.Fatal("this test does not know what needs the action")
			}
			restore, err := u.RevokeAction(u.ctx, action)
			u.must(err)
			defer func() { u.must(restore(context.Background())) }()
			effect(u)
		})
	}
}

// TestRoleAllowsNoMore tries what the function must not be able to do.
func TestRoleAllowsNoMore(t *testing.T) {
	u := newUser(t)
	outside, err := u.SecretsManager().CreateSecret(u.ctx, &secretsmanager.CreateSecretInput{
		Name: aws.String("another/" + u.name), SecretString: aws.String("of somebody else"),
	})
	u.must(err)
	call, err := u.AssumeFunctionRole(u.ctx)
	u.must(err)

	type in = map[string]any
	const ours = "datadog-webhook-auth-sync"
	get := func(id string) in { return in{"SecretId": id} }
	put := func(id string) in { return in{"SecretId": id, "SecretString": "x"} }
	tag := func(id, key string) in { return in{"SecretId": id, "Tags": []in{{"Key": key, "Value": "x"}}} }
	move := func(id string) in {
		return in{"SecretId": id, "VersionStage": "AWSCURRENT", "MoveToVersionId": "7b1f0c52-52a8-4f0a-9d5e-7c7b0d8f1a11"}
	}
	elsewhere := in{"EventBusName": "another", "Source": ours, "DetailType": "x", "Detail": "{}"}
	for _, probe := range []struct {
		what    string
		allowed bool
		target  string
		in      in
	}{
		{"read a secret in scope", true, "secretsmanager.GetSecretValue", get(u.secretARN)},
		{"record on a secret in scope", true, "secretsmanager.TagResource", tag(u.secretARN, ours)},
		{"read Datadog's keys", true, "secretsmanager.GetSecretValue", get(u.KeySecretARN)},
		{"write another tag", false, "secretsmanager.TagResource", tag(u.secretARN, "owner")},
		{"read a secret out of scope", false, "secretsmanager.GetSecretValue", get(*outside.ARN)},
		{"write a secret out of scope", false, "secretsmanager.PutSecretValue", put(*outside.ARN)},
		{"tag a secret out of scope", false, "secretsmanager.TagResource", tag(*outside.ARN, ours)},
		{"move labels out of scope", false, "secretsmanager.UpdateSecretVersionStage", move(*outside.ARN)},
		{"write Datadog's keys", false, "secretsmanager.PutSecretValue", put(u.KeySecretARN)},
		{"tag Datadog's keys", false, "secretsmanager.TagResource", tag(u.KeySecretARN, ours)},
		{"move labels of Datadog's keys", false, "secretsmanager.UpdateSecretVersionStage", move(u.KeySecretARN)},
		{"delete a secret", false, "secretsmanager.DeleteSecret", get(u.secretARN)},
		{"create a secret", false, "secretsmanager.CreateSecret", in{"Name": u.secretName + "/2"}},
		{"publish on another bus", false, "AWSEvents.PutEvents", in{"Entries": []in{elsewhere}}},
	} {
		err := call(probe.target, probe.in)
		refused := err != nil && strings.Contains(err.Error(), "AccessDenied")
		if probe.allowed != (err == nil) || probe.allowed == refused {
			t.Errorf("%s: allowed is to be %v, but: %v", probe.what, probe.allowed, err)
		}
	}
}
