package secretstoretest

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"regexp"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// CreateSecret is the SDK's. Without a value the secret has no version.
func (s *Server) CreateSecret(ctx context.Context, in *sm.CreateSecretInput, _ ...func(*sm.Options)) (*sm.CreateSecretOutput, error) {
	return call(ctx, s, "CreateSecret", in.Name, in, s.createSecret)
}

// PutSecretValue is the SDK's.
func (s *Server) PutSecretValue(ctx context.Context, in *sm.PutSecretValueInput, _ ...func(*sm.Options)) (*sm.PutSecretValueOutput, error) {
	return call(ctx, s, "PutSecretValue", in.SecretId, in, s.putSecretValue)
}

// UpdateSecretVersionStage is the SDK's.
func (s *Server) UpdateSecretVersionStage(ctx context.Context, in *sm.UpdateSecretVersionStageInput, _ ...func(*sm.Options)) (*sm.UpdateSecretVersionStageOutput, error) {
	return call(ctx, s, "UpdateSecretVersionStage", in.SecretId, in, s.updateSecretVersionStage)
}

// TagResource is the SDK's.
func (s *Server) TagResource(ctx context.Context, in *sm.TagResourceInput, _ ...func(*sm.Options)) (*sm.TagResourceOutput, error) {
	return call(ctx, s, "TagResource", in.SecretId, in, s.tagResource)
}

// DeleteSecret is the SDK's: marks the secret, or removes it at once when forced.
func (s *Server) DeleteSecret(ctx context.Context, in *sm.DeleteSecretInput, _ ...func(*sm.Options)) (*sm.DeleteSecretOutput, error) {
	return call(ctx, s, "DeleteSecret", in.SecretId, in, s.deleteSecret)
}

var errMarked = invalidRequest("You can't perform this operation on the secret because it was marked for deletion.")

// errSame is the error of an edit that has nothing to change.
var errSame = errors.New("nothing changes")

// write commits what edit makes of the secret, which must not be marked for deletion.
func (s *Server) write(id *string, edit func(*secret, *state) error) (*secret, error) {
	return s.change(id, func(x *secret, st *state) error {
		if !st.deleted.IsZero() {
			return errMarked
		}
		return edit(x, st)
	})
}

// change commits what edit makes of a copy of the secret's state, unless edit fails.
func (s *Server) change(id *string, edit func(*secret, *state) error) (*secret, error) {
	x, was, err := s.find(aws.ToString(id), time.Now())
	if err != nil {
		return nil, err
	}
	st := was.clone()
	switch err := edit(x, &st); err {
	case nil:
		s.commit(x, st)
	case errSame:
	default:
		return nil, err
	}
	return x, nil
}

func (s *Server) createSecret(in *sm.CreateSecretInput) (*sm.CreateSecretOutput, error) {
	name := aws.ToString(in.Name)
	if _, _, err := s.find(name, time.Now()); err == nil {
		return nil, exists("The operation failed because the secret " + name + " already exists.")
	}
	st := state{labels: map[string][]string{}, tags: map[string]string{}}
	random := crc32.ChecksumIEEE(fmt.Append(nil, name, len(s.secrets))) >> 8 // the same in every run
	x := &secret{name: name, arn: fmt.Sprintf("arn:aws:secretsmanager:us-east-1:123456789012:secret:%s-%06x", name, random)}
	out := &sm.CreateSecretOutput{ARN: &x.arn, Name: &x.name}
	if in.SecretString != nil || in.SecretBinary != nil {
		out.VersionId = aws.String(s.versionID(in.ClientRequestToken))
		st.versions = []version{newVersion(*out.VersionId, in.SecretString, in.SecretBinary)}
		st.move(current, *out.VersionId)
	}
	s.secrets = append(s.secrets, x)
	s.commit(x, st)
	return out, nil
}

