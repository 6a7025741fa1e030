package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"datadog-webhook-auth-sync/cmd/demo/system"
	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/secretstore"
)

// patience is how long what should come within a second is waited for, on a machine that has much else to do.
const patience = 2 * time.Minute

const prefix = "datadog/webhooks/" // the template's SecretNamePrefix

// clientSecretMark is in every client secret, so that a leak of any can be found.
const clientSecretMark = "confidential-"

// team owns a client of the identity provider, and the secret in AWS with the
// client's credential.
type team struct {
	*system.System
	name       string // of the client, and of the auth method
	secretName string
	secretARN  string
	first      string // the client secret that it began with
}

// newTeam makes a team and stores its first client secret. On AWS that is an
// event, as any later version is; on the emulator it is none.
func newTeam(ctx context.Context, s *system.System, name string) (*team, error) {
	t := &team{System: s, name: name, secretName: prefix + name}
	t.first = t.newClientSecret()
	created, err := s.SecretsManager().CreateSecret(ctx, &secretsmanager.CreateSecretInput{
		Name: &t.secretName, SecretString: aws.String(t.credential(t.first)),
	})
	if err != nil {
		return nil, fmt.Errorf("create secret %s: %w", t.secretName, err)
	}
	t.secretARN = *created.ARN
	return t, nil
}

// newClientSecret has the identity provider issue another client secret.
func (t *team) newClientSecret() string {
	secret := clientSecretMark + rand.Text()
	t.Tokens.Allow(t.name, secret)
	return secret
}

// put stores a value as AWSCURRENT, and returns its version.
func (t *team) put(ctx context.Context, value string) (versionID string, err error) {
	put, err := t.SecretsManager().PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
		SecretId: &t.secretARN, SecretString: &value,
	})
	if err != nil {
		return "", fmt.Errorf("put a version of %s: %w", t.secretName, err)
	}
	return *put.VersionId, nil
}

// credential is the secret's value.
func (t *team) credential(clientSecret string) string {
	return fmt.Sprintf(`{"client_id": %q, "client_secret": %q, "access_token_url": %q, "scope": "read:webhooks"}`,
		t.name, clientSecret, t.TokenURL)
}

// record is what the function remembers on the secret, "" for nothing.
func (t *team) record(ctx context.Context) (string, error) {
	secret, err := t.SecretsManager().DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &t.secretARN})
	if err != nil {
		return "", err
	}
	for _, tag := range secret.Tags {
		if *tag.Key == secretstore.RecordTag {
			return *tag.Value, nil
		}
	}
	return "", nil
}

// setRecord changes one field of the record by hand.
func (t *team) setRecord(ctx context.Context, field, value string) error {
	record, err := t.record(ctx)
	if err != nil {
		return err
	}
	return t.tag(ctx, regexp.MustCompile(`\b`+field+`=\S+`).ReplaceAllString(record, field+"="+value))
}

// tag writes the record by hand.
func (t *team) tag(ctx context.Context, record string) error {
	_, err := t.SecretsManager().TagResource(ctx, &secretsmanager.TagResourceInput{
		SecretId: &t.secretARN, Tags: []types.Tag{{Key: aws.String(secretstore.RecordTag), Value: &record}},
	})
	return err
}

// labelEvent is what EventBridge sends of the secret when AWSCURRENT moved then.
func (t *team) labelEvent(moved time.Time) map[string]any {
	return system.LabelEvent(t.secretName, t.secretARN, "AWSCURRENT", moved)
}

// ago is a date in the record.
func ago(d time.Duration) string { return time.Now().Add(-d).UTC().Format(time.RFC3339) }

// authMethod is what Datadog holds of the team.
func (t *team) authMethod() (held datadogtest.AuthMethod, ok bool) {
	for _, m := range t.Datadog.AuthMethods() {
		if m.Name == t.name {
			return m, true
		}
	}
	return held, false
}

// holds is an error unless Datadog holds the client secret.
func (t *team) holds(clientSecret string) error {
	switch m, ok := t.authMethod(); {
	case !ok:
		return fmt.Errorf("auth method %s does not exist at Datadog", t.name)
	case m.ClientSecret != clientSecret:
		return fmt.Errorf("auth method %s at Datadog holds another client secret", t.name)
	}
	return nil
}

// writes is how many writes Datadog was asked for.
func (t *team) writes() (n int) {
	for _, call := range t.Datadog.Calls() {
		if call.Method != http.MethodGet && call.Path != datadogtest.TokenPath {
			n++
		}
	}
	return n
}

// until returns when the condition holds, or with an error when it does not in
// time.
func until(ctx context.Context, holds func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return system.Until(ctx, func() (bool, error) { return holds(), nil })
}
