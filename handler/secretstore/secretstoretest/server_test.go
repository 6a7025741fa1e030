package secretstoretest_test

import (
	"context"
	"errors"
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

	token = "2a3b4c5d-6e7f-4081-92a3-b4c5d6e7f809"
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
	for id, labels := range u.describe().VersionIdsToStages {
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
	out, err := u.GetSecretValue(u.ctx, &sm.GetSecretValueInput{SecretId: aws.String("a"), VersionId: &versionID, VersionStage: &label})
	if err != nil {
		return codeOf(err)
	}
	return aws.ToString(out.SecretString)
}

func (u *user) describe() *sm.DescribeSecretOutput {
	u.t.Helper()
	out, err := u.DescribeSecret(u.ctx, &sm.DescribeSecretInput{SecretId: aws.String("a")})
	if err != nil {
		u.t.Fatal(err)
	}
	return out
}

func (u *user) put(token, value string, labels ...string) (code string) {
	_, err := u.PutSecretValue(u.ctx, &sm.PutSecretValueInput{SecretId: aws.String("a"), ClientRequestToken: &token,
		SecretString: &value, VersionStages: labels})
	return codeOf(err)
}

func (u *user) move(label, to, from string) (code string) {
	_, err := u.UpdateSecretVersionStage(u.ctx, &sm.UpdateSecretVersionStageInput{SecretId: aws.String("a"), VersionStage: &label,
		MoveToVersionId: &to, RemoveFromVersionId: &from})
	return codeOf(err)
}

func (u *user) tag(key, value string) (code string) {
	_, err := u.TagResource(u.ctx, &sm.TagResourceInput{SecretId: aws.String("a"), Tags: []types.Tag{{Key: &key, Value: &value}}})
	return codeOf(err)
}

func (u *user) remove(force bool) error {
	_, err := u.DeleteSecret(u.ctx, &sm.DeleteSecretInput{SecretId: aws.String("a"), ForceDeleteWithoutRecovery: &force})
	return err
}

// TestAsDocumented holds the stand-in to what its users do not meet, refusals above all. Their tests notice the rest.
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_Operations.html
func TestAsDocumented(t *testing.T) {
	for name, test := range map[string]func(*user){
		"no version yet": func(u *user) {
			u.Create("a", "")
			u.want("Get", notFound, u.value("", ""))
			u.wantLabels(nil)
			v1 := u.Stage("a", "one", "NEXT") // the first is AWSCURRENT, whatever was asked for
			u.wantLabels(map[string]string{current: v1, "NEXT": v1})
			u.want("by unknown version", notFound, u.value(token, ""))
			u.want("by unknown label", notFound, u.value("", pending))
		},
		"token again": func(u *user) {
			_, v1 := u.Create("a", "one")
			u.want("Put", "", u.put(token, "two", pending))
			changed := u.describe().LastChangedDate
			time.Sleep(time.Second)
			u.want("the same", "", u.put(token, "two", pending))
			u.want("another value", exists, u.put(token, "three", pending))
			u.want("value", "two", u.value(token, ""))
			u.want("changed", changed, u.describe().LastChangedDate)
			u.wantLabels(map[string]string{current: v1, pending: token})
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
		"tags": func(u *user) {
			u.Create("a", "one")
			const text = "id=1 at=2020-01-02T03:04:05Z x/y_z.+-@"
			u.want("Tag", "", u.tag("k", "1")+u.tag("k", "v")+u.tag("text", text))
			for _, value := range []string{"a,b", `"a"`, strings.Repeat("a", 257)} {
				u.want(value, invalidParameter, u.tag("k", value))
			}
			u.want("tags", map[string]string{"k": "v", "text": text}, u.Tags("a"))
		},
		"marked for deletion, then purged": func(u *user) {
			arn, v1 := u.Create("a", "one")
			u.want("Delete", nil, u.remove(false))
			u.want("Get", invalidRequest, u.value("", ""))
			u.want("Put", invalidRequest, u.put("", "two"))
			u.want("Tag", invalidRequest, u.tag("k", "v"))
			u.want("UpdateSecretVersionStage", invalidRequest, u.move("NEXT", v1, ""))
			u.want("described as deleted", true, u.describe().DeletedDate != nil)
			u.want("Delete", nil, u.remove(true))
			again, _ := u.Create("a", "one")
			u.want("the same ARN", false, again == arn)
			_, err := u.CreateSecret(u.ctx, &sm.CreateSecretInput{Name: aws.String("a")})
			u.want("Create", exists, codeOf(err))
		},
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { test(newUser(t)) }) })
	}
}
