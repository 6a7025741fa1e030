// Package tokencheck proves a client credential at its token endpoint.
package tokencheck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"datadog-webhook-auth-sync/handler/sensitive"
)

// maxTime bounds one check, both its attempts together.
const maxTime = 5 * time.Second

// Credential is what a token request takes. Audience and Scope may be empty.
type Credential struct {
	ClientID       string
	ClientSecret   sensitive.Text
	AccessTokenURL string
	Audience       string
	Scope          string
}

// Outcome of a check.
type Outcome string

const (
	Accepted     Outcome = "accepted"
	Rejected     Outcome = "rejected"     // it will not work as it is, though it may once the identity provider knows it
	Inconclusive Outcome = "inconclusive" // nothing was learnt of it
)

// Verdict is an outcome and, save for Accepted, what led to it in our own words.
type Verdict struct {
	Outcome Outcome
	Why     string
}

// Checker asks token endpoints. It is safe for concurrent use.
type Checker struct {
	client *http.Client
	styles sync.Map // access token URL → the oauth2.AuthStyle that worked
}

// New makes a checker that sends through transport; Transport makes the one for use in earnest.
func New(transport http.RoundTripper) *Checker {
	return &Checker{client: &http.Client{
		Transport:     capped{transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Check asks for a token with c, within 5 s: with the client authentication in the header, then, after 400, 401 or 403,
// with it in the body (RFC 6749 §2.3.1); or first with the one that worked before.
func (k *Checker) Check(ctx context.Context, c Credential) Verdict {
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	styles := []oauth2.AuthStyle{oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams}
	if worked, ok := k.styles.Load(c.AccessTokenURL); ok && worked == oauth2.AuthStyleInParams {
		slices.Reverse(styles)
	}
	var answers []answer
	for _, style := range styles {
		a := k.ask(ctx, c, style)
		if a.accepted {
			k.styles.Store(c.AccessTokenURL, style)
			return Verdict{Outcome: Accepted}
		}
		answers = append(answers, a)
		if !a.asksForOtherStyle() {
			break
		}
	}
	outcome, decisive := judge(answers)
	return Verdict{outcome, fmt.Sprintf("the token endpoint at %s %s", host(c.AccessTokenURL), decisive.text)}
}

// answer is what one token request came to.
type answer struct {
	accepted bool
	status   int    // 0: none came
	oauth    bool   // it is an OAuth error: the server knows the request for what it is, and refuses it
	code     string // of an OAuth error, where it is a known one: RFC 6749 §5.2, RFC 8707
	noHost   bool
	text     string
}

func (a answer) asksForOtherStyle() bool {
	return a.status == http.StatusBadRequest || a.status == http.StatusUnauthorized || a.status == http.StatusForbidden
}

func (a answer) rejects() bool {
	return a.status == http.StatusUnauthorized ||
		slices.Contains([]string{"invalid_client", "unauthorized_client", "invalid_scope", "invalid_target"}, a.code)
}

// judge says what the answers of one check come to, and which of them decided it:
//
//  1. the last is 404, a redirect, or no such host: there is no token endpoint, so rejected;
//  2. every style was refused by an OAuth error, and one of them for what the credential is: rejected;
//  3. anything else: inconclusive.
func judge(answers []answer) (Outcome, answer) {
	last := answers[len(answers)-1]
	if last.noHost || last.status == http.StatusNotFound || last.status >= 300 && last.status < 400 { // 1
		return Rejected, last
	}
	everyStyle := len(answers) == 2 && answers[0].oauth && answers[1].oauth
	if i := slices.IndexFunc(answers, answer.rejects); everyStyle && i >= 0 { // 2
		return Rejected, answers[i]
	}
	return Inconclusive, last // 3
}

func (k *Checker) ask(ctx context.Context, c Credential, style oauth2.AuthStyle) answer {
	request := clientcredentials.Config{ClientID: c.ClientID, ClientSecret: c.ClientSecret.Reveal(),
		TokenURL: c.AccessTokenURL, AuthStyle: style}
	if c.Scope != "" {
		request.Scopes = []string{c.Scope}
	}
	if c.Audience != "" {
		request.EndpointParams = url.Values{"audience": {c.Audience}}
	}
	_, err := request.Token(context.WithValue(ctx, oauth2.HTTPClient, k.client))
	if err == nil {
		return answer{accepted: true}
	}
	if refusal, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		a := answer{status: refusal.Response.StatusCode, oauth: refusal.ErrorCode != "", code: known(refusal.ErrorCode)}
		a.text = fmt.Sprintf("answered %d", a.status)
		for _, word := range []string{a.code, aadsts.FindString(refusal.ErrorDescription)} {
			if word != "" {
				a.text += " " + word
			}
		}
		return a
	}
	if lookup, ok := errors.AsType[*net.DNSError](err); ok && lookup.IsNotFound {
		return answer{noHost: true, text: "does not exist: its host name is unknown"}
	}
	switch {
	case errors.Is(err, errNotPublic):
		return answer{text: "has an address that is not public, so it was not called"}
	case errors.Is(err, context.DeadlineExceeded):
		return answer{text: "did not answer in time"}
	}
	if _, failed := errors.AsType[*url.Error](err); failed {
		return answer{text: "could not be reached"}
	}
	return answer{text: "answered without an access token"}
}

// aadsts is Microsoft Entra's error number, which says more than its OAuth error code.
var aadsts = regexp.MustCompile(`\bAADSTS[0-9]{1,10}\b`)

var codes = []string{"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
	"invalid_scope", "invalid_target", "access_denied", "server_error", "temporarily_unavailable", "slow_down"}

// known is code where it is an OAuth error code, since an endpoint may send anything in its place, such as an echo.
func known(code string) string {
	if slices.Contains(codes, code) {
		return code
	}
	return ""
}

func host(rawURL string) string {
	if u, err := url.Parse(rawURL); err == nil {
		return u.Hostname()
	}
	return ""
}
