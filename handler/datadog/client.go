package datadog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"datadog-webhook-auth-sync/handler/sensitive"
)

const (
	callTimeout   = 5 * time.Second // Datadog answers in about 0.2 s
	maxBody       = 8 << 20         // 8 MiB: a list of some 20,000 auth methods
	maxErrorWords = 200             // bytes of Datadog's own words that an error repeats
)

// Client calls one Datadog site. It is safe for concurrent use.
type Client struct {
	base string
	http *http.Client
	keys *Keyring
	pace pace
}

// New makes a client for the API at base, such as https://api.datadoghq.com.
func New(base string, transport http.RoundTripper, keys *Keyring) *Client {
	return &Client{
		base: strings.TrimSuffix(base, "/"),
		http: &http.Client{
			Transport: transport,
			// A redirect would send the keys and the client secret elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		keys: keys,
	}
}

// Error is a call that did not succeed.
type Error struct {
	Status    int           // HTTP; 0 where no answer came
	Reset     time.Duration // after which a 429 asks to be called again; 0 where it does not say
	Words     string        // Datadog's own, capped, and free of secret values
	Malformed string        // what the answer to a call that seemed to succeed is, or lacks
	Cause     error         // where no answer came
}

func (e *Error) Error() string {
	switch {
	case e.Malformed != "":
		return fmt.Sprintf("Datadog answered %d with %s", e.Status, e.Malformed)
	case e.Status == 0:
		return "Datadog could not be reached"
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
	body         Write // of POST and PATCH
	want         int   // the status that is success
}

func (c call) writes() bool { return c.method == http.MethodPost || c.method == http.MethodPatch }

// do makes a call, again where retry says so, and once more with the keys read anew when Datadog refuses them. Its
// errors are *Error, and what the keyring returns.
func (c *Client) do(ctx context.Context, call call) ([]byte, error) {
	keys, err := c.keys.get(ctx)
	if err != nil {
		return nil, err
	}
	fresh, tried := false, time.Duration(0)
	for attempt := 1; ; attempt++ {
		if wait := c.pace.wait(call.method); wait > 0 {
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
			renewed, err := c.keys.renew(ctx, keys)
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
	}
}

func (c *Client) once(ctx context.Context, call call, keys Keys, timeout time.Duration) ([]byte, *Error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var payload io.Reader
	if call.writes() {
		payload = bytes.NewReader(call.body.encode())
	}
	req, err := http.NewRequestWithContext(ctx, call.method, c.base+call.path, payload)
	if err != nil {
		return nil, &Error{Cause: errors.New("the request could not be made")}
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("DD-API-KEY", keys.API.Reveal())
	req.Header.Set("DD-APPLICATION-KEY", keys.App.Reveal())
	if payload != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, &Error{Cause: err}
	}
	defer resp.Body.Close()
	c.pace.note(call.method, resp)
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case resp.StatusCode != call.want:
		return nil, &Error{Status: resp.StatusCode, Reset: reset(resp.Header, time.Now()),
			Words: words(body, keys.API, keys.App, call.body.ClientSecret)}
	case err != nil:
		return nil, &Error{Cause: err}
	case len(body) > maxBody:
		return nil, &Error{Status: resp.StatusCode, Malformed: "a body over 8 MiB"}
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
	for _, s := range secrets {
		if s.In(said) {
			return ""
		}
	}
	if len(said) > maxErrorWords {
		said = strings.ToValidUTF8(said[:maxErrorWords], "") + "…"
	}
	return said
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
