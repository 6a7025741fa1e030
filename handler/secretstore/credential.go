package secretstore

import (
	"encoding/json"
	"net/netip"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

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
// API, each also in camelCase; any other is the client secret alone. The error, secret_invalid, names every fault by
// field and tells no value. allowLoopback admits http and loopback hosts in access_token_url.
func ParseCredential(value sensitive.Text, allowLoopback bool) (Credential, error) {
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
	return fields{members: members}.credential(allowLoopback)
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

const byteOrderMark = '\ufeff' // which some editors put first

type fields struct {
	members map[string]json.RawMessage
	faults  []string
}

func (f fields) credential(allowLoopback bool) (Credential, error) {
	c := Credential{
		ClientID:       f.text("client_id", "clientId"),
		ClientSecret:   sensitive.New(f.text("client_secret", "clientSecret")),
		AccessTokenURL: f.text("access_token_url", "accessTokenUrl"),
		Audience:       f.clearable("audience"),
		Scope:          f.clearable("scope"),
		Name:           f.text("name"),
		AuthMethodID:   strings.ToLower(f.text("auth_method_id", "authMethodId")), // as Datadog spells ids
	}
	if raw := f.member("client_secret", "clientSecret"); raw == nil || strictjson.Null(raw) {
		f.faults = append(f.faults, "client_secret is required")
	}
	if c.AccessTokenURL != "" {
		if why := URLFault(c.AccessTokenURL, allowLoopback); why != "" {
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

// member is the field in whichever spelling it has; both at once is a fault.
func (f *fields) member(name string, spellings ...string) json.RawMessage {
	raw := f.members[name]
	for _, other := range spellings {
		if also, ok := f.members[other]; ok {
			raw = also
		}
	}
	return raw
}

func (f *fields) text(name string, spellings ...string) string {
	for _, other := range spellings {
		if f.members[name] != nil && f.members[other] != nil {
			f.faults = append(f.faults, name+" stands in two spellings")
		}
	}
	raw := f.member(name, spellings...)
	if raw == nil || strictjson.Null(raw) {
		return ""
	}
	s, ok := strictjson.String(raw)
	switch {
	case !ok:
		f.faults = append(f.faults, name+" must be a string")
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
	return &s
}

// URLFault says what keeps s from being called with a secret, or nothing. It must be https, without userinfo or
// fragment. Loopback would reach the Lambda Runtime API (127.0.0.1:9001) in a real function, so it, and http to it, is
// for an emulator alone.
func URLFault(s string, allowLoopback bool) string {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "":
		return "is no absolute URL"
	case u.User != nil:
		return "must not carry userinfo"
	case u.Fragment != "" || strings.Contains(s, "#"):
		return "must not carry a fragment"
	case isLoopback(u.Hostname()):
		if !allowLoopback {
			return "must not be a loopback address"
		}
		if u.Scheme != "http" && u.Scheme != "https" {
			return "must be http or https"
		}
	case u.Scheme != "https":
		return "must be https"
	}
	return ""
}

func isLoopback(host string) bool {
	if name := strings.ToLower(strings.TrimSuffix(host, ".")); name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && (ip.Unmap().IsLoopback() || ip.Unmap().IsUnspecified()) // Linux takes 0.0.0.0 for loopback
}

// IsUUID reports whether s is a UUID in its usual form of 36 characters.
func IsUUID(s string) bool { return len(s) == 36 && uuid.Validate(s) == nil }
