package secretstore

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
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

	Warning string // names fields that are misspelt, and so ignored; empty if none are
}

// ParseCredential reads a secret's value. A value that begins like JSON is an object with the fields of Datadog's own
// API, each also in camelCase; any other is only the client secret. The error, secret_invalid, names every fault by
// field and tells no value. defaultName is the auth method's name where the secret states none; urls is the rule for
// access_token_url.
func ParseCredential(value sensitive.Text, defaultName string, urls endpoint.Rule) (Credential, error) {
	// Some editors put U+FEFF, a byte order mark, first.
	text := strings.TrimFunc(value.Reveal(), func(r rune) bool { return unicode.IsSpace(r) || r == '\ufeff' })
	var p parser
	switch {
	case text == "":
		p.fault("the secret's value is empty")
	case !utf8.ValidString(text):
		p.fault("the secret's value is not UTF-8 text")
	case strings.ContainsAny(text[:1], `{["`):
		p.object(text, urls)
	default:
		p.plain(text)
	}
	p.checkShown(defaultName)
	if len(p.faults) > 0 {
		return Credential{}, fault.New(fault.SecretInvalid, "%s", strings.Join(append(p.faults, p.misspelt...), "; "))
	}
	p.credential.Warning = strings.Join(p.misspelt, "; ")
	return p.credential, nil
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

// maxField bytes: so that a result with every field fits an event, of 256 KiB, however it is escaped.
const maxField = 4096

// known are the fields, by their letters in lower case, and what some providers call the token endpoint.
var known = map[string]string{
	"clientid": "client_id", "clientsecret": "client_secret", "accesstokenurl": "access_token_url",
	"audience": "audience", "scope": "scope", "name": "name", "authmethodid": "auth_method_id",
	"tokenurl": "access_token_url", "tokenendpoint": "access_token_url",
}

var (
	noLetters = regexp.MustCompile(`\PL`)
	unusual   = regexp.MustCompile(`[^A-Za-z_. -]`)
)

// parser collects what a value states, and what is wrong with it.
type parser struct {
	members    map[string]json.RawMessage // by Datadog's name
	credential Credential
	faults     []string
	misspelt   []string
}

func (p *parser) fault(format string, args ...any) {
	p.faults = append(p.faults, fmt.Sprintf(format, args...))
}

// plain reads a value that is only the client secret.
func (p *parser) plain(text string) {
	p.checkText("the client secret", text)
	for _, field := range []string{"client_secret", "clientSecret"} { // a line of a .env file, say
		if strings.Contains(strings.ToLower(text), strings.ToLower(field)) {
			p.fault("the secret's value is no JSON object, and no client secret either: it contains %s", field)
		}
	}
	p.credential.ClientSecret = sensitive.New(text)
}

func (p *parser) object(text string, urls endpoint.Rule) {
	var err error
	if p.members, err = strictjson.Object([]byte(text)); err != nil {
		p.fault("the secret's value begins like JSON but is wrong: %v", err)
		return
	}
	for _, camelCase := range []string{"accessTokenUrl", "authMethodId", "clientId", "clientSecret"} {
		name := known[strings.ToLower(camelCase)]
		if raw, stated := p.members[camelCase]; stated {
			if p.members[name] != nil {
				p.fault("%s stands in two spellings", name)
			}
			p.members[name] = raw
		}
	}
	p.credential = Credential{
		ClientID:       p.text("client_id"),
		ClientSecret:   sensitive.New(p.text("client_secret")),
		AccessTokenURL: p.text("access_token_url"),
		Audience:       p.clearable("audience"),
		Scope:          p.clearable("scope"),
		Name:           p.text("name"),
		AuthMethodID:   strings.ToLower(p.text("auth_method_id")), // as Datadog spells ids
	}
	c := p.credential
	if raw := p.members["client_secret"]; raw == nil || strictjson.Null(raw) || string(raw) == `""` {
		p.fault("client_secret is required")
	}
	if strings.ContainsFunc(c.Name, func(r rune) bool { return !unicode.IsPrint(r) && !unicode.IsControl(r) }) {
		p.fault("name has a character that does not print")
	}
	if err := urls.Check(c.AccessTokenURL); err != nil && c.AccessTokenURL != "" {
		p.fault("access_token_url %v", err)
	}
	if c.AuthMethodID != "" && !IsUUID(c.AuthMethodID) {
		p.fault("auth_method_id must be a UUID")
	}
	p.findMisspelt()
}

// text reads a field in which null and "" mean that it is absent.
func (p *parser) text(name string) string {
	s := aws.ToString(p.clearable(name))
	if s != "" && strings.TrimSpace(s) == "" {
		p.fault("%s is only white space", name)
	}
	return s
}

// clearable reads a field in which null and "" mean that it is to be cleared.
func (p *parser) clearable(name string) *string {
	raw, stated := p.members[name]
	if !stated {
		return nil
	}
	s, ok := strictjson.String(raw)
	if !ok && !strictjson.Null(raw) {
		p.fault("%s must be a string", name)
	}
	p.checkText(name, s)
	return &s
}

func (p *parser) checkText(what, s string) {
	if len(s) > maxField {
		p.fault("%s is over %d bytes", what, maxField)
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		p.fault("%s has a control character, such as a newline", what)
	}
	if strings.ContainsRune(s, utf8.RuneError) {
		p.fault("%s has U+FFFD, which stands for a character that was lost", what)
	}
}

// checkShown finds the client secret in what Datadog shows to everyone. Under 8 bytes it may be there by chance.
func (p *parser) checkShown(defaultName string) {
	c := p.credential
	secret := c.ClientSecret.Reveal()
	if len(secret) < 8 {
		return
	}
	for _, shown := range []struct{ field, value string }{
		{"the auth method's name", cmp.Or(c.Name, defaultName)},
		{"client_id", c.ClientID}, {"access_token_url", c.AccessTokenURL},
		{"audience", aws.ToString(c.Audience)}, {"scope", aws.ToString(c.Scope)},
	} {
		if strings.Contains(shown.value, secret) {
			p.fault("client_secret is part of %s, which Datadog shows to everyone", shown.field)
		}
	}
}

// findMisspelt names a field that is a known one by its letters, where the right one is missing. What else such a name
// holds may be anything, and is not shown.
func (p *parser) findMisspelt() {
	found := map[string]bool{}
	for _, member := range slices.Sorted(maps.Keys(p.members)) {
		right := known[strings.ToLower(noLetters.ReplaceAllString(member, ""))]
		if right == "" || p.members[right] != nil || found[right] {
			continue
		}
		found[right] = true
		shown := unusual.ReplaceAllString(member, "?")
		shown = shown[:min(len(shown), 40)]
		p.misspelt = append(p.misspelt, fmt.Sprintf("%q is ignored: the field is called %s", shown, right))
	}
}

// IsUUID reports whether s is a UUID in its usual form of 36 characters.
func IsUUID(s string) bool { return len(s) == 36 && uuid.Validate(s) == nil }
