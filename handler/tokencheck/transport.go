package tokencheck

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"

	"datadog-webhook-auth-sync/handler/endpoint"
)

const (
	maxBody    = 64 << 10 // 64 KiB: a token answer has a few
	maxHeaders = 64 << 10
)

// errNotPublic stops a connection to an address that only the function, not Datadog, could reach.
var errNotPublic = errors.New("tokencheck: the address is not public")

// Transport connects to public addresses only, judged after the name is resolved, so that whoever writes a secret cannot
// make the function call its own network. It follows no proxy, which would resolve names elsewhere. allowLoopback admits
// loopback, for an emulator.
//
// Each request has a connection of its own: one that was kept may be dead once the function has been frozen, and what a
// server sends over it unasked is written by net/http to the standard logger. HTTP/2, which has more to log, is left out.
func Transport(allowLoopback bool) http.RoundTripper {
	dialer := &net.Dialer{Timeout: maxTime, Control: func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil || !endpoint.Public(to.Addr()) && !(allowLoopback && to.Addr().Unmap().IsLoopback()) {
			return errNotPublic
		}
		return nil
	}}
	t := &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeaders,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	overTLS := &tls.Dialer{NetDialer: dialer, Config: t.TLSClientConfig}
	t.DialContext, t.DialTLSContext = speakFirst(dialer.DialContext), speakFirst(overTLS.DialContext)
	return t
}

type dial func(ctx context.Context, network, address string) (net.Conn, error)

// speakFirst makes connections that read nothing before the request is written: net/http writes what comes earlier to
// the standard logger.
func speakFirst(d dial) dial {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := d(ctx, network, address)
		if err != nil {
			return nil, err
		}
		spoken := make(chan struct{})
		return &firstSpeaker{c, spoken, sync.OnceFunc(func() { close(spoken) })}, nil
	}
}

type firstSpeaker struct {
	net.Conn
	spoken <-chan struct{}
	speak  func()
}

func (c *firstSpeaker) Read(p []byte) (int, error)  { <-c.spoken; return c.Conn.Read(p) }
func (c *firstSpeaker) Write(p []byte) (int, error) { c.speak(); return c.Conn.Write(p) }
func (c *firstSpeaker) Close() error                { c.speak(); return c.Conn.Close() }

// answer is what one token request came to.
type answer struct {
	transport         http.RoundTripper
	status            int    // 0: no whole answer came
	code, description string // of an OAuth error, which is JSON
}

// RoundTrip sends req, reads the answer, and passes on what oauth2 is to see of it. That is no Location, so that no
// redirect is followed; the content type that the body has, as oauth2 chooses its parser by it; and of a JSON body the
// strings that matter, as oauth2 takes nothing from one with a member of a type that it does not expect.
func (a *answer) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := a.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols { // its body is the connection, which no context ends
		return nil, http.ErrNotSupported
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return nil, err
	}
	a.status = resp.StatusCode
	body = bytes.TrimSpace(body)
	contentType := "application/json"
	var object map[string]any
	if json.Unmarshal(body, &object) == nil {
		token, _ := object["access_token"].(string)
		a.code, _ = object["error"].(string)
		a.description, _ = object["error_description"].(string)
		body, err = json.Marshal(map[string]string{"access_token": token, "error": a.code})
	} else if !bytes.ContainsAny(body, " \t\r\n<>\"") {
		contentType = "application/x-www-form-urlencoded"
	}
	return &http.Response{StatusCode: resp.StatusCode, Header: http.Header{"Content-Type": {contentType}},
		Body: io.NopCloser(bytes.NewReader(body)), Request: req}, err
}
