package fleet

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"datadog-webhook-auth-sync/handler/authsync"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
)

// Workers is how many secrets one Reconcile syncs at a time.
const Workers = 8

const (
	maxTold   = 1000             // failures or plans that one answer holds
	lastStart = 25 * time.Second // before the deadline: a sync that began later might be cut short
)

// Reconciliation tells what came of one Reconcile. It is its answer and its line in the log.
type Reconciliation struct {
	SchemaVersion string                   `json:"schemaVersion"`
	RequestID     string                   `json:"requestId"`
	DryRun        bool                     `json:"dryRun"`
	Secrets       int                      `json:"secrets"` // in scope, and not idle
	InStep        int                      `json:"inStep"`
	Settling      int                      `json:"settling"` // pushed of late, left alone
	Due           int                      `json:"due"`
	Outcomes      map[authsync.Outcome]int `json:"outcomes"`           // of the due ones
	LeftOver      int                      `json:"leftOver"`           // due, and for the next run
	Failures      []authsync.Result        `json:"failures,omitempty"` // the first 1,000
	Plans         []authsync.Result        `json:"plans,omitempty"`    // of a dry run, the first 1,000
	DurationMs    int64                    `json:"durationMs"`
}

// Reconcile syncs every secret under the prefix that is out of step as far as is recorded, or that is to be settled, and
// hands each result to told, one at a time. Its error is that of a list which failed; what fails for one secret is in its
// answer, and published like any failed sync. It stops where Datadog refuses the keys or leaves no room, which would be no
// different for the next secret, and 25 s before the deadline.
func (f *Fleet) Reconcile(ctx context.Context, req authsync.Request, told func(authsync.Result)) (Reconciliation, error) {
	started := f.Now()
	run := &reconcileRun{Fleet: f, survey: survey{scope: f.Syncer.Scope, home: req.Home}, req: req, told: told,
		answer: Reconciliation{SchemaVersion: "1", RequestID: req.RequestID, DryRun: req.DryRun, Outcomes: map[authsync.Outcome]int{}}}
	run.req.Trigger = authsync.Trigger{Type: "reconcile", ID: req.RequestID}
	listing, cancel := authsync.WithReserve(ctx)
	defer cancel()
	secrets, err := run.list(listing)
	if err != nil {
		return Reconciliation{}, err
	}
	run.syncAll(ctx, run.sort(secrets))
	run.answer.InStep, run.answer.Settling, run.answer.Due = run.states[InStep], run.states[IsSettling], run.states[Due]
	run.answer.DurationMs = f.Now().Sub(started).Milliseconds()
	return run.answer, nil
}

type reconcileRun struct {
	*Fleet
	survey
	req  authsync.Request // of which each secret gets a copy
	told func(authsync.Result)

	stopped atomic.Bool
	mu      sync.Mutex
	states  map[State]int
	answer  Reconciliation
}

// list lists the secrets and the auth methods, both at once.
func (r *reconcileRun) list(ctx context.Context) (secrets []secretstore.Secret, err error) {
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		r.listing, err = r.Syncer.List(ctx)
		return err
	})
	both.Go(func() error {
		for next, more := "", true; more; more = next != "" {
			var page []secretstore.Secret
			var err error
			if page, next, err = r.Secrets.Page(ctx, r.scope.Prefix, next); err != nil {
				return err
			}
			for _, secret := range page {
				if r.inScope(secret) {
					secrets = append(secrets, secret)
				}
			}
		}
		return nil
	})
	return secrets, both.Wait()
}

// sort counts the secrets by state and returns those that are due, most out of step first.
func (r *reconcileRun) sort(secrets []secretstore.Secret) (dues []*due) {
	r.hold(secrets)
	r.states = map[State]int{}
	for _, secret := range secrets {
		d := &due{run: r, secret: secret, reasons: r.judge(secret, r.shared(secret), r.Now())}
		r.states[stateOf(d.reasons)]++
		if stateOf(d.reasons) == Due {
			dues = append(dues, d)
		}
	}
	r.answer.Secrets = len(secrets)
	slices.SortStableFunc(dues, func(a, b *due) int {
		return cmp.Or(cmp.Compare(rank(a.reasons[0]), rank(b.reasons[0])), a.secret.Record.At.Compare(b.secret.Record.At))
	})
	return dues
}

