package authsync

import (
	"regexp"
	"slices"
	"strings"

	"datadog-webhook-auth-sync/handler/fault"
)

// Scope says which secrets may be touched: those under Prefix, save the secrets that hold Datadog's keys.
type Scope struct {
	Prefix  string
	KeyARNs []string
}

// secretName is what Secrets Manager takes for a name, of 1 to 512 characters; an ARN adds a suffix of 7.
var secretName = regexp.MustCompile(`^[A-Za-z0-9/_+=.@!-]{1,519}$`)

// Admit returns bad_request for what is neither a name nor an ARN, secret_out_of_scope for what may not be touched, and
// nil. home is Request.Home. A name is always one of the function's own account and region.
func (s Scope) Admit(id, home string) error {
	name, isARN := id, strings.HasPrefix(id, "arn:")
	if isARN {
		rest, atHome := strings.CutPrefix(id, home)
		if !atHome || home == "" {
			return fault.New(fault.SecretOutOfScope, "the ARN is not that of a secret in the function's account and region")
		}
		name = rest
	}
	switch {
	case !secretName.MatchString(name):
		return fault.New(fault.BadRequest, "secretId is neither the name nor the ARN of a secret")
	case !strings.HasPrefix(name, s.Prefix) || name == s.Prefix:
		return fault.New(fault.SecretOutOfScope, "the secret's name does not begin with %s", s.Prefix)
	case slices.ContainsFunc(s.KeyARNs, func(key string) bool { return names(key, id) }):
		return fault.New(fault.SecretOutOfScope, "the secret holds a key of Datadog's")
	}
	return nil
}

// suffix is what Secrets Manager adds to a name to make an ARN.
var suffix = regexp.MustCompile(`-[A-Za-z0-9]{6}$`)

// refOfID is what a name or an ARN alone tells of a secret.
func refOfID(id string) SecretRef {
	if _, name, isARN := strings.Cut(id, ":secret:"); isARN {
		return SecretRef{ARN: id, Name: suffix.ReplaceAllString(name, "")}
	}
	return SecretRef{Name: id}
}

// names reports whether id, a name or an ARN with or without its suffix, means the secret with the complete ARN arn.
func names(arn, id string) bool {
	return id == arn || id == suffix.ReplaceAllString(arn, "") || id == refOfID(arn).Name
}
