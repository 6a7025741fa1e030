package fleet

import (
	"cmp"
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"datadog-webhook-auth-sync/handler/authsync"
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
	Secret            authsync.SecretRef      `json:"secret"`
	AuthMethod        *authsync.AuthMethodRef `json:"authMethod,omitempty"` // as recorded; its name, where it is there
	State             State                   `json:"state"`
	Reasons           []Reason                `json:"reasons"`
	RecordedVersionID string                  `json:"recordedVersionId,omitempty"`
	PushedAt          *time.Time              `json:"pushedAt,omitempty"`
}

// StatusRequest asks for one secret, or for a page of all in scope.
type StatusRequest struct {
	SecretID  string // name or ARN; empty: all
	NextToken string
	Home      string // see authsync.Request
}

// Status judges secrets as Reconcile does, and changes nothing.
func (f *Fleet) Status(ctx context.Context, req StatusRequest) (Status, error) {
	if req.SecretID != "" && req.NextToken != "" {
		return Status{}, fault.New(fault.BadRequest, "secretId and nextToken exclude each other")
	}
	if req.SecretID != "" {
		if err := f.Syncer.Scope.Admit(req.SecretID, req.Home); err != nil {
			return Status{}, err
		}
	}
	survey := survey{scope: f.Syncer.Scope, home: req.Home}
	var secrets []secretstore.Secret
	var next string
	both, listing := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		survey.listing, err = f.Syncer.List(listing)
		return err
	})
	both.Go(func() (err error) {
		secrets, next, err = f.page(listing, req)
		return err
	})
	if err := both.Wait(); err != nil {
		return Status{}, err
	}
	survey.hold(secrets)
	answer := Status{Secrets: []SecretStatus{}, NextToken: next}
	for _, secret := range secrets {
		if survey.inScope(secret) {
			answer.Secrets = append(answer.Secrets, f.status(secret, &survey))
		} else if req.SecretID != "" {
			return Status{}, cmp.Or(f.Syncer.Scope.Admit(secret.ARN, req.Home), error(fault.New(fault.SecretNotFound, "%s", authsync.Idle(secret))))
		}
	}
	return answer, nil
}

func (f *Fleet) page(ctx context.Context, req StatusRequest) ([]secretstore.Secret, string, error) {
	if req.SecretID == "" {
		return f.Secrets.Page(ctx, f.Syncer.Scope.Prefix, req.NextToken)
	}
	secret, err := f.Secrets.Describe(ctx, req.SecretID)
	return []secretstore.Secret{secret}, "", err
}

func (f *Fleet) status(secret secretstore.Secret, survey *survey) SecretStatus {
	reasons := survey.judge(secret, survey.shared(secret), f.Now())
	status := SecretStatus{
		Secret: authsync.SecretRef{ARN: secret.ARN, Name: secret.Name, VersionID: secret.Labelled(secretstore.Current)},
		State:  stateOf(reasons), Reasons: append([]Reason{}, reasons...), RecordedVersionID: secret.Record.VersionID,
	}
	if at := secret.Record.At; !at.IsZero() {
		status.PushedAt = &at
	}
	if id := secret.Record.ID; id != "" {
		status.AuthMethod = &authsync.AuthMethodRef{ID: id, Site: f.Syncer.Site}
		if m := survey.listing.Get(id); m != nil {
			status.AuthMethod.Name = m.Name
		}
	}
	return status
}