// rank orders reasons by how likely alerts are lost.
func rank(r Reason) int {
	return slices.Index([]Reason{OtherVersion, NeverSynced, AuthMethodMissing, AttributesDiffer, AuthMethodShared, ChangedSince, NotSettled, RecordOld}, r)
}

func (r *reconcileRun) syncAll(ctx context.Context, dues []*due) {
	var all errgroup.Group
	all.SetLimit(Workers)
	deadline, timed := ctx.Deadline()
	for i, d := range dues {
		if r.stopped.Load() || timed && time.Until(deadline) < lastStart {
			r.leave(len(dues) - i)
			break
		}
		all.Go(func() error {
			d.sync(ctx)
			return nil
		})
	}
	_ = all.Wait()
}

func (r *reconcileRun) leave(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer.LeftOver += n
}

func (r *reconcileRun) tell(res authsync.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer.Outcomes[res.Outcome]++
	switch {
	case res.Outcome == authsync.Failed && len(r.answer.Failures) < maxTold:
		r.answer.Failures = append(r.answer.Failures, res)
	case res.Outcome == authsync.Planned && len(r.answer.Plans) < maxTold:
		r.answer.Plans = append(r.answer.Plans, res)
	}
	r.told(res)
}

// due is one secret that is to be synced, and what is known of it.
type due struct {
	run     *reconcileRun
	secret  secretstore.Secret
	reasons []Reason
}

// sync looks at the labels anew, since lists may be minutes old, and syncs the secret if it still is due.
func (d *due) sync(ctx context.Context) {
	r, started := d.run, d.run.Now()
	req := r.req
	req.SecretID = d.secret.ARN
	fresh, err := r.Secrets.Describe(ctx, d.secret.ARN)
	if err == nil {
		d.secret = fresh
		d.reasons = r.judge(fresh, d.isShared(ctx), r.Now())
		if state := stateOf(d.reasons); state != Due {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.states[Due]--
			r.states[state]++
			return
		}
	}
	if err == nil && slices.Contains(d.reasons, AuthMethodShared) {
		err = fault.New(fault.AuthMethodMismatch, "another secret records auth method %s too: correct the tag %s of one", d.secret.Record.ID, secretstore.RecordTag)
	}
	var attempt authsync.Attempt
	if err != nil {
		attempt = r.Syncer.Fail(authsync.NewAttempt(req), err, started)
	} else {
		attempt = r.Syncer.Push(ctx, req, authsync.Known{Secret: &d.secret, Listing: r.listing, Settle: true})
	}
	if e := attempt.Error; e != nil && (e.Code == fault.DatadogUnauthorized || e.Code == fault.DatadogThrottled) && r.stopped.Swap(true) {
		r.leave(1) // it failed for what had stopped the run already
		return
	}
	attempt.PublishFirst, attempt.Quiet = true, d.quiet(attempt.Outcome)
	r.tell(r.Syncer.Finish(ctx, attempt))
}

// quiet: what was settled before was pushed again for no other reason than its age or an unrelated change.
func (d *due) quiet(o authsync.Outcome) bool {
	return o == authsync.Updated && !slices.ContainsFunc(d.reasons, func(r Reason) bool { return r != ChangedSince && r != RecordOld })
}

// isShared asks the other secrets that were listed with this auth method whether they still record it.
func (d *due) isShared(ctx context.Context) bool {
	for _, arn := range d.run.holders[d.secret.Record.ID] {
		if arn == d.secret.ARN {
			continue
		}
		if other, err := d.run.Secrets.Describe(ctx, arn); err != nil || other.Record.ID == d.secret.Record.ID {
			return true
		}
	}
	return false
}
