// Package secretstore speaks to AWS Secrets Manager: the current version of a secret, its labels, our record on it, and
// the format of the credential inside.
package secretstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"

	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/sensitive"
)

// Staging labels. https://docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html
const (
	Current = "AWSCURRENT"
	Pending = "AWSPENDING"
)

// API is what a Store uses of the SDK's client.
type API interface {
	GetSecretValue(context.Context, *sm.GetSecretValueInput, ...func(*sm.Options)) (*sm.GetSecretValueOutput, error)
	DescribeSecret(context.Context, *sm.DescribeSecretInput, ...func(*sm.Options)) (*sm.DescribeSecretOutput, error)
	PutSecretValue(context.Context, *sm.PutSecretValueInput, ...func(*sm.Options)) (*sm.PutSecretValueOutput, error)
	UpdateSecretVersionStage(context.Context, *sm.UpdateSecretVersionStageInput, ...func(*sm.Options)) (
		*sm.UpdateSecretVersionStageOutput, error)
	ListSecrets(context.Context, *sm.ListSecretsInput, ...func(*sm.Options)) (*sm.ListSecretsOutput, error)
	TagResource(context.Context, *sm.TagResourceInput, ...func(*sm.Options)) (*sm.TagResourceOutput, error)
}

// Store reads and marks the secrets of one region.
//
// Its errors are secret_not_found, secret_access_denied (IAM or KMS), bad_request (an id that Secrets Manager does not
// take), rotation_refused (the version has another value), deadline and secrets_unavailable (all else).
type Store struct {
	API         API
	Region      string
	Site        string // Datadog's; records of another do not count
	OwnerTagKey string // of the tag that names a secret's owner; empty: none does
	Now         func() time.Time
}

// Value is one version of a secret with its value.
type Value struct {
	VersionID string
	Text      sensitive.Text
}

// Secret is what can be known of a secret without reading its value.
type Secret struct {
	ARN, Name         string
	Labels            map[string][]string // labelled versions only: version id → staging labels
	LastChanged       time.Time
	Deleted           bool // marked for deletion
	Replica           bool // of a primary in another region
	RotationEnabled   bool
	RotationLambdaARN string
	Owner             string // what its tag says: printable, at most 64 characters; empty if none
	Record            Record
}

// Labelled returns the id of a version that carries label, or nothing. There is one at most, except for a moment after
// the label moved.
func (s Secret) Labelled(label string) string {
	for id, labels := range s.Labels {
		if slices.Contains(labels, label) {
			return id
		}
	}
	return ""
}

// VersionOf returns the id of the version that r records: as it stands there or, where that is a hash, of the labelled
// version with this hash. It is empty if there is none.
func (s Secret) VersionOf(r Record) string {
	if !strings.HasPrefix(r.Version, "v-") {
		return r.Version
	}
	for id := range s.Labels {
		if r.IsOf(id) {
			return id
		}
	}
	return ""
}

// SkipReason returns why there is nothing to do for s; empty: there is.
func (s Secret) SkipReason() string {
	switch {
	case s.Deleted:
		return "the secret is marked for deletion"
	case s.Replica:
		return "the secret is a replica: the function beside its primary does the work"
	case s.Labelled(Current) == "":
		return "the secret has no version labelled AWSCURRENT yet"
	}
	return ""
}

// Current reads the version of a secret that is AWSCURRENT.
func (s *Store) Current(ctx context.Context, id string) (Value, error) {
	return s.value(ctx, &sm.GetSecretValueInput{SecretId: &id, VersionStage: aws.String(Current)})
}

// Version reads one version of a secret by its id.
func (s *Store) Version(ctx context.Context, id, versionID string) (Value, error) {
	return s.value(ctx, &sm.GetSecretValueInput{SecretId: &id, VersionId: &versionID})
}

func (s *Store) value(ctx context.Context, in *sm.GetSecretValueInput) (Value, error) {
	out, err := s.API.GetSecretValue(ctx, in)
	if err != nil {
		return Value{}, classify(ctx, err)
	}
	if out.SecretString == nil && out.SecretBinary == nil { // so an emulator answers; AWS says that there is none
		return Value{}, fault.New(fault.SecretNotFound, "the version has no value")
	}
	text := cmp.Or(aws.ToString(out.SecretString), string(out.SecretBinary))
	return Value{aws.ToString(out.VersionId), sensitive.New(text)}, nil
}

// Describe reads all but the value.
func (s *Store) Describe(ctx context.Context, id string) (Secret, error) {
	out, err := s.API.DescribeSecret(ctx, &sm.DescribeSecretInput{SecretId: &id})
	if err != nil {
		return Secret{}, classify(ctx, err)
	}
	return s.secret(types.SecretListEntry{ARN: out.ARN, Name: out.Name, LastChangedDate: out.LastChangedDate,
		DeletedDate: out.DeletedDate, PrimaryRegion: out.PrimaryRegion, RotationEnabled: out.RotationEnabled,
		RotationLambdaARN: out.RotationLambdaARN, SecretVersionsToStages: out.VersionIdsToStages, Tags: out.Tags}), nil
}

