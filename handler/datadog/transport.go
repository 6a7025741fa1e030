package datadog

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"
)

// maxUnused is the age up to which the connection that Warm opened is used: a server may forget an idle one while Lambda
// freezes the function.
const maxUnused = 10 * time.Second

// Transport is net/http's, whose first connection can be opened before there is a call to make.
type Transport struct {
	*http.Transport
	config *tls.Config
	early  atomic.Pointer[earlyConn] // taken by the first dial
}

type earlyConn struct {
	began time.Time     // by the wall clock, which goes on while the function is frozen
	conn  chan net.Conn // gets the connection, or nil
}

// NewTransport makes a transport of base, whose DialContext and TLSClientConfig must be set.
func NewTransport(base *http.Transport) *Transport {
	t := &Transport{Transport: base, config: base.TLSClientConfig.Clone()}
	t.config.NextProtos = []string{"h2", "http/1.1"}
	t.ForceAttemptHTTP2, t.DialTLSContext = true, t.dialTLS
	return t
}

// connect opens the connection to base that the first call will use, if base is https.
func (t *Transport) connect(ctx context.Context, base string) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "https" {
		return
	}
	early := &earlyConn{time.Now().Round(0), make(chan net.Conn, 1)}
	t.early.Store(early)
	conn, _ := t.dial(ctx, "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443")))
	early.conn <- conn
}

func (t *Transport) dialTLS(ctx context.Context, network, addr string) (net.Conn, error) {
	if early := t.early.Swap(nil); early != nil {
		if age := time.Since(early.began); age < 0 || age > maxUnused {
			go func() {
				if conn := <-early.conn; conn != nil {
					conn.Close()
				}
			}()
		} else if conn := <-early.conn; conn != nil {
			return conn, nil
		}
	}
	return t.dial(ctx, network, addr)
}

func (t *Transport) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	plain, err := t.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	config := t.config.Clone()
	config.ServerName, _, _ = net.SplitHostPort(addr)
	conn := tls.Client(plain, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		plain.Close()
		return nil, err
	}
	return conn, nil
}
