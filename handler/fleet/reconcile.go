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
)

// Workers is how many secrets one Reconcile syncs at a time.
const Workers = 8

const (
	maxListed  = 1000             // failures, plans or auth methods in one answer
	startUntil = 25 * time.Second // before the deadline: a sync that began later might be cut short
	maxTrouble = 2                // secrets that meet the same trouble of Datadog before it is the run's
	eventLate  = 5 * time.Minute  // since AWSCURRENT moved: by then its event came, or never will
	lastRank   = 4
)

// Reconciliation is the answer of one Reconcile.
type Reconciliation struct {
	SchemaVersion string                 `json:"schemaVersion"`
	RequestID     string                 `json:"requestId"`
	DryRun        bool                   `json:"dryRun"`
	Secrets       int                    `json:"secrets"` // in scope, with something to do
	InSync        int                    `json:"inSync"`
	Settling      int                    `json:"settling"`
	OutOfSync     int                    `json:"outOfSync"`
	Outcomes      map[report.Outcome]int `json:"outcomes"`   // of this run's syncs
	Failing       int                    `json:"failing"`    // with a failure that was told, or that could not be recorded
	AtRisk        int                    `json:"atRisk"`     // of which what Datadog holds was rejected
	Unverified    int                    `json:"unverified"` // written twice without a verdict
	LeftOver      int                    `json:"leftOver"`   // out of sync, for the next run
	Error         *fault.Error           `json:"error,omitempty"`
	Failures      []report.Result        `json:"failures,omitempty"`  // the first 1,000
	Plans         []report.Result        `json:"plans,omitempty"`     // of a dry run, the first 1,000
	Unmanaged     []Unmanaged            `json:"unmanaged,omitempty"` // of a dry run, the first 1,000
	DurationMs    int64                  `json:"durationMs"`

	Listed bool `json:"-"` // all secrets: the counts are whole
}

// Unmanaged is an auth method that no secret records and no plan names.
type Unmanaged struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Reconcile syncs every secret under the prefix that is out of sync as far as is recorded, and hands each result to
// each, one at a time. It ends before ctx's deadline; its counts are as after the run. What keeps the run from listing
// or from going on is the answer's Error.
func (f *Fleet) Reconcile(ctx context.Context, req authsync.Request, each func(report.Result)) Reconciliation {
	started := f.Syncer.Now()
	req.Trigger = report.Trigger{Type: report.TriggerReconcile, ID: req.RequestID}
	req.Listing = datadog.NewListing(f.Syncer.AuthMethods.List, f.Syncer.Now)
	r := &run{Fleet: f, req: req, each: each, trouble: map[fault.Code]int{}}
	r.answer = Reconciliation{SchemaVersion: "1", RequestID: req.RequestID, DryRun: req.DryRun,
		Outcomes: map[report.Outcome]int{}}
	secrets, secretsErr := f.list(ctx, req.ARNPrefix)
	methodsErr := req.Listing.Load(ctx)
	r.answer.Listed, r.recordedBy = secretsErr == nil, recordedBy(secrets)
	var items []*item
	for _, s := range secrets {
		i := &item{secret: s}
		r.judge(i)
		items = append(items, i)
	}
	r.answer.Error = fault.From(cmp.Or(secretsErr, methodsErr, r.foreign()))
	r.stopped = r.answer.Error != nil
	r.syncAll(ctx, items)
	r.count(items)
	if req.DryRun {
		r.answer.Unmanaged, r.answer.Plans = r.unmanaged(), capped(r.answer.Plans)
	}
	r.answer.DurationMs = f.Syncer.Now().Sub(started).Milliseconds()
	return r.answer
}

// run is one Reconcile.
type run struct {
	*Fleet
	req        authsync.Request // of which each secret gets a copy
	each       func(report.Result)
	recordedBy map[string][]string // id of an auth method → ARNs of the secrets that record it, as listed

	mu      sync.Mutex
	answer  Reconciliation
	stopped bool
	wrote   bool
	trouble map[fault.Code]int // secrets that met this code
}

// item is one secret of a run.
type item struct {
	secret  secretstore.Secret // as the run leaves it; its record fails, even where that could not be recorded
	reasons []Reason
	skip    bool // there is nothing to do after all
	left    bool // for the next run
	losing  bool // this run found that what Datadog holds is rejected
}

func (r *run) judge(i *item) { i.reasons = r.Fleet.judge(i.secret, r.req.Listing, r.shared(i.secret)) }

// shared reports whether another secret records the same auth method, as listed.
func (r *run) shared(s secretstore.Secret) bool {
	return slices.ContainsFunc(r.recordedBy[s.Record.ID], func(arn string) bool { return arn != s.ARN })
}

// foreign returns an error if Datadog lists none of two or more auth methods that are recorded.
func (r *run) foreign() error {
	methods, _ := r.req.Listing.Methods()
	if len(r.recordedBy) < 2 {
		return nil
	}
	for id := range r.recordedBy {
		if _, found := methods[id]; found {
			return nil
		}
	}
	return fault.New(fault.DatadogUnauthorized, "Datadog lists none of %d auth methods that are recorded: "+
		"its credentials may be another organisation's", len(r.recordedBy))
}