// Page lists up to 100 secrets whose names begin with prefix, and the token of the next page, empty on the last.
// Secrets marked for deletion are not listed. A token that Secrets Manager does not know is bad_request.
func (s *Store) Page(ctx context.Context, prefix, token string) (secrets []Secret, next string, err error) {
	in := &sm.ListSecretsInput{MaxResults: aws.Int32(100), // the most there is
		Filters: []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{prefix}}}}
	if token != "" {
		in.NextToken = &token
	}
	out, err := s.API.ListSecrets(ctx, in)
	if err != nil {
		return nil, "", classify(ctx, err)
	}
	for _, e := range out.SecretList {
		secrets = append(secrets, s.secret(e))
	}
	return secrets, aws.ToString(out.NextToken), nil
}

func (s *Store) secret(e types.SecretListEntry) Secret {
	secret := Secret{
		ARN: aws.ToString(e.ARN), Name: aws.ToString(e.Name), Labels: e.SecretVersionsToStages,
		LastChanged: aws.ToTime(e.LastChangedDate), Deleted: e.DeletedDate != nil,
		Replica:         e.PrimaryRegion != nil && *e.PrimaryRegion != s.Region,
		RotationEnabled: aws.ToBool(e.RotationEnabled), RotationLambdaARN: aws.ToString(e.RotationLambdaARN),
	}
	for _, tag := range e.Tags {
		switch value := aws.ToString(tag.Value); aws.ToString(tag.Key) {
		case RecordTag:
			secret.Record = ParseRecord(value, s.Site, s.Now())
		case s.OwnerTagKey: // a key is never empty
			secret.Owner = owner(value)
		}
	}
	return secret
}

var unprintable = regexp.MustCompile(`[^\pL\pM\pN\pP\pS ]`)

// owner returns what prints of a tag's value, cut at 64 characters.
func owner(value string) string {
	printed := []rune(unprintable.ReplaceAllString(strings.TrimSpace(value), ""))
	return string(printed[:min(len(printed), 64)])
}

// Record writes r on the secret.
func (s *Store) Record(ctx context.Context, arn string, r Record) error {
	_, err := s.API.TagResource(ctx, &sm.TagResourceInput{SecretId: &arn,
		Tags: []types.Tag{{Key: aws.String(RecordTag), Value: aws.String(r.String())}}})
	return classify(ctx, err)
}

// PutPending stores text as version token under AWSPENDING. The same text again is no error. rotationToken may be
// empty.
func (s *Store) PutPending(ctx context.Context, id, token string, rotationToken, text sensitive.Text) error {
	in := &sm.PutSecretValueInput{SecretId: &id, ClientRequestToken: &token,
		SecretString: aws.String(text.Reveal()), VersionStages: []string{Pending}}
	if t := rotationToken.Reveal(); t != "" {
		in.RotationToken = &t
	}
	if _, err := s.API.PutSecretValue(ctx, in); err != nil {
		return fault.From(classify(ctx, err)).Because(fault.Unanswered(err)) // AWS's own words may quote the value
	}
	return nil
}

// MoveLabel takes label off the version from and puts it on the version to; either may be empty. Where the SDK repeated
// a call whose answer was lost, the second is refused: what counts is where the label is.
func (s *Store) MoveLabel(ctx context.Context, id, label, from, to string) error {
	in := &sm.UpdateSecretVersionStageInput{SecretId: &id, VersionStage: &label}
	if from != "" {
		in.RemoveFromVersionId = &from
	}
	if to != "" {
		in.MoveToVersionId = &to
	}
	_, err := s.API.UpdateSecretVersionStage(ctx, in)
	if err == nil {
		return nil
	}
	now, lookErr := s.Describe(ctx, id)
	moved := !slices.Contains(now.Labels[from], label) && (to == "" || slices.Contains(now.Labels[to], label))
	if lookErr == nil && moved {
		return nil
	}
	return classify(ctx, err)
}

// classify turns an error of the SDK into one of ours.
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/CommonErrors.html
func classify(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	unanswered := fault.Unanswered(err)
	if ctx.Err() != nil {
		return fault.New(fault.Deadline, "the time ran out while Secrets Manager was asked").Because(unanswered)
	}
	answer, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return fault.New(fault.SecretsUnavailable, "Secrets Manager could not be reached").Because(unanswered)
	}
	code := answer.ErrorCode()
	words := fmt.Errorf("%s: %s", code, answer.ErrorMessage())
	switch code {
	case "ResourceNotFoundException":
		return fault.New(fault.SecretNotFound, "Secrets Manager has no such secret or version").Because(words)
	case "AccessDeniedException", "DecryptionFailure", "EncryptionFailure":
		return fault.New(fault.SecretAccessDenied, "Secrets Manager answered %s", code).Because(words)
	case "InvalidParameterException", "InvalidNextTokenException", "ValidationException":
		return fault.New(fault.BadRequest, "Secrets Manager answered %s", code).Because(words)
	case "ResourceExistsException":
		return fault.New(fault.RotationRefused, "the version already has another value").Because(words)
	case "InvalidRequestException", "ThrottlingException", "InternalServiceError",
		"ExpiredTokenException", "UnrecognizedClientException":
		return fault.New(fault.SecretsUnavailable, "Secrets Manager answered %s", code).Because(words)
	}
	return fault.New(fault.SecretsUnavailable, "Secrets Manager failed or refused the call").Because(unanswered)
}
