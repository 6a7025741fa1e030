package secretstoretest

import (
	"maps"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// What others do to secrets, people and rotations: it takes effect at once, meets no fault, counts as no call, and
// panics where Secrets Manager would refuse.

// Create makes a secret. With the value "" it has no version.
func (s *Server) Create(name, value string) (arn, versionID string) {
	in := &sm.CreateSecretInput{Name: &name}
	if value != "" {
		in.SecretString = &value
	}
	out := must(apply(s, in, s.createSecret))
	return *out.ARN, aws.ToString(out.VersionId)
}

// Put rotates: a new version with this value is AWSCURRENT.
func (s *Server) Put(name, value string) (versionID string) { return s.Stage(name, value, current) }

// Stage puts a new version with this value under a label.
func (s *Server) Stage(name, value, label string) (versionID string) {
	in := &sm.PutSecretValueInput{SecretId: &name, SecretString: &value, VersionStages: []string{label}}
	return *must(apply(s, in, s.putSecretValue)).VersionId
}

// MoveCurrent moves AWSCURRENT to a version: back, or forward.
func (s *Server) MoveCurrent(name, versionID string) {
	s.set(name, func(st *state) error {
		if st.version(versionID) == nil {
			return notFound("no version " + versionID)
		}
		st.move(current, versionID)
		return nil
	})
}

// LabelAlso puts label on a version and leaves it where it is too, as it may look for a moment after a label moved.
func (s *Server) LabelAlso(name, versionID, label string) {
	s.set(name, func(st *state) error {
		st.labels[label] = append([]string{versionID}, st.labels[label]...)
		return nil
	})
}

// StartRotation does what RotateSecret does before it calls a function: it enables rotation by that function and makes a
// version without a value, under AWSPENDING. The token is the version's id.
func (s *Server) StartRotation(name, lambdaARN string) (token string) {
	s.set(name, func(st *state) error {
		token = s.versionID(nil)
		st.rotation = lambdaARN
		st.versions = append(st.versions, version{id: token})
		st.move(pending, token)
		return nil
	})
	return token
}

// SetRotation enables rotation by a function, or disables it where lambdaARN is empty.
func (s *Server) SetRotation(name, lambdaARN string) {
	s.set(name, func(st *state) error { st.rotation = lambdaARN; return nil })
}

// SetPrimaryRegion makes the secret a replica of one in that region.
func (s *Server) SetPrimaryRegion(name, region string) {
	s.set(name, func(st *state) error { st.primary = region; return nil })
}

// Delete marks a secret for deletion.
func (s *Server) Delete(name string) {
	must(apply(s, &sm.DeleteSecretInput{SecretId: &name}, s.deleteSecret))
}

// Tag puts one tag on a secret.
func (s *Server) Tag(name, key, value string) {
	in := &sm.TagResourceInput{SecretId: &name, Tags: []types.Tag{{Key: &key, Value: &value}}}
	must(apply(s, in, s.tagResource))
}

// Untag takes a tag off a secret.
func (s *Server) Untag(name, key string) {
	s.set(name, func(st *state) error { delete(st.tags, key); return nil })
}

// Tags are a secret's tags now.
func (s *Server) Tags(name string) map[string]string { return maps.Clone(s.now(name).tags) }

// Labels are a secret's labels now, each with the version that it moved to last.
func (s *Server) Labels(name string) map[string]string {
	labels, st := map[string]string{}, s.now(name)
	for label := range st.labels {
		labels[label] = st.holder(label)
	}
	return labels
}

// Current is the version that is AWSCURRENT now, and its value; "" if none is.
func (s *Server) Current(name string) (versionID, value string) {
	st := s.now(name)
	if v := st.version(st.holder(current)); v != nil {
		return v.id, aws.ToString(v.value)
	}
	return "", ""
}

func (s *Server) now(name string) *state {
	return must(apply(s, &name, func(*string) (*state, error) {
		_, st, err := s.find(name, time.Now())
		return st, err
	}))
}

func (s *Server) set(name string, edit func(*state) error) {
	must(apply(s, &name, func(*string) (*secret, error) {
		return s.change(&name, func(_ *secret, st *state) error { return edit(st) })
	}))
}

func must[T any](value T, err error) T {
	if err != nil {
		panic("secretstoretest: " + err.Error())
	}
	return value
}
