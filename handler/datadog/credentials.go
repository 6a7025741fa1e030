package datadog

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/sensitive"
	"datadog-webhook-auth-sync/handler/strictjson"
)

// Credentials are where a client gets what authenticates its calls: Stored or Keyless.
type Credentials interface {
	// fetch gets it anew. Its error has a code, and wraps no *Error.
	fetch(ctx context.Context, c *Client) (credential, error)
}

// credential is what authenticates a call: API and application key, or a token.
type credential struct {
	headers map[string]sensitive.Text // name → value
	secrets []sensitive.Text          // in headers, or shown to Datadog to get them
	former  []sensitive.Text          // those of the credentials before, newest first, which may work for a while yet
	expires time.Time                 // zero where it is not known to
}

// repeated returns what no answer to a call that sends secret may repeat.
func (c credential) repeated(secret sensitive.Text) []sensitive.Text {
	return append(slices.Concat(c.secrets, c.former), secret)
}

// withToken returns a credential with a token of a scheme of the Authorization header.
func withToken(scheme string, token sensitive.Text) credential {
	headers := map[string]sensitive.Text{"Authorization": sensitive.New(scheme + " " + token.Reveal())}
	return credential{headers: headers, secrets: []sensitive.Text{token}}
}

func (c credential) equal(o credential) bool {
	return maps.EqualFunc(c.headers, o.headers, sensitive.Text.Equal)
}

const (
	renewBefore = time.Minute // a credential's end
	maxFormer   = 30          // secrets of the credentials before
)

// credential returns the one that is held, fetched anew if it ends within a minute or is the one that was refused. One
// that cannot be renewed is used to its end.
func (c *Client) credential(ctx context.Context, refused credential) (credential, error) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return credential{}, fault.From(ctx.Err())
	}
	taken := c.held != nil && !c.held.equal(refused)
	if taken && (c.held.expires.IsZero() || time.Until(c.held.expires) > renewBefore) {
		return *c.held, nil
	}
	fetched, err := c.credentials.fetch(ctx, c)
	switch {
	case err == nil:
		switch {
		case c.held == nil:
		case fetched.equal(*c.held):
			fetched.former = c.held.former
		default:
			former := slices.Concat(c.held.secrets, c.held.former)
			fetched.former = former[:min(maxFormer, len(former))]
		}
		c.held = &fetched
	case !taken || time.Until(c.held.expires) <= 0:
		return credential{}, err
	}
	return *c.held, nil
}

// Stored are keys, or a service access token, in Secrets Manager.
type Stored struct {
	APIKeySecret string // holds the API key, or a token
	AppKeySecret string // holds the application key; may be the same
	// Read returns a secret's current value. Its error has a code.
	Read func(ctx context.Context, secret string) (sensitive.Text, error)
}

func (s Stored) fetch(ctx context.Context, _ *Client) (credential, error) {
	first, err := s.open(ctx, s.APIKeySecret)
	if err != nil {
		return credential{}, err
	}
	if first.token != "" {
		return withToken("Bearer", sensitive.New(first.token)), check("access_token", first.token)
	}
	second := first
	if s.AppKeySecret != s.APIKeySecret {
		second, err = s.open(ctx, s.AppKeySecret)
	} else if first.api == first.app {
		err = unauthorized("one plain key cannot be both of Datadog's keys: " +
			"make the secret a JSON object with api_key and app_key, or set DdAppKeySecretArn")
	}
	api, app := sensitive.New(first.api), sensitive.New(second.app)
	headers := map[string]sensitive.Text{"DD-API-KEY": api, "DD-APPLICATION-KEY": app}
	return credential{headers: headers, secrets: []sensitive.Text{api, app}},
		cmp.Or(check("api_key", first.api), err, check("app_key", second.app))
}

// keySecret is what one secret holds. A plain key may be either.
type keySecret struct{ token, api, app string }

func (s Stored) open(ctx context.Context, secret string) (keySecret, error) {
	value, err := s.Read(ctx, secret)
	switch {
	case fault.Is(err, fault.Deadline):
		return keySecret{}, err
	case err != nil: // not the fault of the secret to sync
		return keySecret{}, unauthorized("the secret of Datadog's keys: %s", fault.From(err).Message).Because(err)
	}
	text := trim(value.Reveal())
	switch {
	case strings.HasPrefix(text, "ddsat_"):
		return keySecret{token: text}, nil
	case !strings.HasPrefix(text, "{"):
		return keySecret{api: text, app: text}, nil
	}
	members, err := strictjson.Object([]byte(text))
	if err != nil {
		return keySecret{}, unauthorized("the secret of Datadog's keys begins like JSON but is wrong: %v", err)
	}
	find := func(names ...string) (found string) {
		for _, name := range names {
			member, _ := strictjson.String(members[name])
			found = cmp.Or(found, trim(member))
		}
		return found
	}
	return keySecret{ // names with "admin" are those of AWS's managed external secrets for Datadog
		token: find("access_token", "DD_ACCESS_TOKEN"),
		api:   find("api_key", "apiKey", "adminApiKey", "DD_API_KEY", "dd_api_key"),
		app:   find("app_key", "appKey", "application_key", "adminAppKey", "DD_APP_KEY", "dd_app_key"),
	}, nil
}

// check returns an error if text, which is called name in a key secret, cannot be sent. It tells no value.
func check(name, text string) error {
	switch {
	case text == "":
		return unauthorized("the secret of Datadog's keys holds no %s, in any spelling", name)
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return unauthorized("the %s in the secret of Datadog's keys has characters that none has", name)
	}
	return nil
}

func unauthorized(format string, args ...any) *fault.Error {
	return fault.New(fault.DatadogUnauthorized, format, args...)
}

// trim takes off the white space and the byte order marks that editors leave around a value.
func trim(text string) string {
	return strings.TrimFunc(text, func(r rune) bool { return unicode.IsSpace(r) || r == '\ufeff' })
}
