package fleet

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"datadog-webhook-auth-sync/handler/authsync"
	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

// Workers is how many secrets one Reconcile syncs at a time.
const Workers = 8

const (
	maxTold        = 1000             // failures or plans that one answer holds
	lastStart      = 25 * time.Second // before the deadline: a sync that began later might be cut short
	maxRefused     = 2                // secrets with which Datadog refuses the keys: one may be refused for what it states
	maxUnavailable = 3                // secrets with which Datadog does not answer, and then the run stops
	eventLate      = 5 * time.Minute  // since AWSCURRENT moved: by then its event came, or never will
)

// Reconciliation tells what came of one Reconcile. It is its answer and its line in the log.
type Reconciliation struct {
	SchemaVersion string                 `json:"schemaVersion"`
	RequestID     string                 `json:"requestId"`
	DryRun        bool                   `json:"dryRun"`
	Secrets       int                    `json:"secrets"` // in scope, and not idle
	InSync        int                    `json:"inSync"`
	Settling      int                    `json:"settling"` // pushed of late, left alone
	OutOfSync     int                    `json:"outOfSync"`
	Outcomes      map[report.Outcome]int `json:"outcomes"` // of this run's syncs
	Failing       int                    `json:"failing"`  // past their grace
	AtRisk        int                    `json:"atRisk"`   // of these, what Datadog holds was rejected too
	LeftOver      int                    `json:"leftOver"` // out of sync, and for the next run
	Error         *fault.Error           `json:"error,omitempty"`
	Failures      []report.Result        `json:"failures,omitempty"` // the first 1,000
	Plans         []report.Result        `json:"plans,omitempty"`    // of a dry run, the first 1,000
	DurationMs    int64                  `json:"durationMs"`

	Listed bool `json:"-"` // all secrets: the counts are whole
}

// Reconcile syncs every secret under the prefix that is out of sync as far as is recorded, or that is to be settled, and
// hands each result to told, one at a time. It ends before ctx's deadline; its counts are as after the run. What fails for
// one secret is told like any failed sync; what keeps the run from listing or going on is the answer's Error.
func (f *Fleet) Reconcile(ctx context.Context, req authsync.Request, told func(report.Result)) Reconciliation {
	started := f.Now()
	r := &run{Fleet: f, req: req, told: told, listing: f.Syncer.NewListing(), trouble: map[fault.Code]int{}, answer: Reconciliation{SchemaVersion: "1",
		RequestID: req.RequestID, DryRun: req.DryRun, Outcomes: map[report.Outcome]int{}}}
	r.req.Trigger = report.Trigger{Type: report.TriggerReconcile, ID: req.RequestID}
	listing, cancel := authsync.WithReserve(ctx)
	secrets, secretsErr, methodsErr := f.list(listing, r.listing, req.ARNPrefix)
	cancel()
	r.answer.Listed = secretsErr == nil
	r.holders = holdersOf(secrets)
	items := r.judgeAll(secrets)
	if err := cmp.Or(secretsErr, methodsErr); err != nil {
		r.stopped, r.answer.Error = true, fault.From(err)
	}
	r.syncAll(ctx, items)
	r.count(items)
	r.answer.DurationMs = f.Now().Sub(started).Milliseconds()
	return r.answer
}

// run is one Reconcile.
type run struct {
	*Fleet
	req     authsync.Request // of which each secret gets a copy
	told    func(report.Result)
	listing *datadog.Listing
	holders holders

	mu      sync.Mutex
	answer  Reconciliation
	stopped bool
	trouble map[fault.Code]int // of Datadog, by how many secrets met it
}

// item is one secret of a run.
type item struct {
	secret  secretstore.Secret
	reasons []Reason
	state   State
	fails   bool // as recorded, or as this run found where that could not be recorded
	lost    bool // and what Datadog holds was rejected
	idle    bool // there is nothing to do for it after all
	left    bool // for the next run
}

func (r *run) judgeAll(secrets []secretstore.Secret) []*item {
	items := make([]*item, 0, len(secrets))
	for _, s := range secrets {
		i := &item{}
		r.judge(i, s, len(r.holders[s.Record.ID]) > 1)
		items = append(items, i)
	}
	return items
}

func (r *run) judge(i *item, s secretstore.Secret, shared bool) {
	i.secret, i.fails, i.lost = s, s.Record.Failing != "", s.Record.Lost
	i.reasons = judge(s, r.evidence(s, r.listing, shared))
	i.state = stateOf(i.reasons)
}

// syncAll syncs what is out of sync. Each worker starts a sync only while there is time for it, and no reason to stop.
func (r *run) syncAll(ctx context.Context, items []*item) {
	var queue []*item
	for _, i := range items {
		if i.state == OutOfSync {
			queue = append(queue, i)
		}
	}
	slices.SortFunc(queue, func(a, b *item) int { // in another order each time, so that none that always fails is always first
		return cmp.Or(cmp.Compare(urgency(a.reasons), urgency(b.reasons)), cmp.Compare(hash(r.req.RequestID+a.secret.ARN), hash(r.req.RequestID+b.secret.ARN)))
	})
	next := make(chan *item, len(queue))
	for _, i := range queue {
		next <- i
	}
	close(next)
	var all errgroup.Group
	for range Workers {
		all.Go(func() error {
			for i := range next {
				if i.left = !r.mayStart(ctx); !i.left {
					r.sync(ctx, i)
				}
			}
			return nil
		})
	}
	_ = all.Wait()
}

