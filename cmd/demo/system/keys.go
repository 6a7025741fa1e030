package system

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
)

const keySecretName = "demo/datadog-keys"

// KeySecret is the value of the secret that holds Datadog's keys.
func (s *System) KeySecret() string {
	return fmt.Sprintf(`{"api_key": %q, "app_key": %q}`, s.DatadogKeys[0], s.DatadogKeys[1])
}

// organisation is Datadog's UUID of it.
const organisation = "0b5c1f3e-8d2a-4c6b-9e7f-1a2b3c4d5e6f"

// datadogParameters are the template's parameters for Datadog's API and for the
// credentials that open it: none, or keys in a secret that it stores.
func (s *System) datadogParameters(ctx context.Context, keyless bool) (map[string]string, error) {
	if keyless {
		return map[string]string{"DdApiUrl": s.DatadogURL, "DdOrgUuid": organisation}, nil
	}
	created, err := s.SecretsManager().CreateSecret(ctx, &secretsmanager.CreateSecretInput{
		Name: aws.String(keySecretName), SecretString: aws.String(s.KeySecret()),
	})
	if err != nil {
		return nil, fmt.Errorf("create the secret of Datadog's keys: %w", err)
	}
	s.KeySecretARN = *created.ARN
	return map[string]string{"DdApiUrl": s.DatadogURL, "DdApiKeySecretArn": s.KeySecretARN}, nil
}

// federate has Datadog accept the function's role, of which it asks the emulator
// as the real one asks AWS.
func (s *System) federate() {
	sessions := strings.NewReplacer(":iam:", ":sts:", ":role/", ":assumed-role/").Replace(s.function.Role) + "/*"
	s.Datadog.Federate(datadogtest.Federation{
		OrgUUID: organisation, ARN: sessions, CallerIdentity: datadogtest.SendTo(s.Endpoint())})
}
