package fleet

import (
	"cmp"
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
)

// Status says of secrets in scope how far each is in sync with Datadog, as far as is recorded: no value is read.
type Status struct {
	Secrets   []SecretStatus `json:"secrets"`
	NextToken string         `json:"nextToken,omitempty"` // of the next page; empty on the last
}

// SecretStatus is the state of one secret.
type SecretStatus struct {
	Secret            report.SecretRef      `json:"secret"`
	AuthMethod        *report.AuthMethodRef `json:"authMethod,omitempty"` // as recorded; its name, where it is there
	State             State                 `json:"state"`
	Reasons           []Reason              `json:"reasons"`
	Failing           *Failure              `json:"failing,omitempty"`
	RecordedVersionID string                `json:"recordedVersionId,omitempty"`
	Settled           bool                  `json:"settled"`
	PushedAt          *time.Time            `json:"pushedAt,omitempty"`
}

// Failure is one that is recorded.
type Failure struct {
	report.Failure
	Told bool `json:"told"` // it was published
	Lost bool `json:"lost"` // what Datadog holds was rejected: alerts are being lost
}

// StatusRequest asks for one secret, or for a page of all in scope.
type StatusRequest struct {
	SecretID  string // name or ARN; empty: all
	NextToken string
	State     State  // leaves the others out; empty: all
	ARNPrefix string // see authsync.Request
}

// Status judges secrets as Reconcile does, and changes nothing. Sharing is reported only if both are on one page.
func (f *Fleet) Status(ctx context.Context, req StatusRequest) (Status, error) {
	switch one := req.SecretID != ""; {
	case one && (req.NextToken != "" || req.State != ""):
		return Status{}, fault.New(fault.BadRequest, "secretId excludes nextToken and state")
	case !slices.Contains([]State{"", InSync, IsSettling, OutOfSync}, req.State):
		return Status{}, fault.New(fault.BadRequest, "state must be %s, %s or %s", InSync, IsSettling, OutOfSync)
	case one:
		if err := f.Syncer.Scope.Admit(req.SecretID, req.ARNPrefix); err != nil {
			return Status{}, err
		}
	}
	answer := Status{Secrets: []SecretStatus{}}
	var secrets []secretstore.Secret
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error { return f.Listing.Load(ctx) })
	both.Go(func() (err error) {
		if req.SecretID == "" {
			secrets, answer.NextToken, err = f.Syncer.Secrets.Page(ctx, f.Syncer.Scope.Prefix, req.NextToken)
			return err
		}
		secrets = make([]secretstore.Secret, 1)
		secrets[0], err = f.Syncer.Secrets.Describe(ctx, req.SecretID)
		return err
	})
	if err := both.Wait(); err != nil {
		return Status{}, err
	}
	recorded := recordedBy(secrets)
	for _, secret := range secrets {
		if err := f.admit(secret, req.ARNPrefix); err != nil {
			if req.SecretID != "" {
				return Status{}, err
			}
			continue
		}
		s := f.statusOf(secret, len(recorded[secret.Record.ID]) > 1)
		if req.State == "" || req.State == s.State {
			answer.Secrets = append(answer.Secrets, s)
		}
	}
	return answer, nil
}

func (f *Fleet) statusOf(secret secretstore.Secret, shared bool) SecretStatus {
	r, current := secret.Record, secret.Labelled(secretstore.Current)
	reasons := f.judge(secret, f.Listing, shared)
	s := SecretStatus{State: stateOf(reasons), Reasons: append([]Reason{}, reasons...),
		Secret:            report.SecretRef{ARN: secret.ARN, Name: secret.Name, VersionID: current, Owner: secret.Owner},
		RecordedVersionID: cmp.Or(secret.VersionOf(r), r.Version),
		Settled:           r.State == secretstore.Settled && r.IsOf(current)}
	if !r.At.IsZero() {
		s.PushedAt = &r.At
	}
	if r.Fails() {
		failure := report.Failure{Code: r.Code, Since: r.Since}
		s.Failing = &Failure{failure, r.State != secretstore.Waiting, r.State == secretstore.Lost}
	}
	if r.ID != "" {
		methods, _ := f.Listing.Methods()
		s.AuthMethod = &report.AuthMethodRef{ID: r.ID, Name: methods[r.ID].Shown().Name, Site: f.Syncer.Site}
	}
	return s
}
