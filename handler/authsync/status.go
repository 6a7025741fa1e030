package authsync

import (
	"cmp"
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
)

// Status tells of secrets in scope how far each is in step with Datadog, as far as is recorded: no value is read.
type Status struct {
	Secrets   []SecretStatus `json:"secrets"`
	NextToken string         `json:"nextToken,omitempty"` // of the next page; empty on the last
}

// SecretStatus is the state of one secret.
type SecretStatus struct {
	Secret            SecretRef      `json:"secret"`
	AuthMethod        *AuthMethodRef `json:"authMethod,omitempty"` // as recorded; its name, where it is there
	State             State          `json:"state"`
	Reasons           []Reason       `json:"reasons"`
	RecordedVersionID string         `json:"recordedVersionId,omitempty"`
	PushedAt          *time.Time     `json:"pushedAt,omitempty"`
}

// StatusRequest asks for one secret, or for a page of all in scope.
type StatusRequest struct {
	SecretID  string // name or ARN; empty: all
	NextToken string
	Home      string // see Request
}

// Status judges secrets as Reconcile does, and changes nothing.
func (s *Syncer) Status(ctx context.Context, req StatusRequest) (Status, error) {
	if req.SecretID != "" && req.NextToken != "" {
		return Status{}, fault.New(fault.BadRequest, "secretId and nextToken exclude each other")
	}
	if req.SecretID != "" {
		if err := s.Scope.Admit(req.SecretID, req.Home); err != nil {
			return Status{}, err
		}
	}
	survey := survey{scope: s.Scope, home: req.Home}
	var secrets []secretstore.Secret
	var next string
	both, listing := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		survey.there, err = s.catalogue(listing)
		return err
	})
	both.Go(func() (err error) {
		secrets, next, err = s.page(listing, req)
		return err
	})
	if err := both.Wait(); err != nil {
		return Status{}, err
	}
	survey.hold(secrets)
	answer := Status{Secrets: []SecretStatus{}, NextToken: next}
	for _, secret := range secrets {
		if survey.inScope(secret) {
			answer.Secrets = append(answer.Secrets, s.status(secret, &survey))
		} else if req.SecretID != "" {
			return Status{}, cmp.Or(s.Scope.Admit(secret.ARN, req.Home), error(fault.New(fault.SecretNotFound, "%s", idle(secret))))
		}
	}
	return answer, nil
}

func (s *Syncer) page(ctx context.Context, req StatusRequest) ([]secretstore.Secret, string, error) {
	if req.SecretID == "" {
		return s.Secrets.Page(ctx, s.Scope.Prefix, req.NextToken)
	}
	secret, err := s.Secrets.Describe(ctx, req.SecretID)
	return []secretstore.Secret{secret}, "", err
}

func (s *Syncer) status(secret secretstore.Secret, survey *survey) SecretStatus {
	reasons := survey.judge(secret, survey.shared(secret), s.Now())
	status := SecretStatus{
		Secret: SecretRef{ARN: secret.ARN, Name: secret.Name, VersionID: secret.Labelled(secretstore.Current)},
		State:  stateOf(reasons), Reasons: append([]Reason{}, reasons...), RecordedVersionID: secret.Record.VersionID,
	}
	if at := secret.Record.At; !at.IsZero() {
		status.PushedAt = &at
	}
	if id := secret.Record.ID; id != "" {
		status.AuthMethod = &AuthMethodRef{ID: id, Site: s.Site}
		if m := survey.there.get(id); m != nil {
			status.AuthMethod.Name = m.Name
		}
	}
	return status
}
