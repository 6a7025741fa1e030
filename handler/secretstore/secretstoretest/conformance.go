package secretstoretest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
)

// API is what Conformance asks of an implementation; the SDK's client and Server have it.
type API interface {
	CreateSecret(context.Context, *sm.CreateSecretInput, ...func(*sm.Options)) (*sm.CreateSecretOutput, error)
	GetSecretValue(context.Context, *sm.GetSecretValueInput, ...func(*sm.Options)) (*sm.GetSecretValueOutput, error)
	DescribeSecret(context.Context, *sm.DescribeSecretInput, ...func(*sm.Options)) (*sm.DescribeSecretOutput, error)
	ListSecrets(context.Context, *sm.ListSecretsInput, ...func(*sm.Options)) (*sm.ListSecretsOutput, error)
	PutSecretValue(context.Context, *sm.PutSecretValueInput, ...func(*sm.Options)) (*sm.PutSecretValueOutput, error)
	UpdateSecretVersionStage(context.Context, *sm.UpdateSecretVersionStageInput, ...func(*sm.Options)) (*sm.UpdateSecretVersionStageOutput, error)
	TagResource(context.Context, *sm.TagResourceInput, ...func(*sm.Options)) (*sm.TagResourceOutput, error)
	UntagResource(context.Context, *sm.UntagResourceInput, ...func(*sm.Options)) (*sm.UntagResourceOutput, error)
	DeleteSecret(context.Context, *sm.DeleteSecretInput, ...func(*sm.Options)) (*sm.DeleteSecretOutput, error)
	RestoreSecret(context.Context, *sm.RestoreSecretInput, ...func(*sm.Options)) (*sm.RestoreSecretOutput, error)
}

// Options of Conformance. The zero value is for Server.
type Options struct {
	// Prefix of the names of the secrets that the suite makes and removes; conformance/<random>/ if empty.
	Prefix string
	// Pause passes where the suite compares times or lists: longer than the implementation takes to be consistent, and
	// than LastChangedDate's resolution. 2 ms if zero.
	Pause time.Duration
	// Deviates names the cases in which the implementation is known not to do as AWS does, and says how. They must
	// fail: a case that passes is to be taken off the list.
	Deviates map[string]string
}

// Ministack is what the emulator's version 1.5.33 does otherwise than AWS.
var Ministack = map[string]string{
	"partial ARN":                "any beginning of an ARN is a partial ARN",
	"no version yet":             "CreateSecret without a value makes a version",
	"texts":                      "other texts, with a full stop",
	"version and label":          "does not compare them",
	"superseded version":         "removes at once the versions without labels",
	"label moved by put":         "the label stays on the other version too",
	"several labels":             "AWSCURRENT drops the labels beside it",
	"token again":                "takes another value for the same token",
	"first version":              "is not AWSCURRENT under another label",
	"AWSCURRENT stays somewhere": "can be taken off",
	"tags and LastChangedDate":   "does not change",
	"milliseconds":               "whole seconds",
	"name filter":                "anywhere in the name, in any case",
	"name of a deleted secret":   "ResourceExistsException",
}

// Conformance holds an implementation to the Secrets Manager that AWS documents, as far as this project relies on it.
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_Operations.html
func Conformance(t *testing.T, api API, o Options) {
	if o.Prefix == "" {
		o.Prefix = "conformance/" + uuid.NewString() + "/"
	}
	if o.Pause == 0 {
		o.Pause = 2 * time.Millisecond
	}
	for name := range o.Deviates {
		if !slices.ContainsFunc(cases, func(tt testcase) bool { return tt.name == name }) {
			t.Errorf("no case is named %q", name)
		}
	}
	for i, tt := range cases {
		deviation, deviates := o.Deviates[tt.name]
		t.Run(tt.name, func(t *testing.T) {
			c := &check{API: api, ctx: t.Context(), pause: func() { time.Sleep(o.Pause) }, name: fmt.Sprintf("%s%02d", o.Prefix, i)}
			c.run(tt.run)
			switch {
			case deviates && len(c.faults) == 0:
				t.Errorf("passes, though it is said to deviate: %s", deviation)
			case deviates:
				t.Skipf("deviates, as is known: %s", deviation)
			}
			for _, f := range c.faults {
				t.Error(f)
			}
		})
	}
}

