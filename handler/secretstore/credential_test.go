package secretstore_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/endpoint"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/sensitive"
)

const (
	canary = "canary/of+the client&secret"
	id     = "0f5e4d3c-2b1a-4c9d-8e7f-6a5b4c3d2e1f"
	other  = "1f5e4d3c-2b1a-4c9d-8e7f-6a5b4c3d2e1f"
)

func TestParseCredential(t *testing.T) {
	secret := sensitive.New(canary)
	empty, read := "", "read:webhooks"
	full := secretstore.Credential{ClientID: "c", ClientSecret: secret, AccessTokenURL: "https://idp.example.com/token",
		Audience: &read, Scope: &read, Name: "n", AuthMethodID: id}
	for name, tc := range map[string]struct {
		value string
		want  secretstore.Credential
	}{
		"every field": {`{"client_id":"c","client_secret":"CANARY","access_token_url":"https://idp.example.com/token",
			"audience":"read:webhooks","scope":"read:webhooks","name":"n","auth_method_id":"` + id + `"}`, full},
		"camelCase": {`{"clientId":"c","clientSecret":"CANARY","accessTokenUrl":"https://idp.example.com/token",
			"audience":"read:webhooks","scope":"read:webhooks","name":"n","authMethodId":"` + id + `"}`, full},
		"the secret alone in an object":    {`{"client_secret":"CANARY"}`, secretstore.Credential{ClientSecret: secret}},
		"null clears audience and scope":   {`{"client_secret":"CANARY","audience":null,"scope":null}`, secretstore.Credential{ClientSecret: secret, Audience: &empty, Scope: &empty}},
		"empty clears audience and scope":  {`{"client_secret":"CANARY","audience":"","scope":""}`, secretstore.Credential{ClientSecret: secret, Audience: &empty, Scope: &empty}},
		"null elsewhere is absent":         {`{"client_secret":"CANARY","client_id":null,"access_token_url":null,"name":null,"auth_method_id":null}`, secretstore.Credential{ClientSecret: secret}},
		"unknown fields and other cases":   {`{"client_secret":"CANARY","Client_ID":"x","NAME":1,"note":{"a":[]},"Scope":"x"}`, secretstore.Credential{ClientSecret: secret}},
		"space around the object":          {"\ufeff \r\n{\"client_secret\":\"CANARY\"}\n\t", secretstore.Credential{ClientSecret: secret}},
		"an id in capitals":                {`{"client_secret":"CANARY","auth_method_id":"` + strings.ToUpper(id) + `"}`, secretstore.Credential{ClientSecret: secret, AuthMethodID: id}},
		"a mark after the space":           {" \ufeff{\"client_secret\":\"CANARY\"}", secretstore.Credential{ClientSecret: secret}},
		"the value alone":                  {"CANARY", secretstore.Credential{ClientSecret: secret}},
		"the value alone, trimmed":         {"\ufeff\t CANARY\r\n", secretstore.Credential{ClientSecret: secret}},
		"a bare number":                    {"12345678", secretstore.Credential{ClientSecret: sensitive.New("12345678")}},
		"a bare word that JSON knows":      {"null", secretstore.Credential{ClientSecret: sensitive.New("null")}},
		"JSON's signs inside a bare value": {`x{"client_secret":1}`, secretstore.Credential{ClientSecret: sensitive.New(`x{"client_secret":1}`)}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := secretstore.ParseCredential(sensitive.New(strings.ReplaceAll(tc.value, "CANARY", canary)), endpoint.Rule{Hosts: []string{"idp.example.com"}})
			if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
				t.Errorf("error %v (-want +got):\n%s", err, diff)
			}
			mustNotHold(t, fmt.Sprintf("%v %+v %#v", got, got, got))
		})
	}
}

