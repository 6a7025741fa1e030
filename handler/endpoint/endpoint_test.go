package endpoint_test

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/endpoint"
)

func TestCheck(t *testing.T) {
	const refused, loopback, good = 0, 1, 2 // never, on an emulator alone, always
	for url, want := range map[string]int{
		"https://idp.example.com/token": good, "https://idp.example.com": good, "https://idp.example.com:8443/a?b=c": good,
		"HTTPS://IDP.example.com/": good, "https://10.0.0.1/": good, "https://[2001:db8::1]/t": good, "https://localhost.example.com": good,
		"http://idp.example.com/token": refused, "http://10.0.0.1/": refused, "ftp://idp.example.com": refused, "": refused,
		"idp.example.com/token": refused, "/token": refused, "//idp.example.com/token": refused, "https:///token": refused, "https://": refused,
		"https://:443/": refused, "https:idp.example.com": refused, "mailto:a@example.com": refused, "https://a b/": refused, "https://idp.example.com/a b": refused, "https://idp.example.com/?a\t": refused, " https://idp.example.com/": refused,
		"https://idp.example.com/\u00a0": refused, "https://idp.example.com/\u200b": refused, "\ufeffhttps://idp.example.com/": refused, "https://idp.example.com/\x7f": refused, "https://idp.example.com/%20": good, "https://%zz/": refused,
		"https://user@idp.example.com/": refused, "https://user:pw@idp.example.com/": refused, "https://@idp.example.com/": refused,
		"https://idp.example.com/#f": refused, "https://idp.example.com/#": refused, "https://idp.example.com/\n": refused,
		"http://127.0.0.1:9001/": loopback, "https://127.0.0.1/": loopback, "http://127.255.255.254/": loopback, "http://localhost:8080/t": loopback,
		"http://LocalHost/": loopback, "http://localhost./": loopback, "http://127.0.0.1./": loopback, "http://0.0.0.0/": loopback, "http://a.localhost/": loopback, "http://[::1]:80/": loopback, "http://[::ffff:127.0.0.1]/": loopback,
		"ftp://127.0.0.1/": refused, "http://user@127.0.0.1/": refused, "http://127.0.0.1/#f": refused, "//127.0.0.1/": refused,
	} {
		t.Run(url, func(t *testing.T) {
			inLambda, onEmulator := endpoint.Check(url, false), endpoint.Check(url, true)
			if got := endpoint.Loopback(url); got != (want == loopback) {
				t.Errorf("loopback %v", got)
			}
			if got := [2]bool{inLambda == nil, onEmulator == nil}; got != [2]bool{want == good, want >= loopback} {
				t.Errorf("in a function: %v; on an emulator: %v", inLambda, onEmulator)
			}
		})
	}
}

func TestRule(t *testing.T) {
	const (
		odd      = "has white space or a character that does not print"
		address  = "must not be an address that is not public"
		loopback = "must not be a loopback address"
		name     = "must have a host of letters, digits, hyphens and dots, or an address in its usual form"
		hosts    = "has a host that AllowedTokenHosts does not admit"
	)
	some := []string{"idp.example.com", "*.tenants.example.com", "8.8.8.8"}
	for _, tc := range []struct {
		rule endpoint.Rule
		want map[string]string // by URL
	}{
		{endpoint.Rule{}, map[string]string{
			"https://idp.example.com/token": "", "https://8.8.8.8/": "", "https://[2606:4700::1111]:8443/t": "", "https://a_b.example.com.": "", "https://idp": "",
			"http://idp.example.com/": "must be https", "https://u@idp.example.com/": "must not carry userinfo", "https://idp.example.com/t\n": odd, "https://idp.example.com/t ": odd, "https://idp.example.com/\u200b": odd, "token": "is no absolute URL",
			"https://10.0.0.1/": address, "https://169.254.169.254/": address, "https://10.0.0.1./": address, "https://[fd00:ec2::254]/": address,
			"https://[::ffff:10.0.0.1]/": address, "https://[::ffff:8.8.8.8]/": address, "https://[64:ff9b::8.8.8.8]/": address, "https://[fe80::1%25eth0]/": address, "https://100.64.0.1/": address,
			"https://127.0.0.1/": loopback, "https://localhost/": loopback, "https://0.0.0.0/": loopback, "https://[::ffff:127.0.0.1]/": loopback,
			"https://127.1/": name, "https://2130706433/": name, "https://0x7f.0.0.0x1/": name, "https://010.0.0.1/": name, "https://0x7f000001/": name, "https://0X7F000001./": name, "https://127.1./": name, "https://1.2.3.08/": name,
			"https://99999999999999999999/": name, "https://idp.example.0x/": name, "https://idp.example.1/": name, "https://１２７.1/": name, "https://idp.example.١/": name, "https://1.idp.example.0xg": "", "https://a..example.com/": name,
			"https://.example.com/": name, "https://./": name, "https://idp.example.com../": name, "https://１０.0.0.1/": name, "https://evil.example／.example.com/": name,
			"https://a,b.example.com/": name, "https://*.example.com/": name,
		}},
		{endpoint.Rule{AllowLoopback: true}, map[string]string{
			"http://127.0.0.1:8080/": "", "http://localhost:8080/t": "", "https://[::1]/": "", "http://[::ffff:127.0.0.1]/": "", "https://idp.example.com": "",
			"http://0.0.0.0/": address, "https://[::]/": address, "https://10.0.0.1/": address, "http://idp.example.com/": "must be https",
		}},
		{endpoint.Rule{Hosts: some}, map[string]string{
			"https://idp.example.com/t": "", "https://IDP.Example.COM:8443/": "", "https://idp.example.com.:443/": "", "https://a.tenants.example.com": "",
			"https://A.b.Tenants.example.com.": "", "https://8.8.8.8/": "",
			"https://tenants.example.com": hosts, "https://xtenants.example.com": hosts, "https://a.idp.example.com": hosts, "https://example.com": hosts,
			"https://idp.example.com.evil.example": hosts, "https://idp.example.com.evil": hosts, "https://xidp.example.com": hosts, "https://idp.example.co": hosts,
			"https://8.8.4.4/": hosts, "https://evil.example/idp.example.com": hosts, "https://evil.example/?.tenants.example.com": hosts,
			"https://.tenants.example.com": name, "https://127.0.0.1": loopback,
		}},
		{endpoint.Rule{AllowLoopback: true, Hosts: []string{"localhost", "*.localhost", "10.0.0.1"}}, map[string]string{
			"http://localhost:80": "", "http://idp.localhost": "", "http://127.0.0.1": hosts, "https://idp.example.com": hosts, "https://10.0.0.1": address,
		}},
	} {
		for url, want := range tc.want {
			if got := tc.rule.Check(url); got == nil && want != "" || got != nil && got.Error() != want {
				t.Errorf("%+v %s: %v; want %q", tc.rule, url, got, want)
			}
		}
	}
}