// syncAll syncs what is out of sync, by rank; within a rank in another order each run, so that none is always first.
// The last rank goes one at a time, so that no two of a run create at once.
func (r *run) syncAll(ctx context.Context, items []*item) {
	items = slices.DeleteFunc(slices.Clone(items), func(i *item) bool { return stateOf(i.reasons) != OutOfSync })
	order := func(i *item) uint64 { return hash(r.req.RequestID + i.secret.ARN) }
	slices.SortFunc(items, func(a, b *item) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(order(a), order(b)))
	})
	var all errgroup.Group
	all.SetLimit(Workers)
	for _, i := range items {
		if i.rank() == lastRank {
			_ = all.Wait()
		}
		all.Go(func() error {
			r.sync(ctx, i)
			return nil
		})
	}
	_ = all.Wait()
}

// rank orders secrets by what a webhook waits for: out of sync without a failure, not settled, failing, old. Last come
// those that record no auth method: no webhook uses what does not exist.
func (i *item) rank() int {
	switch {
	case i.secret.Record.ID == "":
		return lastRank
	case slices.Contains(i.reasons, Failing):
		return 2
	case i.reasons[0] == NotSettled:
		return 1
	case i.reasons[0] == RecordOld, i.reasons[0] == NotVerified:
		return 3
	}
	return 0
}

// sync judges the secret again by a fresh look, since lists may be minutes old, and syncs it if it is out of sync.
func (r *run) sync(ctx context.Context, i *item) {
	deadline, timed := ctx.Deadline()
	r.mu.Lock()
	i.left = r.stopped || timed && deadline.Sub(r.Syncer.Now()) < startUntil
	r.mu.Unlock()
	if i.left {
		return
	}
	if fresh, err := r.Syncer.Secrets.Describe(ctx, i.secret.ARN); err == nil { // otherwise the sync says what it is
		i.secret = fresh
		if r.judge(i); stateOf(i.reasons) != OutOfSync {
			return
		}
	}
	req := r.req
	req.SecretID, req.Shared = i.secret.ARN, r.shared
	req.Claim = func(e *fault.Error) bool {
		i.left = r.claim(e)
		return i.left
	}
	res := r.Syncer.Sync(ctx, req)
	is := func(why Reason) bool { return slices.Contains(i.reasons, why) }
	missed := is(OtherVersion) && !is(Failing) && r.Syncer.Now().Sub(i.secret.LastChanged) > eventLate
	res.Repaired = res.Error == nil && !req.DryRun && (missed || is(AttributesDiffer))
	i.skip = res.Outcome == report.Skipped || res.Error != nil && res.Error.Code == fault.SecretNotFound
	if !req.DryRun {
		i.after(res)
		r.judge(i)
	}
	if !i.left && !i.skip {
		r.note(res)
	}
}

// after takes over the record as the sync left it, and the failure that could not be recorded.
func (i *item) after(res report.Result) {
	if res.Record != nil {
		i.secret.Record = *res.Record
	}
	if res.Error == nil { // AWSCURRENT may have moved during the sync
		i.secret.Labels = map[string][]string{res.Secret.VersionID: {secretstore.Current}}
	}
	i.losing = res.Losing()
	unrecorded := res.RecordFailed || res.Record == nil || !res.Record.Fails()
	if record := &i.secret.Record; res.Error != nil && !i.left && unrecorded && record.State != secretstore.Lost {
		record.State = secretstore.Failing
	}
}

// claim takes a failure of a secret as the run's, and reports whether it did:
//
//  1. datadog_throttled: the run stops;
//  2. datadog_unauthorized or datadog_unavailable, from the third secret that meets the same, unless a write of the run
//     succeeded: so neither an outage nor a key that may only read is told to every team, and no team's content stops
//     another's. The run goes on.
func (r *run) claim(e *fault.Error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.Code {
	case fault.DatadogThrottled: // 1
		r.stopped = true
	case fault.DatadogUnauthorized, fault.DatadogUnavailable: // 2
		if r.trouble[e.Code]++; r.trouble[e.Code] <= maxTrouble || r.wrote {
			return false
		}
	default:
		return false
	}
	r.answer.Error = cmp.Or(r.answer.Error, e)
	return true
}

func (r *run) note(res report.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := &r.answer
	a.Outcomes[res.Outcome]++
	switch res.Outcome {
	case report.Failed:
		a.Failures = capped(append(a.Failures, res))
	case report.Planned:
		a.Plans = append(a.Plans, res)
	default:
		r.wrote = true
	}
	r.each(res)
}

func capped[T any](all []T) []T { return all[:min(maxListed, len(all))] }

// count counts the secrets as the run leaves them.
func (r *run) count(items []*item) {
	a := &r.answer
	states, records := map[State]int{}, map[secretstore.State]int{}
	for _, i := range items {
		if i.skip {
			continue
		}
		a.Secrets++
		states[stateOf(i.reasons)]++
		records[i.secret.Record.State]++
		if i.losing || i.secret.Record.State == secretstore.Lost {
			a.AtRisk++
		}
		if i.left {
			a.LeftOver++
		}
	}
	a.InSync, a.Settling, a.OutOfSync = states[InSync], states[IsSettling], states[OutOfSync]
	a.Failing = records[secretstore.Failing] + records[secretstore.Lost]
	a.Unverified = records[secretstore.Unproven]
}

func (r *run) unmanaged() (all []Unmanaged) {
	methods, _ := r.req.Listing.Methods()
	planned := map[string]bool{}
	for _, p := range r.answer.Plans {
		planned[p.AuthMethod.ID] = true
	}
	for id, m := range methods {
		if r.recordedBy[id] == nil && !planned[id] {
			all = append(all, Unmanaged{id, m.Shown().Name})
		}
	}
	slices.SortFunc(all, func(a, b Unmanaged) int { return cmp.Compare(a.Name+a.ID, b.Name+b.ID) })
	return capped(all)
}