// urgency orders secrets: those out of sync by their first reason, those to be settled, those that fail, those to be
// refreshed.
func urgency(reasons []Reason) int {
	order := []Reason{NeverSynced, OtherVersion, AuthMethodMissing, AuthMethodShared, AttributesDiffer, ChangedSince, NotSettled, Failing, RecordOld}
	if slices.Contains(reasons, Failing) {
		return slices.Index(order, Failing)
	}
	return slices.Index(order, reasons[0])
}

func (r *run) mayStart(ctx context.Context) bool {
	deadline, timed := ctx.Deadline()
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.stopped && !(timed && deadline.Sub(r.Now()) < lastStart)
}

// sync describes the secret anew, since lists may be minutes old, and syncs it if it still is out of sync.
func (r *run) sync(ctx context.Context, i *item) {
	req := r.req
	req.SecretID = i.secret.ARN
	known := authsync.Known{Listing: r.listing, Settle: true}
	fresh, err := r.Secrets.Describe(ctx, i.secret.ARN)
	i.idle = fault.Is(err, fault.SecretNotFound) || err == nil && fresh.Idle() != ""
	if i.idle {
		return
	}
	if err == nil {
		r.judge(i, fresh, r.isShared(ctx, fresh))
		if i.state != OutOfSync {
			return
		}
		known.Secret = &i.secret
	}
	shared := known.Secret != nil && slices.Contains(i.reasons, AuthMethodShared)
	if r.req.DryRun && !shared {
		res := r.Syncer.Plan(ctx, req, known)
		if i.left = r.noteTrouble(res.Error); !i.left {
			r.tell(res)
		}
		return
	}
	var attempt authsync.Attempt
	if shared {
		attempt = r.Syncer.Refuse(req, known, fault.New(fault.AuthMethodMismatch, "another secret records auth method %s too: correct the tag %s of one", i.secret.Record.ID, secretstore.RecordTag))
	} else {
		attempt = r.Syncer.Push(ctx, req, known)
	}
	i.left = r.noteTrouble(attempt.Error)
	attempt.Quiet = i.left || i.isRepeat(attempt.Result)
	res := r.Syncer.Finish(ctx, attempt)
	i.idle = res.Outcome == report.Skipped
	if i.left {
		return
	}
	i.fails = res.Record.Failing != "" || res.Error != nil && !res.Retry
	i.lost = res.Record.Lost || res.Held != nil && res.Held.Verification == tokencheck.Rejected
	if res.Error == nil && !res.RecordFailed && res.Record.Failing == "" {
		i.state = InSync
		if res.Record.State == secretstore.Pushed {
			i.state = IsSettling
		}
	}
	res.Repaired = res.Error == nil && i.isRepair(r.Now())
	r.tell(res)
}

// noteTrouble reports, and counts, whether a sync failed for what may be no different for the next secret: Datadog leaves no room, and
// then the run stops; refuses the keys, and then it stops at the second; or does not answer, and then it stops at the
// third. That is the run's failure.
func (r *run) noteTrouble(e *fault.Error) bool {
	most := map[fault.Code]int{fault.DatadogThrottled: 1, fault.DatadogUnauthorized: maxRefused, fault.DatadogUnavailable: maxUnavailable}
	if e == nil || most[e.Code] == 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trouble[e.Code]++
	r.stopped = r.stopped || r.trouble[e.Code] >= most[e.Code]
	r.answer.Error = cmp.Or(r.answer.Error, e)
	return true
}

// isRepeat: what was settled before was pushed again, for no other reason than its age or an unrelated change.
func (i *item) isRepeat(res report.Result) bool {
	other := slices.ContainsFunc(i.reasons, func(r Reason) bool { return r != ChangedSince && r != RecordOld })
	return res.Outcome == report.Updated && !other && res.Secret.VersionID == i.secret.Record.VersionID
}

// isRepair: the event of a rotation did not come, or somebody else writes to the auth method.
func (i *item) isRepair(now time.Time) bool {
	has := func(why Reason) bool { return slices.Contains(i.reasons, why) }
	missed := has(OtherVersion) && !has(Failing) && now.Sub(i.secret.LastChanged) > eventLate
	return missed || has(AuthMethodMissing) || has(AttributesDiffer)
}

// isShared asks the other secrets that were listed with this auth method whether they still record it. One that cannot be
// described counts as it was listed.
func (r *run) isShared(ctx context.Context, s secretstore.Secret) bool {
	return slices.ContainsFunc(r.holders[s.Record.ID], func(arn string) bool {
		if arn == s.ARN {
			return false
		}
		other, err := r.Secrets.Describe(ctx, arn)
		return err != nil || other.Record.ID == s.Record.ID
	})
}

func (r *run) tell(res report.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer.Outcomes[res.Outcome]++
	switch {
	case res.Outcome == report.Failed && len(r.answer.Failures) < maxTold:
		r.answer.Failures = append(r.answer.Failures, res)
	case res.Outcome == report.Planned && len(r.answer.Plans) < maxTold:
		r.answer.Plans = append(r.answer.Plans, res)
	}
	r.told(res)
}

// count counts the secrets as the run leaves them.
func (r *run) count(items []*item) {
	a := &r.answer
	for _, i := range items {
		if i.idle {
			continue
		}
		a.Secrets++
		a.InSync += one(i.state == InSync)
		a.Settling += one(i.state == IsSettling)
		a.OutOfSync += one(i.state == OutOfSync)
		a.Failing += one(i.fails)
		a.AtRisk += one(i.lost)
		a.LeftOver += one(i.left)
	}
}

func one(is bool) int {
	if is {
		return 1
	}
	return 0
}
