package authsync

import (
	"context"

	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

// heldCredential finds out, after a round that failed, whether what Datadog holds still works: rejected means that
// alerts are being lost now. It is nil where no write is recorded, and with verification off unless the auth method is
// gone. Snapshot and look may both be stale, so it waits until the look comes 5 s after the snapshot before it says for
// the first time that a secret is lost.
func (s *Syncer) heldCredential(ctx context.Context, r *round) *report.Held {
	record := r.snapshot.record
	if record.Version == "" || s.Checker == nil && !r.snapshot.gone() {
		return nil
	}
	r.heldVersion, r.held = r.snapshot.secret.VersionOf(record), s.judgeHeld(ctx, *r)
	held := &report.Held{VersionID: r.heldVersion, Verification: r.held.Outcome}
	if held.Verification != tokencheck.Rejected || record.State == secretstore.Lost {
		return held
	}
	if !s.outwait(ctx, r.snapshot) {
		held.Verification = tokencheck.Inconclusive
	}
	return held
}

// outwait returns 5 s after the snapshot, and reports whether there was time for it.
func (s *Syncer) outwait(ctx context.Context, snap snapshot) bool {
	wait := sureAfter - s.Now().Sub(snap.at)
	return wait <= 0 || sleep(ctx, wait)
}

// judgeHeld goes by the first of these that applies:
//
//  1. the secret pins another auth method: inconclusive;
//  2. the auth method is gone: rejected;
//  3. it is not listed, or not as recorded: inconclusive;
//  4. it has what this round verified: that verdict;
//  5. the client secret of the recorded version cannot be read, or not be sent there: inconclusive;
//  6. what the token endpoint says.
func (s *Syncer) judgeHeld(ctx context.Context, r round) verification {
	unknown := verification{Verdict: tokencheck.Verdict{Outcome: tokencheck.Inconclusive}}
	record, pin := r.snapshot.record, r.snapshot.credential.AuthMethodID
	m, listed := r.snapshot.methods[record.ID]
	switch {
	case pin != "" && pin != record.ID: // 1
		return unknown
	case r.snapshot.gone(): // 2
		return verification{Verdict: tokencheck.Verdict{Outcome: tokencheck.Rejected}}
	case !listed || m.Digest() != record.Digest: // 3
		return unknown
	}
	asked := r.verification.request
	if record.IsOf(r.snapshot.version) && r.verification.Outcome != "" && requestOf(m, asked.ClientSecret) == asked { // 4
		return r.verification
	}
	id := r.snapshot.secret.VersionOf(record)
	if id == "" {
		return unknown // 5
	}
	value, err := s.Secrets.Version(ctx, r.snapshot.secret.ARN, id)
	if err != nil {
		return unknown // 5
	}
	c, err := secretstore.ParseCredential(value.Text, r.snapshot.name, s.URLs)
	repeats := m.Withhold(c.ClientSecret).Shown().AccessTokenURL != m.AccessTokenURL
	if err != nil || repeats || s.URLs.Check(m.AccessTokenURL) != nil {
		return unknown // 5
	}
	request := requestOf(m, c.ClientSecret)
	return s.check(ctx, request, knownStyle(record, m, request)) // 6
}
