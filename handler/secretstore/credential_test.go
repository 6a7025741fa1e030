package secretstore_test

import (
	"encoding/json"
	"errors"
	"fmt"
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

var rule = endpoint.Rule{Hosts: []string{"idp.example.com"}}

const ignored = " is ignored: the field is called "

// parse reads value, in which CANARY stands for the client secret.
func parse(value string) (secretstore.Credential, error) {
	return secretstore.ParseCredential(sensitive.New(strings.ReplaceAll(value, "CANARY", canary)), "payments-team", rule)
}

func TestParseCredential(t *testing.T) {
	only := func(secret string) secretstore.Credential {
		return secretstore.Credential{ClientSecret: sensitive.New(secret)}
	}
	warned := func(warning string) secretstore.Credential {
		c := only(canary)
		c.Warning = warning
		return c
	}
	empty, read := "", "read:webhooks"
	full := secretstore.Credential{ClientID: "c", ClientSecret: sensitive.New(canary), AccessTokenURL: "https://idp.example.com/token",
		Audience: &read, Scope: &read, Name: "n", AuthMethodID: id}
	cleared := secretstore.Credential{ClientSecret: sensitive.New(canary), Audience: &empty, Scope: &empty}
	for name, tc := range map[string]struct {
		value string
		want  secretstore.Credential
	}{
		"every field": {`{"client_id":"c","client_secret":"CANARY","access_token_url":"https://idp.example.com/token",
			"audience":"read:webhooks","scope":"read:webhooks","name":"n","auth_method_id":"` + strings.ToUpper(id) + `"}`, full},
		"camelCase": {`{"clientId":"c","clientSecret":"CANARY","accessTokenUrl":"https://idp.example.com/token",
			"audience":"read:webhooks","scope":"read:webhooks","name":"n","authMethodId":"` + id + `"}`, full},
		"null clears":       {`{"client_secret":"CANARY","audience":null,"scope":null}`, cleared},
		"empty clears":      {`{"client_secret":"CANARY","audience":"","scope":""}`, cleared},
		"null is absent":    {`{"client_secret":"CANARY","client_id":null,"access_token_url":null,"name":null,"auth_method_id":null}`, only(canary)},
		"empty is absent":   {`{"client_secret":"CANARY","client_id":"","access_token_url":"","name":"","auth_method_id":""}`, only(canary)},
		"unknown fields":    {`{"client_secret":"CANARY","note":{"a":[]},"names":1,"client":"x","token":"x"}`, only(canary)},
		"around the object": {" \ufeff \r\n{\"client_secret\":\"CANARY\"}\n\t", only(canary)},
		"white space kept": {`{"client_secret":" CANARY ","client_id":" c "}`,
			secretstore.Credential{ClientSecret: sensitive.New(" " + canary + " "), ClientID: " c "}},
		"7 bytes may be shown": {`{"client_secret":"payment","name":"payments"}`,
			secretstore.Credential{ClientSecret: sensitive.New("payment"), Name: "payments"}},
		"a stated name hides the default": {`{"client_secret":"payments","name":"n"}`,
			secretstore.Credential{ClientSecret: sensitive.New("payments"), Name: "n"}},
		"no control, though it does not print": {`{"client_secret":"CANARY\u200b"}`, only(canary + "\u200b")},
		"plain":                                {"CANARY", only(canary)},
		"plain, trimmed":                       {"\ufeff\t CANARY\r\n", only(canary)},
		"plain number":                         {"12345678", only("12345678")},
		"plain null":                           {"null", only("null")},
		"plain with an object":                 {`x{"client":1}`, only(`x{"client":1}`)},
		"plain, 4096 bytes":                    {strings.Repeat("s", 4096), only(strings.Repeat("s", 4096))},

		"misspelt": {`{"client_secret":"CANARY","CLIENT-ID":"x","Scope":"x"," name":1,"token_url":"x"}`,
			warned(`" name"` + ignored + `name; "CLIENT-ID"` + ignored + `client_id; "Scope"` + ignored + `scope; "token_url"` +
				ignored + "access_token_url")},
		"misspelt twice": {`{"client_secret":"CANARY","tokenEndpoint":"x","TOKEN_ENDPOINT":"x"}`, warned(`"TOKEN_ENDPOINT"` + ignored + "access_token_url")},
		"misspelt, and right": {`{"clientSecret":"CANARY","Client_Secret":"x","scope":null,"scope ":"x"}`,
			secretstore.Credential{ClientSecret: sensitive.New(canary), Scope: &empty}},
		"misspelt by anything": {`{"client_secret":"CANARY","scope\n=12345678é":"x","n\u0000a1me` + strings.Repeat("-", 50) + `":"x"}`,
			warned(`"n?a?me` + strings.Repeat("-", 34) + `"` + ignored + "name")},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parse(tc.value)
			if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
				t.Errorf("error %v (-want +got):\n%s", err, diff)
			}
			mustNotHold(t, fmt.Sprintf("%v %+v %#v", got, got, got))
		})
	}
}

