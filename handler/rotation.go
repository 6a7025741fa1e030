package handler

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/sensitive"
	"datadog-webhook-auth-sync/handler/strictjson"
)

// next is the label under which an operator stages the credential that a rotation promotes. It is not AWSPENDING, which
// Secrets Manager wants free when a rotation starts.
const next = "NEXT"

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

// rotate does one step. A rotation promotes a credential that somebody staged; it does not mint one.
func (h *Handler) rotate(ctx context.Context, r rotationStep, from caller) error {
	what := []any{"step", r.step, "secretId", r.secretID, "versionId", r.token, "requestId", from.requestID}
	if err := h.rotateStep(ctx, r, from); err != nil {
		e := fault.From(err)
		h.log.ErrorContext(ctx, "rotation", append(what, "error", e)...)
		return e
	}
	h.log.InfoContext(ctx, "rotation", what...)
	return nil
}

// rotateStep goes by the labels of the token's own version, since for a moment a label can be on two versions. Each
// step may be repeated, and may come without the one before it.
func (h *Handler) rotateStep(ctx context.Context, r rotationStep, from caller) error {
	if err := h.syncer.Scope.Admit(r.secretID, from.arnPrefix); err != nil {
		return err
	}
	secret, err := h.syncer.Secrets.Describe(ctx, r.secretID)
	if err != nil {
		return err
	}
	labels, known := secret.Labels[r.token]
	switch {
	case !known:
		return fault.New(fault.RotationRefused, "the token is no version of the secret")
	case !secret.RotationEnabled:
		return fault.New(fault.RotationRefused, "rotation is not enabled for the secret")
	case unqualified(secret.RotationLambdaARN) != from.function:
		return fault.New(fault.RotationRefused, "the secret names another function for its rotation")
	case slices.Contains(labels, secretstore.Current):
		return nil
	case !slices.Contains(labels, secretstore.Pending):
		return fault.New(fault.RotationRefused, "the token's version is not labelled AWSPENDING")
	}
	switch r.step {
	case "createSecret":
		return h.createPending(ctx, r, secret)
	case "setSecret":
		return nil // whoever staged the credential made it known to the identity provider
	case "testSecret":
		return h.testPending(ctx, r, secret, from)
	case "finishSecret":
		// Again: testSecret may have been left out, or may not have seen the value yet.
		if err := h.testPending(ctx, r, secret, from); err != nil {
			return err
		}
		current := secret.Labelled(secretstore.Current)
		return h.syncer.Secrets.MoveLabel(ctx, r.secretID, secretstore.Current, current, r.token) // the label event pushes
	}
	return fault.New(fault.RotationRefused, "the step is none of createSecret, setSecret, testSecret, finishSecret")
}

// createPending gives the token's version the staged value, unless it has one. Then it takes NEXT off the version that
// was copied: otherwise a later rotation with nothing staged would bring an old credential back. The value tells which
// version was copied, so that a repeated step does not touch what was staged meanwhile.
func (h *Handler) createPending(ctx context.Context, r rotationStep, secret secretstore.Secret) error {
	var staged []secretstore.Value
	for id, labels := range secret.Labels {
		if !slices.Contains(labels, next) {
			continue
		}
		value, err := h.syncer.Secrets.Version(ctx, r.secretID, id)
		if err != nil {
			return err
		}
		staged = append(staged, value)
	}
	pending, err := h.syncer.Secrets.Version(ctx, r.secretID, r.token)
	if fault.Is(err, fault.SecretNotFound) {
		switch len(staged) {
		case 0:
			return fault.New(fault.RotationRefused, "nothing is staged: run aws secretsmanager put-secret-value "+
				"--secret-id %s --version-stages %s --secret-string file://credential.json, then "+
				"aws secretsmanager rotate-secret --secret-id %[1]s", secret.Name, next)
		case 1:
		default:
			return fault.New(fault.RotationRefused, "%d versions are labelled %s: take it off all but one", len(staged), next)
		}
		pending = staged[0]
		err = h.syncer.Secrets.PutPending(ctx, r.secretID, r.token, r.rotationToken, pending.Text)
	}
	if err != nil {
		return err
	}
	for _, value := range staged {
		if value.Text.Equal(pending.Text) {
			err = errors.Join(err, h.syncer.Secrets.MoveLabel(ctx, r.secretID, next, value.VersionID, ""))
		}
	}
	return err
}

// testPending returns nil if the token endpoint accepts the pending credential. RotateSecret with
// RotateImmediately=false has a version without a value tested, which passes; it cannot be finished.
func (h *Handler) testPending(ctx context.Context, r rotationStep, secret secretstore.Secret, from caller) error {
	value, err := h.syncer.Secrets.Version(ctx, r.secretID, r.token)
	switch {
	case fault.Is(err, fault.SecretNotFound) && r.step == "testSecret":
		return nil
	case fault.Is(err, fault.SecretNotFound):
		return fault.New(fault.RotationRefused, "the token's version has no value: createSecret comes first")
	case err != nil:
		return err
	}
	return h.syncer.Verify(ctx, secret, value, from.arnPrefix)
}

// unqualified returns a function's ARN, arn:partition:lambda:region:account:function:name, without version or alias.
func unqualified(arn string) string {
	parts := strings.Split(arn, ":")
	return strings.Join(parts[:min(7, len(parts))], ":")
}
