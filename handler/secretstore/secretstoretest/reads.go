package secretstoretest

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// GetSecretValue is the SDK's.
func (s *Server) GetSecretValue(ctx context.Context, in *sm.GetSecretValueInput, _ ...func(*sm.Options)) (*sm.GetSecretValueOutput, error) {
	return call(ctx, s, "GetSecretValue", in.SecretId, in, s.getSecretValue)
}

// DescribeSecret is the SDK's.
func (s *Server) DescribeSecret(ctx context.Context, in *sm.DescribeSecretInput, _ ...func(*sm.Options)) (*sm.DescribeSecretOutput, error) {
	return call(ctx, s, "DescribeSecret", in.SecretId, in, s.describeSecret)
}

// ListSecrets is the SDK's. It lists in order of creation; of the filters it knows "name" only.
func (s *Server) ListSecrets(ctx context.Context, in *sm.ListSecretsInput, _ ...func(*sm.Options)) (*sm.ListSecretsOutput, error) {
	return call(ctx, s, "ListSecrets", nil, in, s.listSecrets)
}

// seen is the time of the state that a read answers with.
func (s *Server) seen(op, name string) time.Time {
	if s.Stale == nil {
		return time.Now()
	}
	return time.Now().Add(-s.Stale(op, name))
}

// getSecretValue finds the version by 1. its id, or 2. a label, AWSCURRENT if none is given. A version without a value
// counts as missing.
func (s *Server) getSecretValue(in *sm.GetSecretValueInput) (*sm.GetSecretValueOutput, error) {
	id := aws.ToString(in.SecretId)
	x, st, err := s.find(id, s.seen("GetSecretValue", s.nameOf(id)))
	if err != nil {
		return nil, err
	}
	if !st.deleted.IsZero() {
		return nil, errMarked
	}
	versionID := aws.ToString(in.VersionId) // 1
	if versionID == "" {                    // 2
		versionID = st.holder(cmp.Or(aws.ToString(in.VersionStage), current))
	}
	v := st.version(versionID)
	if v == nil || v.value == nil {
		return nil, notFound("Secrets Manager can't find the specified secret value.")
	}
	out := &sm.GetSecretValueOutput{ARN: &x.arn, Name: &x.name, VersionId: &v.id, VersionStages: st.stages()[v.id]}
	if v.binary {
		out.SecretBinary = []byte(*v.value)
	} else {
		out.SecretString = v.value
	}
	return out, nil
}

func (s *Server) describeSecret(in *sm.DescribeSecretInput) (*sm.DescribeSecretOutput, error) {
	id := aws.ToString(in.SecretId)
	x, st, err := s.find(id, s.seen("DescribeSecret", s.nameOf(id)))
	if err != nil {
		return nil, err
	}
	e := entry(x, st)
	return &sm.DescribeSecretOutput{ARN: e.ARN, Name: e.Name, LastChangedDate: e.LastChangedDate,
		DeletedDate: e.DeletedDate, RotationEnabled: e.RotationEnabled, RotationLambdaARN: e.RotationLambdaARN,
		PrimaryRegion: e.PrimaryRegion, Tags: e.Tags, VersionIdsToStages: e.SecretVersionsToStages}, nil
}

// listSecrets makes a token of the number of secrets that were looked at, so that what comes and goes between two pages
// shifts nothing.
func (s *Server) listSecrets(in *sm.ListSecretsInput) (*sm.ListSecretsOutput, error) {
	limit := int(cmp.Or(aws.ToInt32(in.MaxResults), 100))
	from, err := strconv.Atoi(cmp.Or(aws.ToString(in.NextToken), "0"))
	if err != nil || from < 0 || from > len(s.secrets) {
		return nil, &types.InvalidNextTokenException{Message: aws.String("The NextToken value is invalid.")}
	}
	out := &sm.ListSecretsOutput{}
	for i := from; i < len(s.secrets); i++ {
		x := s.secrets[i]
		st := x.as(s.seen("ListSecrets", x.name))
		if st == nil || !st.deleted.IsZero() || !passes(x.name, in.Filters) {
			continue
		}
		if len(out.SecretList) == limit {
			out.NextToken = aws.String(strconv.Itoa(i))
			break
		}
		out.SecretList = append(out.SecretList, entry(x, st))
	}
	return out, nil
}

// passes reports whether a name has the filter's value as a prefix, in this case.
// https://docs.aws.amazon.com/secretsmanager/latest/userguide/manage_search-secret.html
func passes(name string, filters []types.Filter) bool {
	for _, f := range filters {
		if f.Key != types.FilterNameStringTypeName || len(f.Values) != 1 {
			panic("secretstoretest: the one filter that it knows is a name")
		}
		if !strings.HasPrefix(name, f.Values[0]) {
			return false
		}
	}
	return true
}

// entry leaves out what does not apply, as AWS does.
func entry(x *secret, st *state) types.SecretListEntry {
	e := types.SecretListEntry{ARN: &x.arn, Name: &x.name, LastChangedDate: &st.changed, SecretVersionsToStages: st.stages()}
	if !st.deleted.IsZero() {
		e.DeletedDate = &st.deleted
	}
	if st.rotation != "" {
		e.RotationEnabled, e.RotationLambdaARN = aws.Bool(true), &st.rotation
	}
	if st.primary != "" {
		e.PrimaryRegion = &st.primary
	}
	for _, key := range slices.Sorted(maps.Keys(st.tags)) {
		e.Tags = append(e.Tags, types.Tag{Key: &key, Value: aws.String(st.tags[key])})
	}
	return e
}
