package handler_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"datadog-webhook-auth-sync/handler"
	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore/secretstoretest"
	"datadog-webhook-auth-sync/handler/standin"
)

// withoutKeys gives the function its role's identity in place of keys.
func withoutKeys(w *world) {
	const org, signingKey = "3a6f0a34-6b0b-4b62-8f36-2f6b2a4e1c55", "canary-of-the-signing-key"
	role := credentials.NewStaticCredentialsProvider("ASIAEXAMPLE", signingKey, sessionToken)
	w.secret = append(w.secret, signingKey, datadogtest.TokenPrefix)
	w.datadog.Federate(datadogtest.Federation{OrgUUID: org, ARN: "arn:aws:sts::123456789012:assumed-role/sync/*",
		CallerIdentity: datadogtest.SignedBy(role.Value, "arn:aws:sts::123456789012:assumed-role/sync/sync")})
	w.config.OrgUUID, w.config.APIKeySecretARN, w.config.AppKeySecretARN = org, "", ""
	w.handler = handler.New(w.config, handler.Outside{Secrets: w.secrets, Bus: w.bus, Log: w.log, Role: role,
		Datadog: standin.Hosts{"api.datadoghq.com": w.datadog}, Tokens: standin.Hosts{"idp.example.com": w.tokens}})
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
		withoutKeys(w)
		w.secrets.Create(secretName, w.value("first"))
		if r, err := w.sync(secretName); err != nil || r.Outcome != report.Created {
			t.Errorf("%+v, %v", r, err)
		}
		w.datadog.Federate(datadogtest.Federation{}) // the mapping is taken away
		w.datadog.EndTokens()
		if _, err := w.sync(secretName); err == nil || w.exchangesForTokens() != 2 {
			t.Errorf("error %v after %d exchanges", err, w.exchangesForTokens())
		}
	})
}

func TestAccessTokenInPlaceOfKeys(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		const token = "ddsat_canary-of-the-service-token"
		w.secret = append(w.secret, token)
		w.datadog.SetAccessToken(token)
		w.config.APIKeySecretARN, _ = w.secrets.Create("datadog/token", token)
		w.config.AppKeySecretARN = w.config.APIKeySecretARN
		w.wire()
		w.secrets.Create(secretName, w.value("first"))
		if r, err := w.sync(secretName); err != nil || r.Outcome != report.Created {
			t.Errorf("%+v, %v", r, err)
		}
		w.datadog.SetAccessToken("another")
		w.secrets.Hook = func(_, name string) error {
			if name == "datadog/token" {
				return secretstoretest.AccessDenied
			}
			return nil
		}
		_, err := w.sync(secretName)
		if !fault.Is(err, fault.DatadogUnauthorized) || !strings.Contains(err.Error(), "secret of Datadog's keys") {
			t.Errorf("error %v, which is not about the team's secret", err)
		}
	})
}

// A token that ends in the middle of a reconcile is renewed once, and nothing fails.
func TestTokenEndsInAReconcile(t *testing.T) {
	const n = 500
	inWorld(t, func(t *testing.T, w *world) {
		withoutKeys(w)
		clientSecret := w.clientSecret("first")
		for i := range n {
			w.secrets.Create(fmt.Sprintf("%s-%03d", secretName, i), w.valueOf(clientSecret, fmt.Sprintf("name=method %03d", i)))
		}
		w.datadog.Latency = 20 * time.Millisecond
		time.AfterFunc(5*time.Second, w.datadog.EndTokens)
		answer := w.reconcile()
		if answer.Outcomes[report.Created] != n || answer.Error != nil || w.exchangesForTokens() != 2 {
			t.Errorf("%v, %v, %d exchanges", answer.Outcomes, answer.Error, w.exchangesForTokens())
		}
	})
}
