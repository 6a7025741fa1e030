package secretstore_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

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
	return &secretstore.Store{API: s, Region: "us-east-1", Site: site, OwnerTagKey: "team", Now: func() time.Time { return at }}, s, arn, version
}

func codeOf(err error) fault.Code {
	if e, ok := errors.AsType[*fault.Error](err); ok {
		return e.Code
	}
	return fault.Code(fmt.Sprint(err))
}

func TestStoreReadsValues(t *testing.T) {
	ctx := context.Background()
	store, s, arn, first := setup()
	next := s.Stage(name, "next", "NEXT")
	out, err := s.CreateSecret(ctx, &sm.CreateSecretInput{Name: aws.String("binary"), SecretBinary: []byte(canary)})
	if err != nil {
		t.Fatal(err)
	}
	in := func(version, text string) secretstore.Value {
		return secretstore.Value{version, sensitive.New(text)}
	}
	for what, tc := range map[string]struct {
		id, version string            // no version: AWSCURRENT
		want        secretstore.Value // none: secret_not_found
	}{
		"AWSCURRENT":      {name, "", in(first, canary)},
		"by ARN":          {arn, "", in(first, canary)},
		"by version":      {name, next, in(next, "next")},
		"binary":          {"binary", "", in(*out.VersionId, canary)},
		"no such version": {name, other, secretstore.Value{}},
		"no such secret":  {"x", "", secretstore.Value{}},
	} {
		t.Run(what, func(t *testing.T) {
			got, err := store.Current(ctx, tc.id)
			if tc.version != "" {
				got, err = store.Version(ctx, tc.id, tc.version)
			}
			none := tc.want == secretstore.Value{}
			if diff := cmp.Diff(tc.want, got); diff != "" || none != (codeOf(err) == fault.SecretNotFound) || !none && err != nil {
				t.Errorf("error %v (-want +got):\n%s", err, diff)
			}
			mustNotHold(t, fmt.Sprintf("%+v %#v", got, got))
		})
	}
}

