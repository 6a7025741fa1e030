// Package official_test lets Datadog's own Go client loose on the stand-in, so that the stand-in agrees with a client that
// this project did not write. It is a module of its own because that client takes minutes to build: `make conformance`.
package official_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/DataDog/datadog-api-client-go/v2/api/datadog"
	"github.com/DataDog/datadog-api-client-go/v2/api/datadogV2"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
)

const (
	credentialType = datadogV2.WEBHOOKSOAUTH2CLIENTCREDENTIALSTYPE_WEBHOOKS_AUTH_METHOD_OAUTH2_CLIENT_CREDENTIALS
	protocol       = datadogV2.WEBHOOKSAUTHMETHODPROTOCOL_OAUTH2_CLIENT_CREDENTIALS
	org            = "3a6f0a34-6b0b-4b62-8f36-2f6b2a4e1c55"
	tokenURL       = "https://idp.example.com/oauth2/token"
)

var role = aws.Credentials{AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "signing-key", SessionToken: "session/token+=="}

// start returns a stand-in, the official client for it, and a context with its credentials: keys, token, or keyless.
func start(t *testing.T, kind string) (*datadogtest.Server, *datadogV2.WebhooksIntegrationApi, context.Context) {
	s := datadogtest.New("api-key", "app-key")
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		server.Close()
		if got := s.Unknown(); got != nil {
			t.Errorf("calls outside the API: %v", got)
		}
	})
	config := datadog.NewConfiguration()
	ctx := context.WithValue(t.Context(), datadog.ContextServerIndex, 1) // of the server whose URL is all variables
	ctx = context.WithValue(ctx, datadog.ContextServerVariables, map[string]string{"protocol": "http", "name": server.Listener.Addr().String()})
	switch kind {
	case "keys":
		ctx = context.WithValue(ctx, datadog.ContextAPIKeys, map[string]datadog.APIKey{"apiKeyAuth": {Key: "api-key"}, "appKeyAuth": {Key: "app-key"}})
	case "token":
		s.SetAccessToken("ddsat_right")
		ctx = context.WithValue(ctx, datadog.ContextAccessToken, "ddsat_right")
	case "keyless":
		s.Federate(datadogtest.Federation{OrgUUID: org, ARN: "arn:aws:sts::123456789012:assumed-role/sync/function",
			CallerIdentity: datadogtest.SignedBy(role, "arn:aws:sts::123456789012:assumed-role/sync/function")})
		config.DelegatedTokenConfig = &datadog.DelegatedTokenConfig{OrgUUID: org, Provider: datadog.ProviderAWS, ProviderAuth: &datadog.AWSAuth{}}
		ctx = context.WithValue(ctx, datadog.ContextAWSVariables, map[string]string{datadog.AWSAccessKeyIdName: role.AccessKeyID,
			datadog.AWSSecretAccessKeyName: role.SecretAccessKey, datadog.AWSSessionTokenName: role.SessionToken})
		ctx = context.WithValue(ctx, datadog.ContextDelegatedToken, &datadog.DelegatedTokenCredentials{})
	}
	return s, datadogV2.NewWebhooksIntegrationApi(datadog.NewAPIClient(config)), ctx
}

func create(name string) datadogV2.WebhooksOAuth2ClientCredentialsCreateRequest {
	attributes := datadogV2.NewWebhooksOAuth2ClientCredentialsCreateAttributes(tokenURL, "client", "first-secret", name)
	attributes.SetScope("read:webhooks")
	return *datadogV2.NewWebhooksOAuth2ClientCredentialsCreateRequest(
		*datadogV2.NewWebhooksOAuth2ClientCredentialsCreateData(*attributes, credentialType))
}

func update(set func(*datadogV2.WebhooksOAuth2ClientCredentialsUpdateAttributes)) datadogV2.WebhooksOAuth2ClientCredentialsUpdateRequest {
	attributes := datadogV2.NewWebhooksOAuth2ClientCredentialsUpdateAttributes()
	set(attributes)
	return *datadogV2.NewWebhooksOAuth2ClientCredentialsUpdateRequest(
		*datadogV2.NewWebhooksOAuth2ClientCredentialsUpdateData(*attributes, credentialType))
}

