package datadog

import (
	"context"
	"strings"

	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/sensitive"
	"datadog-webhook-auth-sync/handler/strictjson"
)

// Keys are Datadog's API key and application key.
type Keys struct{ API, App sensitive.Text }

func (k Keys) equal(o Keys) bool { return k.API.Equal(o.API) && k.App.Equal(o.App) }

// The spellings with "admin" are those of AWS's managed external secrets for Datadog.
var (
	apiKeyNames = []string{"api_key", "apiKey", "adminApiKey", "DD_API_KEY"}
	appKeyNames = []string{"app_key", "appKey", "application_key", "adminAppKey", "DD_APP_KEY"}
)

// ParseKeys reads the API key out of one secret's value and the application key out of another's, which may be the same.
// Each value is the plain key or a JSON object. The error is datadog_unauthorized and tells no value.
func ParseKeys(api, app sensitive.Text) (Keys, error) {
	if plain := strings.TrimSpace(api.Reveal()); api.Equal(app) && plain != "" && plain[0] != '{' {
		return Keys{}, fault.New(fault.DatadogUnauthorized, "one plain key cannot be both keys: make the secret a JSON object with api_key and app_key, or set DdAppKeySecretArn")
	}
	apiKey, err := parseKey(api, "API key", apiKeyNames)
	if err != nil {
		return Keys{}, err
	}
	appKey, err := parseKey(app, "application key", appKeyNames)
	if err != nil {
		return Keys{}, err
	}
	return Keys{apiKey, appKey}, nil
}

func parseKey(value sensitive.Text, what string, names []string) (sensitive.Text, error) {
	text := strings.TrimSpace(value.Reveal())
	if strings.HasPrefix(text, "{") {
		members, err := strictjson.Object([]byte(text))
		if err != nil {
			return sensitive.Text{}, fault.New(fault.DatadogUnauthorized, "the secret of Datadog's %s begins like JSON but is wrong: %v", what, err)
		}
		text = ""
		for _, name := range names {
			if s, ok := strictjson.String(members[name]); ok {
				text = strings.TrimSpace(s)
				break
			}
		}
	}
	if text == "" {
		return sensitive.Text{}, fault.New(fault.DatadogUnauthorized, "the secret of Datadog's %s holds none under any of %s", what, strings.Join(names, ", "))
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return sensitive.Text{}, fault.New(fault.DatadogUnauthorized, "the secret of Datadog's %s holds characters that no key has", what)
	}
	return sensitive.New(text), nil
}

// Keyring holds the keys between invocations and reads them again when they are refused. It is safe for concurrent use.
type Keyring struct {
	fetch func(context.Context) (Keys, error)
	turn  chan struct{} // held while the keys are read or looked at; a channel, so that a deadline ends the wait
	keys  *Keys
}

// NewKeyring makes a keyring that reads the keys with fetch, at first use.
func NewKeyring(fetch func(context.Context) (Keys, error)) *Keyring {
	return &Keyring{fetch: fetch, turn: make(chan struct{}, 1)}
}

// get returns the keys, read again if they are still those that were refused.
func (k *Keyring) get(ctx context.Context, refused Keys) (Keys, error) {
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return Keys{}, ctx.Err()
	}
	if k.keys != nil && !k.keys.equal(refused) {
		return *k.keys, nil
	}
	keys, err := k.fetch(ctx)
	if err != nil {
		return Keys{}, err
	}
	k.keys = &keys
	return keys, nil
}