func TestStates(t *testing.T) {
	x := "x"
	for missing, c := range map[string]secretstore.Credential{
		"":                 {ClientID: x, AccessTokenURL: x, Audience: &x, Scope: &x},
		"client_id":        {AccessTokenURL: x, Audience: &x, Scope: &x},
		"access_token_url": {ClientID: x, Audience: &x, Scope: &x},
		"audience":         {ClientID: x, AccessTokenURL: x, Scope: &x},
		"scope":            {ClientID: x, AccessTokenURL: x, Audience: &x},
	} {
		if c.States() != (missing == "") {
			t.Errorf("without %q: %v", missing, c.States())
		}
	}
}

func TestParseCredentialFaults(t *testing.T) {
	const (
		ok      = `{"client_secret":"CANARY",`
		control = " has a control character, such as a newline"
		lost    = " has U+FFFD, which stands for a character that was lost"
		tooLong = " is over 4096 bytes"
		part    = "client_secret is part of "
		shown   = ", which Datadog shows to everyone"
		neither = "the secret's value is no JSON object, and no client secret either: it contains "
	)
	each := func(faults ...string) string { return strings.Join(faults, "; ") }
	long := strings.Repeat("a", 4097)
	for name, tc := range map[string]struct {
		value string
		want  string // every fault; none where the value as a whole is wrong
	}{
		"empty":                {"", ""},
		"white space":          {"\ufeff \n\t", ""},
		"not UTF-8":            {"CANARY\xff", ""},
		"a string":             {`"CANARY"`, ""},
		"an array":             {`["CANARY"]`, ""},
		"an open object":       {`{"client_secret":"CANARY"`, ""},
		"two objects":          {`{"client_secret":"CANARY"} {"client_secret":"CANARY"}`, ""},
		"a template":           {`{{CANARY}}`, ""},
		"a field twice":        {`{"client_secret":"CANARY","client_secret":"CANARY"}`, ""},
		"plain, two lines":     {"CANARY\nx", "the client secret" + control},
		"plain, lost text":     {"CANARY\ufffd", "the client secret" + lost},
		"plain, 4097 bytes":    {long, "the client secret" + tooLong},
		"plain, client_secret": {"export CLIENT_SECRET=CANARY", neither + "client_secret"},
		"plain, clientSecret":  {"clientSecret: CANARY", neither + "clientSecret"},
		"plain, default name":  {"payments", part + "the auth method's name" + shown},

		"no client_secret":        {`{"CANARY":"CANARY"}`, "client_secret is required"},
		"null client_secret":      {`{"client_secret":null}`, "client_secret is required"},
		"empty client_secret":     {`{"client_secret":""}`, "client_secret is required"},
		"misspelt client_secret":  {`{"Client-Secret":"CANARY"}`, each("client_secret is required", `"Client-Secret"`+ignored+"client_secret")},
		"two spellings, one null": {ok + `"client_id":null,"clientId":"x"}`, "client_id stands in two spellings"},
		"two spellings": {`{"client_id":"c","clientId":"c","client_secret":"CANARY","clientSecret":"CANARY",
			"access_token_url":"https://idp.example.com","accessTokenUrl":"https://idp.example.com",
			"auth_method_id":"` + id + `","authMethodId":"` + id + `"}`,
			each("access_token_url stands in two spellings", "auth_method_id stands in two spellings",
				"client_id stands in two spellings", "client_secret stands in two spellings")},
		"types": {`{"client_id":1,"client_secret":{"CANARY":1},"access_token_url":true,"audience":["CANARY"],"scope":5,
			"name":{},"auth_method_id":[]}`, each("client_id must be a string", "client_secret must be a string",
			"access_token_url must be a string", "audience must be a string", "scope must be a string",
			"name must be a string", "auth_method_id must be a string")},
		"white space only": {`{"client_id":" ","client_secret":" ","name":" "}`,
			each("client_id is only white space", "client_secret is only white space", "name is only white space")},
		"controls": {`{"client_id":"\u0000","client_secret":"CANARY\n","audience":"\u007f","scope":"a\tb","name":"a\u0085"}`,
			each("client_id"+control, "client_secret"+control, "audience"+control, "scope"+control, "name"+control)},
		"lost text": {`{"client_id":"\ufffd","client_secret":"CANARY\ud800","audience":"�","scope":"x\udc00","name":"\ufffd"}`,
			each("client_id"+lost, "client_secret"+lost, "audience"+lost, "scope"+lost, "name"+lost)},
		"a name that does not print": {ok + `"name":"a\u200bb"}`, "name has a character that does not print"},
		"a name with another space":  {ok + `"name":"a\u00a0b"}`, "name has a character that does not print"},
		"too long": {`{"client_id":"LONG","client_secret":"LONG","audience":"LONG","scope":"LONG","name":"n"}`,
			each("client_id"+tooLong, "client_secret"+tooLong, "audience"+tooLong, "scope"+tooLong,
				part+"client_id"+shown, part+"audience"+shown, part+"scope"+shown)},
		"shown": {ok + `"client_id":"CANARY","access_token_url":"https://idp.example.com/?secret=CANARY",
			"audience":"x CANARY","scope":"CANARY x","name":"xCANARYx"}`,
			each("access_token_url has white space or a character that does not print", part+"the auth method's name"+shown, part+"client_id"+shown,
				part+"access_token_url"+shown, part+"audience"+shown, part+"scope"+shown)},

		"a URL that is none":     {ok + `"access_token_url":"token"}`, "access_token_url is no absolute URL"},
		"a URL with userinfo":    {ok + `"accessTokenUrl":"https://user:CANARY@idp.example.com/"}`, ""},
		"a URL with white space": {ok + `"access_token_url":"https://idp.example.com/token "}`, "access_token_url has white space or a character that does not print"},
		"a URL of another host":  {ok + `"access_token_url":"https://idp.example.org/"}`, "access_token_url has a host that AllowedTokenHosts does not admit"},
		"an id in braces":        {ok + `"auth_method_id":"{` + id + `}"}`, "auth_method_id must be a UUID"},
		"an id without hyphens":  {ok + `"auth_method_id":"` + strings.ReplaceAll(id, "-", "") + `"}`, "auth_method_id must be a UUID"},
		"misspelt among the rest": {ok + `"token_url":"CANARY","name":1}`,
			each("name must be a string", `"token_url"`+ignored+"access_token_url")},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parse(strings.ReplaceAll(tc.value, "LONG", long))
			e, ok := errors.AsType[*fault.Error](err)
			if !ok || e.Code != fault.SecretInvalid || e.Retryable {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff(tc.want, e.Message); tc.want != "" && diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
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

// FuzzParseCredential: what begins like JSON is an object or nothing; no error holds the secret; what is accepted has no
// control character, and is not shown to everyone.
func FuzzParseCredential(f *testing.F) {
	for _, seed := range []string{`{"client_secret":"SECRET"}`, `{"clientSecret":"x","audience":null,"scope":"","SECRET":1}`, "SECRET", " [SECRET]", `"SECRET"`,
		`{"client_id":"SECRET","client_secret":["SECRET"],"access_token_url":"http://SECRET@h#SECRET","name":"SECRET","auth_method_id":"SECRET"}`,
		`{"client_secret":"SECRET","auth_method_id":"` + id + `","access_token_url":"https://h/SECRET"}`, "\ufeff{SECRET"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		value = strings.ReplaceAll(value, "SECRET", canary)
		c, err := secretstore.ParseCredential(sensitive.New(value), "payments-team", endpoint.Rule{})
		if err != nil {
			if sensitive.New(canary).In(fmt.Sprintf("%v %+v", err, err)) || fault.From(err).Code != fault.SecretInvalid {
				t.Fatal(err)
			}
			return
		}
		text := strings.TrimFunc(value, func(r rune) bool { return unicode.IsSpace(r) || r == '\ufeff' })
		var object map[string]any
		isObject := json.Unmarshal([]byte(text), &object) == nil && object != nil
		if strings.ContainsAny(text[:1], `{["`) != isObject {
			t.Fatalf("begins with %q; an object: %v", text[:1], isObject)
		}
		secret := c.ClientSecret.Reveal()
		if !isObject && (c != secretstore.Credential{ClientSecret: c.ClientSecret} || secret != text) {
			t.Fatal("a bare value is not the secret alone")
		}
		mustNotHold(t, c.Warning)
		said := c.ClientID + c.AccessTokenURL + c.Name
		if secret == "" || strings.ContainsFunc(secret+said, unicode.IsControl) ||
			len(secret) >= 8 && (strings.Contains(c.ClientID, secret) || strings.Contains(c.Name, secret)) {
			t.Fatalf("accepted: %v", c)
		}
	})
}