type testcase struct {
	name string
	run  func(*check)
}

var cases = []testcase{
	{"name, ARN and partial ARN", func(c *check) {
		arn, v1 := c.create(c.name, "one")
		c.want("suffix of the ARN", true, strings.HasSuffix(arn[:len(arn)-7], ":secret:"+c.name) && suffix.MatchString(arn))
		for _, id := range []string{c.name, arn, arn[:len(arn)-7]} {
			out, err := c.get(id, "", "")
			c.ok(err)
			c.want("value by "+id, "one", aws.ToString(out.SecretString))
			c.want("identity", []string{arn, c.name, v1}, []string{*out.ARN, *out.Name, *out.VersionId})
			c.want("labels", []string{current}, out.VersionStages)
			c.want("ARN by Describe", arn, *c.describe(id).ARN)
		}
	}},
	{"partial ARN", func(c *check) {
		arn, _ := c.create(c.name+"-abcdef", "one")
		_, err := c.get(arn[:len(arn)-7], "", "") // ends like a complete ARN
		c.refused("the ARN of a name that ends like an ARN", err, notFoundCode)
		_, err = c.get(arn[:len(arn)-10], "", "")
		c.refused("the beginning of an ARN", err, notFoundCode)
	}},
	{"unknown secret", func(c *check) {
		const text = "Secrets Manager can't find the specified secret."
		for _, id := range []string{c.name, "arn:aws:secretsmanager:us-east-1:123456789012:secret:" + c.name + "-abcdef"} {
			_, err := c.get(id, "", "")
			c.refused("Get", err, notFoundCode, text)
			_, err = c.DescribeSecret(c.ctx, &sm.DescribeSecretInput{SecretId: &id})
			c.refused("Describe", err, notFoundCode, text)
			_, err = c.put(id, "", "one")
			c.refused("Put", err, notFoundCode, text)
			c.refused("Tag", c.tag(id, "a", "1"), notFoundCode, text)
			c.refused("Untag", c.untag(id, "a"), notFoundCode, text)
			c.refused("UpdateSecretVersionStage", c.move(id, current, uuid.NewString(), ""), notFoundCode, text)
		}
	}},
	{"no version yet", func(c *check) {
		c.create(c.name, "")
		_, err := c.get(c.name, "", "")
		c.refused("Get", err, notFoundCode)
		c.want("labels", map[string]string{}, c.labels())
		v1 := c.mustPut("one")
		c.want("labels after a value", map[string]string{current: v1}, c.labels())
	}},
	{"missing version and label", func(c *check) {
		c.create(c.name, "one")
		_, err := c.get(c.name, uuid.NewString(), "")
		c.refused("Get by version id", err, notFoundCode)
		_, err = c.get(c.name, "", pending)
		c.refused("Get by label", err, notFoundCode)
	}},
	{"texts", func(c *check) {
		c.create(c.name, "one")
		id := uuid.NewString()
		_, err := c.get(c.name, id, "")
		c.refused("Get by version id", err, notFoundCode, "Secrets Manager can't find the specified secret value for VersionId: "+id)
		_, err = c.get(c.name, "", pending)
		c.refused("Get by label", err, notFoundCode, "Secrets Manager can't find the specified secret value for staging label: AWSPENDING")
	}},
	{"version and label", func(c *check) {
		_, v1 := c.create(c.name, "one")
		_, err := c.get(c.name, v1, current)
		c.ok(err)
		v2 := c.mustPut("two")
		_, err = c.get(c.name, v1, current)
		c.refused("the version without the label", err, invalidRequestCode)
		_, err = c.get(c.name, v2, current)
		c.ok(err)
	}},
	{"binary value", func(c *check) {
		c.create(c.name, "one")
		_, err := c.PutSecretValue(c.ctx, &sm.PutSecretValueInput{SecretId: &c.name, SecretBinary: []byte{0, 255}})
		c.ok(err)
		out, err := c.get(c.name, "", "")
		c.ok(err)
		c.want("value", []byte{0, 255}, out.SecretBinary)
		c.want("no text", true, out.SecretString == nil)
	}},
	{"put moves AWSCURRENT", func(c *check) {
		_, v1 := c.create(c.name, "one")
		v2 := c.mustPut("two")
		c.want("labels", map[string]string{current: v2, previous: v1}, c.labels())
		v3 := c.mustPut("three")
		c.want("labels", map[string]string{current: v3, previous: v2}, c.labels())
		out, err := c.get(c.name, "", previous)
		c.ok(err)
		c.want("previous value", "two", aws.ToString(out.SecretString))
	}},
	{"superseded version", func(c *check) { // kept for 24 hours at least, though Describe does not show it
		_, v1 := c.create(c.name, "one")
		c.mustPut("two")
		c.mustPut("three")
		out, err := c.get(c.name, v1, "")
		c.ok(err)
		c.want("value", "one", aws.ToString(out.SecretString))
		c.want("labels", 0, len(out.VersionStages))
	}},
	{"put under a label", func(c *check) {
		_, v1 := c.create(c.name, "one")
		v2 := c.mustPut("two", "NEXT")
		c.want("labels", map[string]string{current: v1, "NEXT": v2}, c.labels())
		out, err := c.get(c.name, "", "NEXT")
		c.ok(err)
		c.want("value", "two", aws.ToString(out.SecretString))
	}},
	{"label moved by put", func(c *check) {
		_, v1 := c.create(c.name, "one")
		v2 := c.mustPut("two", "NEXT", "OTHER")
		v3 := c.mustPut("three", "NEXT")
		c.want("versions", map[string][]string{v1: {current}, v2: {"OTHER"}, v3: {"NEXT"}}, c.describe(c.name).VersionIdsToStages)
	}},
	{"several labels", func(c *check) {
		_, v1 := c.create(c.name, "one")
		v2 := c.mustPut("two", current, "NEXT")
		c.want("labels", map[string]string{current: v2, "NEXT": v2, previous: v1}, c.labels())
	}},
	{"token", func(c *check) {
		_, v1 := c.create(c.name, "one")
		token := uuid.NewString()
		id, err := c.put(c.name, token, "two")
		c.ok(err)
		c.want("version id", token, id)
		c.want("labels", map[string]string{current: token, previous: v1}, c.labels())
	}},
	{"token again", func(c *check) {
		_, v1 := c.create(c.name, "one")
		token := uuid.NewString()
		_, err := c.put(c.name, token, "two", pending)
		c.ok(err)
		id, err := c.put(c.name, token, "two", pending)
		c.ok(err)
		c.want("version id", token, id)
		_, err = c.put(c.name, token, "three", pending)
		c.refused("another value", err, existsCode)
		out, err := c.get(c.name, token, "")
		c.ok(err)
		c.want("value", "two", aws.ToString(out.SecretString))
		c.want("labels", map[string]string{current: v1, pending: token}, c.labels())
	}},
	{"first version", func(c *check) {
		c.create(c.name, "")
		v1 := c.mustPut("one", "NEXT")
		c.want("labels", map[string]string{current: v1, "NEXT": v1}, c.labels())
	}},
	{"AWSCURRENT moves, AWSPREVIOUS follows", func(c *check) {
		_, v1 := c.create(c.name, "one")
		v2 := c.mustPut("two", pending)
		c.ok(c.move(c.name, current, v2, v1))
		c.want("labels", map[string]string{current: v2, pending: v2, previous: v1}, c.labels())
		c.ok(c.move(c.name, current, v1, v2))
		c.want("labels after the rollback", map[string]string{current: v1, pending: v2, previous: v2}, c.labels())
		c.ok(c.move(c.name, current, v1, v1))
		c.want("labels after nothing", map[string]string{current: v1, pending: v2, previous: v2}, c.labels())
	}},
	{"RemoveFromVersionId", func(c *check) {
		_, v1 := c.create(c.name, "one")
		v2 := c.mustPut("two", "NEXT")
		c.refused("without", c.move(c.name, current, v2, ""), invalidParameterCode)
		c.refused("of a version without the label", c.move(c.name, current, v2, v2), invalidParameterCode)
		c.refused("to a version that is not there", c.move(c.name, current, uuid.NewString(), v1), notFoundCode)
		c.refused("neither", c.move(c.name, current, "", ""), invalidParameterCode)
		c.want("labels", map[string]string{current: v1, "NEXT": v2}, c.labels())
	}},
	{"other labels", func(c *check) {
		_, v1 := c.create(c.name, "one")
		c.ok(c.move(c.name, "NEXT", v1, "")) // no version has it
		v2 := c.mustPut("two", "OTHER")
		c.ok(c.move(c.name, "NEXT", v2, v1))
		c.want("labels", map[string]string{current: v1, "NEXT": v2, "OTHER": v2}, c.labels())
		c.ok(c.move(c.name, "NEXT", "", v2))
		c.want("labels", map[string]string{current: v1, "OTHER": v2}, c.labels())
	}},
	{"AWSCURRENT stays somewhere", func(c *check) {
		_, v1 := c.create(c.name, "one")
		c.refused("taking it off", c.move(c.name, current, "", v1), invalidParameterCode)
	}},
	{"LastChangedDate", func(c *check) {
		c.create(c.name, "one")
		last := c.describe(c.name)
		c.want("CreatedDate", true, last.CreatedDate != nil && !last.CreatedDate.After(*last.LastChangedDate))
		var v2 string
		for _, write := range []struct {
			name string
			do   func()
		}{
			{"value", func() { v2 = c.mustPut("two", "NEXT") }},
			{"label", func() { c.ok(c.move(c.name, "OTHER", v2, "")) }},
		} {
			c.pause()
			write.do()
			next := c.describe(c.name)
			c.want("changed by a "+write.name, true, next.LastChangedDate.After(*last.LastChangedDate))
			last = next
		}
		c.pause()
		_, err := c.get(c.name, "", "")
		c.ok(err)
		c.want("changed by a read", false, c.describe(c.name).LastChangedDate.After(*last.LastChangedDate))
	}},
	{"tags and LastChangedDate", func(c *check) {
		c.create(c.name, "one")
		was := c.describe(c.name).LastChangedDate
		c.pause()
		c.ok(c.tag(c.name, "a", "1"))
		tagged := c.describe(c.name).LastChangedDate
		c.want("changed by TagResource", true, tagged.After(*was))
		c.pause()
		c.ok(c.untag(c.name, "a"))
		c.want("changed by UntagResource", true, c.describe(c.name).LastChangedDate.After(*tagged))
	}},
	{"milliseconds", func(c *check) {
		c.create(c.name, "one")
		var fraction time.Duration // of a second, in LastChangedDate; 3 times none would be 1 in 10⁹
		for range 3 {
			c.ok(c.tag(c.name, "a", "1"))
			at := *c.describe(c.name).LastChangedDate
			c.want("finer than a millisecond", time.Duration(0), at.Sub(at.Truncate(time.Millisecond)))
			fraction += at.Sub(at.Truncate(time.Second))
			c.pause()
		}
		c.want("finer than a second", true, fraction > 0)
	}},
	{"tags", func(c *check) {
		c.create(c.name, "one")
		c.ok(c.tag(c.name, "a", "1"))
		c.ok(c.tag(c.name, "b", "id=1 at=2020-01-02T03:04:05Z x/y_z.+-@"))
		c.ok(c.tag(c.name, "a", "2"))
		c.want("tags", map[string]string{"a": "2", "b": "id=1 at=2020-01-02T03:04:05Z x/y_z.+-@"}, tagMap(c.describe(c.name).Tags))
		c.ok(c.untag(c.name, "a"))
		c.ok(c.untag(c.name, "not there"))
		c.want("tags", map[string]string{"b": "id=1 at=2020-01-02T03:04:05Z x/y_z.+-@"}, tagMap(c.describe(c.name).Tags))
	}},
	{"list", func(c *check) {
		arn, v1 := c.create(c.name+"/a", "one")
		c.create(c.name+"/b", "one")
		c.ok(c.tag(arn, "a", "1"))
		c.pause()
		for _, e := range c.list(100, false, c.name+"/") {
			d := c.describe(*e.ARN)
			c.want("entry and description", *d.Name, *e.Name)
			c.want("entry and description", d.VersionIdsToStages, e.SecretVersionsToStages)
			c.want("entry and description", tagMap(d.Tags), tagMap(e.Tags))
			c.want("entry and description", *d.LastChangedDate, *e.LastChangedDate)
			c.want("rotation", false, aws.ToBool(e.RotationEnabled) || aws.ToBool(d.RotationEnabled))
			c.want("replica", "", aws.ToString(e.PrimaryRegion)+aws.ToString(d.PrimaryRegion))
		}
		got := c.list(100, false, c.name+"/a")
		if c.want("entries", 1, len(got)); len(got) == 1 {
			c.want("labels", map[string][]string{v1: {current}}, got[0].SecretVersionsToStages)
			c.want("tags", map[string]string{"a": "1"}, tagMap(got[0].Tags))
		}
	}},
	{"pages", func(c *check) {
		var all []string
		for i := range 5 {
			name := fmt.Sprintf("%s/%d", c.name, i)
			c.create(name, "one")
			all = append(all, name)
		}
		c.pause()
		for _, size := range []int32{1, 2, 5, 100} {
			c.want(fmt.Sprintf("pages of %d", size), all, names(c.list(size, false, c.name+"/")))
		}
	}},
	{"name filter", func(c *check) {
		c.create(c.name+"/Aa", "one")
		c.create(c.name+"/aa", "one")
		c.create(c.name+"x"+c.name+"/Aa", "one")
		c.pause()
		c.want("in this case", []string{c.name + "/Aa"}, names(c.list(100, false, c.name+"/A")))
		c.want("any of two", []string{c.name + "/Aa", c.name + "/aa"}, names(c.list(100, false, c.name+"/A", c.name+"/a")))
		c.want("not in the middle", 0, len(c.list(100, false, "/A")))
	}},
	{"marked for deletion", func(c *check) {
		_, v1 := c.create(c.name, "one")
		_, err := c.DeleteSecret(c.ctx, &sm.DeleteSecretInput{SecretId: &c.name})
		c.ok(err)
		c.pause()
		const text = "You can't perform this operation on the secret because it was marked for deletion."
		_, err = c.get(c.name, "", "")
		c.refused("Get", err, invalidRequestCode, text)
		_, err = c.put(c.name, "", "two")
		c.refused("Put", err, invalidRequestCode, text)
		c.refused("Tag", c.tag(c.name, "a", "1"), invalidRequestCode, text)
		c.refused("Untag", c.untag(c.name, "a"), invalidRequestCode, text)
		c.refused("UpdateSecretVersionStage", c.move(c.name, "NEXT", v1, ""), invalidRequestCode, text)
		c.want("described as deleted", true, c.describe(c.name).DeletedDate != nil)
		c.want("listed", 0, len(c.list(100, false, c.name)))
		if got := c.list(100, true, c.name); len(got) != 1 || got[0].DeletedDate == nil {
			c.fault("not listed as deleted: %v", names(got))
		}
		_, err = c.RestoreSecret(c.ctx, &sm.RestoreSecretInput{SecretId: &c.name})
		c.ok(err)
		_, err = c.get(c.name, "", "")
		c.ok(err)
		c.want("described as deleted after RestoreSecret", false, c.describe(c.name).DeletedDate != nil)
	}},
	{"name of a deleted secret", func(c *check) {
		c.create(c.name, "one")
		_, err := c.DeleteSecret(c.ctx, &sm.DeleteSecretInput{SecretId: &c.name})
		c.ok(err)
		_, err = c.CreateSecret(c.ctx, &sm.CreateSecretInput{Name: &c.name, SecretString: aws.String("two")})
		c.refused("Create", err, invalidRequestCode)
	}},
	{"name taken, then free", func(c *check) {
		arn, _ := c.create(c.name, "one")
		_, err := c.CreateSecret(c.ctx, &sm.CreateSecretInput{Name: &c.name, SecretString: aws.String("two")})
		c.refused("Create", err, existsCode)
		c.remove(c.name)
		_, err = c.get(arn, "", "")
		c.refused("Get", err, notFoundCode)
		again, _ := c.create(c.name, "one")
		c.want("the same ARN", false, again == arn)
		_, err = c.get(arn, "", "")
		c.refused("Get by the old ARN", err, notFoundCode)
	}},
}

