// Package standin holds what this project's stand-ins for outside services
// share: a way to call them without a network, and faults.
package standin

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing/iotest"
	"time"
)

// Hosts is an http.RoundTripper that has requests answered in this process, by
// the handler of their "host" or "host:port" as the URL spells it. It opens no
// socket, so that tests under testing/synctest can use it. Any other host does
// not exist: the error is a *net.DNSError whose IsNotFound is true.
//
// As over a network, a handler goes on when the caller's context ends: what it
// was asked to write may still be written. One that panics with
// http.ErrAbortHandler cuts the connection: io.ErrUnexpectedEOF for the caller,
// from the body when the answer was flushed before.
type Hosts map[string]http.Handler

// RoundTrip implements http.RoundTripper.
func (hosts Hosts) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		body, err = io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			return nil, err
		}
	}
	h, ok := hosts[r.URL.Host]
	if !ok {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: r.URL.Hostname(), IsNotFound: true}}
	}
	if err := context.Cause(r.Context()); err != nil {
		return nil, err
	}
	seen := httptest.NewRequest(r.Method, r.URL.RequestURI(), bytes.NewReader(body))
	seen.Header, seen.Host = r.Header.Clone(), cmp.Or(r.Host, r.URL.Host)
	rec, done := httptest.NewRecorder(), make(chan bool, 1)
	go func() {
		cut := false
		defer func() { done <- cut }()
		defer func() {
			if p := recover(); p == http.ErrAbortHandler {
				cut = true
			} else if p != nil {
				panic(p)
			}
		}()
		h.ServeHTTP(rec, seen)
	}()
	select {
	case <-r.Context().Done():
		return nil, context.Cause(r.Context())
	case cut := <-done:
		if cut && !rec.Flushed {
			return nil, io.ErrUnexpectedEOF
		}
		res := rec.Result()
		if res.Request = r; cut {
			res.Body = io.NopCloser(io.MultiReader(res.Body, iotest.ErrReader(io.ErrUnexpectedEOF)))
		}
		return res, nil
	}
}

// Wait reports whether d passed before the context ended.
func Wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
