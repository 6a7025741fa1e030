package tokencheck

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// answer is what one token request came to: a token, a refusal, or neither of them, which is no verdict.
type answer struct {
	status         int // 0: no whole HTTP answer
	token, refused bool
	code           string // an OAuth error code
	why, hint      string // in our own words
}

var (
	// oauth are the error codes of RFC 6749 §5.2, of RFC 8707 §2, and what token endpoints send besides.
	oauth = regexp.MustCompile(`(?i)^(invalid_(request|client|grant|scope|target)|unauthorized_client|access_denied` +
		`|unsupported_grant_type|server_error|temporarily_unavailable|slow_down)$`)
	form    = regexp.MustCompile(`^[\w.-]+=[^&<>\r\n]*(&[\w.-]+=[^&<>\r\n]*)*$`) // and neither HTML nor prose
	trouble = regexp.MustCompile(`(?is)too.?many|throttl|rate.?limit|slow.?down|temporar`)
	aadsts  = regexp.MustCompile(`\bAADSTS[0-9]{4,7}\b`) // Microsoft Entra's error number
	policy  = regexp.MustCompile(`\bAADSTS53003\b`)      // one about the caller's address, which is not Datadog's
)

const (
	checkSecret = "Check that the identity provider knows the new client secret."
	checkWall   = "Check that no firewall or policy keeps the function from the token endpoint."
)

// noError is what an error member prints as where it says that there is no error.
var noError = []string{"", "<nil>", "false", "0", "null", "[]", "map[]"}

// hints by OAuth error code.
var hints = map[string]string{
	"invalid_scope":          "Correct scope, or grant it to the client.",
	"invalid_target":         "Correct audience, or grant it to the client.",
	"unauthorized_client":    "Allow the client the client_credentials grant.",
	"unsupported_grant_type": "Allow the client the client_credentials grant.",
}

// read judges an HTTP answer:
//
//  1. a token: 2xx, and access_token beside no error;
//  2. no verdict: passing trouble, by its status or by what JSON or a form says;
//  3. no verdict: a wall before the endpoint: 403 without an OAuth error code, 2xx that is neither JSON nor a form, or
//     a policy about the caller's address;
//  4. a refusal: all else.
func read(status int, body []byte, c Credential) answer {
	a := answer{status: status, why: fmt.Sprintf("answered %d", status)}
	doc, legible := decode(body)
	members, _ := doc.(map[string]any)
	failed := false
	for _, name := range slices.Sorted(maps.Keys(members)) {
		value := fmt.Sprint(members[name])
		switch strings.ToLower(name) {
		case "error":
			failed = failed || !slices.Contains(noError, value)
			fallthrough
		case "errorcode":
			a.code = cmp.Or(a.code, strings.ToLower(oauth.FindString(value)))
		}
	}
	token, _ := members["access_token"].(string)
	success := status/100 == 2
	if success && token != "" && !strings.ContainsFunc(token, unicode.IsSpace) && !failed {
		a.token = true // 1
		return a
	}
	said := fmt.Sprint(doc) // with every text at any depth
	for _, sent := range append(strings.Fields(c.Scope), c.ClientID, c.Audience) {
		if trouble.MatchString(sent) { // such as the scope rate_limits, and a provider that repeats it
			said = strings.ReplaceAll(said, sent, "")
		}
	}
	switch {
	case trouble.MatchString(said), status/100 == 5, slices.Contains([]int{408, 425, 429}, status): // 2
		a.hint = "Wait: it is tried again."
	case policy.MatchString(said), status == http.StatusForbidden && a.code == "", success && !legible: // 3
		a.hint = checkWall
	default: // 4
		a.refused, a.hint = true, cmp.Or(hints[a.code], checkSecret)
		if status/100 == 3 || slices.Contains([]int{404, 405, 410, 415}, status) {
			a.hint = "Check that access_token_url is the token endpoint."
		}
	}
	if success && a.code == "" {
		a.why += " without an access token"
	}
	a.why = strings.Join(strings.Fields(a.why+" "+a.code+" "+aadsts.FindString(said)), " ")
	return a
}

// decode reads JSON, whatever its content type, or a form.
func decode(body []byte) (doc any, legible bool) {
	body = bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(body), []byte("\ufeff")))
	if json.Unmarshal(body, &doc) == nil {
		return doc, true
	}
	values, err := url.ParseQuery(string(body))
	if err != nil || !form.Match(body) {
		return nil, false
	}
	members := map[string]any{}
	for name := range values {
		members[name] = values.Get(name)
	}
	return members, true
}

// unanswered is what err, in place of an HTTP answer, tells: no verdict, unless the host does not exist.
func unanswered(err error) answer {
	lookup, isLookup := errors.AsType[*net.DNSError](err)
	switch {
	case isLookup && lookup.IsNotFound:
		return answer{refused: true, why: "does not exist: its host name is unknown",
			hint: "Correct the host in access_token_url."}
	case errors.Is(err, errNotPublic):
		return answer{why: "has an address that is not public, so it was not called",
			hint: "Use a token endpoint with a public address."}
	case errors.Is(err, context.DeadlineExceeded):
		return answer{why: "did not answer in time", hint: "Wait: it is tried again."}
	}
	return answer{why: "could not be reached or gave no HTTP answer", hint: checkWall}
}
