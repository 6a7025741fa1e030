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

// api is what conformance asks of an implementation.
type api interface {
	secretstore.API
	CreateSecret(context.Context, *sm.CreateSecretInput, ...func(*sm.Options)) (*sm.CreateSecretOutput, error)
	DeleteSecret(context.Context, *sm.DeleteSecretInput, ...func(*sm.Options)) (*sm.DeleteSecretOutput, error)
}

var _ api = (*sm.Client)(nil) // the signatures are the SDK's

func TestConformance(t *testing.T) { conformance(t, &secretstoretest.Server{}) }

// The labels that Secrets Manager knows of itself, and the codes of its errors.
const (
	current  = "AWSCURRENT"
	previous = "AWSPREVIOUS"
	pending  = "AWSPENDING"

	notFound         = "ResourceNotFoundException"
	exists           = "ResourceExistsException"
	invalidRequest   = "InvalidRequestException"
	invalidParameter = "InvalidParameterException"
)

// conformance holds an implementation to the Secrets Manager that AWS documents, as far as this project relies on it.
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_Operations.html
func conformance(t *testing.T, api api) {
	for name, test := range map[string]func(*user){
		"name, ARN and partial ARN": func(u *user) {
			arn, v1 := u.create("one")
			u.want("ARN", true, regexp.MustCompile(`:secret:`+u.name+`-[A-Za-z0-9]{6}$`).MatchString(arn))
			for _, id := range []string{u.name, arn, arn[:len(arn)-7]} {
				out, err := u.GetSecretValue(u.ctx, &sm.GetSecretValueInput{SecretId: &id})
				u.refused("Get", err, "")
				u.want("by "+id, []string{arn, u.name, v1, "one"}, []string{*out.ARN, *out.Name, *out.VersionId, *out.SecretString})
			}
		},
		"unknown secret": func(u *user) {
			_, err := u.get("", "")
			u.refused("Get", err, notFound)
			_, err = u.DescribeSecret(u.ctx, &sm.DescribeSecretInput{SecretId: &u.name})
			u.refused("Describe", err, notFound)
			_, err = u.put("", "one")
			u.refused("Put", err, notFound)
			u.refused("Tag", u.tag("a", "1"), notFound)
			u.refused("UpdateSecretVersionStage", u.move(current, "v", ""), notFound)
		},
		"no version yet": func(u *user) {
			u.create("")
			_, err := u.get("", "")
			u.refused("Get", err, notFound)
			u.wantLabels(nil)
			v1 := u.mustPut("one", "NEXT") // the first is AWSCURRENT, whatever was asked for
			u.wantLabels(map[string]string{current: v1, "NEXT": v1})
		},
		"missing version and label": func(u *user) {
			u.create("one")
			_, err := u.get("1f5e4d3c-2b1a-4c9d-8e7f-6a5b4c3d2e1f", "")
			u.refused("Get by version id", err, notFound)
			_, err = u.get("", pending)
			u.refused("Get by label", err, notFound)
		},
		"binary value": func(u *user) {
			u.create("one")
			_, err := u.PutSecretValue(u.ctx, &sm.PutSecretValueInput{SecretId: &u.name, SecretBinary: []byte{0, 255}})
			u.refused("Put", err, "")
			out, err := u.get("", "")
			u.refused("Get", err, "")
			u.want("value", []byte{0, 255}, out.SecretBinary)
			u.want("no text", true, out.SecretString == nil)
		},
		"put moves AWSCURRENT": func(u *user) {
			_, v1 := u.create("one")
			v2 := u.mustPut("two")
			u.wantLabels(map[string]string{current: v2, previous: v1})
			v3 := u.mustPut("three")
			u.wantLabels(map[string]string{current: v3, previous: v2})
			u.wantValue("two", "", previous)
			u.wantValue("one", v1, "") // without a label it is kept for a day at least, though Describe does not show it
		},
		"put under labels": func(u *user) {
			_, v1 := u.create("one")
			v2 := u.mustPut("two", "NEXT", "OTHER")
			v3 := u.mustPut("three", "NEXT")
			u.wantLabels(map[string]string{current: v1, "OTHER": v2, "NEXT": v3})
			u.wantValue("three", "", "NEXT")
		},
		"token again": func(u *user) {
			_, v1 := u.create("one")
			const token = "2a3b4c5d-6e7f-4081-92a3-b4c5d6e7f809"
			for range 2 {
				id, err := u.put(token, "two", pending)
				u.refused("Put", err, "")
				u.want("version id", token, id)
			}
			_, err := u.put(token, "three", pending)
			u.refused("another value", err, exists)
			u.wantValue("two", token, "")
			u.wantLabels(map[string]string{current: v1, pending: token})
		},
		"AWSCURRENT moves, AWSPREVIOUS follows": func(u *user) {
			_, v1 := u.create("one")
			v2 := u.mustPut("two", pending)
			u.refused("forward", u.move(current, v2, v1), "")
			u.wantLabels(map[string]string{current: v2, pending: v2, previous: v1})
			u.refused("back", u.move(current, v1, v2), "")
			u.refused("to where it is", u.move(current, v1, v1), "")
			u.wantLabels(map[string]string{current: v1, pending: v2, previous: v2})
		},
		"refused moves": func(u *user) {
			_, v1 := u.create("one")
			v2 := u.mustPut("two", "NEXT")
			u.refused("from nowhere", u.move(current, v2, ""), invalidParameter)
			u.refused("from a version without the label", u.move(current, v2, v2), invalidParameter)
			u.refused("to a version that is not there", u.move(current, "2a3b4c5d-6e7f-4081-92a3-b4c5d6e7f809", v1), notFound)
			u.refused("neither", u.move(current, "", ""), invalidParameter)
			u.refused("AWSCURRENT off", u.move(current, "", v1), invalidParameter)
			u.refused("another off, from a version without it", u.move("NEXT", "", v1), invalidParameter)
			u.wantLabels(map[string]string{current: v1, "NEXT": v2})
		},
		"other labels": func(u *user) {
			_, v1 := u.create("one")
			u.refused("on", u.move("NEXT", v1, ""), "")
			v2 := u.mustPut("two", "OTHER")
			u.refused("moved", u.move("NEXT", v2, v1), "")
			u.wantLabels(map[string]string{current: v1, "NEXT": v2, "OTHER": v2})
			u.refused("off", u.move("NEXT", "", v2), "")
			u.wantLabels(map[string]string{current: v1, "OTHER": v2})
		},
		"LastChangedDate": func(u *user) {
			_, v1 := u.create("one")
			last := *u.describe().LastChangedDate
			for _, step := range []struct {
				what    string
				do      func() error
				changes bool
			}{
				{"read", func() error { _, err := u.get("", ""); return err }, false},
				{"value", func() error { _, err := u.put("", "two", "NEXT"); return err }, true},
				{"label", func() error { return u.move("OTHER", v1, "") }, true},
				{"tag", func() error { return u.tag("a", "1") }, true},
			} {
				time.Sleep(1500 * time.Microsecond)
				u.refused(step.what, step.do(), "")
				next := *u.describe().LastChangedDate
				u.want("changed by "+step.what, step.changes, next.After(last))
				u.want("whole milliseconds", next.Truncate(time.Millisecond), next)
				last = next
			}
		},
		"tags": func(u *user) {
			u.create("one")
			u.refused("Tag", u.tag("a", "1"), "")
			u.refused("Tag", u.tag("b", "id=1 at=2020-01-02T03:04:05Z x/y_z.+-@"), "")
			u.refused("Tag", u.tag("a", "2"), "")
			for _, value := range []string{"a,b", `"a"`, strings.Repeat("a", 257)} {
				u.refused(value, u.tag("a", value), invalidParameter)
			}
			u.want("tags", map[string]string{"a": "2", "b": "id=1 at=2020-01-02T03:04:05Z x/y_z.+-@"}, tagMap(u.describe().Tags))
		},
		"list": func(u *user) {
			var all []string
			for _, end := range []string{"/Aa", "/aa", "/b", "/c"} {
				next := *u
				next.name += end
				next.create("one")
				u.refused("Tag", next.tag("a", end), "")
				all = append(all, next.name)
				d, listed := next.describe(), u.list(100, next.name)
				if u.want("names", []string{next.name}, names(listed)); len(listed) == 1 {
					e := listed[0]
					u.want("entry and description", []any{*d.ARN, d.VersionIdsToStages, tagMap(d.Tags), *d.LastChangedDate},
						[]any{*e.ARN, e.SecretVersionsToStages, tagMap(e.Tags), *e.LastChangedDate})
				}
			}
			for _, size := range []int32{1, 3, 100} {
				u.want(fmt.Sprintf("pages of %d", size), all, names(u.list(size, u.name+"/")))
			}
			for prefix, want := range map[string][]string{u.name + "/a": {u.name + "/aa"}, "/aa": nil} {
				u.want("under "+prefix, want, names(u.list(100, prefix)))
			}
			token := "x"
			_, err := u.ListSecrets(u.ctx, &sm.ListSecretsInput{NextToken: &token})
			u.refused("an unknown token", err, "InvalidNextTokenException")
		},
		"marked for deletion, then purged": func(u *user) {
			arn, v1 := u.create("one")
			_, err := u.DeleteSecret(u.ctx, &sm.DeleteSecretInput{SecretId: &u.name})
			u.refused("Delete", err, "")
			_, err = u.get("", "")
			u.refused("Get", err, invalidRequest)
			_, err = u.put("", "two")
			u.refused("Put", err, invalidRequest)
			u.refused("Tag", u.tag("a", "1"), invalidRequest)
			u.refused("UpdateSecretVersionStage", u.move("NEXT", v1, ""), invalidRequest)
			u.want("described as deleted", true, u.describe().DeletedDate != nil)
			u.want("listed", 0, len(u.list(100, u.name)))
			_, err = u.CreateSecret(u.ctx, &sm.CreateSecretInput{Name: &u.name})
			u.refused("Create", err, invalidRequest)
			u.remove()
			again, _ := u.create("one")
			u.want("the same ARN", false, again == arn)
			_, err = u.CreateSecret(u.ctx, &sm.CreateSecretInput{Name: &u.name})
			u.refused("Create", err, exists)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				test(&user{api, t, t.Context(), "conformance/" + regexp.MustCompile(`\W+`).ReplaceAllString(name, "-")})
			})
		})
	}
}

