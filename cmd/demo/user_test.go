package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"datadog-webhook-auth-sync/cmd/demo/system"
	"datadog-webhook-auth-sync/handler/contract"
)

// user is a team in a test.
type user struct {
	*team
	t   *testing.T
	ctx context.Context
}

// notInNames is what a secret's name cannot have.
var notInNames = regexp.MustCompile(`[^A-Za-z0-9_+=.@-]+`)

// newUser makes a team of the test's own, and takes care that nothing of the
// tests before is in the way.
func newUser(t *testing.T) *user {
	t.Helper()
	if testing.Short() {
		t.Skip("end to end: not with -short")
	}
	s, err := start()
	if err != nil {
		if !failureTold.Swap(true) {
			t.Fatal(err)
		}
		t.Skip("the system did not start")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	s.Datadog.ClearFaults()
	s.Tokens.ClearFaults()
	s.Datadog.ResetCalls()
	team, err := newTeam(ctx, s, fmt.Sprintf("%s-%d", notInNames.ReplaceAllString(t.Name(), "-"), users.Add(1)))
	if err != nil {
		t.Fatal(err)
	}
	u := &user{team, t, ctx}
	t.Cleanup(u.leaves)
	return u
}

// leaves checks what every test must leave behind.
func (u *user) leaves() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	u.ctx = ctx
	u.keepsSecrets()
	u.keepsContract()
	for _, call := range u.Datadog.Unknown() {
		u.t.Errorf("Datadog has no %s %s", call.Method, call.Path)
	}
	if u.t.Failed() {
		u.SaveLogs()
		u.t.Log("the logs are in " + near(u.Folder))
	}
}

// keepsContract checks that every result that was published is one that consumers may rely on.
func (u *user) keepsContract() {
	u.t.Helper()
	events, err := u.Events(u.ctx)
	u.must(err)
	for _, event := range events {
		if err := contract.Validate("event", event.Raw); err != nil {
			u.t.Errorf("%s\n%v", event.Raw, err)
		}
	}
}

// in is the user in a subtest.
func (u *user) in(t *testing.T) *user { return &user{u.team, t, u.ctx} }

func (u *user) must(err error) {
	u.t.Helper()
	if err != nil {
		u.t.Fatal(err)
	}
}

// rotates stores a client secret as AWSCURRENT and returns its version.
func (u *user) rotates(clientSecret string) (versionID string) {
	u.t.Helper()
	return u.puts(u.credential(clientSecret))
}

func (u *user) puts(value string) (versionID string) {
	u.t.Helper()
	version, err := u.put(u.ctx, value)
	u.must(err)
	return version
}

// stages stores a version under a label other than AWSCURRENT. An empty value
// is none, as a rotation that has just begun has it; an empty token is made up.
func (u *user) stages(label, token, value string) {
	u.t.Helper()
	in := &secretsmanager.PutSecretValueInput{SecretId: &u.secretARN, VersionStages: []string{label}}
	if token != "" {
		in.ClientRequestToken = &token
	}
	if value != "" {
		in.SecretString = &value
	}
	_, err := u.SecretsManager().PutSecretValue(u.ctx, in)
	u.must(err)
}

// enablesRotation names the function as the secret's rotation function. The
// emulator calls no function for that, but copies AWSCURRENT to a new version.
func (u *user) enablesRotation() {
	u.t.Helper()
	rotated, err := u.SecretsManager().RotateSecret(u.ctx, &secretsmanager.RotateSecretInput{
		SecretId: &u.secretARN, RotationLambdaARN: &u.Stack.FunctionARN,
	})
	u.must(err)
	u.result(*rotated.VersionId)
}

// result waits for the result of a version.
func (u *user) result(versionID string) system.Event {
	u.t.Helper()
	event, err := u.WaitEvent(u.ctx, func(e system.Event) bool {
		return e.Detail.Secret.ARN == u.secretARN && e.Detail.Secret.VersionID == versionID
	})
	u.must(err)
	return event
}

// results are the secret's results up to now, each once: a result may be
// published twice.
func (u *user) results() (results []system.Event) {
	events, err := u.Events(u.ctx)
	if err != nil {
		u.t.Error(err)
	}
	type key struct{ versionID, triggerID, outcome string }
	seen := map[key]bool{}
	for _, e := range events {
		d := e.Detail
		if k := (key{d.Secret.VersionID, d.Trigger.ID, d.Outcome}); d.Secret.ARN == u.secretARN && !seen[k] {
			seen[k] = true
			results = append(results, e)
		}
	}
	return results
}

func (u *user) datadogHolds(clientSecret string) {
	u.t.Helper()
	if err := u.holds(clientSecret); err != nil {
		u.t.Error(err)
	}
}

// record is what the function remembers on the secret.
func (u *user) record() string {
	u.t.Helper()
	secret, err := u.SecretsManager().DescribeSecret(u.ctx, &secretsmanager.DescribeSecretInput{SecretId: &u.secretARN})
	u.must(err)
	for _, tag := range secret.Tags {
		if *tag.Key == "datadog-webhook-auth-sync" {
			answers.add(*tag.Value)
			return *tag.Value
		}
	}
	return ""
}

// asMine makes a sample one of this user's secret.
func (u *user) asMine(sample []byte) json.RawMessage {
	return json.RawMessage(strings.NewReplacer(
		"arn:aws:secretsmanager:us-east-1:123456789012:secret:datadog/webhooks/payments-AbCdEf", u.secretARN,
		"datadog/webhooks/payments", u.secretName,
		"123456789012", system.Account,
	).Replace(string(sample)))
}

// invokes calls the function and returns its answer, and whether that is an
// error.
func (u *user) invokes(payload any) (body string, failed bool) {
	u.t.Helper()
	answer, functionError, err := u.Invoke(u.ctx, payload, false)
	u.must(err)
	var compact bytes.Buffer // the emulator adds spaces
	u.must(json.Compact(&compact, answer))
	answers.add(compact.String())
	return compact.String(), functionError != ""
}

func (u *user) invokesAsync(payload any) {
	u.t.Helper()
	_, _, err := u.Invoke(u.ctx, payload, true)
	u.must(err)
}

// users counts users, so that each test has a secret of its own.
var users atomic.Int64

// failureTold: one test failed because the system did not start; that is enough.
var failureTold atomic.Bool
