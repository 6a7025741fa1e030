// Package tokencheck verifies a client credential at its token endpoint.
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
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"datadog-webhook-auth-sync/handler/sensitive"
)

// maxTime bounds one check, both its requests together.
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
	Inconclusive Outcome = "inconclusive" // it says nothing of the credential
)

// Verdict is an outcome and, except for Accepted, what led to it in our own words.
type Verdict struct {
	Outcome  Outcome
	Why      string
	Answered bool // each style that was tried was answered over HTTP, or the host does not exist
}

// Checker asks token endpoints. It is safe for concurrent use.
type Checker struct {
	transport http.RoundTripper
	styles    sync.Map // from access token URL to the oauth2.AuthStyle that worked
}

// New makes a checker that sends through transport; Transport makes the one for a network.
func New(transport http.RoundTripper) *Checker { return &Checker{transport: transport} }

// Check asks for a token with c, within 5 s: with the client authentication in the header, then, after 400, 401 or 403,
// with it in the body (RFC 6749 §2.3.1); or first with the one that worked before. The outcome is Accepted if a token
// came, Rejected if none came and one of the answers is conclusive, and otherwise Inconclusive.
func (k *Checker) Check(ctx context.Context, c Credential) Verdict {
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	styles := []oauth2.AuthStyle{oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams}
	if worked, ok := k.styles.Load(c.AccessTokenURL); ok && worked == oauth2.AuthStyleInParams {
		slices.Reverse(styles)
	}
	verdict := Verdict{Outcome: Inconclusive, Answered: true}
	var whys []string
	for _, style := range styles {
		a := &answer{transport: k.transport}
		err := a.ask(ctx, c, style)
		if err == nil {
			k.styles.Store(c.AccessTokenURL, style)
			return Verdict{Outcome: Accepted, Answered: true}
		}
		if a.conclusive(err) {
			verdict.Outcome = Rejected
		}
		verdict.Answered = verdict.Answered && (a.status != 0 || noSuchHost(err))
		whys = append(whys, a.why(err))
		if !slices.Contains([]int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden}, a.status) {
			break
		}
	}
	host := ""
	if u, err := url.Parse(c.AccessTokenURL); err == nil {
		host = u.Hostname()
	}
	verdict.Why = fmt.Sprintf("the token endpoint at %s %s", host, strings.Join(slices.Compact(whys), ", then "))
	return verdict
}

// ask returns nil if a token came.
func (a *answer) ask(ctx context.Context, c Credential, style oauth2.AuthStyle) error {
	request := clientcredentials.Config{ClientID: c.ClientID, ClientSecret: c.ClientSecret.Reveal(), TokenURL: c.AccessTokenURL, AuthStyle: style}
	if c.Scope != "" {
		request.Scopes = []string{c.Scope}
	}
	if c.Audience != "" {
		request.EndpointParams = url.Values{"audience": {c.Audience}}
	}
	_, err := request.Token(context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: a}))
	return err
}

// conclusive reports whether an answer without a token says by itself that the credential will not do:
//
//  1. an OAuth error for what the credential is;
//  2. any OAuth error with 401;
//  3. 404, 4. a redirect, or 5. no such host: there is no token endpoint.
func (a *answer) conclusive(err error) bool {
	return slices.Contains([]string{"invalid_client", "unauthorized_client", "invalid_scope", "invalid_target"}, a.code) || // 1
		a.code != "" && a.status == http.StatusUnauthorized || // 2
		a.status == http.StatusNotFound || a.status/100 == 3 || noSuchHost(err) // 3, 4, 5
}

// codes of OAuth errors: RFC 6749 §5.2, RFC 8707. An endpoint may send anything in their place, such as an echo.
var codes = []string{"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
	"invalid_scope", "invalid_target", "access_denied", "server_error", "temporarily_unavailable", "slow_down"}

// aadsts is Microsoft Entra's error number, which says more than its OAuth error code.
var aadsts = regexp.MustCompile(`\bAADSTS[0-9]{1,10}\b`)

// why tells of an answer without a token what may be told: of the server's words only known codes.
func (a *answer) why(err error) string {
	switch {
	case a.code == "" && a.status/100 == 2:
		return fmt.Sprintf("answered %d without an access token", a.status)
	case a.status != 0:
		text := fmt.Sprintf("answered %d", a.status)
		if slices.Contains(codes, a.code) {
			text += " " + a.code
		}
		if number := aadsts.FindString(a.description); number != "" {
			text += " " + number
		}
		return text
	case noSuchHost(err):
		return "does not exist: its host name is unknown"
	case errors.Is(err, errNotPublic):
		return "has an address that is not public, so it was not called"
	case errors.Is(err, context.DeadlineExceeded):
		return "did not answer in time"
	}
	return "could not be reached or gave no HTTP answer"
}

func noSuchHost(err error) bool {
	lookup, ok := errors.AsType[*net.DNSError](err)
	return ok && lookup.IsNotFound
}