// check asserts the status, no error, and that the client understood all of the answer.
func check(t *testing.T, answer any, res *http.Response, err error, status int) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != status {
		t.Errorf("status %d, want %d", res.StatusCode, status)
	}
	if found, unparsed := datadog.ContainsUnparsedObject(answer); found {
		t.Errorf("the client did not understand %v", unparsed)
	}
}

// shows asserts an auth method as the client read it.
func shows(t *testing.T, got datadogV2.WebhooksOAuth2ClientCredentialsResponseData, id, name string, audience, scope *string) {
	t.Helper()
	type shown struct {
		ID, Type, Name, URL, ClientID, Protocol string
		Audience, Scope                         *string
	}
	want := shown{id, string(credentialType), name, tokenURL, "client", string(protocol), audience, scope}
	a := got.Attributes
	has := shown{got.Id, string(got.Type), a.GetName(), a.GetAccessTokenUrl(), a.GetClientId(), string(a.GetProtocol()), a.Audience.Get(), a.Scope.Get()}
	if diff := cmp.Diff(want, has); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !a.Audience.IsSet() || !a.Scope.IsSet() {
		t.Error("audience or scope is absent, want at least null")
	}
	if len(a.AdditionalProperties)+len(got.AdditionalProperties) != 0 {
		t.Errorf("properties that the client does not know: %v %v", a.AdditionalProperties, got.AdditionalProperties)
	}
}

func TestLifeOfAnAuthMethod(t *testing.T) {
	for _, kind := range []string{"keys", "token", "keyless"} {
		t.Run(kind, func(t *testing.T) {
			s, client, ctx := start(t, kind)
			scope, audience := "read:webhooks", "https://api.example.com"

			created, res, err := client.CreateOAuth2ClientCredentials(ctx, create("payments"))
			check(t, created, res, err, http.StatusCreated)
			id := created.Data.Id
			shows(t, created.Data, id, "payments", nil, &scope)

			got, res, err := client.GetOAuth2ClientCredentials(ctx, id)
			check(t, got, res, err, http.StatusOK)
			shows(t, got.Data, id, "payments", nil, &scope)

			updated, res, err := client.UpdateOAuth2ClientCredentials(ctx, id, update(func(a *datadogV2.WebhooksOAuth2ClientCredentialsUpdateAttributes) {
				a.SetClientSecret("second-secret")
				a.SetAudience(audience)
				a.SetScopeNil()
			}))
			check(t, updated, res, err, http.StatusOK)
			shows(t, updated.Data, id, "payments", &audience, nil)
			if m, _ := s.Get(id); m.ClientSecret != "second-secret" {
				t.Errorf("client secret %q, want the second", m.ClientSecret)
			}

			list, res, err := client.GetAllAuthMethods(ctx, *datadogV2.NewGetAllAuthMethodsOptionalParameters().WithInclude(protocol))
			check(t, list, res, err, http.StatusOK)
			if len(list.Data) != 1 || len(list.Included) != 1 {
				t.Fatalf("%d and %d included, want one and its attributes", len(list.Data), len(list.Included))
			}
			related := list.Data[0].GetRelationships().Oauth2ClientCredentials.GetData()
			if list.Data[0].Id != id || list.Data[0].Attributes.GetProtocol() != protocol || related.GetId() != id || related.GetType() != credentialType {
				t.Errorf("data %+v, related %+v, want those of %s", list.Data[0], related, id)
			}
			shows(t, list.Included[0], id, "payments", &audience, nil)

			res, err = client.DeleteOAuth2ClientCredentials(ctx, id)
			check(t, nil, res, err, http.StatusNoContent)
			if left := s.AuthMethods(); left != nil {
				t.Errorf("left after DELETE: %v", left)
			}
			if calls := len(s.Calls()); calls != map[string]int{"keys": 5, "token": 5, "keyless": 6}[kind] {
				t.Errorf("%d calls", calls)
			}
		})
	}
}
