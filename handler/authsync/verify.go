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
	known   tokencheck.Style // the style that is recorded of this client; empty: none is
}

// verify asks the token endpoint whether it accepts the credential that Datadog will hold. An error forbids the write:
//
//  1. accepted, or verification is off: no error;
//  2. a take-over that is not accepted: auth_method_mismatch;
//  3. rejected, or a create: credential_rejected;
//  4. inconclusive, of an own auth method whose access_token_url stays, and a version that nothing refused: no error;
//  5. any other inconclusive verdict: credential_rejected.
func (s *Syncer) verify(ctx context.Context, r round, earlier rounds) (verification, error) {
	v, p, version := r.snapshot.verification, r.plan, r.snapshot.version
	if request := requestOf(p.after, p.write.ClientSecret); v.request != request {
		v = s.ask(ctx, version, request, p.before, r.snapshot.record)
	}
	refused := v.Refused || r.snapshot.secret.Record.Refuses(version) || slices.ContainsFunc(earlier, func(r round) bool {
		return r.verification.version == version && r.verification.Refused || r.held.version == version && r.held.Refused
	})
	switch {
	case s.Checker == nil || v.Outcome == tokencheck.Accepted: // 1
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
	c, record := snap.credential, snap.record
	stated := datadog.AuthMethod{Name: snap.name}.With(writeOf(c))
	if !c.States() || record.Via != "" && record.Digest != stated.Digest() {
		return verification{}
	}
	return s.ask(ctx, snap.version, requestOf(stated, c.ClientSecret), stated, record)
}

// ask makes the token request of a version, unless verification is off. The recorded style is known if client_id and
// access_token_url are as recorded: m, at Datadog, has the recorded digest, and the request is of the same client.
func (s *Syncer) ask(ctx context.Context, version string, request tokencheck.Credential, m datadog.AuthMethod,
	record secretstore.Record) verification {
	v := verification{version: version, request: request}
	if m.Digest() == record.Digest && m.ClientID == request.ClientID && m.AccessTokenURL == request.AccessTokenURL {
		v.known = tokencheck.Style(record.Via)
	}
	switch {
	case s.Checker == nil:
	case request.ClientID == "":
		v.Outcome, v.Why = tokencheck.Inconclusive, "Datadog holds no client_id to verify it with"
	default:
		v.Verdict = s.Checker.Check(ctx, request, v.known)
	}
	return v
}

// requestOf is a token request with what Datadog shows of m.
func requestOf(m datadog.AuthMethod, secret sensitive.Text) tokencheck.Credential {
	return tokencheck.Credential{ClientID: m.ClientID, ClientSecret: secret, AccessTokenURL: m.AccessTokenURL,
		Audience: m.Audience, Scope: m.Scope}
}

// Verify returns nil if verification is off, or if the token endpoint accepts v, a version of secret that is not
// AWSCURRENT, with what Datadog would hold if it were written. What is not accepted is credential_rejected or, where it
// would take over an auth method, auth_method_mismatch.
func (s *Syncer) Verify(ctx context.Context, secret secretstore.Secret, v secretstore.Value, arnPrefix string) error {
	if s.Checker == nil {
		return nil
	}
	l := datadog.NewListing(s.AuthMethods.List, s.Now)
	r := s.dryRun(ctx, Request{SecretID: secret.ARN, ARNPrefix: arnPrefix, Listing: l, secret: &secret, value: v}, nil)
	if r.err == nil && r.verification.Outcome != tokencheck.Accepted {
		return unverified(r.verification)
	}
	return r.err
}

func unverified(v verification) error {
	return fault.New(fault.CredentialRejected, "the client secret could not be verified: %s", v.Why).WithHint(v.Hint)
}
