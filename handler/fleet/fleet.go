// Package fleet syncs every secret under the prefix that is out of sync (Reconcile), and says of each whether it is
// (Status).
package fleet

import (
	"context"
	"time"

	"datadog-webhook-auth-sync/handler/authsync"
	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
)

// Fleet is every secret under the prefix. It is safe for concurrent use.
type Fleet struct {
	Syncer  *authsync.Syncer
	Refresh time.Duration    // after which a secret in sync is verified and pushed again, at the latest
	Listing *datadog.Listing // for Status
}

// admit returns secret_out_of_scope for what may not be touched, and secret_not_found where there is nothing to do.
func (f *Fleet) admit(s secretstore.Secret, arnPrefix string) error {
	err := f.Syncer.Scope.Admit(s.ARN, arnPrefix)
	if reason := s.SkipReason(); err == nil && reason != "" {
		return fault.New(fault.SecretNotFound, "%s", reason)
	}
	return err
}

// recordedBy returns, by the id of each auth method that is recorded, the ARNs of the secrets that record it.
func recordedBy(secrets []secretstore.Secret) map[string][]string {
	by := map[string][]string{}
	for _, s := range secrets {
		if s.Record.ID != "" {
			by[s.Record.ID] = append(by[s.Record.ID], s.ARN)
		}
	}
	return by
}

// list lists the secrets in scope, page by page.
func (f *Fleet) list(ctx context.Context, arnPrefix string) (secrets []secretstore.Secret, err error) {
	for next, more := "", true; more && err == nil; more = next != "" {
		var page []secretstore.Secret
		page, next, err = f.Syncer.Secrets.Page(ctx, f.Syncer.Scope.Prefix, next)
		for _, s := range page {
			if f.admit(s, arnPrefix) == nil {
				secrets = append(secrets, s)
			}
		}
	}
	return secrets, err
}
