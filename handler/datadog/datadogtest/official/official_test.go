// Package official_test lets Datadog's own Go client loose on the stand-in, so
// that the stand-in agrees with a client that this project did not write. It is
// a module of its own because that client takes minutes to build:
// `make conformance`.
package official_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/DataDog/datadog-api-client-go/v2/api/datadog"
	"github.com/DataDog/datadog-api-client-go/v2/api/datadogV2"
	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
)

const (
	credentialType = datadogV2.WEBHOOKSOAUTH2CLIENTCREDENTIALSTYPE_WEBHOOKS_AUTH_METHOD_OAUTH2_CLIENT_CREDENTIALS
	protocol       = datadogV2.WEBHOOKSAUTHMETHODPROTOCOL_OAUTH2_CLIENT_CREDENTIALS
	nobody         = "00000000-0000-4000-8000-000000000000"
	tokenURL       = "https://idp.example.com/oauth2/token"
)

// start returns a stand-in, the official client for it, and a context with its keys.
func start(t *testing.T) (*datadogtest.Server, *datadogV2.WebhooksIntegrationApi, context.Context) {
	s := datadogtest.New("api-key", "app-key")
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		server.Close()
		if got := s.Unknown(); got != nil {
			t.Errorf("calls outside the API: %v", got)
		}
	})
	config := datadog.NewConfiguration()
	config.Servers = datadog.ServerConfigurations{{URL: server.URL}}
	config.HTTPClient = server.Client()
	return s, datadogV2.NewWebhooksIntegrationApi(datadog.NewAPIClient(config)), keys(t, "api-key", "app-key")
}

func keys(t *testing.T, api, app string) context.Context {
	return context.WithValue(t.Context(), datadog.ContextAPIKeys, map[string]datadog.APIKey{
		"apiKeyAuth": {Key: api},
		"appKeyAuth": {Key: app},
	})
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
	s, client, ctx := start(t)
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

	res, err = client.DeleteOAuth2ClientCredentials(ctx, id)
	check(t, nil, res, err, http.StatusNoContent)
	if left := s.AuthMethods(); left != nil {
		t.Errorf("left after DELETE: %v", left)
	}
}

func TestList(t *testing.T) {
	s, client, ctx := start(t)
	scope := "read:webhooks"
	a := s.Put(datadogtest.AuthMethod{Name: "alerts", AccessTokenURL: tokenURL, ClientID: "client", ClientSecret: "s"})
	b := s.Put(datadogtest.AuthMethod{Name: "payments", AccessTokenURL: tokenURL, ClientID: "client", ClientSecret: "s", Scope: &scope})

	list, res, err := client.GetAllAuthMethods(ctx, *datadogV2.NewGetAllAuthMethodsOptionalParameters().WithInclude(protocol))
	check(t, list, res, err, http.StatusOK)
	if len(list.Data) != 2 || len(list.Included) != 2 {
		t.Fatalf("%d and %d included, want 2 and 2", len(list.Data), len(list.Included))
	}
	for i, m := range []datadogtest.AuthMethod{a, b} {
		data := list.Data[i]
		related := data.GetRelationships().Oauth2ClientCredentials.GetData()
		if data.Id != m.ID || data.Attributes.GetProtocol() != protocol || related.GetId() != m.ID || related.GetType() != credentialType {
			t.Errorf("data %+v, related %+v, want those of %s", data, related, m.ID)
		}
		shows(t, list.Included[i], m.ID, m.Name, m.Audience, m.Scope)
	}

	plain, res, err := client.GetAllAuthMethods(ctx)
	check(t, plain, res, err, http.StatusOK)
	if len(plain.Data) != 2 || plain.Included != nil {
		t.Errorf("without include: %d and %v included, want 2 and none", len(plain.Data), plain.Included)
	}
}

func TestErrors(t *testing.T) {
	s, client, ctx := start(t)
	m := s.Put(datadogtest.AuthMethod{Name: "payments", AccessTokenURL: tokenURL, ClientID: "client", ClientSecret: "s"})
	s.Put(datadogtest.AuthMethod{Name: "alerts", AccessTokenURL: tokenURL, ClientID: "client", ClientSecret: "s"})
	rename := update(func(a *datadogV2.WebhooksOAuth2ClientCredentialsUpdateAttributes) { a.SetName("alerts") })
	wrongKeys := keys(t, "api-key", "another-key")
	const missing = "The requested auth method does not exist."
	const taken = "An auth method with this name already exists."

	for _, tc := range []struct {
		name   string
		call   func() (*http.Response, error)
		status int
		text   string
	}{
		{"404 get", func() (*http.Response, error) {
			_, res, err := client.GetOAuth2ClientCredentials(ctx, nobody)
			return res, err
		}, http.StatusNotFound, missing},
		{"404 update", func() (*http.Response, error) {
			_, res, err := client.UpdateOAuth2ClientCredentials(ctx, nobody, rename)
			return res, err
		}, http.StatusNotFound, missing},
		{"404 delete", func() (*http.Response, error) {
			return client.DeleteOAuth2ClientCredentials(ctx, nobody)
		}, http.StatusNotFound, missing},
		{"409 create", func() (*http.Response, error) {
			_, res, err := client.CreateOAuth2ClientCredentials(ctx, create("payments"))
			return res, err
		}, http.StatusConflict, taken},
		{"409 update", func() (*http.Response, error) {
			_, res, err := client.UpdateOAuth2ClientCredentials(ctx, m.ID, rename)
			return res, err
		}, http.StatusConflict, taken},
		{"400 create", func() (*http.Response, error) {
			_, res, err := client.CreateOAuth2ClientCredentials(ctx, create(""))
			return res, err
		}, http.StatusBadRequest, "name is missing or blank"},
		{"403 list", func() (*http.Response, error) {
			_, res, err := client.GetAllAuthMethods(wrongKeys)
			return res, err
		}, http.StatusForbidden, "Forbidden"},
		{"403 create", func() (*http.Response, error) {
			_, res, err := client.CreateOAuth2ClientCredentials(wrongKeys, create("another"))
			return res, err
		}, http.StatusForbidden, "Forbidden"},
		{"429 list", func() (*http.Response, error) {
			s.Fail(datadogtest.Throttled(1))
			_, res, err := client.GetAllAuthMethods(ctx)
			return res, err
		}, http.StatusTooManyRequests, "Too Many Requests"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res, err := tc.call()
			if res == nil || res.StatusCode != tc.status {
				t.Fatalf("%v, %v, want %d", res, err, tc.status)
			}
			failed, ok := errors.AsType[datadog.GenericOpenAPIError](err)
			if !ok {
				t.Fatalf("%T, want a GenericOpenAPIError", err)
			}
			model, ok := failed.Model().(datadogV2.APIErrorResponse)
			if !ok {
				t.Fatalf("the client did not understand %s", failed.Body())
			}
			if diff := cmp.Diff([]string{tc.text}, model.Errors); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
	if got := len(s.AuthMethods()); got != 2 {
		t.Errorf("%d auth methods after calls that failed, want 2", got)
	}
}
