package authsync

import (
	"cmp"
	"context"

	"datadog-webhook-auth-sync/handler/deadline"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

// heldCredential finds out, after a round that failed, whether what Datadog holds still works: rejected means that
// alerts are being lost now. It is zero where no write is recorded, and with verification off unless the auth method is
// gone. Before a first loss it waits until the look comes 5 s after the snapshot, since both may be stale; before a
// first auth_method_mismatch too, since Datadog may show a write that another invocation has yet to record.
func (s *Syncer) heldCredential(ctx context.Context, r round) (held verification) {
	record := r.snapshot.record
	if record.Version != "" && (s.Checker != nil || r.snapshot.gone()) {
		held = s.judgeHeld(ctx, r)
	}
	lost := held.Outcome == tokencheck.Rejected && record.State != secretstore.Lost
	mismatch := fault.Is(r.err, fault.AuthMethodMismatch) && record.Code != fault.AuthMethodMismatch
	wait := sureAfter - s.Now().Sub(r.snapshot.at)
	if wait <= 0 || !lost && !mismatch {
		return held
	}
	if waited := deadline.Sleep(ctx, wait); lost && !waited {
		held.Outcome = tokencheck.Inconclusive
	}
	return held
}

// judgeHeld goes by the first of these that applies:
//
//  1. the secret pins another auth method: inconclusive;
//  2. the auth method is gone: rejected;
//  3. it is not listed, or not as recorded: inconclusive;
//  4. it has what this round verified: that verdict;
//  5. the recorded version cannot be read, states another URL, or may not be sent there: inconclusive;
//  6. what the token endpoint says.
func (s *Syncer) judgeHeld(ctx context.Context, r round) verification {
	snap, asked := r.snapshot, r.verification
	record, pin := snap.record, snap.credential.AuthMethodID
	held := verification{version: snap.secret.VersionOf(record)}
	held.Outcome = tokencheck.Inconclusive
	m, listed := snap.methods[record.ID]
	switch {
	case pin != "" && pin != record.ID: // 1
		return held
	case snap.gone(): // 2
		held.Outcome = tokencheck.Rejected
		return held
	case !listed || m.Digest() != record.Digest: // 3
		return held
	case record.IsOf(asked.version) && requestOf(m, asked.request.ClientSecret) == asked.request: // 4
		return asked
	case held.version == "": // 5
		return held
	}
	value, unread := s.Secrets.Version(ctx, snap.secret.ARN, held.version)
	c, invalid := secretstore.ParseCredential(value.Text, snap.name, s.URLs)
	elsewhere := c.AccessTokenURL != "" && c.AccessTokenURL != m.AccessTokenURL // perhaps by a forged tag
	if cmp.Or(unread, invalid, mayUseURL(c, record, m, s.URLs)) != nil || elsewhere {
		return held // 5
	}
	return s.ask(ctx, held.version, requestOf(m, c.ClientSecret), m, record) // 6
}
