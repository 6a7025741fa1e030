package fleet

import (
	"cmp"
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"datadog-webhook-auth-sync/handler/authsync"
	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
)

// listingKept is how long Status keeps the listing of auth methods, so that polling cannot use up the organisation's rate
// limit.
const listingKept = 10 * time.Second

// Status tells of secrets in scope how far each is in sync with Datadog, as far as is recorded: no value is read.
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

// Failure is one that is recorded. Lost: what Datadog holds was rejected too, so alerts are being lost.
type Failure struct {
	report.Failure
	Lost bool `json:"lost"`
}

// StatusRequest asks for one secret, or for a page of all in scope.
type StatusRequest struct {
	SecretID  string // name or ARN; empty: all
	NextToken string
	State     State  // leaves the others out; empty: all
	ARNPrefix string // see authsync.Request
}

// Status judges secrets as Reconcile does, and changes nothing. Of two secrets that record one auth method it knows only
// where both are on the page.
func (f *Fleet) Status(ctx context.Context, req StatusRequest) (Status, error) {
	if req.SecretID != "" && (req.NextToken != "" || req.State != "") {
		return Status{}, fault.New(fault.BadRequest, "secretId excludes nextToken and state")
	}
	if !req.State.known() {
		return Status{}, fault.New(fault.BadRequest, "state must be %s, %s or %s", InSync, IsSettling, OutOfSync)
	}
	if req.SecretID != "" {
		if err := f.Syncer.Scope.Admit(req.SecretID, req.ARNPrefix); err != nil {
			return Status{}, err
		}
	}
	var secrets []secretstore.Secret
	var next string
	l := f.recentListing()
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error { return l.Load(ctx) })
	both.Go(func() (err error) {
		secrets, next, err = f.page(ctx, req)
		return err
	})
	if err := both.Wait(); err != nil {
		return Status{}, err
	}
	answer := Status{Secrets: []SecretStatus{}, NextToken: next}
	holders := holdersOf(secrets)
	for _, secret := range secrets {
		if !f.inScope(secret, req.ARNPrefix) {
			if req.SecretID != "" {
				return Status{}, cmp.Or(f.Syncer.Scope.Admit(secret.ARN, req.ARNPrefix), error(fault.New(fault.SecretNotFound, "%s", secret.Idle())))
			}
			continue
		}
		s := f.statusOf(secret, l, len(holders[secret.Record.ID]) > 1)
		if req.State == "" || req.State == s.State {
			answer.Secrets = append(answer.Secrets, s)
		}
	}
	return answer, nil
}

func (s State) known() bool { return s == "" || s == InSync || s == IsSettling || s == OutOfSync }

// recentListing is the listing that was begun less than 10 s ago, or a new one. One that failed to load is loaded again.
func (f *Fleet) recentListing() *datadog.Listing {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := f.Now(); f.listing == nil || now.Sub(f.listed) >= listingKept {
		f.listing, f.listed = f.Syncer.NewListing(), now
	}
	return f.listing
}

func (f *Fleet) page(ctx context.Context, req StatusRequest) ([]secretstore.Secret, string, error) {
	if req.SecretID == "" {
		return f.Secrets.Page(ctx, f.Syncer.Scope.Prefix, req.NextToken)
	}
	secret, err := f.Secrets.Describe(ctx, req.SecretID)
	return []secretstore.Secret{secret}, "", err
}

func (f *Fleet) statusOf(secret secretstore.Secret, l *datadog.Listing, shared bool) SecretStatus {
	r, e := secret.Record, f.evidence(secret, l, shared)
	reasons := judge(secret, e)
	s := SecretStatus{
		Secret: report.SecretRef{ARN: secret.ARN, Name: secret.Name, VersionID: secret.Labelled(secretstore.Current)},
		State:  stateOf(reasons), Reasons: append([]Reason{}, reasons...), RecordedVersionID: r.VersionID, Settled: r.State == secretstore.Settled && r.VersionID == secret.Labelled(secretstore.Current),
	}
	if !r.At.IsZero() {
		s.PushedAt = &r.At
	}
	if r.Failing != "" {
		s.Failing = &Failure{report.Failure{Code: r.Failing, Since: r.Since}, r.Lost}
	}
	if r.ID != "" {
		s.AuthMethod = &report.AuthMethodRef{ID: r.ID, Name: e.method.Name, Site: f.Syncer.Site}
	}
	return s
}

type secrets interface {
	Describe(ctx context.Context, id string) (secretstore.Secret, error)
	Page(ctx context.Context, prefix, token string) (secrets []secretstore.Secret, next string, err error)
}

// Fleet is every secret under the prefix. It is safe for concurrent use.
type Fleet struct {
	Syncer  *authsync.Syncer
	Secrets secrets
	Refresh time.Duration // after which a secret in sync is verified and pushed again, at the latest
	Now     func() time.Time

	mu      sync.Mutex
	listing *datadog.Listing // that Status asked for last
	listed  time.Time
}

// inScope leaves out what may not be touched, and secrets that there is nothing to do about.
func (f *Fleet) inScope(s secretstore.Secret, arnPrefix string) bool {
	return s.Idle() == "" && f.Syncer.Scope.Admit(s.ARN, arnPrefix) == nil
}

// holders are the ARNs of the secrets that record an auth method, by its id.
type holders map[string][]string

func holdersOf(secrets []secretstore.Secret) holders {
	h := holders{}
	for _, s := range secrets {
		if s.Record.ID != "" {
			h[s.Record.ID] = append(h[s.Record.ID], s.ARN)
		}
	}
	return h
}

// evidence is what a secret is judged by.
func (f *Fleet) evidence(s secretstore.Secret, l *datadog.Listing, shared bool) evidence {
	m, found := l.Get(s.Record.ID)
	return evidence{method: m, found: found, listed: l.NewerThan(s.Record.At), shared: shared, refresh: f.Refresh, now: f.Now()}
}

// list lists the auth methods and, page by page, the secrets in scope, both at once.
func (f *Fleet) list(ctx context.Context, l *datadog.Listing, arnPrefix string) (secrets []secretstore.Secret, secretsErr, methodsErr error) {
	var both errgroup.Group
	both.Go(func() error {
		methodsErr = l.Load(ctx)
		return nil
	})
	for next, more := "", true; more; more = next != "" {
		var page []secretstore.Secret
		if page, next, secretsErr = f.Secrets.Page(ctx, f.Syncer.Scope.Prefix, next); secretsErr != nil {
			break
		}
		for _, s := range page {
			if f.inScope(s, arnPrefix) {
				secrets = append(secrets, s)
			}
		}
	}
	_ = both.Wait()
	return secrets, secretsErr, methodsErr
}
