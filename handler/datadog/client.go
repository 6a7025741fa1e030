package datadog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/sensitive"
)

const (
	callTimeout   = 5 * time.Second // Datadog answers in about 0.2 s
	maxBody       = 8 << 20         // 8 MiB: a list of some 20,000 auth methods
	maxErrorWords = 200             // bytes of Datadog's own words that an error repeats
)

// Client calls one Datadog site. It is safe for concurrent use.
type Client struct {
	base      string
	transport http.RoundTripper
	keys      *Keyring
	limiter   rateLimiter
}

// New makes a client for the API at base, such as https://api.datadoghq.com.
func New(base string, transport http.RoundTripper, keys *Keyring) *Client {
	return &Client{base: strings.TrimSuffix(base, "/"), transport: transport, keys: keys}
}

// Warm reads the keys and opens a connection, where the transport is a Transport, so that the first call finds both. A
// failure is not kept: that call tries again.
func (c *Client) Warm(ctx context.Context) {
	var both sync.WaitGroup
	if t, ok := c.transport.(*Transport); ok {
		both.Go(func() { t.connect(ctx, c.base) })
	}
	_, _ = c.keys.get(ctx, Keys{})
	both.Wait()
}

// Error is a call that did not succeed.
type Error struct {
	Status    int           // HTTP; 0 where no answer came
	Reset     time.Duration // after which a 429 asks to be called again; 0 where it does not say
	Words     string        // Datadog's own, capped, and free of secret values
	Malformed string        // what the answer to a call that seemed to succeed is, or lacks
	Cause     error         // why no answer came that could be read, in our own words: see fault.Unanswered
}

func (e *Error) Error() string {
	switch {
	case e.Malformed != "":
		return fmt.Sprintf("Datadog answered %d with %s", e.Status, e.Malformed)
	case e.Status == 0:
		return fmt.Sprintf("Datadog could not be reached: %v", e.Cause)
	case e.Words != "":
		return fmt.Sprintf("Datadog answered %d: %s", e.Status, e.Words)
	}
	return fmt.Sprintf("Datadog answered %d", e.Status)
}

func (e *Error) Unwrap() error { return e.Cause }

// Ambiguous reports whether the call may have taken effect all the same.
func (e *Error) Ambiguous() bool { return e.Status < 400 || e.Status >= 500 }

type call struct {
	method, path string
	body         []byte         // of POST and PATCH
	secret       sensitive.Text // in body
	want         int            // the status that is success
}

// do makes a call, again where retry says so, and once more with the keys read anew when Datadog refuses them. Its
// errors are *Error, and what the keyring returns.
func (c *Client) do(ctx context.Context, call call) ([]byte, error) {
	keys, err := c.keys.get(ctx, Keys{})
	if err != nil {
		return nil, err
	}
	fresh, tried := false, time.Duration(0)
	for attempt := 1; ; attempt++ {
		if wait := c.limiter.wait(call.method); wait > 0 {
			if wait >= remaining(ctx) {
				return nil, &Error{Status: http.StatusTooManyRequests, Reset: wait}
			}
			sleep(ctx, wait)
		}
		began := time.Now()
		body, failed := c.once(ctx, call, keys, min(callTimeout, maxTrying-tried))
		tried += time.Since(began)
		if failed == nil {
			return body, nil
		}
		if !fresh && (failed.Status == http.StatusUnauthorized || failed.Status == http.StatusForbidden) {
			renewed, err := c.keys.get(ctx, keys)
			if err != nil {
				return nil, err
			}
			if fresh = true; !renewed.equal(keys) {
				keys = renewed
				continue
			}
		}
		wait, again := retry(failed, call.method, attempt, tried, remaining(ctx))
		if !again {
			return nil, failed
		}
		if failed.Status != http.StatusTooManyRequests {
			tried += wait
		}
		sleep(ctx, wait)
		if failed.Status == 0 { // a connection that died while the function was frozen would fail the next attempt, too
			(&http.Client{Transport: c.transport}).CloseIdleConnections()
		}
	}
}

func (c *Client) once(ctx context.Context, call call, keys Keys, timeout time.Duration) ([]byte, *Error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, call.method, c.base+call.path, bytes.NewReader(call.body))
	if err != nil {
		return nil, &Error{Cause: errors.New("the request could not be made")}
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("DD-API-KEY", keys.API.Reveal())
	req.Header.Set("DD-APPLICATION-KEY", keys.App.Reveal())
	if call.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	// No http.Client: it would follow a redirect, and so send the keys and the client secret elsewhere.
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, &Error{Cause: fault.Unanswered(err)}
	}
	defer resp.Body.Close()
	c.limiter.note(call.method, resp)
	if resp.StatusCode == http.StatusSwitchingProtocols { // its body is the connection, which no context ends
		return nil, &Error{Status: resp.StatusCode, Malformed: "another protocol"}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case resp.StatusCode != call.want:
		return nil, &Error{Status: resp.StatusCode, Reset: reset(resp.Header, time.Now()), Words: words(body, keys.API, keys.App, call.secret)}
	case err != nil:
		return nil, &Error{Cause: fault.Unanswered(err)}
	case len(body) > maxBody:
		return nil, &Error{Status: resp.StatusCode, Malformed: "a body over 8 MiB"}
	case repeats(string(body), keys.API, keys.App, call.secret): // names in it are told outward
		return nil, &Error{Status: resp.StatusCode, Malformed: "what it was sent in secret"}
	}
	return body, nil
}

// words are the errors in body, or nothing if they repeat a secret value.
func words(body []byte, secrets ...sensitive.Text) string {
	var answer struct {
		Errors []string `json:"errors"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return ""
	}
	said := strings.Join(answer.Errors, "; ")
	if slices.ContainsFunc(secrets, func(s sensitive.Text) bool { return s.In(said) || s.PartlyIn(said) }) {
		return ""
	}
	if len(said) > maxErrorWords {
		said = strings.ToValidUTF8(said[:maxErrorWords-len("…")], "") + "…"
	}
	return said
}

// repeats reports whether an answer that should succeed holds a secret value. One that is short may be there by chance.
func repeats(body string, secrets ...sensitive.Text) bool {
	return slices.ContainsFunc(secrets, func(s sensitive.Text) bool { return len(s.Reveal()) >= 16 && s.In(body) })
}

// reset is how long a 429 asks to wait. Some endpoints give a Unix time, which a value over 10⁶ is.
// https://docs.datadoghq.com/api/latest/rate-limits/
func reset(h http.Header, now time.Time) time.Duration {
	seconds, err := strconv.ParseInt(h.Get("X-RateLimit-Reset"), 10, 64)
	switch {
	case err != nil || seconds < 0:
		return 0
	case seconds > 1e6:
		return max(0, time.Unix(min(seconds, 1<<40), 0).Sub(now))
	}
	return time.Duration(seconds) * time.Second
}
