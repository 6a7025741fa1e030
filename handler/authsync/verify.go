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

// verification is what the token endpoint said of one version. It is zero where nothing was asked.
type verification struct {
	tokencheck.Verdict
	version string // of the secret
	request tokencheck.Credential
	known   tokencheck.Style // that was asked first
}

// verify asks the token endpoint whether it accepts the credential that Datadog will hold. An error forbids the write:
//
//  1. accepted, or verification is off: no error;
//  2. a take-over that is not accepted: auth_method_mismatch;
//  3. rejected, or a create: credential_rejected;
//  4. inconclusive, of an own auth method whose access_token_url stays, and of a version of which no attempt was refused:
//     no error;
//  5. any other inconclusive verdict: credential_rejected.
func (s *Syncer) verify(ctx context.Context, r round, earlier rounds) (verification, error) {
	v, p, record, version := r.snapshot.verification, r.plan, r.snapshot.record, r.snapshot.version
	if s.Checker == nil {
		return v, nil // 1
	}
	if request := requestOf(p.after, p.write.ClientSecret); v.request != request {
		v = s.ask(ctx, version, request, knownStyle(record, p.before, request))
	}
	refused := v.Refused || record.Refuses(version) || slices.ContainsFunc(earlier, func(r round) bool {
		return r.verification.version == version && r.verification.Refused || r.held.version == version && r.held.Refused
	})
	switch {
	case v.Outcome == tokencheck.Accepted: // 1
		return v, nil
	case !p.own && p.outcome == report.Adopted: // 2
		return v, notPossessed(p, v.Why).WithRetry(true)
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
	stated := datadog.AuthMethod{Name: snap.name}.With(writeOf(c))
	request := requestOf(stated, c.ClientSecret)
	known := knownStyle(snap.record, stated, request)
	if s.Checker == nil || !c.States() || known == "" && snap.record.Via != "" {
		return verification{}
	}
	return s.ask(ctx, snap.version, request, known)
}

func (s *Syncer) ask(ctx context.Context, version string, c tokencheck.Credential, known tokencheck.Style) verification {
	if c.ClientID == "" {
		none := tokencheck.Verdict{Outcome: tokencheck.Inconclusive, Why: "Datadog holds no client_id to verify it with"}
		return verification{none, version, c, known}
	}
	return verification{s.Checker.Check(ctx, c, known), version, c, known}
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
func (s *Syncer) Verify(ctx context.Context, secret secretstore.Secret, value secretstore.Value, arnPrefix string) error {
	if s.Checker == nil {
		return nil
	}
	r := s.dryRun(ctx, Request{SecretID: secret.ARN, ARNPrefix: arnPrefix, Listing: s.NewListing(), secret: &secret,
		value: value}, nil)
	if r.err == nil && r.verification.Outcome != tokencheck.Accepted {
		return unverified(r.verification)
	}
	return r.err
}

func unverified(v verification) error {
	return fault.New(fault.CredentialRejected, "the client secret could not be verified: %s", v.Why).WithHint(v.Hint)
}
