package secretstoretest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/secretstore/secretstoretest"
)

var _ secretstoretest.API = (*sm.Client)(nil) // the signatures are the SDK's

func TestConformance(t *testing.T) {
	secretstoretest.Conformance(t, &secretstoretest.Server{}, secretstoretest.Options{})
}

// text reads a secret's current value; an error's code where there is one.
func text(ctx context.Context, s *secretstoretest.Server, id string) string {
	out, err := s.GetSecretValue(ctx, &sm.GetSecretValueInput{SecretId: &id})
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	if err != nil {
		return err.Error()
	}
	return aws.ToString(out.SecretString) + string(out.SecretBinary)
}

func tag(ctx context.Context, s *secretstoretest.Server, name string) error {
	_, err := s.TagResource(ctx, &sm.TagResourceInput{SecretId: &name, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}})
	return err
}

func tagged(s *secretstoretest.Server, name string) bool { return s.Tags(name)["k"] == "v" }

func want(t *testing.T, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestFaults(t *testing.T) {
	t.Run("codes", func(t *testing.T) {
		for code, err := range map[string]error{
			"AccessDeniedException": secretstoretest.AccessDenied,
			"ThrottlingException":   secretstoretest.Throttled,
			"DecryptionFailure":     secretstoretest.CannotDecrypt,
			"InternalServiceError":  secretstoretest.Internal,
		} {
			s := &secretstoretest.Server{}
			s.Create("a", "one")
			s.Fail("GetSecretValue", 1, err)
			want(t, "answer", code, text(t.Context(), s, "a"))
		}
	})
	t.Run("queue by operation", func(t *testing.T) {
		s := &secretstoretest.Server{}
		s.Create("a", "one")
		s.Fail("GetSecretValue", 2, secretstoretest.Throttled)
		s.Fail("GetSecretValue", 1, secretstoretest.Internal)
		s.Fail("TagResource", 1, secretstoretest.AccessDenied)
		var got []string
		for range 4 {
			got = append(got, text(t.Context(), s, "a"))
		}
		want(t, "answers", []string{"ThrottlingException", "ThrottlingException", "InternalServiceError", "one"}, got)
		if err := tag(t.Context(), s, "a"); !errors.Is(err, secretstoretest.AccessDenied) || tagged(s, "a") {
			t.Errorf("%v, tagged %t", err, tagged(s, "a"))
		}
	})
	t.Run("lost answer", func(t *testing.T) {
		s := &secretstoretest.Server{}
		s.Create("a", "one")
		s.Lose("TagResource", 1, secretstoretest.Internal)
		if err := tag(t.Context(), s, "a"); !errors.Is(err, secretstoretest.Internal) || !tagged(s, "a") {
			t.Errorf("%v, tagged %t", err, tagged(s, "a"))
		}
	})
	t.Run("hook may use the server and refuse", func(t *testing.T) {
		s := &secretstoretest.Server{}
		arn, _ := s.Create("a", "one")
		s.Hook = func(op, secret string) error {
			if op == "TagResource" {
				return secretstoretest.Throttled
			}
			s.Put(secret, "two")
			return nil
		}
		want(t, "value", "two", text(t.Context(), s, arn))
		if err := tag(t.Context(), s, arn); !errors.Is(err, secretstoretest.Throttled) || tagged(s, "a") {
			t.Errorf("%v, tagged %t", err, tagged(s, "a"))
		}
	})
	t.Run("every error is the SDK's", func(t *testing.T) {
		s := &secretstoretest.Server{}
		err := tag(t.Context(), s, "a")
		e, ok := errors.AsType[*smithy.OperationError](err)
		if _, missing := errors.AsType[*types.ResourceNotFoundException](err); !ok || !missing || e.OperationName != "TagResource" {
			t.Errorf("%#v", err)
		}
	})
}

func TestCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &secretstoretest.Server{}
		arn, _ := s.Create("a", "one") // no call
		text(t.Context(), s, arn)
		time.Sleep(time.Second)
		tag(t.Context(), s, "b")
		text(t.Context(), s, "a")
		now := time.Now()
		want(t, "log", []secretstoretest.Call{
			{Op: "GetSecretValue", Secret: "a", At: now.Add(-time.Second)},
			{Op: "TagResource", Secret: "b", At: now},
			{Op: "GetSecretValue", Secret: "a", At: now},
		}, s.Log())
		want(t, "counts", map[string]int{"GetSecretValue": 2, "TagResource": 1}, s.Calls())
		s.ResetCalls()
		want(t, "counts", map[string]int{}, s.Calls())
	})
}

