package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/standin"
	"datadog-webhook-auth-sync/handler/tokencheck/tokentest"
)

// tenants are the teams of one test.
type tenants struct {
	*user
	members []*tenant
}

// tenant is a team with a token endpoint of its own. None of its client secrets
// may come to anybody else's.
type tenant struct {
	*user
	idp     *provider
	trusts  *provider // where its client secrets may go too
	secrets []string  // every client secret that it made
}

func newTenants(t *testing.T) *tenants {
	t.Helper()
	c := &tenants{user: newUser(t)}
	t.Cleanup(c.part)
	return c
}

// tenant makes a team that has no secret yet.
func (c *tenants) tenant(name string) *tenant {
	own := *c.System
	idp := newProvider(c.t)
	own.Tokens, own.TokenURL = idp.Server, idp.url
	name = c.name + "-" + name
	p := &tenant{user: &user{&team{System: &own, name: name, secretName: prefix + name}, c.t, c.ctx}, idp: idp}
	c.members = append(c.members, p)
	return p
}

// part checks that each client secret went only where its team sent it, and
// takes the secrets out of the way of other tests.
func (c *tenants) part() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, p := range c.members {
		for _, other := range c.members {
			if other != p && other.idp != p.trusts && slices.ContainsFunc(p.secrets, other.idp.got) {
				c.t.Errorf("a client secret of %s came to the token endpoint of %s", p.name, other.name)
			}
		}
		if p.secretARN == "" {
			continue
		}
		if _, err := c.SecretsManager().DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{
			SecretId: &p.secretARN, ForceDeleteWithoutRecovery: aws.Bool(true),
		}); err != nil {
			c.t.Error(err)
		}
	}
}

// values are those of a secret's value.
type values map[string]string

// value is a credential with a client secret that is new. What is stated takes
// the place of the tenant's own, and "" leaves a field out.
func (p *tenant) value(stated values) string {
	secret := p.newClientSecret()
	p.secrets = append(p.secrets, secret)
	all := values{"client_id": p.name, "client_secret": secret, "access_token_url": p.TokenURL}
	maps.Copy(all, stated)
	maps.DeleteFunc(all, func(_, v string) bool { return v == "" })
	value, err := json.Marshal(all)
	p.must(err)
	return string(value)
}

// plain is a value that is a client secret alone.
func (p *tenant) plain() string {
	p.value(nil)
	return p.secret()
}

// secret is the tenant's newest client secret.
func (p *tenant) secret() string { return p.secrets[len(p.secrets)-1] }

// stores stores a value of which no event tells, so that nothing is done about
// it but what the test asks for. The emulator has no event for a new secret.
func (p *tenant) stores(value string) (versionID string) {
	p.t.Helper()
	if p.secretARN == "" {
		created, err := p.SecretsManager().CreateSecret(p.ctx, &secretsmanager.CreateSecretInput{Name: &p.secretName, SecretString: &value})
		p.must(err)
		p.secretARN = *created.ARN
		return *created.VersionId
	}
	return p.putsUnheard(value)
}

// joins stores a value and has its auth method created.
func (p *tenant) joins(value string) datadogtest.AuthMethod {
	p.t.Helper()
	p.stores(value)
	m, ok := p.Datadog.Get(p.syncs("created").AuthMethod.ID)
	if !ok {
		p.t.Fatal("Datadog has no auth method of " + p.name)
	}
	return m
}

// stays checks that Datadog holds an auth method as it was.
func (c *tenants) stays(m datadogtest.AuthMethod) {
	c.t.Helper()
	if now, _ := c.Datadog.Get(m.ID); !cmp.Equal(m, now) {
		c.t.Errorf("auth method %s is not as it was", m.Name)
	}
}

// has checks what Datadog holds in an auth method.
func (c *tenants) has(id, clientSecret, tokenURL string) {
	c.t.Helper()
	if m, _ := c.Datadog.Get(id); m.ClientSecret != clientSecret || m.AccessTokenURL != tokenURL {
		c.t.Errorf("auth method %s at Datadog has %s and another client secret, or another URL than %s", m.Name, m.AccessTokenURL, tokenURL)
	}
}

// provider is a token endpoint that remembers which client secrets it was sent.
type provider struct {
	*tokentest.Server
	url string

	acceptsAll bool // whatever client it is asked for

	mu   sync.Mutex
	sent []string
}

func newProvider(t *testing.T) *provider {
	p := &provider{Server: tokentest.New()}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	p.url = server.URL + "/oauth2/token"
	return p
}

// got reports whether the client secret was sent here.
func (p *provider) got(clientSecret string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.sent, clientSecret)
}

// ServeHTTP implements http.Handler.
func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := standin.Body(w, r)
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, _ := url.ParseQuery(string(body))
	id, secret := form.Get("client_id"), form.Get("client_secret")
	if name, password, ok := r.BasicAuth(); ok {
		id, _ = url.QueryUnescape(name)
		secret, _ = url.QueryUnescape(password)
	}
	p.mu.Lock()
	p.sent = append(p.sent, secret)
	p.mu.Unlock()
	if p.acceptsAll {
		p.Allow(id, secret)
	}
	p.Server.ServeHTTP(w, r)
}
