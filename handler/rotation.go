package handler

import (
	"context"
	"encoding/json"

	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/sensitive"
	"datadog-webhook-auth-sync/handler/strictjson"
)

// staged is the label under which an operator stages the credential that a rotation promotes. It is not AWSPENDING, which
// Secrets Manager wants free when a rotation starts.
const staged = "NEXT"

type versions interface {
	Describe(ctx context.Context, id string) (secretstore.Secret, error)
	Version(ctx context.Context, id, versionID string) (secretstore.Value, error)
	PutPending(ctx context.Context, id, token string, rotationToken, text sensitive.Text) error
	Promote(ctx context.Context, id, from, to string) error
}

// rotationStep is one of the four steps in which Secrets Manager has a secret rotated.
// https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html
type rotationStep struct {
	step, secretID, token string
	rotationToken         sensitive.Text
}

func recogniseRotation(p map[string]json.RawMessage) any {
	step, ok1 := strictjson.String(p["Step"])
	secretID, ok2 := strictjson.String(p["SecretId"])
	token, ok3 := strictjson.String(p["ClientRequestToken"])
	if !ok1 || !ok2 || !ok3 {
		return fault.New(fault.UnsupportedEvent, "Step, SecretId and ClientRequestToken of a rotation must be strings")
	}
	rotationToken, _ := strictjson.String(p["RotationToken"])
	return rotationStep{step, secretID, token, sensitive.New(rotationToken)}
}

// rotate does one step. It promotes a credential that somebody staged; it does not mint one. Each step goes by the token
// alone and may be repeated: a token that is AWSCURRENT already has nothing left to do.
func (h *Handler) rotate(ctx context.Context, r rotationStep, from caller) error {
	what := []any{"step", r.step, "secretId", r.secretID, "versionId", r.token}
	if err := h.rotateStep(ctx, r, from); err != nil {
		return h.failed(ctx, "rotation", err, from.requestID, what...)
	}
	h.log.InfoContext(ctx, "rotation", append(what, "requestId", from.requestID)...)
	return nil
}

func (h *Handler) rotateStep(ctx context.Context, r rotationStep, from caller) error {
	if err := h.scope.Admit(r.secretID, from.home); err != nil {
		return err
	}
	secret, err := h.versions.Describe(ctx, r.secretID)
	if err != nil {
		return err
	}
	current, pending := secret.Labelled(secretstore.Current), secret.Labelled(secretstore.Pending)
	switch {
	case secret.Labels[r.token] == nil:
		return fault.New(fault.RotationRefused, "the token is no version of the secret")
	case !secret.RotationEnabled:
		return fault.New(fault.RotationRefused, "rotation is not enabled for the secret")
	case r.token == current:
		return nil
	case r.token != pending:
		return fault.New(fault.RotationRefused, "the token's version is not labelled AWSPENDING")
	}
	switch r.step {
	case "createSecret":
		return h.createPending(ctx, r, secret)
	case "setSecret":
		return nil // whoever staged the credential made it known to the identity provider
	case "testSecret":
		return h.testPending(ctx, r, secret)
	case "finishSecret":
		return h.versions.Promote(ctx, r.secretID, current, r.token) // the label event pushes it
	}
	return fault.New(fault.RotationRefused, "the step is none of createSecret, setSecret, testSecret, finishSecret")
}

func (h *Handler) createPending(ctx context.Context, r rotationStep, secret secretstore.Secret) error {
	_, err := h.versions.Version(ctx, r.secretID, r.token)
	if err == nil || !isMissing(err) {
		return err
	}
	next := secret.Labelled(staged)
	if next == "" || next == secret.Labelled(secretstore.Current) {
		return fault.New(fault.RotationRefused, "nothing is staged: run aws secretsmanager put-secret-value --secret-id %s --version-stages %s --secret-string file://credential.json, then aws secretsmanager rotate-secret --secret-id %s", secret.Name, staged, secret.Name)
	}
	value, err := h.versions.Version(ctx, r.secretID, next)
	if err != nil {
		return err
	}
	return h.versions.PutPending(ctx, r.secretID, r.token, r.rotationToken, value.Text)
}

func (h *Handler) testPending(ctx context.Context, r rotationStep, secret secretstore.Secret) error {
	value, err := h.versions.Version(ctx, r.secretID, r.token)
	if isMissing(err) {
		return nil // RotateSecret with RotateImmediately=false tests a version that has no value
	}
	if err != nil {
		return err
	}
	return h.syncer.Prove(ctx, secret, value.Text)
}

func isMissing(err error) bool { return err != nil && fault.From(err).Code == fault.SecretNotFound }
