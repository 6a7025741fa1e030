package secretstore_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"

	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/secretstore/secretstoretest"
	"datadog-webhook-auth-sync/handler/sensitive"
)

const name = "datadog/webhooks/payments"

// setup is a secret with one version, in a store whose clock stands at the record's date.
func setup() (store *secretstore.Store, s *secretstoretest.Server, arn, version string) {
	s = &secretstoretest.Server{}
	arn, version = s.Create(name, canary)
	now := func() time.Time { return at }
	return &secretstore.Store{API: s, Region: "us-east-1", Site: site, OwnerTagKey: "team", Now: now}, s, arn, version
}

func codeOf(err error) fault.Code {
	if e, ok := errors.AsType[*fault.Error](err); ok {
		return e.Code
	}
	return fault.Code(fmt.Sprint(err))
}

// Rotations and syncs, whose tests read, describe, list and write secrets, meet neither of these.
func TestABinaryValue(t *testing.T) {
	store, s, _, _ := setup()
	_, err := s.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: aws.String("binary"), SecretBinary: []byte(canary)})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := store.Current(t.Context(), "binary"); err != nil || got.Text.Reveal() != canary {
		t.Errorf("%d bytes, %v", len(got.Text.Reveal()), err)
	}
}

func TestALabelThatIsWhereItShouldBe(t *testing.T) {
	store, s, _, first := setup()
	staged := s.Stage(name, "next", "NEXT")
	if err := store.MoveLabel(t.Context(), name, "NEXT", first, ""); err != nil || s.Labels(name)["NEXT"] != staged {
		t.Errorf("%v, %v", s.Labels(name), err)
	}
}

// putter notes the rotation token of the last PutSecretValue; nil: it had none.
type putter struct {
	*secretstoretest.Server
	token *string
}

func (p *putter) PutSecretValue(ctx context.Context, in *sm.PutSecretValueInput, _ ...func(*sm.Options)) (
	*sm.PutSecretValueOutput, error) {
	p.token = in.RotationToken
	return p.Server.PutSecretValue(ctx, in)
}

// The stand-in for Secrets Manager does not look at the rotation token, so no test of a rotation notices it.
func TestRotationTokenIsPassedOn(t *testing.T) {
	store, s, _, _ := setup()
	p := &putter{Server: s}
	store.API = p
	version := s.StartRotation(name, "arn:aws:lambda:us-east-1:123456789012:function:sync")
	for _, want := range []*string{nil, aws.String("rotation-token")} {
		err := store.PutPending(t.Context(), name, version, sensitive.New(aws.ToString(want)), sensitive.New("next"))
		if err != nil || (p.token == nil) != (want == nil) || aws.ToString(p.token) != aws.ToString(want) {
			t.Errorf("error %v; rotation token %q, want %q", err, aws.ToString(p.token), aws.ToString(want))
		}
	}
}

func TestOwner(t *testing.T) {
	store, s, _, _ := setup()
	for tag, want := range map[string]string{
		"payments team":               "payments team",
		" pay\u2028ments\u00a0":       "payments",
		"\u3000":                      "",
		strings.Repeat("ü", 64) + "a": strings.Repeat("ü", 64),
	} {
		s.Tag(name, "team", tag)
		if got, err := store.Describe(t.Context(), name); err != nil || got.Owner != want {
			t.Errorf("got %q, want %q: %v", got.Owner, want, err)
		}
	}
}

func TestPages(t *testing.T) {
	store, s, _, _ := setup()
	for i := range 101 {
		s.Create(fmt.Sprintf("a/%03d", i), canary)
	}
	first, next, err := store.Page(t.Context(), "a/", "")
	if err != nil || len(first) != 100 || next == "" {
		t.Fatalf("%d secrets, next %q, %v", len(first), next, err)
	}
	second, end, err := store.Page(t.Context(), "a/", next)
	if err != nil || len(second) != 1 || second[0].Name != "a/100" || end != "" {
		t.Errorf("%d secrets, next %q, %v", len(second), end, err)
	}
	if _, _, err := store.Page(t.Context(), "a/", "x"); codeOf(err) != fault.BadRequest {
		t.Errorf("an unknown token: %v", err)
	}
}

func TestStoreClassifiesErrors(t *testing.T) {
	text := aws.String(canary)
	for what, tc := range map[string]struct {
		err  error
		want fault.Code
	}{
		"not found":         {&types.ResourceNotFoundException{Message: text}, fault.SecretNotFound},
		"access denied":     {secretstoretest.AccessDenied, fault.SecretAccessDenied},
		"KMS":               {secretstoretest.KMSAccessDenied, fault.SecretAccessDenied},
		"cannot decrypt":    {secretstoretest.CannotDecrypt, fault.SecretAccessDenied},
		"cannot encrypt":    {&types.EncryptionFailure{Message: text}, fault.SecretAccessDenied},
		"bad parameter":     {&types.InvalidParameterException{Message: text}, fault.BadRequest},
		"validation":        {&smithy.GenericAPIError{Code: "ValidationException", Message: canary}, fault.BadRequest},
		"other value":       {&types.ResourceExistsException{Message: text}, fault.RotationRefused},
		"throttled":         {secretstoretest.Throttled, fault.SecretsUnavailable},
		"failed":            {secretstoretest.Internal, fault.SecretsUnavailable},
		"state of a secret": {&types.InvalidRequestException{Message: text}, fault.SecretsUnavailable},
		"unknown":           {&smithy.GenericAPIError{Code: canary, Message: canary}, fault.SecretsUnavailable},
		"no answer":         {&net.OpError{Op: "dial", Err: errors.New(canary)}, fault.SecretsUnavailable},
		"its own time-out":  {context.DeadlineExceeded, fault.SecretsUnavailable},
	} {
		t.Run(what, func(t *testing.T) {
			ctx := t.Context()
			store, s, arn, _ := setup()
			for op, call := range map[string]func() error{
				"GetSecretValue":           func() error { _, err := store.Current(ctx, name); return err },
				"DescribeSecret":           func() error { _, err := store.Describe(ctx, name); return err },
				"TagResource":              func() error { return store.Record(ctx, arn, record) },
				"PutSecretValue":           func() error { return store.PutPending(ctx, name, other, sensitive.Text{}, sensitive.New(canary)) },
				"UpdateSecretVersionStage": func() error { return store.MoveLabel(ctx, name, secretstore.Current, "", other) },
			} {
				s.Fail(op, 1, tc.err)
				err := call()
				if codeOf(err) != tc.want || errors.Is(err, context.DeadlineExceeded) != errors.Is(tc.err, context.DeadlineExceeded) {
					t.Errorf("%s: %v; want %s", op, err, tc.want)
				}
				mustNotHold(t, fmt.Sprint(err))
				if op == "PutSecretValue" || what == "unknown" || what == "no answer" { // else AWS's words are for the log
					mustNotHold(t, fmt.Sprint(fault.From(err).LogValue()))
				}
			}
		})
	}
}
