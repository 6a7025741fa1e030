// Package fleet is the job for many secrets: it finds those that are out of step, has each synced, and tells the state of
// all.
package fleet

import (
	"context"
	"time"

	"datadog-webhook-auth-sync/handler/authsync"
	"datadog-webhook-auth-sync/handler/secretstore"
)

type secrets interface {
	Describe(ctx context.Context, id string) (secretstore.Secret, error)
	Page(ctx context.Context, prefix, token string) (secrets []secretstore.Secret, next string, err error)
}

// Fleet is every secret under the prefix. It is safe for concurrent use.
type Fleet struct {
	Syncer  *authsync.Syncer
	Secrets secrets
	Now     func() time.Time
}

// survey is what Reconcile and Status know of many secrets at once: the auth methods that there are, and which secrets
// record which.
type survey struct {
	scope   authsync.Scope
	home    string // see authsync.Request
	listing *authsync.Listing
	holders map[string][]string // auth method id → ARNs of the secrets that record it, as listed
}

// inScope leaves out what may not be touched, and secrets that there is nothing to do about.
func (v *survey) inScope(s secretstore.Secret) bool {
	return authsync.Idle(s) == "" && v.scope.Admit(s.ARN, v.home) == nil
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
	reasons := judge(s, v.listing.Get(s.Record.ID), now)
	if shared {
		return append([]Reason{AuthMethodShared}, reasons...)
	}
	return reasons
}
