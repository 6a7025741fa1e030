// Package endpoint says which URLs the function may call, and where a client secret may be sent.
package endpoint

import (
	"errors"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Fault says what keeps rawURL from being called with a secret, or nothing. It must be https, without userinfo or
// fragment. Loopback would reach the Lambda Runtime API (127.0.0.1:9001) in a real function, so it, and http to it, is
// for an emulator only.
func Fault(rawURL string, allowLoopback bool) string {
	_, why := parse(rawURL, allowLoopback)
	return why
}

// Loopback reports whether rawURL is an http or https URL of this machine.
func Loopback(rawURL string) bool { return Fault(rawURL, true) == "" && Fault(rawURL, false) != "" }

// Rule says where a client secret may be sent.
type Rule struct {
	AllowLoopback bool     // on an emulator only: see the function Fault
	Hosts         []string // as ParseHosts returns them; none = every public host
}

// Fault says what keeps a client secret from being sent to rawURL, or nothing. Besides what the function Fault demands,
// the host must be a name or a public address, and admitted by Hosts, which holds for loopback too. It does not resolve
// the name: the dialer must ask Public about the address that it stands for.
func (r Rule) Fault(rawURL string) string {
	host, why := parse(rawURL, r.AllowLoopback)
	if why != "" {
		return why
	}
	address, err := netip.ParseAddr(host)
	switch {
	case err == nil && !Public(address) && !(r.AllowLoopback && address.Unmap().IsLoopback()):
		return "must not be an address that is not public"
	case err != nil && !isName(host):
		return "must have a host of letters, digits, hyphens and dots, or an address in its usual form"
	case len(r.Hosts) > 0 && !slices.ContainsFunc(r.Hosts, func(admitted string) bool {
		suffix, below := strings.CutPrefix(admitted, "*")
		return host == admitted || below && strings.HasSuffix(host, suffix)
	}):
		return "has a host that AllowedTokenHosts does not admit"
	}
	return ""
}

// ParseHosts reads a list of host names, and of *.x for every name below x, separated by commas. An empty list gives
// nil. The error says what is wrong with an entry, and quotes none.
func ParseHosts(list string) (hosts []string, err error) {
	if strings.TrimSpace(list) == "" {
		return nil, nil
	}
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(entry), "."))
		host := strings.TrimPrefix(entry, "*.")
		_, notAddress := netip.ParseAddr(host)
		switch {
		case entry == "":
			return nil, errors.New("must not have an empty entry")
		case strings.Contains(host, "*"):
			return nil, errors.New("must have * only in the *. that begins an entry")
		case strings.ContainsAny(host, ":/@"):
			return nil, errors.New("must have host names without scheme, port or path")
		case notAddress != nil && !isName(host):
			return nil, errors.New("must have host names of letters, digits, hyphens and dots")
		}
		hosts = append(hosts, entry)
	}
	return hosts, nil
}

// parse returns the host of rawURL in lower case, without port and trailing dot, or what the function Fault says of it.
func parse(rawURL string, allowLoopback bool) (host, why string) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Hostname() == "" || u.Opaque != "" {
		return "", "is no absolute URL"
	}
	host = strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	switch loopback := isLoopback(host); {
	case u.User != nil:
		return "", "must not carry userinfo"
	case u.Fragment != "" || strings.Contains(rawURL, "#"):
		return "", "must not carry a fragment"
	case loopback && !allowLoopback:
		return "", "must not be a loopback address"
	case loopback && u.Scheme != "http" && u.Scheme != "https":
		return "", "must be http or https"
	case !loopback && u.Scheme != "https":
		return "", "must be https"
	}
	return host, ""
}

var name = regexp.MustCompile(`^[a-z0-9_-]+(\.[a-z0-9_-]+)*$`)

// isName reports whether host is a host name in ASCII. One that ends in a number is none: some resolvers take 127.1 or
// 0x7f000001 for an address.
func isName(host string) bool {
	_, err := strconv.ParseUint(host[strings.LastIndexByte(host, '.')+1:], 0, 64)
	return err != nil && name.MatchString(host)
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && (ip.Unmap().IsLoopback() || ip.Unmap().IsUnspecified()) || // Linux takes 0.0.0.0 for loopback
		host == "localhost" || strings.HasSuffix(host, ".localhost")
}