func TestGivingUp(t *testing.T) {
	for _, tt := range []struct {
		name      string
		patience  time.Duration
		at, later bool // tagged when the caller gives up, and in the end
	}{
		{"before the call", 0, false, false},
		{"before the effect", 499 * time.Millisecond, false, true},
		{"after the effect", 501 * time.Millisecond, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &secretstoretest.Server{Latency: func(op, secret string) time.Duration { return time.Second }}
				s.Create("a", "one")
				ctx, cancel := context.WithTimeout(t.Context(), tt.patience)
				defer cancel()
				start := time.Now()
				if err := tag(ctx, s, "a"); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != tt.patience {
					t.Errorf("%v after %v", err, time.Since(start))
				}
				want(t, "tagged at once", tt.at, tagged(s, "a"))
				time.Sleep(2 * time.Millisecond)
				synctest.Wait()
				want(t, "tagged in the end", tt.later, tagged(s, "a"))
			})
		})
	}
	t.Run("patience", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &secretstoretest.Server{Latency: func(op, secret string) time.Duration { return time.Second }}
			s.Create("a", "one")
			start := time.Now()
			want(t, "value", "one", text(t.Context(), s, "a"))
			want(t, "latency", time.Second, time.Since(start))
		})
	})
}

func TestStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lag := map[string]time.Duration{}
		s := &secretstoretest.Server{Stale: func(op, secret string) time.Duration { return lag[op] }}
		labels := func() map[string][]string {
			out, err := s.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: aws.String("a")})
			if err != nil {
				return nil
			}
			return out.VersionIdsToStages
		}
		listed := func() map[string]int { // name → tags
			out, err := s.ListSecrets(t.Context(), &sm.ListSecretsInput{})
			if err != nil {
				t.Fatal(err)
			}
			all := map[string]int{}
			for _, e := range out.SecretList {
				all[*e.Name] = len(e.Tags)
			}
			return all
		}
		_, v1 := s.Create("a", "one")
		time.Sleep(10 * time.Second)
		v2 := s.Put("a", "two")
		s.Tag("a", "k", "v")
		s.Create("b", "one")
		time.Sleep(10 * time.Second)

		fresh := map[string][]string{v1: {"AWSPREVIOUS"}, v2: {"AWSCURRENT"}}
		want(t, "value", "two", text(t.Context(), s, "a"))
		want(t, "labels", fresh, labels())
		want(t, "list", map[string]int{"a": 1, "b": 0}, listed())

		lag["GetSecretValue"] = 10 * time.Second
		want(t, "value at the change", "two", text(t.Context(), s, "a"))
		lag["GetSecretValue"]++
		want(t, "value before the change", "one", text(t.Context(), s, "a"))
		want(t, "labels, still", fresh, labels())
		lag["DescribeSecret"] = 10*time.Second + 1
		want(t, "labels before the change", map[string][]string{v1: {"AWSCURRENT"}}, labels())
		want(t, "list, still", map[string]int{"a": 1, "b": 0}, listed())
		lag["ListSecrets"] = 10*time.Second + 1
		want(t, "list before the change", map[string]int{"a": 0}, listed())
		lag["GetSecretValue"] = 20*time.Second + 1
		want(t, "value before there was a secret", "ResourceNotFoundException", text(t.Context(), s, "a"))
		want(t, "state now", "two", func() string { _, v := s.Current("a"); return v }())
		if err := tag(t.Context(), s, "a"); err != nil || !tagged(s, "a") {
			t.Errorf("writes are not stale: %v", err)
		}
	})
}

func TestOnLabel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []secretstoretest.Event
		n := 0
		s := &secretstoretest.Server{
			ARNPrefix: "arn:aws-cn:secretsmanager:cn-north-1:1:secret:",
			NewID:     func() string { n++; return fmt.Sprint("v", n) },
		}
		s.OnLabel = func(e secretstoretest.Event) { s.Current(e.Name); got = append(got, e) }
		time.Sleep(1700 * time.Millisecond)
		arn, v1 := s.Create("a", "one")
		v2 := s.Put("a", "two")
		s.Stage("a", "three", "AWSPENDING")
		v4 := s.Stage("a", "four", "NEXT")
		s.Tag("a", "k", "v")
		s.StartRotation("a")
		s.MoveCurrent("a", v1)
		s.Lose("PutSecretValue", 1, secretstoretest.Internal)
		s.PutSecretValue(t.Context(), &sm.PutSecretValueInput{SecretId: &arn, ClientRequestToken: aws.String("v9"), SecretString: aws.String("nine")})
		s.Create("empty", "")
		at := time.Now().UTC().Truncate(time.Second)
		var events []secretstoretest.Event
		for _, e := range [][2]string{{"AWSCURRENT", v1}, {"AWSCURRENT", v2}, {"NEXT", v4}, {"AWSCURRENT", v1}, {"AWSCURRENT", "v9"}} {
			events = append(events, secretstoretest.Event{Name: "a", ARN: arn, Label: e[0], VersionID: e[1], Time: at})
		}
		want(t, "events", events, got)
		want(t, "ids", []string{"v1", "v2", "v4", "arn:aws-cn:secretsmanager:cn-north-1:1:secret:a-"}, []string{v1, v2, v4, arn[:len(arn)-6]})
	})
}

