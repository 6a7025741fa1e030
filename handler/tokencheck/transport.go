package tokencheck

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

const (
	maxBody    = 64 << 10 // 64 KiB: a token answer has a few
	maxHeaders = 64 << 10
)

// errNotPublic stops a connection to an address that only the function, not Datadog, could reach.
var errNotPublic = errors.New("tokencheck: the address is not public")

// Transport connects to public addresses alone, judged after the name is resolved, so that whoever writes a secret cannot
// make the function call its own network. It follows no proxy, which would resolve names elsewhere. allowLoopback admits
// loopback, for an emulator.
func Transport(allowLoopback bool) http.RoundTripper {
	dialer := &net.Dialer{Timeout: maxTime, Control: func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil || !Public(to.Addr()) && !(allowLoopback && to.Addr().Unmap().IsLoopback()) {
			return errNotPublic
		}
		return nil
	}}
	return &http.Transport{
		DialContext: dialer.DialContext, TLSHandshakeTimeout: maxTime, ForceAttemptHTTP2: true,
		MaxIdleConns: 16, IdleConnTimeout: 90 * time.Second, MaxResponseHeaderBytes: maxHeaders,
	}
}

// notPublic are the ranges that netip has no method for: the special-purpose registries of IANA, and the prefixes that
// carry an IPv4 address inside an IPv6 one. https://www.iana.org/assignments/iana-ipv4-special-registry
var notPublic = prefixes("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15",
	"198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
	"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fec0::/10")

func prefixes(list ...string) (all []netip.Prefix) {
	for _, p := range list {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

// Public reports whether a is a unicast address of the public internet.
func Public(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range notPublic {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// capped ends every body after maxBody bytes.
type capped struct{ http.RoundTripper }

func (t capped) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxBody), resp.Body}
	return resp, nil
}
