package tokencheck

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"syscall"

	"datadog-webhook-auth-sync/handler/endpoint"
)

// errNotPublic stops a connection to an address that only the function, not Datadog, could reach.
var errNotPublic = errors.New("tokencheck: the address is not public")

// Transport connects to public addresses only, judged after the name is resolved, so that whoever writes a secret
// cannot make the function call its own network. It follows no proxy, which would resolve names elsewhere.
// allowLoopback admits loopback, for an emulator.
//
// Each request has a connection of its own: one that was kept may be dead once the function has been frozen. HTTP/2,
// which would keep it, is off, as net/http has it beside a TLSClientConfig.
func Transport(allowLoopback bool) http.RoundTripper {
	dialer := &net.Dialer{Timeout: maxTime, Control: func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil || !endpoint.Public(to.Addr()) && !(allowLoopback && to.Addr().Unmap().IsLoopback()) {
			return errNotPublic
		}
		return nil
	}}
	return &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true, MaxResponseHeaderBytes: maxSize,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
}
