package authsync

import (
	"cmp"
	"context"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/sensitive"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

// verificationOff is what a Result says where verification is off.
const verificationOff = "off"

// verdict is what the token endpoint said, and of what. It is zero where verification is off.
type verdict struct {
	tokencheck.Verdict
	request tokencheck.Credential
}

// verify asks the token endpoint whether it accepts the credential that Datadog will hold, unless it was asked that in
// this round. An error forbids the write:
//
//  1. accepted: no error;
//  2. a take-over that is not accepted: auth_method_mismatch;
//  3. rejected: credential_rejected;
//  4. a create, or a secret that fails already or was rejected in this push, that is not accepted: credential_rejected;
//  5. inconclusive about an auth method of the secret's own: no error.
func (s *Syncer) verify(ctx context.Context, a *Attempt, p plan) error {
	defer a.step("verify")()
	if r := requestOf(p.after, p.write.ClientSecret); s.Checker != nil && a.verdict.request != r {
		a.verdict = verdict{tokencheck.Verdict{Outcome: tokencheck.Inconclusive, Why: "Datadog holds no client_id to verify it with"}, r}
		if r.ClientID != "" {
			a.verdict.Verdict = s.Checker.Check(ctx, r)
		}
	}
	v := a.verdict
	a.Verification = cmp.Or(string(v.Outcome), verificationOff)
	switch {
	case s.Checker == nil || v.Outcome == tokencheck.Accepted: // 1
		return nil
	case p.action == report.Adopt && !p.own: // 2
		return notPossessed(p.id, v.Why).WithRetry(true)
	case v.Outcome == tokencheck.Rejected: // 3
		a.rejected = a.Secret.VersionID
		return fault.New(fault.CredentialRejected, "%s", v.Why)
	case p.action == report.Create || p.subject.record.Failing != "" || a.rejected != "" && a.rejected == a.Secret.VersionID: // 4
		return unverified(v)
	}
	return nil // 5
}

func unverified(v verdict) error {
	return fault.New(fault.CredentialRejected, "the credential could not be verified: %s", v.Why)
}

// requestOf is what a token takes with what Datadog shows of m.
func requestOf(m datadog.AuthMethod, secret sensitive.Text) tokencheck.Credential {
	return tokencheck.Credential{ClientID: m.ClientID, ClientSecret: secret, AccessTokenURL: m.AccessTokenURL,
		Audience: m.Audience, Scope: m.Scope}
}
