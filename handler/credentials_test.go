package handler_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/fault"
)

// withoutKeys gives the function its role's identity in place of keys.
func withoutKeys(w *world) {
	const org, signingKey = "3a6f0a34-6b0b-4b62-8f36-2f6b2a4e1c55", "canary-of-the-signing-key"
	role := credentials.NewStaticCredentialsProvider("ASIAEXAMPLE", signingKey, sessionToken)
	w.secret = append(w.secret, signingKey, datadogtest.TokenPrefix)
	w.datadog.Federate(datadogtest.Federation{OrgUUID: org, ARN: "arn:aws:sts::123456789012:assumed-role/sync/*",
		CallerIdentity: datadogtest.SignedBy(role.Value, "arn:aws:sts::123456789012:assumed-role/sync/sync")})
	w.config.OrgUUID, w.config.APIKeySecretARN, w.config.AppKeySecretARN = org, "", ""
	w.outside.Role = role
}

func TestWithoutKeys(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createSettled()
		w.datadog.Federate(datadogtest.Federation{}) // the mapping is taken away
		w.datadog.EndTokens()
		w.mustInvoke(directSync, fault.DatadogUnauthorized)
	}, withoutKeys)
}

// Both keys in one secret is what all other tests have.
func TestKeysInTwoSecrets(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) { w.createSettled() }, func(w *world) {
		w.config.APIKeySecretARN, _ = w.secrets.Create("datadog/api", apiKey)
		w.config.AppKeySecretARN, _ = w.secrets.Create("datadog/app", appKey)
	})
}

// A fault of the key secret is Datadog's trouble, not the team's.
func TestKeysThatCannotBeRead(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.create()
		_, err := w.sync(secretName)
		if !fault.Is(err, fault.DatadogUnauthorized) || !strings.Contains(err.Error(), "secret of Datadog's keys") {
			t.Errorf("error: %v", err)
		}
	}, func(w *world) {
		w.secrets.Hook = func(_, name string) error {
			if name == "datadog/keys" {
				return secretDenied
			}
			return nil
		}
	})
}
