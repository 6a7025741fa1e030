package secretstore

import (
	"regexp"
	"slices"
	"strings"

	"datadog-webhook-auth-sync/handler/fault"
)

// Scope says which secrets may be touched: those under Prefix, except the secrets that hold Datadog's keys.
type Scope struct {
	Prefix  string
	KeyARNs []string
}

// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html
var (
	secretName = regexp.MustCompile(`^[A-Za-z0-9/_+=.@!-]+$`)
	arnSuffix  = regexp.MustCompile(`-[A-Za-z0-9]{6}$`) // what an ARN adds to it
)

const maxName = 512 + len("-AbCdEf")

// Admit returns bad_request for what is neither a name nor an ARN, secret_out_of_scope for what may not be touched, and
// nil otherwise. arnPrefix is how the ARN of every secret of the function's own account and region begins. A name is
// always one of the function's own account and region.
func (s Scope) Admit(id, arnPrefix string) error {
	name, ours := strings.CutPrefix(id, arnPrefix)
	if strings.HasPrefix(id, "arn:") && (!ours || arnPrefix == "") {
		return fault.New(fault.SecretOutOfScope, "the ARN is not that of a secret in the function's account and region")
	}
	switch {
	case len(name) > maxName || !secretName.MatchString(name):
		return fault.New(fault.BadRequest, "secretId is neither the name nor the ARN of a secret")
	case !strings.HasPrefix(name, s.Prefix) || withoutSuffix(name) == s.Prefix:
		return fault.New(fault.SecretOutOfScope, "the secret's name does not begin with %s", s.Prefix)
	case slices.ContainsFunc(s.KeyARNs, func(key string) bool {
		_, keyName := Identify(key)
		return slices.Contains([]string{key, withoutSuffix(key), keyName}, id)
	}):
		return fault.New(fault.SecretOutOfScope, "the secret holds a key of Datadog's")
	}
	return nil
}

func withoutSuffix(s string) string { return arnSuffix.ReplaceAllString(s, "") }

// Identify returns what a name or an ARN tells of a secret: its name, and its ARN or nothing.
func Identify(id string) (arn, name string) {
	if _, name, isARN := strings.Cut(id, ":secret:"); isARN {
		return id, withoutSuffix(name)
	}
	return "", id
}
