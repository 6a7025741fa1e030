package endpoint

import (
	"net/netip"
	"slices"
)

// notPublic are the ranges that netip has no method for: the special-purpose registries of IANA, and in IPv6, of which
// only 2000::/3 is public, what holds an IPv4 address. https://www.iana.org/assignments/iana-ipv4-special-registry
var notPublic = prefixes("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24",
	"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
	"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")

var globalIPv6 = netip.MustParsePrefix("2000::/3")

func prefixes(list ...string) (all []netip.Prefix) {
	for _, p := range list {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

// Public reports whether a is a unicast address of the public internet, and no IPv4 address written as an IPv6 one.
func Public(a netip.Addr) bool {
	special := slices.ContainsFunc(notPublic, func(p netip.Prefix) bool { return p.Contains(a) })
	return a.IsGlobalUnicast() && !a.IsPrivate() && (a.Is4() || globalIPv6.Contains(a)) && !special
}
