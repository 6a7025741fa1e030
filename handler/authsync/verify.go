package authsync

import (
	"context"
	"slices"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/sensitive"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

// verification is what the token endpoint said, and of which request. It is zero where nothing was asked.
type verification struct {
	tokencheck.Verdict
	request tokencheck.Credential
}

// refused reports whether an attempt was refused, and none accepted.
func (v verification) refused() bool { return v.Refused && v.Outcome != tokencheck.Accepted }

// verify asks the token endpoint whether it accepts the credential that Datadog will hold. An error forbids the write:
//
//  1. accepted, or verification is off: no error;
//  2. a take-over that is not accepted: auth_method_mismatch;
//  3. rejected, or a create: credential_rejected;
//  4. inconclusive, of an own auth method whose access_token_url stays, and of a version of which no attempt was refused:
//     no error;
//  5. any other inconclusive verdict: credential_rejected.
func (s *Syncer) verify(ctx context.Context, snap snapshot, p plan, earlier []round) (verification, error) {
	v := snap.verification
	if s.Checker == nil {
		return v, nil // 1
	}
	if request := requestOf(p.after, p.write.ClientSecret); v.request != request {
		v = s.check(ctx, request, knownStyle(snap.record, p.before, request))
	}
	refused := v.Refused || snap.record.Refuses(snap.version) ||
		slices.ContainsFunc(earlier, func(r round) bool {
			return r.snapshot.version == snap.version && r.verification.Refused
		})
	switch {
	case v.Outcome == tokencheck.Accepted: // 1
		return v, nil
	case !p.own && p.action == report.Adopt: // 2
		return v, notPossessed(p.id, v.Why).WithRetry(true)
	case v.Outcome == tokencheck.Rejected: // 3
		return v, fault.New(fault.CredentialRejected, "the client secret was refused: %s", v.Why).WithHint(v.Hint)
	case p.own && p.after.AccessTokenURL == p.before.AccessTokenURL && !refused: // 4
		return v, nil
	}
	return v, unverified(v) // 3, 5
}

// verifyEarly asks before the listing is there, where the secret states all that a token request takes, and the known
// style is sure.
func (s *Syncer) verifyEarly(ctx context.Context, snap snapshot) verification {
	c := snap.credential
	if s.Checker == nil || !c.States() {
		return verification{}
	}
	stated := datadog.AuthMethod{Name: snap.name}.With(writeOf(c))
	request := requestOf(stated, c.ClientSecret)
	known := knownStyle(snap.record, stated, request)
	if known == "" && snap.record.Via != "" {
		return verification{}
	}
	return s.check(ctx, request, known)
}

func (s *Syncer) check(ctx context.Context, request tokencheck.Credential, known tokencheck.Style) verification {
	if request.ClientID == "" {
		none := tokencheck.Verdict{Outcome: tokencheck.Inconclusive, Why: "Datadog holds no client_id to verify it with"}
		return verification{none, request}
	}
	return verification{s.Checker.Check(ctx, request, known), request}
}

// knownStyle returns the recorded style, if client_id and access_token_url are as recorded: m has the recorded digest,
// and the request is of the same client.
func knownStyle(r secretstore.Record, m datadog.AuthMethod, request tokencheck.Credential) tokencheck.Style {
	if r.Digest == m.Digest() && m.ClientID == request.ClientID && m.AccessTokenURL == request.AccessTokenURL {
		return tokencheck.Style(r.Via)
	}
	return ""
}

// requestOf is a token request with what Datadog shows of m.
func requestOf(m datadog.AuthMethod, secret sensitive.Text) tokencheck.Credential {
	return tokencheck.Credential{ClientID: m.ClientID, ClientSecret: secret, AccessTokenURL: m.AccessTokenURL,
		Audience: m.Audience, Scope: m.Scope}
}

// Verify returns nil if the token endpoint accepts value, a version of secret that is not AWSCURRENT, with what Datadog
// would hold if it were written; and where verification is off. What is not accepted is credential_rejected or, where it
// would take over an auth method, auth_method_mismatch.
func (s *Syncer) Verify(ctx context.Context, secret secretstore.Secret, value secretstore.Value) error {
	if s.Checker == nil {
		return nil
	}
	l := s.NewListing()
	snap := snapshot{at: s.Now(), secret: secret, record: secret.Record, version: value.VersionID}
	if err := s.parse(&snap, value); err != nil {
		return err
	}
	if err := l.Load(ctx); err != nil {
		return err
	}
	var err error
	if snap.methods, err = s.methods(ctx, l, snap.lookUp()); err != nil {
		return err
	}
	p, err := decide(snap, s.URLs, true)
	if err != nil {
		return err
	}
	v, err := s.verify(ctx, snap, p, nil)
	if err == nil && v.Outcome != tokencheck.Accepted {
		err = unverified(v)
	}
	return err
}

func unverified(v verification) error {
	return fault.New(fault.CredentialRejected, "the client secret could not be verified: %s", v.Why).WithHint(v.Hint)
}