func TestStoreDescribes(t *testing.T) {
	store, s, arn, first := setup()
	ctx := context.Background()
	describe := func() secretstore.Secret {
		t.Helper()
		got, err := store.Describe(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		page, next, err := store.Page(ctx, "datadog/", "")
		if want := []secretstore.Secret{got}; !got.Deleted && (err != nil || next != "" || !cmp.Equal(want, page)) {
			t.Errorf("listed: %v %q (-want +got):\n%s", err, next, cmp.Diff(want, page))
		}
		return got
	}
	s.Create("other/payments", canary)
	got := describe()
	if time.Since(got.LastChanged) > time.Minute {
		t.Errorf("changed %v", got.LastChanged)
	}
	want := secretstore.Secret{ARN: arn, Name: name, Labels: map[string][]string{first: {"AWSCURRENT"}}, LastChanged: got.LastChanged}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	second := s.Put(name, "second")
	s.Stage(name, "third", "NEXT")
	s.Tag(name, "team", "payments")
	s.Tag(name, secretstore.RecordTag, record.String())
	const function = "arn:aws:lambda:us-east-1:123456789012:function:sync"
	pending := s.StartRotation(name, function)
	got = describe()
	if got.Labelled("AWSCURRENT") != second || got.Labelled("AWSPREVIOUS") != first || got.Labelled("AWSPENDING") != pending || got.Labelled("NONE") != "" {
		t.Errorf("labels %v", got.Labels)
	}
	if got.Record != record || got.Owner != "payments" || !got.RotationEnabled || got.RotationLambdaARN != function || got.Deleted || got.Replica {
		t.Errorf("%+v", got)
	}
	s.Tag(name, secretstore.RecordTag, "id="+id+" site=datadoghq.eu")
	s.SetPrimaryRegion(name, "eu-west-1")
	s.SetRotation(name, "")
	if got = describe(); got.Record != (secretstore.Record{}) || !got.Replica || got.RotationEnabled || got.RotationLambdaARN != "" {
		t.Errorf("%+v", got)
	}
	s.SetPrimaryRegion(name, "us-east-1") // as a primary with replicas shows itself
	s.Delete(name)
	if got = describe(); got.Replica || !got.Deleted {
		t.Errorf("%+v", got)
	}
	if calls := s.Calls(); calls["GetSecretValue"] != 0 {
		t.Errorf("a value was read: %v", calls)
	}
}

func TestSkipReason(t *testing.T) {
	store, s, _, _ := setup()
	s.Create("none", "")
	s.Create("deleted", canary)
	s.Delete("deleted")
	s.Create("replica", canary)
	s.SetPrimaryRegion("replica", "eu-west-1")
	for id, want := range map[string]string{
		name:      "",
		"none":    "the secret has no version labelled AWSCURRENT yet",
		"deleted": "the secret is marked for deletion",
		"replica": "the secret is a replica: the function beside its primary does the work",
	} {
		if got, err := store.Describe(context.Background(), id); err != nil || got.SkipReason() != want {
			t.Errorf("%s: %q, %v", id, got.SkipReason(), err)
		}
	}
}

func TestPages(t *testing.T) {
	store, s, _, _ := setup()
	for i := range 101 {
		s.Create(fmt.Sprintf("a/%03d", i), canary)
	}
	first, next, err := store.Page(context.Background(), "a/", "")
	if err != nil || len(first) != 100 || next == "" {
		t.Fatalf("%d secrets, next %q, %v", len(first), next, err)
	}
	second, end, err := store.Page(context.Background(), "a/", next)
	if err != nil || len(second) != 1 || second[0].Name != "a/100" || end != "" {
		t.Errorf("%d secrets, next %q, %v", len(second), end, err)
	}
	if _, _, err := store.Page(context.Background(), "a/", "x"); codeOf(err) != fault.BadRequest {
		t.Errorf("an unknown token: %v", err)
	}
}

func TestOwner(t *testing.T) {
	for tag, want := range map[string]string{
		"payments team":               "payments team",
		" pay\u2028ments\u00a0":       "payments",
		"\u3000":                      "",
		strings.Repeat("ü", 64) + "a": strings.Repeat("ü", 64),
	} {
		t.Run(tag, func(t *testing.T) {
			store, s, _, _ := setup()
			s.Tag(name, "team", tag)
			if got, err := store.Describe(context.Background(), name); err != nil || got.Owner != want {
				t.Errorf("got %q, want %q: %v", got.Owner, want, err)
			}
			store = &secretstore.Store{API: s, Region: "us-east-1", Site: site, Now: time.Now}
			if got, err := store.Describe(context.Background(), name); err != nil || got.Owner != "" {
				t.Errorf("without a key: %q, %v", got.Owner, err)
			}
		})
	}
}

func TestStoreWrites(t *testing.T) {
	store, s, arn, first := setup()
	ctx := context.Background()
	text, none := sensitive.New("staged "+canary), sensitive.Text{}
	s.Tag(name, "team", "payments")
	if err := store.Record(ctx, arn, record); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"team": "payments", "datadog-webhook-auth-sync": record.String()}, s.Tags(name)); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}

	token := s.StartRotation(name, "arn:aws:lambda:us-east-1:123456789012:function:sync")
	for range 2 { // the same again is no error
		if err := store.PutPending(ctx, name, token, none, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.PutPending(ctx, name, token, none, sensitive.New("else "+canary)); codeOf(err) != fault.RotationRefused {
		t.Errorf("another value for the token: %v", err)
	} else {
		mustNotHold(t, fmt.Sprintf("%v %+v", err, err))
	}
	if labels := s.Labels(name); labels["AWSCURRENT"] != first || labels["AWSPENDING"] != token {
		t.Errorf("labels before: %v", labels)
	}
	if err := store.MoveLabel(ctx, name, "AWSCURRENT", other, token); err == nil {
		t.Error("promoted from a version that is not AWSCURRENT")
	}
	if err := store.MoveLabel(ctx, name, "AWSCURRENT", first, token); err != nil {
		t.Fatal(err)
	}
	if version, value := s.Current(name); version != token || value != text.Reveal() || s.Labels(name)["AWSPREVIOUS"] != first {
		t.Errorf("labels after: %v", s.Labels(name))
	}

	staged := s.Stage(name, "next", "NEXT")
	if err := store.MoveLabel(ctx, name, "NEXT", token, ""); err != nil || s.Labels(name)["NEXT"] != staged {
		t.Errorf("off a version that does not carry it, where it stays: %v, %v", s.Labels(name), err)
	}
	if err := store.MoveLabel(ctx, name, "NEXT", staged, ""); err != nil || s.Labels(name)["NEXT"] != "" {
		t.Errorf("labels %v: %v", s.Labels(name), err)
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

func TestRotationTokenIsPassedOn(t *testing.T) {
	store, s, _, _ := setup()
	p := &putter{Server: s}
	store.API = p
	token := s.StartRotation(name, "arn:aws:lambda:us-east-1:123456789012:function:sync")
	for _, want := range []*string{nil, aws.String("rotation-token")} {
		err := store.PutPending(context.Background(), name, token, sensitive.New(aws.ToString(want)), sensitive.New("next"))
		if diff := cmp.Diff(want, p.token); diff != "" || err != nil {
			t.Errorf("error %v; rotation token (-want +got):\n%s", err, diff)
		}
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
			ctx := context.Background()
			store, s, arn, _ := setup()
			for op, call := range map[string]func() error{
				"GetSecretValue":           func() error { _, err := store.Current(ctx, name); return err },
				"DescribeSecret":           func() error { _, err := store.Describe(ctx, name); return err },
				"TagResource":              func() error { return store.Record(ctx, arn, record) },
				"PutSecretValue":           func() error { return store.PutPending(ctx, name, other, sensitive.Text{}, sensitive.New(canary)) },
				"UpdateSecretVersionStage": func() error { return store.MoveLabel(ctx, name, "AWSCURRENT", "", other) },
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

func TestStoreKeepsTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, s, _, _ := setup()
		s.Latency = func(string, string) time.Duration { return 2 * time.Second }
		for limit, want := range map[time.Duration]bool{2*time.Second - 1: false, 2*time.Second + 1: true} {
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			_, err := store.Describe(ctx, name)
			if (err == nil) != want || err != nil && codeOf(err) != fault.Deadline {
				t.Errorf("in %v: %v", limit, err)
			}
			cancel()
		}
	})
}
