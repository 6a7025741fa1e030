package datadog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"datadog-webhook-auth-sync/handler/deadline"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/sensitive"
	"datadog-webhook-auth-sync/handler/strictjson"
)

const (
	callTimeout   = 5 * time.Second // Datadog answers in about 0.2 s
	maxBody       = 8 << 20         // 8 MiB: a list of some 20,000 auth methods
	maxItems      = 500_000         // commas in it: a small text may decode to far more memory than the function has
	maxErrorWords = 200             // bytes of Datadog's own words that an error repeats
)

// Client calls one Datadog site. It is safe for concurrent use.
type Client struct {
	base        string
	transport   http.RoundTripper
	credentials Credentials
	turn        chan struct{} // full while somebody looks at held or fetches it; a deadline ends the wait for it
	held        *credential
}

// New makes a client for the API at base, such as https://api.datadoghq.com.
func New(base string, transport http.RoundTripper, credentials Credentials) *Client {
	return &Client{base: strings.TrimSuffix(base, "/"), transport: transport, credentials: credentials,
		turn: make(chan struct{}, 1)}
}

// Warm fetches the credentials, so that the first call finds them. A failure is not kept: that call tries again.
func (c *Client) Warm(ctx context.Context) { _, _ = c.credential(ctx, credential{}) }

type call struct {
	method, path string
	body         []byte         // of POST and PATCH
	secret       sensitive.Text // in body
	want         int            // the status that is success
	decode       func(body []byte) ([]AuthMethod, *Error)
}

// do makes a call, again where retry says so, and once more with the credential fetched anew when Datadog refuses it.
// It returns the auth methods in the answer. Its error has a code; it wraps an *Error where Datadog was called.
func (c *Client) do(ctx context.Context, call call) ([]AuthMethod, error) {
	held, err := c.credential(ctx, credential{})
	if err != nil {
		return nil, err
	}
	renewed, tried := false, time.Duration(0)
	for attempt := 1; ; attempt++ {
		began := time.Now()
		body, failed := c.once(ctx, call, held, min(callTimeout, maxTrying-tried))
		tried += time.Since(began)
		var methods []AuthMethod
		if failed == nil {
			methods, failed = call.decode(body)
		}
		if failed == nil {
			secrets := held.repeated(call.secret)
			for i := range methods {
				methods[i] = methods[i].Withhold(secrets...)
			}
			return methods, nil
		}
		if !renewed && (failed.Status == http.StatusUnauthorized || failed.Status == http.StatusForbidden) {
			renewed = true
			refused := held
			if held, err = c.credential(ctx, refused); err != nil {
				return nil, err
			}
			if !held.equal(refused) {
				continue
			}
		}
		wait, again := retry(ctx, failed, call.method, attempt, tried)
		if !again {
			return nil, coded(ctx, failed)
		}
		if failed.Status != http.StatusTooManyRequests {
			tried += wait
		}
		deadline.Sleep(ctx, wait) // where ctx ends, the next attempt says so
	}
}

// once makes one attempt and returns the body of a success.
func (c *Client) once(ctx context.Context, call call, credential credential, timeout time.Duration) ([]byte, *Error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, call.method, c.base+call.path, bytes.NewReader(call.body))
	if err != nil {
		return nil, &Error{Cause: errors.New("the request could not be made")}
	}
	req.Header.Set("Accept", "application/json")
	for name, value := range credential.headers {
		req.Header.Set(name, value.Reveal())
	}
	if call.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	// No http.Client: it would follow a redirect, and so send credentials and client secret elsewhere.
	resp, err := c.transport.RoundTrip(req)
	if err != nil { // a connection that died while the function was frozen would fail the next attempt, too
		(&http.Client{Transport: c.transport}).CloseIdleConnections()
		return nil, &Error{Cause: fault.Unanswered(err)}
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols { // its body is the connection, which no context ends
		return nil, &Error{Status: resp.StatusCode, Malformed: "another protocol"}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case resp.StatusCode != call.want:
		said := ""
		if len(call.body) > 0 { // which secret values the answer to another call may repeat is not known here
			said = words(body, credential.repeated(call.secret))
		}
		return nil, &Error{Status: resp.StatusCode, Reset: reset(resp.Header, time.Now()), Words: said}
	case err != nil:
		return nil, &Error{Cause: fault.Unanswered(err)}
	case len(body) > maxBody || bytes.Count(body, []byte(",")) > maxItems:
		return nil, &Error{Status: resp.StatusCode, Malformed: "a body that is too large"}
	}
	return body, nil
}

// words returns the errors in body, each a string or the title and detail of an object, or nothing if they repeat a
// secret value.
func words(body []byte, secrets []sensitive.Text) string {
	var answer struct {
		Errors []json.RawMessage `json:"errors"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return ""
	}
	var all []string
	for _, raw := range answer.Errors {
		object, _ := strictjson.Object(raw)
		for _, raw := range []json.RawMessage{raw, object["title"], object["detail"]} {
			if text, ok := strictjson.String(raw); ok && text != "" {
				all = append(all, text)
			}
		}
	}
	said, unbroken := strings.Join(all, "; "), strings.Join(all, "")
	repeats := func(s sensitive.Text) bool { return s.In(said) || s.In(unbroken) || s.PartlyIn(said) }
	if slices.ContainsFunc(secrets, repeats) {
		return ""
	}
	if len(said) > maxErrorWords {
		said = strings.ToValidUTF8(said[:maxErrorWords-len("…")], "") + "…"
	}
	return said
}
