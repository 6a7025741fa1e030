package secretstore

import (
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"datadog-webhook-auth-sync/handler/endpoint"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/sensitive"
	"datadog-webhook-auth-sync/handler/strictjson"
)

// Credential is what a secret states. An empty string, and a nil Audience or Scope, is not stated; an empty Audience or
// Scope is to be cleared at Datadog.
type Credential struct {
	ClientID       string
	ClientSecret   sensitive.Text
	AccessTokenURL string
	Audience       *string
	Scope          *string
	Name           string
	AuthMethodID   string
}

// ParseCredential reads a secret's value. A value that begins like JSON is an object with the fields of Datadog's own
// API, each also in camelCase; any other is only the client secret. The error, secret_invalid, names every fault by
// field and tells no value. urls is the rule for access_token_url.
func ParseCredential(value sensitive.Text, urls endpoint.Rule) (Credential, error) {
	text := strings.TrimFunc(value.Reveal(), func(r rune) bool { return unicode.IsSpace(r) || r == byteOrderMark })
	switch {
	case text == "":
		return Credential{}, fault.New(fault.SecretInvalid, "the secret's value is empty")
	case !utf8.ValidString(text):
		return Credential{}, fault.New(fault.SecretInvalid, "the secret's value is not UTF-8 text")
	case !strings.ContainsRune(`{["`, rune(text[0])):
		return Credential{ClientSecret: sensitive.New(text)}, nil
	}
	members, err := strictjson.Object([]byte(text))
	if err != nil {
		return Credential{}, fault.New(fault.SecretInvalid, "the secret's value begins like JSON but is wrong: %v", err)
	}
	f := fields{members: members}
	for other, name := range spellings {
		if raw, stated := members[other]; stated {
			if members[name] != nil {
				f.faults = append(f.faults, name+" stands in two spellings")
			}
			members[name] = raw
		}
	}
	return f.credential(urls)
}

// MissingToCreate names the fields without which no auth method can be created.
func (c Credential) MissingToCreate() (fields []string) {
	if c.ClientID == "" {
		fields = append(fields, "client_id")
	}
	if c.AccessTokenURL == "" {
		fields = append(fields, "access_token_url")
	}
	return fields
}

// States reports whether c states every attribute that a token request takes.
func (c Credential) States() bool {
	return c.ClientID != "" && c.AccessTokenURL != "" && c.Audience != nil && c.Scope != nil
}

// maxField of bytes: so that a result with every field fits an event, of 256 KiB, however it is escaped.
const (
	maxField = 4096
	tooLong  = " is over 4096 bytes"
)

const byteOrderMark = '\ufeff' // which some editors put first

// spellings are those in camelCase, of the names that differ from them.
var spellings = map[string]string{"clientId": "client_id", "clientSecret": "client_secret", "accessTokenUrl": "access_token_url", "authMethodId": "auth_method_id"}

type fields struct {
	members map[string]json.RawMessage // by Datadog's name
	faults  []string
}

func (f fields) credential(urls endpoint.Rule) (Credential, error) {
	c := Credential{
		ClientID:       f.text("client_id"),
		ClientSecret:   sensitive.New(f.text("client_secret")),
		AccessTokenURL: f.text("access_token_url"),
		Audience:       f.clearable("audience"),
		Scope:          f.clearable("scope"),
		Name:           f.text("name"),
		AuthMethodID:   strings.ToLower(f.text("auth_method_id")), // as Datadog spells ids
	}
	if raw := f.members["client_secret"]; raw == nil || strictjson.Null(raw) {
		f.faults = append(f.faults, "client_secret is required")
	}
	if c.AccessTokenURL != "" {
		if why := urls.Fault(c.AccessTokenURL); why != "" {
			f.faults = append(f.faults, "access_token_url "+why)
		}
	}
	if c.AuthMethodID != "" && !IsUUID(c.AuthMethodID) {
		f.faults = append(f.faults, "auth_method_id must be a UUID")
	}
	if len(f.faults) > 0 {
		return Credential{}, fault.New(fault.SecretInvalid, "%s", strings.Join(f.faults, "; "))
	}
	return c, nil
}

func (f *fields) text(name string) string {
	raw := f.members[name]
	if raw == nil || strictjson.Null(raw) {
		return ""
	}
	s, ok := strictjson.String(raw)
	switch {
	case !ok:
		f.faults = append(f.faults, name+" must be a string")
	case len(s) > maxField:
		f.faults = append(f.faults, name+tooLong)
	case strings.TrimSpace(s) == "":
		f.faults = append(f.faults, name+" is empty")
	}
	return s
}

func (f *fields) clearable(name string) *string {
	raw, stated := f.members[name]
	if !stated {
		return nil
	}
	s, ok := strictjson.String(raw)
	if !ok && !strictjson.Null(raw) {
		f.faults = append(f.faults, name+" must be a string or null")
	}
	if len(s) > maxField {
		f.faults = append(f.faults, name+tooLong)
	}
	return &s
}

// IsUUID reports whether s is a UUID in its usual form of 36 characters.
func IsUUID(s string) bool { return len(s) == 36 && uuid.Validate(s) == nil }