const (
	notFoundCode         = "ResourceNotFoundException"
	existsCode           = "ResourceExistsException"
	invalidRequestCode   = "InvalidRequestException"
	invalidParameterCode = "InvalidParameterException"
)

// check is one case under way.
type check struct {
	API
	ctx    context.Context
	pause  func()
	name   string   // of the case's secret; the names of others begin with it
	made   []string // names of secrets to remove
	faults []string
}

var errEnd = errors.New("the case cannot go on")

func (c *check) run(test func(*check)) {
	defer func() {
		for _, name := range c.made {
			c.remove(name)
		}
		if p := recover(); p != nil && p != errEnd {
			panic(p)
		}
	}()
	test(c)
}

func (c *check) fault(format string, args ...any) {
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
}

func (c *check) ok(err error) {
	if err != nil {
		c.fault("%v", err)
		panic(errEnd)
	}
}

func (c *check) want(what string, want, got any) {
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.SortSlices(strings.Compare)); d != "" {
		c.fault("%s (-want +got):\n%s", what, d)
	}
}

// refused wants an error with a code and, where given, a text.
func (c *check) refused(what string, err error, code string, text ...string) {
	if e, ok := errors.AsType[smithy.APIError](err); !ok || e.ErrorCode() != code {
		c.fault("%s: %v, want %s", what, err, code)
	} else if len(text) > 0 && !slices.Contains(text, e.ErrorMessage()) {
		c.fault("%s: text %q, want %q", what, e.ErrorMessage(), text)
	}
}

