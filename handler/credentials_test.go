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

func (w *world) exchangesForTokens() (n int) {
	for _, call := range w.datadog.Calls() {
		if call.Path == datadogtest.TokenPath {
			n++
		}
	}
	return n
}

func TestWithoutKeys(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createSynced()
		w.datadog.Federate(datadogtest.Federation{}) // the mapping is taken away
		w.datadog.EndTokens()
		w.mustInvoke(directSync, fault.DatadogUnauthorized)
		if n := w.exchangesForTokens(); n != 2 {
			t.Errorf("%d exchanges", n)
		}
	}, withoutKeys)
}

// Both keys in one secret is what all other tests have.
func TestKeysInTwoSecrets(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) { w.createSynced() }, func(w *world) {
		w.config.APIKeySecretARN, _ = w.secrets.Create("datadog/api", apiKey)
		w.config.AppKeySecretARN, _ = w.secrets.Create("datadog/app", appKey)
	})
}

const serviceToken = "ddsat_canary-of-the-service-token"

// withAccessToken gives the function a service access token in place of keys.
func withAccessToken(w *world) {
	w.secret = append(w.secret, serviceToken)
	w.datadog.SetAccessToken(serviceToken)
	w.config.APIKeySecretARN, _ = w.secrets.Create("datadog/token", serviceToken)
	w.config.AppKeySecretARN = w.config.APIKeySecretARN
}

// A fault of the key secret is Datadog's trouble, not the team's.
func TestAccessTokenInPlaceOfKeys(t *testing.T) {
	deny := func(w *world) {
		w.secrets.Hook = func(_, name string) error {
			if name == "datadog/token" {
				return secretDenied
			}
			return nil
		}
	}
	mustFail := func(w *world) {
		w.t.Helper()
		_, err := w.sync(secretName)
		if !fault.Is(err, fault.DatadogUnauthorized) || !strings.Contains(err.Error(), "secret of Datadog's keys") {
			w.t.Errorf("error: %v", err)
		}
	}
	subtest(t, "which becomes another", func(t *testing.T, w *world) {
		w.createSynced()
		w.datadog.SetAccessToken("another")
		deny(w)
		mustFail(w)
	}, withAccessToken)
	subtest(t, "which may not be read", func(t *testing.T, w *world) {
		w.create()
		mustFail(w)
	}, withAccessToken, deny)
}