func TestRotation(t *testing.T) {
	s := &secretstoretest.Server{}
	_, v1 := s.Create("a", "one")
	token := s.StartRotation("a")
	get := &sm.GetSecretValueInput{SecretId: aws.String("a"), VersionId: &token}
	if _, err := s.GetSecretValue(t.Context(), get); err == nil {
		t.Error("the pending version has a value")
	}
	out, err := s.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: aws.String("a")})
	if err != nil || !aws.ToBool(out.RotationEnabled) {
		t.Errorf("rotation is not enabled: %v", err)
	}
	want(t, "labels", map[string]string{"AWSCURRENT": v1, "AWSPENDING": token}, s.Labels("a"))

	in := &sm.PutSecretValueInput{SecretId: aws.String("a"), ClientRequestToken: &token, SecretString: aws.String("two"), VersionStages: []string{"AWSPENDING"}}
	if _, err := s.PutSecretValue(t.Context(), in); err != nil {
		t.Error(err)
	}
	if got, err := s.GetSecretValue(t.Context(), get); err != nil || *got.SecretString != "two" {
		t.Errorf("the pending version has no value: %v", err)
	}
	s.MoveCurrent("a", token)
	want(t, "labels after the rotation", map[string]string{"AWSCURRENT": token, "AWSPENDING": token, "AWSPREVIOUS": v1}, s.Labels("a"))
	v3 := s.Put("a", "three")
	want(t, "labels after a put", map[string]string{"AWSCURRENT": v3, "AWSPREVIOUS": token}, s.Labels("a"))
}

func TestReplica(t *testing.T) {
	s := &secretstoretest.Server{}
	s.Create("a", "one")
	s.SetPrimaryRegion("a", "eu-west-1")
	want(t, "value", "one", text(t.Context(), s, "a"))
	out, err := s.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: aws.String("a")})
	if err != nil || aws.ToString(out.PrimaryRegion) != "eu-west-1" {
		t.Errorf("%+v, %v", out, err)
	}
	if _, ok := errors.AsType[*types.InvalidRequestException](tag(t.Context(), s, "a")); !ok {
		t.Error("a replica took a tag")
	}
}

func TestTagText(t *testing.T) {
	for value, ok := range map[string]bool{"id=1 a/b_c.d+e-f:g@h": true, "a,b": false, `"a"`: false, string(make([]byte, 257)): false} {
		s := &secretstoretest.Server{}
		s.Create("a", "one")
		_, err := s.TagResource(t.Context(), &sm.TagResourceInput{SecretId: aws.String("a"), Tags: []types.Tag{{Key: aws.String("k"), Value: &value}}})
		if (err == nil) != ok {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestPages(t *testing.T) {
	s := &secretstoretest.Server{}
	for _, name := range []string{"a", "b", "c", "d"} {
		s.Create(name, "one")
	}
	page := func(size int32, token *string) (names string, next *string, err error) {
		out, err := s.ListSecrets(t.Context(), &sm.ListSecretsInput{MaxResults: &size, NextToken: token})
		if err != nil {
			return "", nil, err
		}
		for _, e := range out.SecretList {
			names += *e.Name
		}
		return names, out.NextToken, nil
	}
	t.Run("what goes and comes shifts nothing", func(t *testing.T) {
		first, token, err := page(2, nil)
		if err != nil || token == nil {
			t.Fatal(token, err)
		}
		s.Delete("a")
		s.Create("e", "one")
		rest, token, err := page(100, token)
		if err != nil || token != nil {
			t.Error(token, err)
		}
		s.Restore("a")
		want(t, "pages", []string{"ab", "cde"}, []string{first, rest})
	})
	t.Run("refused", func(t *testing.T) {
		for _, size := range []int32{0, 101} {
			if _, _, err := page(size, nil); !isCode(err, "InvalidParameterException") {
				t.Errorf("MaxResults %d: %v", size, err)
			}
		}
		for _, token := range []string{"x", "-1", "99"} {
			if _, _, err := page(1, &token); !isCode(err, "InvalidNextTokenException") {
				t.Errorf("NextToken %s: %v", token, err)
			}
		}
	})
}

func isCode(err error, code string) bool {
	e, ok := errors.AsType[smithy.APIError](err)
	return ok && e.ErrorCode() == code
}

func TestHelpersPanicWhereRefused(t *testing.T) {
	s := &secretstoretest.Server{}
	s.Create("a", "one")
	for name, do := range map[string]func(){
		"unknown secret":  func() { s.Put("b", "one") },
		"unknown version": func() { s.MoveCurrent("a", "v") },
		"name taken":      func() { s.Create("a", "two") },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
				want(t, "value", "one", text(t.Context(), s, "a")) // and no lock is held
			}()
			do()
		})
	}
}

// Run with -race.
func TestConcurrency(t *testing.T) {
	s := &secretstoretest.Server{OnLabel: func(secretstoretest.Event) {}}
	s.Create("a", "0")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			s.Put("a", fmt.Sprint(i))
			text(t.Context(), s, "a")
			tag(t.Context(), s, "a")
			s.ListSecrets(t.Context(), &sm.ListSecretsInput{})
			s.Calls()
		})
	}
	wg.Wait()
	want(t, "calls", map[string]int{"GetSecretValue": 20, "TagResource": 20, "ListSecrets": 20}, s.Calls())
}
