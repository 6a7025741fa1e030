package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	bustypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
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
			event := u.asMine([]byte(`{"version": "0", "id": "1", "source": "aws.secretsmanager", "detail-type": "Secret Label Updated",
				"time": "2026-01-15T03:12:44Z", "resources": ["arn:aws:secretsmanager:us-east-1:123456789012:secret:datadog/webhooks/payments-AbCdEf"],
				"detail": {"labelUpdated": "AWSCURRENT"}}`))
			if body, failed := u.invokes(event); !failed || !strings.Contains(body, `"publish_failed: `) {
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
	role, err := u.AssumeFunctionRole(u.ctx)
	u.must(err)
	secrets, bus := secretsmanager.NewFromConfig(role), eventbridge.NewFromConfig(role)

	get := func(id string) error {
		_, err := secrets.GetSecretValue(u.ctx, &secretsmanager.GetSecretValueInput{SecretId: &id})
		return err
	}
	put := func(id string) error {
		_, err := secrets.PutSecretValue(u.ctx, &secretsmanager.PutSecretValueInput{SecretId: &id, SecretString: aws.String("x")})
		return err
	}
	tag := func(id, key string) error {
		_, err := secrets.TagResource(u.ctx, &secretsmanager.TagResourceInput{
			SecretId: &id, Tags: []types.Tag{{Key: &key, Value: aws.String("x")}},
		})
		return err
	}
	move := func(id string) error {
		_, err := secrets.UpdateSecretVersionStage(u.ctx, &secretsmanager.UpdateSecretVersionStageInput{
			SecretId: &id, VersionStage: aws.String("AWSCURRENT"), MoveToVersionId: aws.String("7b1f0c52-52a8-4f0a-9d5e-7c7b0d8f1a11"),
		})
		return err
	}
	const ours = "datadog-webhook-auth-sync"
	for _, probe := range []struct {
		what    string
		allowed bool
		err     error
	}{
		{"read a secret in scope", true, get(u.secretARN)},
		{"record on a secret in scope", true, tag(u.secretARN, ours)},
		{"read Datadog's keys", true, get(u.KeySecretARN)},
		{"write another tag", false, tag(u.secretARN, "owner")},
		{"read a secret out of scope", false, get(*outside.ARN)},
		{"write a secret out of scope", false, put(*outside.ARN)},
		{"tag a secret out of scope", false, tag(*outside.ARN, ours)},
		{"move labels out of scope", false, move(*outside.ARN)},
		{"write Datadog's keys", false, put(u.KeySecretARN)},
		{"tag Datadog's keys", false, tag(u.KeySecretARN, ours)},
		{"move labels of Datadog's keys", false, move(u.KeySecretARN)},
		{"delete a secret", false, func() error {
			_, err := secrets.DeleteSecret(u.ctx, &secretsmanager.DeleteSecretInput{SecretId: &u.secretARN})
			return err
		}()},
		{"create a secret", false, func() error {
			_, err := secrets.CreateSecret(u.ctx, &secretsmanager.CreateSecretInput{Name: aws.String(u.secretName + "/2")})
			return err
		}()},
		{"publish on another bus", false, func() error {
			_, err := bus.PutEvents(u.ctx, &eventbridge.PutEventsInput{Entries: []bustypes.PutEventsRequestEntry{{
				EventBusName: aws.String("another"), Source: aws.String(ours), DetailType: aws.String("x"), Detail: aws.String("{}"),
			}}})
			return err
		}()},
	} {
		refused := probe.err != nil && strings.Contains(probe.err.Error(), "AccessDenied")
		if probe.allowed != (probe.err == nil) || probe.allowed == refused {
			t.Errorf("%s: allowed is to be %v, but: %v", probe.what, probe.allowed, probe.err)
		}
	}
}
