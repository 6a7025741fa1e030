package authsync

import (
	"time"

	"datadog-webhook-auth-sync/handler/secretstore"
)

// survey is what Reconcile and Status know of many secrets at once: the auth methods that there are, and which secrets
// record which.
type survey struct {
	scope   Scope
	home    string // see Request
	there   *catalogue
	holders map[string][]string // auth method id → ARNs of the secrets that record it, as listed
}

// inScope leaves out what may not be touched, and secrets that there is nothing to do about.
func (v *survey) inScope(s secretstore.Secret) bool {
	return idle(s) == "" && v.scope.Admit(s.ARN, v.home) == nil
}

func (v *survey) hold(secrets []secretstore.Secret) {
	v.holders = map[string][]string{}
	for _, s := range secrets {
		if s.Record.ID != "" {
			v.holders[s.Record.ID] = append(v.holders[s.Record.ID], s.ARN)
		}
	}
}

func (v *survey) shared(s secretstore.Secret) bool { return len(v.holders[s.Record.ID]) > 1 }

func (v *survey) judge(s secretstore.Secret, shared bool, now time.Time) []Reason {
	reasons := judge(s, v.there.get(s.Record.ID), now)
	if shared {
		return append([]Reason{AuthMethodShared}, reasons...)
	}
	return reasons
}
