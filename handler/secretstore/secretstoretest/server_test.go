package secretstoretest_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/secretstore/secretstoretest"
)

var _ secretstore.API = (*secretstoretest.Server)(nil) // the signatures are the SDK's

// The labels that Secrets Manager knows of itself, and the codes of its errors.
const (
	current  = "AWSCURRENT"
	previous = "AWSPREVIOUS"
	pending  = "AWSPENDING"

	notFound         = "ResourceNotFoundException"
	exists           = "ResourceExistsException"
	invalidRequest   = "InvalidRequestException"
	invalidParameter = "InvalidParameterException"

	token    = "2a3b4c5d-6e7f-4081-92a3-b4c5d6e7f809"
	function = "arn:aws:lambda:us-east-1:123456789012:function:sync"
)

// user calls a stand-in for the secret "a".
type user struct {
	*secretstoretest.Server
	t   *testing.T
	ctx context.Context
}

func newUser(t *testing.T) *user { return &user{&secretstoretest.Server{}, t, t.Context()} }

func (u *user) want(what string, want, got any) {
	u.t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(types.Tag{})); d != "" {
		u.t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func (u *user) wantLabels(want map[string]string) {
	u.t.Helper()
	got := map[string]string{}
	for id, labels := range u.describe("a").VersionIdsToStages {
		for _, label := range labels {
			got[label] += id
		}
	}
	u.want("labels", want, got)
}

// codeOf is an error's code; "" of none.
func codeOf(err error) string {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// value is what is read, or the code of the error.
func (u *user) value(versionID, label string) string {
	out, err := u.GetSecretValue(u.ctx, &sm.GetSecretValueInput{SecretId: aws.String("a"), VersionId: optional(versionID), VersionStage: optional(label)})
	if err != nil {
		return codeOf(err)
	}
	return aws.ToString(out.SecretString)
}

func (u *user) describe(id string) *sm.DescribeSecretOutput {
	u.t.Helper()
	out, err := u.DescribeSecret(u.ctx, &sm.DescribeSecretInput{SecretId: &id})
	if err != nil {
		u.t.Fatal(err)
	}
	return out
}

func (u *user) put(token, value string, labels ...string) (code string) {
	_, err := u.PutSecretValue(u.ctx, &sm.PutSecretValueInput{SecretId: aws.String("a"), ClientRequestToken: optional(token),
		SecretString: &value, VersionStages: labels})
	return codeOf(err)
}

func (u *user) move(label, to, from string) (code string) {
	_, err := u.UpdateSecretVersionStage(u.ctx, &sm.UpdateSecretVersionStageInput{SecretId: aws.String("a"), VersionStage: &label,
		MoveToVersionId: optional(to), RemoveFromVersionId: optional(from)})
	return codeOf(err)
}

func (u *user) tag(key, value string) error {
	_, err := u.TagResource(u.ctx, &sm.TagResourceInput{SecretId: aws.String("a"), Tags: []types.Tag{{Key: &key, Value: &value}}})
	return err
}

func (u *user) tagged() bool { return u.Tags("a")["k"] == "v" }

func (u *user) remove(force bool) error {
	_, err := u.DeleteSecret(u.ctx, &sm.DeleteSecretInput{SecretId: aws.String("a"), ForceDeleteWithoutRecovery: &force})
	return err
}

// list reads every page.
func (u *user) list(size int32, prefix string) (names []string) {
	u.t.Helper()
	in := &sm.ListSecretsInput{MaxResults: &size, Filters: []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{prefix}}}}
	for {
		out, err := u.ListSecrets(u.ctx, in)
		if err != nil || len(out.SecretList) > int(size) {
			u.t.Fatalf("a page of more than %d, or %v", size, err)
		}
		for _, e := range out.SecretList {
			d := u.describe(*e.ARN)
			u.want("entry and description", []any{*d.Name, d.VersionIdsToStages, d.Tags, *d.LastChangedDate},
				[]any{*e.Name, e.SecretVersionsToStages, e.Tags, *e.LastChangedDate})
			names = append(names, *e.Name)
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			return names
		}
	}
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_Operations.html
func TestAsDocumented(t *testing.T) {
	for name, test := range map[string]func(*user){
		"name, ARN and partial ARN": func(u *user) {
			arn, v1 := u.Create("a", "one")
			u.want("form", true, regexp.MustCompile(`:secret:a-[A-Za-z0-9]{6}$`).MatchString(arn))
			for _, id := range []string{"a", arn, arn[:len(arn)-7]} {
				out, err := u.GetSecretValue(u.ctx, &sm.GetSecretValueInput{SecretId: &id})
				if err != nil {
					u.t.Fatal(err)
				}
				u.want("by "+id, []string{arn, "a", v1, "one"}, []string{*out.ARN, *out.Name, *out.VersionId, *out.SecretString})
			}
		},
		"unknown secret": func(u *user) {
			u.want("Get", notFound, u.value("", ""))
			_, err := u.DescribeSecret(u.ctx, &sm.DescribeSecretInput{SecretId: aws.String("a")})
			u.want("Describe", notFound, codeOf(err))
			u.want("Put", notFound, u.put("", "one"))
			u.want("Tag", notFound, codeOf(u.tag("k", "v")))
			u.want("UpdateSecretVersionStage", notFound, u.move(current, "v", ""))
		},
		"no version yet": func(u *user) {
			u.Create("a", "")
			u.want("Get", notFound, u.value("", ""))
			u.wantLabels(nil)
			v1 := u.Stage("a", "one", "NEXT") // the first is AWSCURRENT, whatever was asked for
			u.wantLabels(map[string]string{current: v1, "NEXT": v1})
			u.want("by unknown version", notFound, u.value(token, ""))
			u.want("by unknown label", notFound, u.value("", pending))
		},
		"binary value": func(u *user) {
			u.Create("a", "one")
			_, err := u.PutSecretValue(u.ctx, &sm.PutSecretValueInput{SecretId: aws.String("a"), SecretBinary: []byte{0, 255}})
			out, _ := u.GetSecretValue(u.ctx, &sm.GetSecretValueInput{SecretId: aws.String("a")})
			u.want("Put", nil, err)
			u.want("value", []byte{0, 255}, out.SecretBinary)
			u.want("no text", (*string)(nil), out.SecretString)
		},
		"put moves AWSCURRENT": func(u *user) {
			_, v1 := u.Create("a", "one")
			v2 := u.Put("a", "two")
			u.wantLabels(map[string]string{current: v2, previous: v1})
			u.want("Put, without labels", "", u.put(token, "three"))
			u.wantLabels(map[string]string{current: token, previous: v2})
			u.want("AWSPREVIOUS", "two", u.value("", previous))
			u.want("without a label", "one", u.value(v1, "")) // kept for a day at least, though Describe does not show it
		},
		"put under labels": func(u *user) {
			_, v1 := u.Create("a", "one")
			u.want("Put", "", u.put(token, "two", "NEXT", "OTHER"))
			v3 := u.Stage("a", "three", "NEXT")
			u.wantLabels(map[string]string{current: v1, "OTHER": token, "NEXT": v3})
			u.want("NEXT", "three", u.value("", "NEXT"))
		},
		"token again": func(u *user) {
			_, v1 := u.Create("a", "one")
			u.want("Put", "", u.put(token, "two", pending))
			changed := u.describe("a").LastChangedDate
			time.Sleep(time.Second)
			u.want("the same", "", u.put(token, "two", pending))
			u.want("another value", exists, u.put(token, "three", pending))
			u.want("value", "two", u.value(token, ""))
			u.want("changed", changed, u.describe("a").LastChangedDate)
			u.wantLabels(map[string]string{current: v1, pending: token})
		},
		"AWSCURRENT moves, AWSPREVIOUS follows": func(u *user) {
			_, v1 := u.Create("a", "one")
			v2 := u.Stage("a", "two", pending)
			u.want("forward", "", u.move(current, v2, v1))
			u.wantLabels(map[string]string{current: v2, pending: v2, previous: v1})
			u.want("back", "", u.move(current, v1, v2))
			u.want("to where it is", "", u.move(current, v1, v1))
			u.wantLabels(map[string]string{current: v1, pending: v2, previous: v2})
		},
		"refused moves": func(u *user) {
			_, v1 := u.Create("a", "one")
			v2 := u.Stage("a", "two", "NEXT")
			u.want("from nowhere", invalidParameter, u.move(current, v2, ""))
			u.want("from a version without the label", invalidParameter, u.move(current, v2, v2))
			u.want("to a version that is not there", notFound, u.move(current, token, v1))
			u.want("neither", invalidParameter, u.move(current, "", ""))
			u.want("AWSCURRENT off", invalidParameter, u.move(current, "", v1))
			u.want("another off, from a version without it", invalidParameter, u.move("NEXT", "", v1))
			u.wantLabels(map[string]string{current: v1, "NEXT": v2})
		},
		"other labels": func(u *user) {
			_, v1 := u.Create("a", "one")
			u.want("on", "", u.move("NEXT", v1, ""))
			v2 := u.Stage("a", "two", "OTHER")
			u.want("moved", "", u.move("NEXT", v2, v1))
			u.wantLabels(map[string]string{current: v1, "NEXT": v2, "OTHER": v2})
			u.want("off", "", u.move("NEXT", "", v2))
			u.wantLabels(map[string]string{current: v1, "OTHER": v2})
		},
		"LastChangedDate": func(u *user) {
			_, v1 := u.Create("a", "one")
			last := *u.describe("a").LastChangedDate
			for _, step := range []struct {
				what    string
				do      func() string
				changes bool
			}{
				{"read", func() string { u.value("", ""); return "" }, false},
				{"value", func() string { return u.put("", "two", "NEXT") }, true},
				{"label", func() string { return u.move("OTHER", v1, "") }, true},
				{"tag", func() string { return codeOf(u.tag("k", "v")) }, true},
			} {
				time.Sleep(1500 * time.Microsecond)
				u.want(step.what, "", step.do())
				next := *u.describe("a").LastChangedDate
				u.want("changed by "+step.what, step.changes, next.After(last))
				u.want("whole milliseconds", next.Truncate(time.Millisecond), next)
				last = next
			}
		},
		"tags": func(u *user) {
			u.Create("a", "one")
			const text = "id=1 at=2020-01-02T03:04:05Z x/y_z.+-@"
			u.want("Tag", "", codeOf(u.tag("k", "1"))+codeOf(u.tag("k", "v"))+codeOf(u.tag("text", text)))
			for _, value := range []string{"a,b", `"a"`, strings.Repeat("a", 257)} {
				u.want(value, invalidParameter, codeOf(u.tag("k", value)))
			}
			u.want("tags", map[string]string{"k": "v", "text": text}, u.Tags("a"))
			described := map[string]string{}
			for _, tag := range u.describe("a").Tags {
				described[*tag.Key] = *tag.Value
			}
			u.want("described", u.Tags("a"), described)
		},
		"list": func(u *user) {
			for _, name := range []string{"a/Aa", "a/aa", "a/b", "b/a"} {
				u.Create(name, "one")
			}
			for _, size := range []int32{1, 2, 3, 100} {
				u.want(fmt.Sprintf("pages of %d", size), []string{"a/Aa", "a/aa", "a/b"}, u.list(size, "a/"))
			}
			u.want("under a/a", []string{"a/aa"}, u.list(100, "a/a"))
			u.want("under /a", 0, len(u.list(100, "/a")))
			_, err := u.ListSecrets(u.ctx, &sm.ListSecretsInput{NextToken: aws.String("x")})
			u.want("an unknown token", "InvalidNextTokenException", codeOf(err))
		},
		"marked for deletion, then purged": func(u *user) {
			arn, v1 := u.Create("a", "one")
			u.want("Delete", nil, u.remove(false))
			u.want("Get", invalidRequest, u.value("", ""))
			u.want("Put", invalidRequest, u.put("", "two"))
			u.want("Tag", invalidRequest, codeOf(u.tag("k", "v")))
			u.want("UpdateSecretVersionStage", invalidRequest, u.move("NEXT", v1, ""))
			u.want("described as deleted", true, u.describe("a").DeletedDate != nil)
			u.want("listed", 0, len(u.list(100, "a")))
			u.want("Delete", nil, u.remove(true))
			again, _ := u.Create("a", "one")
			u.want("the same ARN", false, again == arn)
			_, err := u.CreateSecret(u.ctx, &sm.CreateSecretInput{Name: aws.String("a")})
			u.want("Create", exists, codeOf(err))
		},
		"rotation": func(u *user) {
			_, v1 := u.Create("a", "one")
			token := u.StartRotation("a", function)
			u.want("the pending value", notFound, u.value(token, ""))
			d := u.describe("a")
			u.want("rotation", []any{true, function}, []any{aws.ToBool(d.RotationEnabled), aws.ToString(d.RotationLambdaARN)})
			u.wantLabels(map[string]string{current: v1, pending: token})
			u.want("Put", "", u.put(token, "two", pending))
			u.want("the pending value", "two", u.value(token, ""))
			u.MoveCurrent("a", token)
			u.wantLabels(map[string]string{current: token, pending: token, previous: v1})
			v3 := u.Put("a", "three")
			u.wantLabels(map[string]string{current: v3, previous: token})
		},
		"a label in two places": func(u *user) {
			_, v1 := u.Create("a", "one")
			v2 := u.Stage("a", "two", "NEXT")
			u.LabelAlso("a", v1, "NEXT")
			u.want("versions", map[string][]string{v1: {current, "NEXT"}, v2: {"NEXT"}}, u.describe("a").VersionIdsToStages)
			u.want("NEXT", "two", u.value("", "NEXT"))
			u.want("off", "", u.move("NEXT", "", v2))
			u.wantLabels(map[string]string{current: v1, "NEXT": v1})
		},
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { test(newUser(t)) }) })
	}
}

