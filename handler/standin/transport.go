// Package standin holds what this project's stand-ins for outside services
// share: a way to call them without a network, and faults.
package standin

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
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
	h, ok := hosts[r.URL.Host]
	if !ok {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: r.URL.Hostname(), IsNotFound: true}}
	}
	return transport{h}.RoundTrip(r)
}

type transport struct{ http.Handler }

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		body, err = io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			return nil, err
		}
	}
	if err := context.Cause(r.Context()); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	seen, err := received(ctx, r, body)
	if err != nil {
		cancel()
		return nil, err
	}
	done := make(chan *recorder, 1)
	go func() {
		defer cancel()
		rec := &recorder{header: http.Header{}}
		defer func() {
			if p := recover(); p != nil {
				if p != http.ErrAbortHandler {
					panic(p)
				}
				rec.cut = true
			}
			done <- rec
		}()
		t.ServeHTTP(rec, seen)
	}()
	select {
	case <-r.Context().Done():
		cancel()
		return nil, context.Cause(r.Context())
	case rec := <-done:
		return rec.response(r)
	}
}

// received is r as a server sees it.
func received(ctx context.Context, r *http.Request, body []byte) (*http.Request, error) {
	got := r.Clone(ctx)
	got.RequestURI = r.URL.RequestURI()
	var err error
	if got.URL, err = url.ParseRequestURI(got.RequestURI); err != nil {
		return nil, err
	}
	got.Host = cmp.Or(r.Host, r.URL.Host)
	got.RemoteAddr = "192.0.2.1:1234"
	got.Body = io.NopCloser(bytes.NewReader(body))
	got.ContentLength = int64(len(body))
	return got, nil
}

// recorder is the http.ResponseWriter of one call.
type recorder struct {
	header  http.Header
	status  int
	sent    http.Header // header as it was at WriteHeader
	body    bytes.Buffer
	flushed bool
	cut     bool
}

func (rec *recorder) Header() http.Header { return rec.header }

func (rec *recorder) WriteHeader(status int) {
	if rec.status == 0 {
		rec.status, rec.sent = status, maps.Clone(rec.header)
	}
}

func (rec *recorder) Write(p []byte) (int, error) {
	rec.WriteHeader(http.StatusOK)
	return rec.body.Write(p)
}

// Flush implements http.Flusher: what was written so far outlives a cut.
func (rec *recorder) Flush() {
	rec.WriteHeader(http.StatusOK)
	rec.flushed = true
}

func (rec *recorder) response(r *http.Request) (*http.Response, error) {
	if rec.cut && !rec.flushed {
		return nil, io.ErrUnexpectedEOF
	}
	rec.WriteHeader(http.StatusOK)
	if rec.body.Len() > 0 && rec.sent.Get("Content-Type") == "" {
		rec.sent.Set("Content-Type", http.DetectContentType(rec.body.Bytes()))
	}
	res := &http.Response{
		Status:     strconv.Itoa(rec.status) + " " + http.StatusText(rec.status),
		StatusCode: rec.status,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        rec.sent,
		Body:          io.NopCloser(&rec.body),
		ContentLength: int64(rec.body.Len()),
		Request:       r,
	}
	if rec.cut {
		res.Body = io.NopCloser(io.MultiReader(&rec.body, cutReader{}))
		res.ContentLength = -1
	}
	return res, nil
}

type cutReader struct{}

func (cutReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

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
