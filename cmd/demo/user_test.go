package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/go-cmp/cmp"

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
	s, ctx := begin(t)
	team, err := newTeam(ctx, s, fmt.Sprintf("%s-%d", notInNames.ReplaceAllString(t.Name(), "-"), users.Add(1)))
	if err != nil {
		t.Fatal(err)
	}
	u := &user{team, t, ctx}
	t.Cleanup(func() { // out of the way of other tests
		_, err := u.SecretsManager().DeleteSecret(context.Background(), &secretsmanager.DeleteSecretInput{
			SecretId: &u.secretARN, ForceDeleteWithoutRecovery: aws.Bool(true),
		})
		u.must(err)
	})
	t.Cleanup(u.passes)
	return u
}

// begin starts the system, unless a test before did.
func begin(t *testing.T) (*system.System, context.Context) {
	t.Helper()
	if testing.Short() {
		t.Skip("end to end: not with -short")
	}
	s, err := start()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
	t.Cleanup(cancel)
	mendDatadog(s)
	s.Tokens.ClearFaults()
	s.Datadog.ResetCalls()
	return s, ctx
}

// passes checks what must hold after every test.
func (u *user) passes() {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	u = &user{u.team, u.t, ctx}
	u.leaksNothing()
	events, err := u.Events.Bodies(u.ctx)
	u.must(err)
	for _, event := range events {
		if err := contract.Validate("event", []byte(event)); err != nil {
			u.t.Errorf("%s\n%v", event, err)
		}
	}
	for _, call := range u.Datadog.Unknown() {
		u.t.Errorf("Datadog has no %s %s", call.Method, call.Path)
	}
	if u.t.Failed() {
		u.SaveLogs()
		u.t.Log("the logs are in " + near(u.Folder))
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

// putsUnheard is puts without an event that tells of it.
func (u *user) putsUnheard(value string) (versionID string) {
	u.t.Helper()
	restore, err := u.LoseEvents(u.ctx)
	u.must(err)
	defer func() { u.must(restore(context.Background())) }()
	return u.puts(value)
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
		SecretId: &u.secretARN, RotationLambdaARN: aws.String(u.Stack["FunctionArn"]),
	})
	u.must(err)
	u.result(*rotated.VersionId)
}

// waits waits for a result of the secret.
func (u *user) waits(is func(system.Result) bool) system.Event {
	u.t.Helper()
	event, err := u.Events.Wait(u.ctx, func(e system.Event) bool {
		return e.Detail.Secret.ARN == u.secretARN && is(e.Detail)
	})
	u.must(err)
	return event
}

// result waits for the result of a version.
func (u *user) result(versionID string) system.Event {
	u.t.Helper()
	return u.waits(func(r system.Result) bool { return r.Secret.VersionID == versionID })
}

// results are the secret's results up to now, each once: a result may be
// published twice.
func (u *user) results() (results []system.Event) {
	events, err := u.Events.All(u.ctx)
	if err != nil {
		u.t.Error(err)
	}
	type key struct{ versionID, triggerID, outcome, code string }
	seen := map[key]bool{}
	for _, e := range events {
		d := e.Detail
		if k := (key{d.Secret.VersionID, d.Trigger.ID, d.Outcome, d.Error.Code}); d.Secret.ARN == u.secretARN && !seen[k] {
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

// recorded is what the function remembers on the secret.
func (u *user) recorded() string {
	u.t.Helper()
	record, err := u.record(u.ctx)
	u.must(err)
	answers.Store(record, true)
	return record
}

func (u *user) setsRecord(field, value string) {
	u.t.Helper()
	u.must(u.setRecord(u.ctx, field, value))
}

// syncs asks over HTTP for a sync that must end with that outcome, or code of an error. A success is published.
func (u *user) syncs(want string) system.Result {
	u.t.Helper()
	answer := u.asks("POST", "/sync", nil, fmt.Sprintf(`{"secretId": %q}`, u.secretName), true)
	if answer.Status == http.StatusOK {
		result := u.document(answer)
		if result.Outcome != want {
			u.t.Errorf("%s: %s, want %s: %s", u.name, result.Outcome, want, answer.Body)
		}
		u.isPublished(result, "Datadog Auth Method Synced")
		return result
	}
	var failed problem
	u.must(json.Unmarshal(answer.Body, &failed))
	if failed.Code != want {
		u.t.Errorf("%s: %s, want %s: %s", u.name, failed.Code, want, answer.Body)
	}
	return failed.Result
}

// fails asks for syncs until they have failed with that code for so long that it is published.
func (u *user) fails(code string) system.Result {
	u.t.Helper()
	failed := u.syncs(code)
	if strings.Contains(u.recorded(), "waiting="+code) {
		u.setsRecord("since", ago(3*time.Minute))
		failed = u.syncs(code)
	}
	u.isPublished(failed, "Datadog Auth Method Sync Failed")
	return failed
}

// isPublished checks that what was answered is published as it is.
func (u *user) isPublished(result system.Result, kind string) {
	u.t.Helper()
	event := u.published(result.RequestID)
	if diff := cmp.Diff(result, event.Detail); diff != "" || event.DetailType != kind {
		u.t.Errorf("the event is a %q (-answer +event):\n%s", event.DetailType, diff)
	}
	if s := result.Summary; s == "" || len(s) > 300 || !strings.Contains(s, result.Error.Code) || strings.ContainsAny(s, "<>&\"\\\n") {
		u.t.Errorf("the summary is %q", s)
	}
}

// published waits for what came of the secret in a request.
func (u *user) published(requestID string) system.Event {
	u.t.Helper()
	return u.waits(func(r system.Result) bool { return r.RequestID == requestID })
}

// invokes calls the function and returns its answer, and whether that is an
// error.
func (u *user) invokes(payload any) (body string, failed bool) {
	u.t.Helper()
	answer, functionError, err := u.Invoke(u.ctx, payload, false)
	u.must(err)
	var compact bytes.Buffer // the emulator adds spaces
	u.must(json.Compact(&compact, answer))
	answers.Store(compact.String(), true)
	return compact.String(), functionError != ""
}

func (u *user) invokesAsync(payload any) {
	u.t.Helper()
	_, _, err := u.Invoke(u.ctx, payload, true)
	u.must(err)
}

// users counts users, so that each test has a secret of its own.
var users atomic.Int64
