package datadog

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
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
	secrets []sensitive.Text          // that no answer may repeat: in headers, or shown to Datadog to get them
	expires time.Time                 // zero where it is not known to
}

// withToken returns a credential with a token of a scheme of the Authorization header.
func withToken(scheme string, token sensitive.Text) credential {
	headers := map[string]sensitive.Text{"Authorization": sensitive.New(scheme + " " + token.Reveal())}
	return credential{headers: headers, secrets: []sensitive.Text{token}}
}

func (c credential) equal(o credential) bool {
	return maps.EqualFunc(c.headers, o.headers, sensitive.Text.Equal)
}

const renewBefore = time.Minute // a credential's end

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

// Names of the members of a key secret. Those with "admin" are of AWS's managed external secrets for Datadog.
var (
	tokenNames  = []string{"access_token", "DD_ACCESS_TOKEN"}
	apiKeyNames = []string{"api_key", "apiKey", "adminApiKey", "DD_API_KEY", "dd_api_key"}
	appKeyNames = []string{"app_key", "appKey", "application_key", "adminAppKey", "DD_APP_KEY", "dd_app_key"}
)

func (s Stored) fetch(ctx context.Context, _ *Client) (credential, error) {
	first, err := s.open(ctx, s.APIKeySecret)
	if err != nil {
		return credential{}, err
	}
	if strings.HasPrefix(first.plain, "ddsat_") || first.plain == "" && first.find(tokenNames) != "" {
		token, err := first.text("access token", tokenNames)
		return withToken("Bearer", token), err
	}
	second := first
	if s.AppKeySecret != s.APIKeySecret {
		second, err = s.open(ctx, s.AppKeySecret)
	} else if first.plain != "" {
		return credential{}, unauthorized("one plain key cannot be both of Datadog's keys: " +
			"make the secret a JSON object with api_key and app_key, or set DdAppKeySecretArn")
	}
	api, apiErr := first.text("API key", apiKeyNames)
	app, appErr := second.text("application key", appKeyNames)
	headers := map[string]sensitive.Text{"DD-API-KEY": api, "DD-APPLICATION-KEY": app}
	return credential{headers: headers, secrets: []sensitive.Text{api, app}}, cmp.Or(err, apiErr, appErr)
}

// keySecret is the value of a secret that holds keys or a token: a plain text, or a JSON object.
type keySecret struct {
	plain   string
	members map[string]json.RawMessage
}

func (s Stored) open(ctx context.Context, secret string) (keySecret, error) {
	value, err := s.Read(ctx, secret)
	switch {
	case fault.Is(err, fault.Deadline):
		return keySecret{}, err
	case err != nil: // not the fault of the secret to sync
		return keySecret{}, unauthorized("the secret of Datadog's keys: %s", fault.From(err).Message).Because(err)
	}
	text := trim(value.Reveal())
	if !strings.HasPrefix(text, "{") {
		return keySecret{plain: text}, nil
	}
	members, err := strictjson.Object([]byte(text))
	if err != nil {
		return keySecret{}, unauthorized("the secret of Datadog's keys begins like JSON but is wrong: %v", err)
	}
	return keySecret{members: members}, nil
}

// find returns the plain text, or the first member of these names that is a string and not empty.
func (s keySecret) find(names []string) string {
	found := s.plain
	for _, name := range names {
		member, _ := strictjson.String(s.members[name])
		found = cmp.Or(found, trim(member))
	}
	return found
}

// text is what find finds. Its error is datadog_unauthorized and tells no value.
func (s keySecret) text(what string, names []string) (sensitive.Text, error) {
	switch text := s.find(names); {
	case text == "":
		spellings := strings.Join(names, ", ")
		return sensitive.Text{}, unauthorized("the secret of Datadog's %s holds none under any of %s", what, spellings)
	case !fitsHeader(text):
		return sensitive.Text{}, unauthorized("the secret of Datadog's %s holds characters that none has", what)
	default:
		return sensitive.New(text), nil
	}
}

func unauthorized(format string, args ...any) *fault.Error {
	return fault.New(fault.DatadogUnauthorized, format, args...)
}

func fitsHeader(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}

// trim takes off the white space and the byte order marks that editors leave around a value.
func trim(text string) string {
	return strings.TrimFunc(text, func(r rune) bool { return unicode.IsSpace(r) || r == '\ufeff' })
}
