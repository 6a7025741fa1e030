// Package tokencheck asks a token endpoint whether it accepts a client credential.
package tokencheck

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"datadog-webhook-auth-sync/handler/sensitive"
)

const (
	maxTime = 5 * time.Second // of one check, with all its token requests
	maxSize = 64 << 10        // 64 KiB, of an answer's headers and of its body, which has a few
)

// Credential is what a token request takes. Audience and Scope may be empty.
type Credential struct {
	ClientID       string
	ClientSecret   sensitive.Text
	AccessTokenURL string
	Audience       string
	Scope          string
}

// Style is how a client authenticates (RFC 6749 §2.3.1).
type Style string

const (
	Header Style = "header" // HTTP Basic, client id and secret each form-encoded
	Body   Style = "body"   // client_id and client_secret in the body
	Plain  Style = "plain"  // HTTP Basic without the encoding, for providers that do not decode
)

// Outcome of a check.
type Outcome string

const (
	Accepted     Outcome = "accepted"
	Rejected     Outcome = "rejected"     // now: a provider may take minutes to honour a new secret
	Inconclusive Outcome = "inconclusive" // the credential may work or not
)

// Verdict is the outcome of a check and, unless a token came, its cause in our own words.
type Verdict struct {
	Outcome Outcome
	Why     string // begins with the host: "idp.example.com answered 401 invalid_client"
	Hint    string // what to do about it
	Refused bool   // some attempt was answered with a refusal
	Via     Style  // that was accepted
}

// Checker asks token endpoints. It keeps nothing between calls and is safe for concurrent use.
type Checker struct{ transport http.RoundTripper }

// New makes a checker that sends through transport; Transport makes the one for a network.
func New(transport http.RoundTripper) *Checker { return &Checker{transport} }

// Check asks for a token with c, in at most three attempts and 5 s: first in the known style, if there is one. The
// next attempt follows each HTTP answer without a token but 429. The outcome is
//
//  1. Accepted if a token came;
//  2. Rejected if the known style was refused or, where none is known, every attempt;
//  3. Inconclusive otherwise.
func (k *Checker) Check(ctx context.Context, c Credential, known Style) Verdict {
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	styles := c.styles(known)
	if known == Plain && !slices.Contains(styles, Plain) {
		known = Header // which is the same here
	}
	v := Verdict{Outcome: Rejected} // 2
	knownRefused := false
	var whys []string
	for _, style := range styles {
		a := k.ask(ctx, c, style)
		if a.token {
			return Verdict{Outcome: Accepted, Via: style} // 1
		}
		v.Refused = v.Refused || a.refused
		knownRefused = knownRefused || a.refused && style == known
		if !a.refused && !knownRefused {
			v.Outcome, v.Hint = Inconclusive, a.hint // 3
		} else if v.Hint == "" || hints[a.code] != "" && v.Outcome == Rejected { // whose provider knows the client
			v.Hint = a.hint
		}
		if !slices.Contains(whys, a.why) {
			whys = append(whys, a.why)
		}
		if a.status == 0 || a.status == http.StatusTooManyRequests {
			break
		}
	}
	host := ""
	if u, err := url.Parse(c.AccessTokenURL); err == nil {
		host = u.Hostname()
	}
	v.Why = host + " " + strings.ReplaceAll(strings.Join(whys, ", then "), "then answered", "then")
	for _, field := range [][2]string{{"client_id", c.ClientID}, {"client_secret", c.ClientSecret.Reveal()}} {
		if name, value := field[0], field[1]; v.Outcome == Rejected && value != strings.TrimSpace(value) {
			v.Why += " (there is white space around " + name + ")"
			if v.Hint == checkSecret {
				v.Hint = "Take the white space off, unless it belongs there."
			}
		}
	}
	return v
}

// styles returns the styles to try, the known one first.
func (c Credential) styles(known Style) []Style {
	styles := []Style{Header, Body}
	id, secret := c.ClientID, c.ClientSecret.Reveal()
	encoded := url.QueryEscape(id) != id || url.QueryEscape(secret) != secret
	if encoded && !strings.Contains(id, ":") {
		styles = append(styles, Plain)
	}
	if i := slices.Index(styles, known); i > 0 {
		styles = slices.Concat([]Style{known}, styles[:i], styles[i+1:])
	}
	return styles
}

// ask makes one token request.
func (k *Checker) ask(ctx context.Context, c Credential, style Style) answer {
	form := url.Values{"grant_type": {"client_credentials"}}
	if c.Scope != "" {
		form.Set("scope", c.Scope)
	}
	if c.Audience != "" {
		form.Set("audience", c.Audience)
	}
	id, secret := c.ClientID, c.ClientSecret.Reveal()
	if style == Body {
		form.Set("client_id", id)
		form.Set("client_secret", secret)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.AccessTokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return unanswered(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	switch style {
	case Header:
		req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	case Plain:
		req.SetBasicAuth(id, secret)
	}
	resp, err := k.transport.RoundTrip(req) // which follows no redirect
	if err != nil {
		return unanswered(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols { // the body is the connection, which no context ends
		return unanswered(http.ErrNotSupported)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxSize))
	if err != nil {
		return unanswered(err)
	}
	return read(resp.StatusCode, body, c)
}