// putSecretValue depends on the version that has the token for its id:
//  1. It has this value: nothing happens.
//  2. It has another value: refused, since versions do not change.
//  3. It has no value, as RotateSecret leaves it: it gets this one.
//  4. There is none: it is made; the first of a secret becomes AWSCURRENT whatever was asked for.
func (s *Server) putSecretValue(in *sm.PutSecretValueInput) (*sm.PutSecretValueOutput, error) {
	put := newVersion(s.versionID(in.ClientRequestToken), in.SecretString, in.SecretBinary)
	out := &sm.PutSecretValueOutput{VersionId: &put.id}
	x, err := s.write(in.SecretId, func(x *secret, st *state) error {
		labels := slices.Clone(in.VersionStages)
		switch v := st.version(put.id); {
		case v != nil && v.value != nil && *v.value == *put.value: // 1
			return errSame
		case v != nil && v.value != nil: // 2
			return exists("You can't use ClientRequestToken " + put.id + ": it is already in use for a version of " + x.arn + ".")
		case v != nil: // 3
			st.versions = slices.Clone(st.versions)
			*st.version(put.id) = put
		default: // 4
			if len(st.versions) == 0 {
				labels = append(labels, current)
			}
			st.versions = append(st.versions, put)
		}
		if len(labels) == 0 {
			labels = []string{current}
		}
		// As observed: AWSPENDING does not stay on the version that AWSCURRENT leaves by a put.
		if slices.Contains(labels, current) && st.holder(pending) == st.holder(current) {
			delete(st.labels, pending)
		}
		for _, label := range labels {
			st.move(label, put.id)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out.ARN, out.Name = &x.arn, &x.name
	return out, nil
}

// updateSecretVersionStage moves a label, puts on one that no version has, or, without MoveToVersionId, takes one off.
// RemoveFromVersionId names the version that has it.
func (s *Server) updateSecretVersionStage(in *sm.UpdateSecretVersionStageInput) (*sm.UpdateSecretVersionStageOutput, error) {
	label, to, from := aws.ToString(in.VersionStage), aws.ToString(in.MoveToVersionId), aws.ToString(in.RemoveFromVersionId)
	x, err := s.write(in.SecretId, func(_ *secret, st *state) error {
		holder := st.holder(label)
		if slices.Contains(st.labels[label], from) {
			holder = from
		}
		switch {
		case label == "" || to == "" && from == "":
			return invalidParameter("You must provide VersionStage, and MoveToVersionId or RemoveFromVersionId.")
		case to == "" && label == current:
			return invalidParameter("You can only move staging label AWSCURRENT to a different secret version. It can't be completely removed.")
		case to != "" && st.version(to) == nil:
			return notFound("Secrets Manager can't find the specified secret version: " + to)
		case from != "" && from != holder:
			return invalidParameter("RemoveFromVersionId must be set to the version that currently has the staging label " + label + ".")
		case from == "" && holder != "" && holder != to:
			return invalidParameter("The parameter RemoveFromVersionId can't be empty. Staging label " + label + " is currently attached to version " + holder + ".")
		case to == holder:
			return errSame
		case to == "":
			st.remove(label, from)
		default:
			st.move(label, to)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &sm.UpdateSecretVersionStageOutput{ARN: &x.arn, Name: &x.name}, nil
}

func (s *Server) tagResource(in *sm.TagResourceInput) (*sm.TagResourceOutput, error) {
	_, err := s.write(in.SecretId, func(_ *secret, st *state) error { return st.tag(in.Tags) })
	return &sm.TagResourceOutput{}, err
}

// tagText is what keys and values of tags consist of.
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_TagResource.html
var tagText = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

func (st *state) tag(tags []types.Tag) error {
	for _, t := range tags {
		key, value := aws.ToString(t.Key), aws.ToString(t.Value)
		if key == "" || len(key) > 128 || len(value) > 256 || !tagText.MatchString(key+value) {
			return invalidParameter("Invalid tag " + key + ".")
		}
		st.tags[key] = value
	}
	return nil
}

func (s *Server) deleteSecret(in *sm.DeleteSecretInput) (*sm.DeleteSecretOutput, error) {
	at := now()
	x, err := s.change(in.SecretId, func(_ *secret, st *state) error {
		st.deleted, st.purged = at, aws.ToBool(in.ForceDeleteWithoutRecovery)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &sm.DeleteSecretOutput{ARN: &x.arn, Name: &x.name, DeletionDate: &at}, nil
}
