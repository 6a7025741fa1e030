package system

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// DatadogKeys returns every key that Datadog accepts or did accept.
func (s *System) DatadogKeys() []string { return slices.Clone(s.keys) }

// RotateDatadogKeys has Datadog accept other keys, and none before them, and
// stores these.
func (s *System) RotateDatadogKeys(ctx context.Context) error {
	fresh := newKeys()
	s.keys = append(s.keys, fresh...)
	s.Datadog.SetKeys(fresh[0], fresh[1])
	_, err := s.SecretsManager().PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
		SecretId: &s.KeySecretARN, SecretString: aws.String(keySecret(fresh)),
	})
	return err
}

// createKeySecret stores Datadog's first keys.
func (s *System) createKeySecret(ctx context.Context) error {
	created, err := s.SecretsManager().CreateSecret(ctx, &secretsmanager.CreateSecretInput{
		Name: aws.String("demo/datadog-keys"), SecretString: aws.String(keySecret(s.keys)),
	})
	if err != nil {
		return fmt.Errorf("create the secret of Datadog's keys: %w", err)
	}
	s.KeySecretARN = *created.ARN
	return nil
}

// newKeys makes up an API key and an application key.
func newKeys() []string { return []string{rand.Text(), rand.Text()} }

func keySecret(keys []string) string {
	value, err := json.Marshal(map[string]string{"api_key": keys[0], "app_key": keys[1]})
	if err != nil {
		panic(err) // strings always encode
	}
	return string(value)
}