func TestParseHosts(t *testing.T) {
	for list, want := range map[string][]string{
		"": nil, " \t": nil, "idp.example.com": {"idp.example.com"}, " IDP.example.com. ,\t*.Example.ORG\n": {"idp.example.com", "*.example.org"},
		"localhost": {"localhost"}, "127.0.0.1,a_b-c.9x": {"127.0.0.1", "a_b-c.9x"}, "*.com": {"*.com"},
	} {
		got, err := endpoint.ParseHosts(list)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v %s", list, err, diff)
		}
	}
	const want = "must be host names or *.name, separated by commas, without scheme, port or path"
	for _, entry := range []string{"", " ", ".", "*", "*.", "**.example.com", "*.*.example.com", "a.*.example.com",
		"*example.com", "idp.*", "https://idp.example.com", "idp.example.com/token", "u@idp.example.com",
		"idp.example.com:443", "*.example.com:443", "::1", "::ffff:8.8.8.8", "a b", "idp.example.com;x", "a..b",
		".example.com", "*..example.com", "b\u00fccher.example", "127.1", "a?"} {
		for _, list := range []string{entry + ",idp.example.com", "idp.example.com," + entry} {
			if got, err := endpoint.ParseHosts(list); got != nil || err == nil || err.Error() != want {
				t.Errorf("%q: %v, %v; want %s", list, got, err, want)
			}
		}
	}
}

// FuzzRule: what a rule admits is https at one of its hosts, and no rule admits what its wider one refuses.
func FuzzRule(f *testing.F) {
	f.Add("https://a.example.com/t", "*.example.com")
	f.Add("https://IDP.example.com.:443/?a#", "idp.example.com")
	f.Add("http://[::ffff:7f00:1]/", "127.0.0.1,localhost")
	f.Add("https://evil.example\\.example.com@10.0.0.1", "*.example.com, 10.0.0.1")
	f.Fuzz(func(t *testing.T, rawURL, list string) {
		hosts, err := endpoint.ParseHosts(list)
		if err != nil || hosts == nil || (endpoint.Rule{Hosts: hosts}).Check(rawURL) != nil {
			return
		}
		u, err := url.Parse(rawURL)
		if err != nil || u.Scheme != "https" || u.User != nil || u.Fragment != "" || (endpoint.Rule{}).Check(rawURL) != nil {
			t.Fatalf("admitted %q", rawURL)
		}
		host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
		if a, err := netip.ParseAddr(host); err == nil && !endpoint.Public(a) {
			t.Fatalf("admitted %v", a)
		}
		for _, admitted := range hosts {
			_, parent, below := strings.Cut(admitted, "*")
			if host == admitted || below && strings.HasSuffix(host, parent) {
				return
			}
		}
		t.Fatalf("%q admitted by %q", host, hosts)
	})
}