func (c *check) create(name, value string) (arn, versionID string) {
	in := &sm.CreateSecretInput{Name: &name}
	if value != "" {
		in.SecretString = &value
	}
	out, err := c.CreateSecret(c.ctx, in)
	c.ok(err)
	c.made = append(c.made, name)
	return *out.ARN, aws.ToString(out.VersionId)
}

func (c *check) remove(name string) {
	c.DeleteSecret(context.WithoutCancel(c.ctx), &sm.DeleteSecretInput{SecretId: &name, ForceDeleteWithoutRecovery: aws.Bool(true)})
}

func (c *check) mustPut(value string, labels ...string) (versionID string) {
	id, err := c.put(c.name, "", value, labels...)
	c.ok(err)
	return id
}

func (c *check) put(id, token, value string, labels ...string) (versionID string, err error) {
	out, err := c.PutSecretValue(c.ctx, &sm.PutSecretValueInput{SecretId: &id, ClientRequestToken: optional(token),
		SecretString: &value, VersionStages: labels})
	if err != nil {
		return "", err
	}
	return *out.VersionId, nil
}

func (c *check) get(id, versionID, label string) (*sm.GetSecretValueOutput, error) {
	return c.GetSecretValue(c.ctx, &sm.GetSecretValueInput{SecretId: &id, VersionId: optional(versionID), VersionStage: optional(label)})
}