// user has one secret of its own.
type user struct {
	api
	t    *testing.T
	ctx  context.Context
	name string
}

func (u *user) want(what string, want, got any) {
	u.t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.SortSlices(strings.Compare)); d != "" {
		u.t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// refused wants an error with that code; none where it is empty.
func (u *user) refused(what string, err error, code string) {
	u.t.Helper()
	if got := codeOf(err); got != code {
		u.t.Fatalf("%s: %q, want %q: %v", what, got, code, err)
	}
}

func codeOf(err error) string {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func (u *user) create(value string) (arn, versionID string) {
	u.t.Helper()
	in := &sm.CreateSecretInput{Name: &u.name}
	if value != "" {
		in.SecretString = &value
	}
	out, err := u.CreateSecret(u.ctx, in)
	u.refused("Create", err, "")
	name := u.name
	u.t.Cleanup(func() { (&user{u.api, u.t, context.Background(), name}).remove() })
	return *out.ARN, aws.ToString(out.VersionId)
}

func (u *user) remove() {
	_, _ = u.DeleteSecret(u.ctx, &sm.DeleteSecretInput{SecretId: &u.name, ForceDeleteWithoutRecovery: aws.Bool(true)})
}

func (u *user) mustPut(value string, labels ...string) (versionID string) {
	u.t.Helper()
	id, err := u.put("", value, labels...)
	u.refused("Put", err, "")
	return id
}

func (u *user) put(token, value string, labels ...string) (versionID string, err error) {
	out, err := u.PutSecretValue(u.ctx, &sm.PutSecretValueInput{SecretId: &u.name, ClientRequestToken: optional(token),
		SecretString: &value, VersionStages: labels})
	if err != nil {
		return "", err
	}
	return *out.VersionId, nil
}

func (u *user) get(versionID, label string) (*sm.GetSecretValueOutput, error) {
	return u.GetSecretValue(u.ctx, &sm.GetSecretValueInput{SecretId: &u.name, VersionId: optional(versionID), VersionStage: optional(label)})
}

func (u *user) wantValue(want, versionID, label string) {
	u.t.Helper()
	out, err := u.get(versionID, label)
	u.refused("Get", err, "")
	u.want("value", want, *out.SecretString)
}

func (u *user) describe() *sm.DescribeSecretOutput {
	u.t.Helper()
	out, err := u.DescribeSecret(u.ctx, &sm.DescribeSecretInput{SecretId: &u.name})
	u.refused("Describe", err, "")
	return out
}

func (u *user) wantLabels(want map[string]string) {
	u.t.Helper()
	got := map[string]string{}
	for id, labels := range u.describe().VersionIdsToStages {
		for _, label := range labels {
			got[label] += id
		}
	}
	u.want("labels", want, got)
}

func (u *user) move(label, to, from string) error {
	_, err := u.UpdateSecretVersionStage(u.ctx, &sm.UpdateSecretVersionStageInput{SecretId: &u.name, VersionStage: &label,
		MoveToVersionId: optional(to), RemoveFromVersionId: optional(from)})
	return err
}

func (u *user) tag(key, value string) error {
	_, err := u.TagResource(u.ctx, &sm.TagResourceInput{SecretId: &u.name, Tags: []types.Tag{{Key: &key, Value: &value}}})
	return err
}

// list turns the pages, which may be shorter than size.
func (u *user) list(size int32, prefix string) (all []types.SecretListEntry) {
	u.t.Helper()
	in := &sm.ListSecretsInput{MaxResults: &size, Filters: []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{prefix}}}}
	for {
		out, err := u.ListSecrets(u.ctx, in)
		u.refused("List", err, "")
		u.want("a longer page", false, len(out.SecretList) > int(size))
		all = append(all, out.SecretList...)
		if in.NextToken = out.NextToken; in.NextToken == nil {
			return all
		}
	}
}

func names(entries []types.SecretListEntry) (names []string) {
	for _, e := range entries {
		names = append(names, *e.Name)
	}
	return names
}

func tagMap(tags []types.Tag) map[string]string {
	m := map[string]string{}
	for _, t := range tags {
		m[*t.Key] = *t.Value
	}
	return m
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
