// Package endpoint says which URLs the function may call, and where a client secret may be sent.
package endpoint

import (
	"errors"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Check returns what keeps rawURL from being called with a secret, in words to put after the URL's name. It must be
// https, without userinfo, fragment, white space or control character. Loopback would reach the Lambda Runtime API
// (127.0.0.1:9001) in a real function, so it, and http to it, is for an emulator only.
func Check(rawURL string, allowLoopback bool) error {
	_, err := parse(rawURL, allowLoopback)
	return err
}

// Loopback reports whether rawURL is an http or https URL of this machine.
func Loopback(rawURL string) bool { return Check(rawURL, true) == nil && Check(rawURL, false) != nil }

// Rule says where a client secret may be sent.
type Rule struct {
	AllowLoopback bool     // on an emulator only: see the function Check
	Hosts         []string // as ParseHosts returns them; none = every public host
}

// Check returns what keeps a client secret from being sent to rawURL. Besides what the function Check demands, the
// host must be a name or a public address, and admitted by Hosts, which holds for loopback too. It does not resolve
// the name: the dialer must ask Public about the address that it stands for.
func (r Rule) Check(rawURL string) error {
	host, err := parse(rawURL, r.AllowLoopback)
	if err != nil {
		return err
	}
	address, notAddress := netip.ParseAddr(host)
	switch {
	case notAddress == nil && !Public(address) && !(r.AllowLoopback && address.Unmap().IsLoopback()):
		return errors.New("must not be an address that is not public")
	case notAddress != nil && !isName(host):
		return errors.New("must have a host of letters, digits, hyphens and dots, or an address in its usual form")
	case len(r.Hosts) > 0 && !slices.ContainsFunc(r.Hosts, func(admitted string) bool {
		suffix, below := strings.CutPrefix(admitted, "*")
		return host == admitted || below && strings.HasSuffix(host, suffix)
	}):
		return errors.New("has a host that AllowedTokenHosts does not admit")
	}
	return nil
}

// ParseHosts reads a list of host names, and of *.x for every name below x, separated by commas. An empty list gives
// nil. The error quotes no entry.
func ParseHosts(list string) (hosts []string, err error) {
	if strings.TrimSpace(list) == "" {
		return nil, nil
	}
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(entry), "."))
		host := strings.TrimPrefix(entry, "*.")
		if a, err := netip.ParseAddr(host); !a.Is4() && (err == nil || !isName(host)) {
			return nil, errors.New("must be host names or *.name, separated by commas, without scheme, port or path")
		}
		hosts = append(hosts, entry)
	}
	return hosts, nil
}

// parse returns the host of rawURL in lower case, without port and trailing dot, or what the function Check says of it.
func parse(rawURL string, allowLoopback bool) (host string, err error) {
	if strings.ContainsFunc(rawURL, func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) }) {
		return "", errors.New("has white space or a character that does not print")
	}
	u, err := url.Parse(rawURL)
	if err != nil || u.Hostname() == "" {
		return "", errors.New("is no absolute URL")
	}
	host = strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	switch loopback := isLoopback(host); {
	case u.User != nil:
		return "", errors.New("must not carry userinfo")
	case strings.Contains(rawURL, "#"):
		return "", errors.New("must not carry a fragment")
	case loopback && !allowLoopback:
		return "", errors.New("must not be a loopback address")
	case u.Scheme != "https" && !(loopback && u.Scheme == "http"):
		return "", errors.New("must be https")
	}
	return host, nil
}

var (
	name   = regexp.MustCompile(`^[a-z0-9_-]+(\.[a-z0-9_-]+)*$`)
	number = regexp.MustCompile(`(^|\.)([0-9]+|0x[0-9a-f]*)$`)
)

// isName reports whether host is a host name in ASCII. One that ends in a number is none: resolvers take 127.1,
// 0177.0.0.1 and 0x7f000001 for addresses. https://url.spec.whatwg.org/#ends-in-a-number-checker
func isName(host string) bool { return name.MatchString(host) && !number.MatchString(host) }

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && (ip.Unmap().IsLoopback() || ip.Unmap().IsUnspecified()) || // Linux takes 0.0.0.0 for loopback
		host == "localhost" || strings.HasSuffix(host, ".localhost")
}
