package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// TestReconcile follows one secret whose events were lost. What settles it needs
// ten minutes without a change, which no test waits for here.
func TestReconcile(t *testing.T) {
	u := newUser(t) // the emulator emits no event for a new secret
	u.reconciles()
	results := u.results()
	if len(results) != 1 || results[0].Detail.Outcome != "created" || results[0].Detail.Trigger.Type != "reconcile" ||
		results[0].Detail.Verification != "accepted" || results[0].Detail.LagMs != nil {
		t.Fatalf("the first reconcile's results: %v", results)
	}
	u.datadogHolds(u.first)
	held, _ := u.authMethod()

	u.reconciles()
	if n := len(u.results()); n != 1 {
		t.Errorf("a secret that is settling had %d results", n)
	}

	// An older invocation wrote last, and nobody noticed for a while.
	stale := held
	stale.ClientSecret = clientSecretMark + "stale"
	u.Datadog.Put(stale)
	u.setsRecord("at", time.Now().Add(-11*time.Minute).UTC().Format(time.RFC3339))
	u.Tokens.ResetCalls()
	u.reconciles()
	if results = u.results(); len(results) != 2 || results[1].Detail.Verification != "recorded" {
		t.Errorf("the results of the second push: %v", results)
	}
	u.datadogHolds(u.first)
	for _, call := range u.Tokens.Calls() {
		if call.ClientID == u.name {
			t.Error("a version that was proven was proven again")
		}
	}

	// Somebody edits the auth method in Datadog, and then deletes it.
	edited := held
	edited.Scope = nil
	u.Datadog.Put(edited)
	u.reconciles()
	if m, _ := u.authMethod(); m.Scope == nil || *m.Scope != "read:webhooks" {
		t.Errorf("after an edit and a reconcile, Datadog holds %+v", m)
	}
	u.Datadog.Delete(held.ID)
	u.reconciles()
	u.datadogHolds(u.first)

	u.setsRecord("state", "settled")
	held, _ = u.authMethod()
	u.Datadog.ResetCalls()
	u.reconciles()
	for _, call := range u.Datadog.Calls() {
		if strings.HasSuffix(call.Path, held.ID) {
			t.Errorf("a secret in step: %s of its auth method", call.Method)
		}
	}
}

func TestStatus(t *testing.T) {
	u := newUser(t)
	is := func(state string) secretStatus {
		t.Helper()
		status := u.status()
		if status.State != state || state == "in_step" && len(status.Reasons) > 0 || state == "due" && len(status.Reasons) == 0 {
			t.Errorf("the status is %+v, want %s", status, state)
		}
		return status
	}
	is("due")
	version := u.rotates(u.newClientSecret())
	pushed := u.result(version)
	u.must(until(u.ctx, func() bool { return u.record() != "" })) // it is written while the result is published
	if status := is("settling"); status.AuthMethod.ID != pushed.Detail.AuthMethod.ID || status.RecordedVersionID != version {
		t.Errorf("after a push: %+v", status)
	}
	u.setsRecord("state", "settled")
	is("in_step")
	edited, _ := u.authMethod()
	edited.Scope = nil
	u.Datadog.Put(edited)
	is("due")

	u.isProblem(u.asks("GET", "/status?secretId=datadog/webhooks/nobody", nil, "", true), http.StatusNotFound, "secret_not_found")
	u.isProblem(u.asks("GET", "/status?secretId=another/secret", nil, "", true), http.StatusForbidden, "secret_out_of_scope")
	if answer := u.asks("GET", "/status", nil, "", false); answer.Status != http.StatusForbidden {
		t.Errorf("without a signature: %d, want 403", answer.Status)
	}
}

func TestStatusPages(t *testing.T) {
	u, other := newUser(t), newUser(t)
	var names []string
	for path := "/status"; path != ""; {
		answer := u.asks("GET", path, nil, "", true)
		if answer.Status != http.StatusOK {
			t.Fatalf("%d %s", answer.Status, answer.Body)
		}
		var page statusPage
		u.must(json.Unmarshal(answer.Body, &page))
		for _, s := range page.Secrets {
			names = append(names, s.Secret.Name)
		}
		path = ""
		if page.NextToken != "" {
			path = "/status?nextToken=" + url.QueryEscape(page.NextToken)
		}
	}
	for _, want := range []string{u.secretName, other.secretName} {
		if !slices.Contains(names, want) {
			t.Errorf("the status does not tell of %s", want)
		}
	}
	if slices.ContainsFunc(names, func(name string) bool { return !strings.HasPrefix(name, prefix) }) {
		t.Errorf("the status tells of secrets out of scope: %v", names)
	}
}

type statusPage struct {
	Secrets   []secretStatus
	NextToken string
}

type secretStatus struct {
	Secret            struct{ Name string }
	AuthMethod        struct{ ID string }
	State             string
	Reasons           []string
	RecordedVersionID string
}

// status is what GET /status says of the secret.
func (u *user) status() secretStatus {
	u.t.Helper()
	answer := u.asks("GET", "/status?secretId="+url.QueryEscape(u.secretName), nil, "", true)
	if answer.Status != http.StatusOK {
		u.t.Fatalf("status: %d %s", answer.Status, answer.Body)
	}
	var page statusPage
	u.must(json.Unmarshal(answer.Body, &page))
	if len(page.Secrets) != 1 || page.Secrets[0].Secret.Name != u.secretName {
		u.t.Fatalf("the status of %s is %s", u.secretName, answer.Body)
	}
	return page.Secrets[0]
}

// reconciles calls the function as its schedule does.
func (u *user) reconciles() {
	u.t.Helper()
	if body, failed := u.invokes(map[string]any{"action": "reconcile"}); failed {
		u.t.Fatalf("reconcile: %s", body)
	}
}

// setsRecord changes one field of the record on the secret, by hand.
func (u *user) setsRecord(field, value string) {
	u.t.Helper()
	record := regexp.MustCompile(`\b`+field+`=\S+`).ReplaceAllString(u.record(), field+"="+value)
	_, err := u.SecretsManager().TagResource(u.ctx, &secretsmanager.TagResourceInput{
		SecretId: &u.secretARN, Tags: []types.Tag{{Key: aws.String("datadog-webhook-auth-sync"), Value: &record}},
	})
	u.must(err)
}