func (c *check) describe(id string) *sm.DescribeSecretOutput {
	out, err := c.DescribeSecret(c.ctx, &sm.DescribeSecretInput{SecretId: &id})
	c.ok(err)
	return out
}

func (c *check) labels() map[string]string {
	at := map[string]string{}
	for id, labels := range c.describe(c.name).VersionIdsToStages {
		for _, label := range labels {
			at[label] += id
		}
	}
	return at
}

func (c *check) move(id, label, to, from string) error {
	_, err := c.UpdateSecretVersionStage(c.ctx, &sm.UpdateSecretVersionStageInput{SecretId: &id, VersionStage: &label,
		MoveToVersionId: optional(to), RemoveFromVersionId: optional(from)})
	return err
}

func (c *check) tag(id, key, value string) error {
	_, err := c.TagResource(c.ctx, &sm.TagResourceInput{SecretId: &id, Tags: []types.Tag{{Key: &key, Value: &value}}})
	return err
}

func (c *check) untag(id, key string) error {
	_, err := c.UntagResource(c.ctx, &sm.UntagResourceInput{SecretId: &id, TagKeys: []string{key}})
	return err
}

// list turns the pages, which may be shorter than size.
func (c *check) list(size int32, deleted bool, prefixes ...string) (all []types.SecretListEntry) {
	in := &sm.ListSecretsInput{MaxResults: &size, IncludePlannedDeletion: &deleted,
		Filters: []types.Filter{{Key: types.FilterNameStringTypeName, Values: prefixes}}}
	for {
		out, err := c.ListSecrets(c.ctx, in)
		c.ok(err)
		if len(out.SecretList) > int(size) {
			c.fault("%d entries on a page of %d", len(out.SecretList), size)
		}
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
