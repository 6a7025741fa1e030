package secretstoretest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/secretstore/secretstoretest"
)

const function = "arn:aws:lambda:us-east-1:123456789012:function:sync"

// text reads the current value of the secret "a"; an error's code where there is one.
func text(t *testing.T, s *secretstoretest.Server) string {
	out, err := s.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: aws.String("a")})
	if err != nil {
		return codeOf(err)
	}
	return aws.ToString(out.SecretString)
}

func tag(ctx context.Context, t *testing.T, s *secretstoretest.Server) error {
	return (&user{s, t, ctx, "a"}).tag("k", "v")
}

func tagged(s *secretstoretest.Server) bool { return s.Tags("a")["k"] == "v" }

func want(t *testing.T, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestFaults(t *testing.T) {
	t.Run("queue by operation", func(t *testing.T) {
		s := &secretstoretest.Server{}
		s.Create("a", "one")
		s.Fail("GetSecretValue", 2, secretstoretest.Throttled)
		s.Fail("GetSecretValue", 1, secretstoretest.Internal)
		s.Fail("TagResource", 1, secretstoretest.AccessDenied)
		var got []string
		for range 4 {
			got = append(got, text(t, s))
		}
		want(t, "answers", []string{"ThrottlingException", "ThrottlingException", "InternalServiceError", "one"}, got)
		if err := tag(t.Context(), t, s); !errors.Is(err, secretstoretest.AccessDenied) || tagged(s) {
			t.Errorf("%v, tagged %t", err, tagged(s))
		}
		want(t, "calls", map[string]int{"GetSecretValue": 4, "TagResource": 1}, s.Calls())
		s.ResetCalls()
		want(t, "calls", map[string]int{}, s.Calls())
	})
	t.Run("lost answer", func(t *testing.T) {
		s := &secretstoretest.Server{}
		s.Create("a", "one")
		s.Lose("TagResource", 1, secretstoretest.Internal)
		if err := tag(t.Context(), t, s); !errors.Is(err, secretstoretest.Internal) || !tagged(s) {
			t.Errorf("%v, tagged %t", err, tagged(s))
		}
	})
}

func TestGivingUp(t *testing.T) {
	for name, tt := range map[string]struct {
		patience  time.Duration
		at, later bool // tagged when the caller gives up, and in the end
	}{
		"before the call":   {0, false, false},
		"before the effect": {499 * time.Millisecond, false, true},
		"after the effect":  {501 * time.Millisecond, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &secretstoretest.Server{Latency: func(op, secret string) time.Duration { return time.Second }}
				s.Create("a", "one")
				ctx, cancel := context.WithTimeout(t.Context(), tt.patience)
				defer cancel()
				start := time.Now()
				if err := tag(ctx, t, s); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != tt.patience {
					t.Errorf("%v after %v", err, time.Since(start))
				}
				want(t, "tagged at once", tt.at, tagged(s))
				time.Sleep(2 * time.Millisecond)
				synctest.Wait()
				want(t, "tagged in the end", tt.later, tagged(s))
			})
		})
	}
}

func TestStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lag := map[string]time.Duration{}
		s := &secretstoretest.Server{Stale: func(op, secret string) time.Duration { return lag[op] }}
		u := &user{s, t, t.Context(), "a"}
		s.Create("a", "one")
		time.Sleep(10 * time.Second)
		s.Put("a", "two")
		s.Create("b", "one")
		time.Sleep(10 * time.Second)
		see := func(value string, labels, listed int) {
			t.Helper()
			want(t, "value", value, text(t, s))
			want(t, "labelled versions", labels, len(u.describe().VersionIdsToStages))
			want(t, "listed", listed, len(u.list(100, "")))
		}
		see("two", 2, 2)
		lag["GetSecretValue"] = 10 * time.Second
		see("two", 2, 2)
		lag["GetSecretValue"]++
		see("one", 2, 2)
		lag["DescribeSecret"] = 10*time.Second + 1
		see("one", 1, 2)
		lag["ListSecrets"] = 10*time.Second + 1
		see("one", 1, 1)
		lag["GetSecretValue"] = 20*time.Second + 1
		see("ResourceNotFoundException", 1, 1)
		if err := tag(t.Context(), t, s); err != nil || !tagged(s) {
			t.Errorf("writes are not stale: %v", err)
		}
	})
}

func TestOnLabel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []secretstoretest.Event
		s := &secretstoretest.Server{}
		s.OnLabel = func(e secretstoretest.Event) { s.Current(e.Name); got = append(got, e) }
		time.Sleep(1700 * time.Millisecond)
		arn, v1 := s.Create("a", "one")
		v2 := s.Put("a", "two")
		s.Stage("a", "three", "AWSPENDING")
		v4 := s.Stage("a", "four", "NEXT")
		s.Tag("a", "k", "v")
		s.StartRotation("a", function)
		s.MoveCurrent("a", v1)
		s.Create("empty", "")
		at := time.Now().UTC().Truncate(time.Second)
		var events []secretstoretest.Event
		for _, e := range [][2]string{{"AWSCURRENT", v1}, {"AWSCURRENT", v2}, {"NEXT", v4}, {"AWSCURRENT", v1}} {
			events = append(events, secretstoretest.Event{Name: "a", ARN: arn, Label: e[0], VersionID: e[1], Time: at})
		}
		want(t, "events", events, got)
	})
}

func TestRotation(t *testing.T) {
	s := &secretstoretest.Server{}
	u := &user{s, t, t.Context(), "a"}
	_, v1 := s.Create("a", "one")
	token := s.StartRotation("a", function)
	if _, err := u.get(token, ""); codeOf(err) != notFound {
		t.Errorf("the pending version has a value: %v", err)
	}
	d := u.describe()
	want(t, "rotation", []any{true, function}, []any{aws.ToBool(d.RotationEnabled), aws.ToString(d.RotationLambdaARN)})
	u.wantLabels(map[string]string{current: v1, pending: token})
	_, err := u.put(token, "two", pending)
	u.refused("Put", err, "")
	u.wantValue("two", token, "")
	s.MoveCurrent("a", token)
	u.wantLabels(map[string]string{current: token, pending: token, previous: v1})
	v3 := s.Put("a", "three")
	u.wantLabels(map[string]string{current: v3, previous: token})
}

func TestLabelAlso(t *testing.T) {
	s := &secretstoretest.Server{}
	u := &user{s, t, t.Context(), "a"}
	_, v1 := s.Create("a", "one")
	v2 := s.Stage("a", "two", "NEXT")
	s.LabelAlso("a", v1, "NEXT")
	want(t, "versions", map[string][]string{v1: {current, "NEXT"}, v2: {"NEXT"}}, u.describe().VersionIdsToStages)
	u.wantValue("two", "", "NEXT")
	u.refused("off", u.move("NEXT", "", v2), "")
	u.wantLabels(map[string]string{current: v1, "NEXT": v1})
}
