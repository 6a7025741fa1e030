package tokencheck_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"datadog-webhook-auth-sync/handler/tokencheck"
)

func TestPublic(t *testing.T) {
	for public, list := range map[bool]string{
		true: `1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255 169.255.0.0 172.15.255.255
			172.32.0.0 191.255.255.255 192.0.1.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255
			2001:4860:4860::8888 2606:4700::1111 2001:200:: 2003:: 2a00:: 3ffe:: ::ffff:8.8.8.8 64:ff9a:: 2400:cb00::1`,
		false: `0.0.0.0 0.1.2.3 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.1 127.255.255.255 169.254.0.1 169.254.169.254 169.254.170.2
			172.16.0.0 172.31.255.255 192.0.0.0 192.0.0.170 192.0.2.1 192.88.99.1 192.168.0.0 192.168.255.255 198.18.0.0 198.19.255.255 198.51.100.7
			203.0.113.9 224.0.0.1 239.255.255.255 240.0.0.0 255.255.255.254 255.255.255.255
			:: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:100.64.0.1 2001:db8::1%eth0 64:ff9b::7f00:1 64:ff9b::8.8.8.8 64:ff9b:1::1 100::1
			2001::1 2001:1ff:ffff:: 2001:db8::1 2002:7f00:1:: 2002:808:808:: 3fff::1 5f00::1 fc00::1 fd00:ec2::254 fdff:ffff::1 fe80::1 fe80::1%eth0 fec0::1 ff02::1`,
	} {
		for _, s := range strings.Fields(list) {
			if got := tokencheck.Public(netip.MustParseAddr(s)); got != public {
				t.Errorf("%s: public %v", s, got)
			}
		}
	}
	if tokencheck.Public(netip.Addr{}) {
		t.Error("no address is public")
	}
}

func TestTransportCallsPublicAddressesAlone(t *testing.T) {
	var calls atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"access_token":"` + token + `"}`))
	}))
	defer s.Close()
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	loopback := []string{s.URL, "http://localhost:" + port, "http://[::ffff:127.0.0.1]:" + port}
	other := []string{"http://10.0.0.1", "http://192.168.0.1", "http://169.254.169.254/latest/meta-data", "http://[fd00:ec2::254]", "http://0.0.0.0:" + port, "http://[::]:" + port}
	for _, tc := range []struct {
		allowed bool
		urls    []string
		want    tokencheck.Outcome
	}{
		{false, append(loopback, other...), tokencheck.Inconclusive},
		{true, other, tokencheck.Inconclusive},
		{true, loopback, tokencheck.Accepted},
	} {
		for _, url := range tc.urls {
			calls.Store(0)
			c := credential
			c.AccessTokenURL = url
			v := check(t, tokencheck.New(tokencheck.Transport(tc.allowed)), c)
			called := tc.want == tokencheck.Accepted
			if v.Outcome != tc.want || (calls.Load() > 0) != called || !called && !strings.HasSuffix(v.Why, "has an address that is not public, so it was not called") {
				t.Errorf("%s, loopback allowed: %v: %+v after %d calls", url, tc.allowed, v, calls.Load())
			}
		}
	}
	if tokencheck.Transport(false).(*http.Transport).Proxy != nil {
		t.Error("a proxy would resolve names elsewhere")
	}
}