func TestFaults(t *testing.T) {
	u := newUser(t)
	u.Create("a", "one")
	u.Fail("GetSecretValue", 2, secretstoretest.Throttled)
	u.Fail("GetSecretValue", 1, secretstoretest.Internal)
	u.Fail("TagResource", 1, secretstoretest.AccessDenied)
	u.Lose("TagResource", 1, secretstoretest.Internal)
	var got []string
	for range 4 {
		got = append(got, u.value("", ""))
	}
	u.want("values", []string{"ThrottlingException", "ThrottlingException", "InternalServiceError", "one"}, got)
	if err := u.tag("k", "v"); !errors.Is(err, secretstoretest.AccessDenied) || u.tagged() {
		t.Errorf("failed: %v, tagged %t", err, u.tagged())
	}
	if err := u.tag("k", "v"); !errors.Is(err, secretstoretest.Internal) || !u.tagged() {
		t.Errorf("answer lost: %v, tagged %t", err, u.tagged())
	}
	u.Hook = func(op, secret string) error {
		u.Put(secret, "two") // before the call takes effect
		if op == "TagResource" {
			return secretstoretest.KMSAccessDenied
		}
		return nil
	}
	u.want("a value after the hook", "two", u.value("", ""))
	if err := u.tag("k", "w"); !errors.Is(err, secretstoretest.KMSAccessDenied) || !u.tagged() {
		t.Errorf("failed by the hook: %v, tagged as before %t", err, u.tagged())
	}
	u.want("calls", map[string]int{"GetSecretValue": 5, "TagResource": 3}, u.Calls())
	u.ResetCalls()
	u.want("calls", map[string]int{}, u.Calls())
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
				u := newUser(t)
				u.Latency = func(op, secret string) time.Duration { return time.Second }
				u.Create("a", "one")
				ctx, cancel := context.WithTimeout(t.Context(), tt.patience)
				defer cancel()
				start := time.Now()
				u.ctx = ctx
				if err := u.tag("k", "v"); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != tt.patience {
					t.Errorf("%v after %v", err, time.Since(start))
				}
				u.want("tagged at once", tt.at, u.tagged())
				time.Sleep(2 * time.Millisecond)
				synctest.Wait()
				u.want("tagged in the end", tt.later, u.tagged())
			})
		})
	}
}

func TestStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lag := map[string]time.Duration{}
		u := newUser(t)
		u.Stale = func(op, secret string) time.Duration { return lag[op] }
		u.Create("a", "one")
		time.Sleep(10 * time.Second)
		u.Put("a", "two")
		u.Create("b", "one")
		time.Sleep(10 * time.Second)
		listed := func() int {
			out, _ := u.ListSecrets(u.ctx, &sm.ListSecretsInput{})
			return len(out.SecretList)
		}
		for _, step := range []struct {
			op   string
			lag  time.Duration
			want []any // value, labelled versions, secrets listed
		}{
			{"", 0, []any{"two", 2, 2}},
			{"GetSecretValue", 10 * time.Second, []any{"two", 2, 2}},
			{"GetSecretValue", 10*time.Second + 1, []any{"one", 2, 2}},
			{"DescribeSecret", 10*time.Second + 1, []any{"one", 1, 2}},
			{"ListSecrets", 10*time.Second + 1, []any{"one", 1, 1}},
			{"GetSecretValue", 20*time.Second + 1, []any{notFound, 1, 1}},
		} {
			lag[step.op] = step.lag
			got := []any{u.value("", ""), len(u.describe("a").VersionIdsToStages), listed()}
			u.want(fmt.Sprint(step.op, step.lag), step.want, got)
		}
		if err := u.tag("k", "v"); err != nil || !u.tagged() {
			t.Errorf("writes are not stale: %v", err)
		}
	})
}

func TestOnLabel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []secretstoretest.Event
		u := newUser(t)
		u.OnLabel = func(e secretstoretest.Event) { u.Current(e.Name); got = append(got, e) }
		time.Sleep(1700 * time.Millisecond)
		arn, v1 := u.Create("a", "one")
		v2 := u.Put("a", "two")
		u.Stage("a", "three", pending)
		v4 := u.Stage("a", "four", "NEXT")
		u.Tag("a", "k", "v")
		u.StartRotation("a", function)
		u.MoveCurrent("a", v1)
		u.Create("empty", "")
		at := time.Now().UTC().Truncate(time.Second)
		var events []secretstoretest.Event
		for _, e := range [][2]string{{current, v1}, {current, v2}, {"NEXT", v4}, {current, v1}} {
			events = append(events, secretstoretest.Event{Name: "a", ARN: arn, Label: e[0], VersionID: e[1], Time: at})
		}
		u.want("events", events, got)
	})
}