func TestParseCredentialFaults(t *testing.T) {
	for name, tc := range map[string]struct {
		value  string
		faults []string // each names a field; none where the value as a whole is wrong
	}{
		"empty":                       {``, nil},
		"white space":                 {"\ufeff \n\t", nil},
		"not UTF-8":                   {"CANARY\xff", nil},
		"a string":                    {`"CANARY"`, nil},
		"an array":                    {`["CANARY"]`, nil},
		"an open object":              {`{"client_secret":"CANARY"`, nil},
		"more than an object":         {`{"client_secret":"CANARY"} {"client_secret":"CANARY"}`, nil},
		"a template":                  {`{{CANARY}}`, nil},
		"a field twice":               {`{"client_secret":"CANARY","client_secret":"CANARY"}`, nil},
		"no client_secret":            {`{"CANARY":"CANARY"}`, []string{"client_secret is required"}},
		"null client_secret":          {`{"client_secret":null}`, []string{"client_secret is required"}},
		"empty client_secret":         {`{"client_secret":""}`, []string{"client_secret is empty"}},
		"blank client_secret":         {`{"client_secret":" \t"}`, []string{"client_secret is empty"}},
		"client_secret of no string":  {`{"client_secret":["CANARY"]}`, []string{"client_secret must be a string"}},
		"two spellings":               {`{"client_secret":"CANARY","clientSecret":"CANARY"}`, []string{"client_secret stands in two spellings"}},
		"two spellings, one null":     {`{"client_secret":"CANARY","client_id":null,"clientId":"CANARY"}`, []string{"client_id stands in two spellings"}},
		"a URL that is none":          {`{"client_secret":"CANARY","access_token_url":"CANARY"}`, []string{"access_token_url is no absolute URL"}},
		"a URL with userinfo":         {`{"client_secret":"CANARY","accessTokenUrl":"https://user:pw@idp.example.com/CANARY"}`, []string{"access_token_url must not carry userinfo"}},
		"a URL that the rule refuses": {`{"client_secret":"CANARY","access_token_url":"https://idp.example.org/CANARY"}`, []string{"access_token_url has a host that AllowedTokenHosts does not admit"}},
		"all at once": {`{"client_id":1,"client_secret":{"CANARY":1},"access_token_url":"http://idp.example.com/CANARY","audience":["CANARY"],"scope":5,"name":" ","auth_method_id":"CANARY"}`,
			[]string{"client_id must be a string", "client_secret must be a string", "access_token_url must be https", "audience must be a string or null",
				"scope must be a string or null", "name is empty", "auth_method_id must be a UUID"}},
		"all twice": {`{"client_id":"c","clientId":"c","client_secret":"CANARY","clientSecret":"CANARY","access_token_url":"https://idp.example.com","accessTokenUrl":"https://idp.example.com","auth_method_id":"` + id + `","authMethodId":"` + id + `"}`,
			[]string{"client_id stands in two spellings", "client_secret stands in two spellings", "access_token_url stands in two spellings", "auth_method_id stands in two spellings"}},
		"UUIDs of other forms": {`{"client_secret":"CANARY","auth_method_id":"{` + id + `}"}`, []string{"auth_method_id must be a UUID"}},
		"UUID without dashes":  {`{"client_secret":"CANARY","auth_method_id":"` + strings.ReplaceAll(id, "-", "") + `"}`, []string{"auth_method_id must be a UUID"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := secretstore.ParseCredential(sensitive.New(strings.ReplaceAll(tc.value, "CANARY", canary)), endpoint.Rule{Hosts: []string{"idp.example.com"}})
			e, ok := errors.AsType[*fault.Error](err)
			if !ok || e.Code != fault.SecretInvalid || e.Retryable {
				t.Fatalf("error %v", err)
			}
			said := strings.Split(e.Message, "; ")
			slices.Sort(said)
			slices.Sort(tc.faults)
			if tc.faults != nil && !cmp.Equal(tc.faults, said) || tc.faults == nil && len(said) != 1 {
				t.Error(cmp.Diff(tc.faults, said))
			}
			if got != (secretstore.Credential{}) {
				t.Errorf("a credential all the same: %v", got)
			}
			out, _ := json.Marshal(e)
			mustNotHold(t, fmt.Sprintf("%v %+v %#v %v %s", err, err, *e, e.Unwrap(), out))
		})
	}
}

func mustNotHold(t *testing.T, out string) {
	t.Helper()
	if sensitive.New(canary).In(out) {
		t.Errorf("the secret is in %s", out)
	}
}

// FuzzParseCredential: what begins like JSON is an object or nothing; no error holds the secret; a credential that was
// accepted and is encoded again reads the same.
func FuzzParseCredential(f *testing.F) {
	for _, seed := range []string{`{"client_secret":"SECRET"}`, `{"clientSecret":"x","audience":null,"scope":"","SECRET":1}`, "SECRET", " [SECRET]", `"SECRET"`,
		`{"client_id":"SECRET","client_secret":["SECRET"],"access_token_url":"http://SECRET@h#SECRET","name":"SECRET","auth_method_id":"SECRET"}`,
		`{"client_secret":"SECRET","auth_method_id":"` + id + `","access_token_url":"https://h/SECRET"}`, "\ufeff{SECRET"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		value = strings.ReplaceAll(value, "SECRET", canary)
		c, err := secretstore.ParseCredential(sensitive.New(value), endpoint.Rule{})
		if err != nil {
			if sensitive.New(canary).In(fmt.Sprintf("%v %+v", err, err)) || fault.From(err).Code != fault.SecretInvalid {
				t.Fatal(err)
			}
			return
		}
		text := strings.TrimFunc(value, func(r rune) bool { return unicode.IsSpace(r) || r == '\ufeff' })
		object := map[string]any{"client_secret": c.ClientSecret.Reveal()}
		isObject := json.Unmarshal([]byte(text), &object) == nil && object != nil
		if strings.ContainsAny(text[:1], `{["`) != isObject {
			t.Fatalf("begins with %q; an object: %v", text[:1], isObject)
		}
		if c.ClientSecret.Reveal() == "" {
			t.Fatal("accepted without a secret")
		}
		if !isObject {
			if c != (secretstore.Credential{ClientSecret: c.ClientSecret}) || c.ClientSecret.Reveal() != text {
				t.Fatal("a bare value is not the secret alone")
			}
			return
		}
		clear(object)
		for name, s := range map[string]string{"client_id": c.ClientID, "client_secret": c.ClientSecret.Reveal(), "access_token_url": c.AccessTokenURL,
			"name": c.Name, "auth_method_id": c.AuthMethodID} {
			if s != "" {
				object[name] = s
			}
		}
		for name, s := range map[string]*string{"audience": c.Audience, "scope": c.Scope} {
			if s != nil {
				object[name] = *s
			}
		}
		again, _ := json.Marshal(object)
		if c2, err := secretstore.ParseCredential(sensitive.New(string(again)), endpoint.Rule{}); err != nil || !cmp.Equal(c, c2) {
			t.Fatalf("%v: %s", err, cmp.Diff(c, c2))
		}
	})
}

// A result with every field must fit an event.
func TestALongField(t *testing.T) {
	for length, fine := range map[int]bool{4096: true, 4097: false} {
		for _, field := range []string{"name", "scope"} {
			value := fmt.Sprintf(`{"client_secret":%q,%q:%q}`, canary, field, strings.Repeat("a", length))
			if _, err := secretstore.ParseCredential(sensitive.New(value), endpoint.Rule{}); (err == nil) != fine {
				t.Errorf("%s of %d bytes: %v", field, length, err)
			}
		}
	}
}
