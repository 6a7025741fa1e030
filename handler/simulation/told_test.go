package simulation

import (
	"encoding/json"
	"slices"
	"time"
)

// What the function says of its work: that it says enough, and that it is true.

// maxCalls of one invocation for one secret, over every repetition.
const maxCalls = 80

// grace is how long a new client secret may take to be honoured without being news.
const grace = 150 * time.Second

// result is what the function publishes and answers.
type result struct {
	Outcome    string
	Secret     struct{ ARN, Name, VersionID string }
	AuthMethod struct{ ID string }
	Trigger    struct{ Type, ID string }
	RequestID  string

	Verification string
	Held         *struct{ VersionID, Verification string }
	Recovered    *struct{ Code string }

	Error *struct {
		Code      string
		Retryable bool
	}
	PreviousSecretSafeToRevoke bool

	at time.Time
}

// answer of a reconcile.
type reconciliation struct {
	LeftOver, Failing, AtRisk int
	Error                     json.RawMessage
	Failures                  []result
}

// judge looks at how an invocation ended that did not vanish.
func (w *world) judge(inv *invocation, text []byte, err error) {
	limit := maxCalls
	if inv.kind == "reconcile" {
		limit = 10 + maxCalls*len(w.subjects)
	}
	if n := inv.total(); n > limit {
		w.violated("%s made %d calls", inv.id, n)
	}
	if time.Since(inv.started) >= 120*time.Second {
		w.violated("%s ran past its deadline", inv.id)
	}
	published := 0
	for _, r := range w.resultsNow() {
		if r.RequestID == inv.id {
			published++
			w.tells(inv, r)
			w.checkHeld(inv, r)
		}
	}
	var res result
	_ = json.Unmarshal(text, &res)
	switch {
	case inv.kind == "reconcile":
		w.judgeReconcile(inv, text)
	case inv.kind == "rotation":
	case err == nil && string(text) == "null":
		w.violated("%s got neither an answer nor an error", inv.id)
	case inv.kind != "event" || err != nil:
	case res.Trigger.Type == "cloudtrail" && res.Error != nil && res.Error.Code == "secret_not_found":
		// The first moments of a secret, which Secrets Manager does not show yet, are for its label event.
	case published == 0 && res.Verification == "inconclusive" && w.wasPublished(w.find(res)): // once more
	case published == 0:
		w.violated("%s ended without an error and published nothing: %s", inv.id, text)
	case res.Error != nil && res.Error.Retryable && time.Since(inv.since) < grace-2*time.Second && !w.failedBefore(inv, res):
		w.violated("%s is not tried again after %v", inv.id, res.Error)
	}
}

// failedBefore: a record that fails has no grace.
func (w *world) failedBefore(inv *invocation, r result) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.subjects, func(x *subject) bool {
		return x.arn == r.Secret.ARN && slices.ContainsFunc(w.recordsOf(x, inv), func(c record) bool { return c.failing && c.inv != inv })
	})
}

// tells: of a version that was told to be rejected, everybody knows from now on, if the function could see and say it.
func (w *world) tells(inv *invocation, r result) {
	v := w.find(r)
	if v == nil || r.Error == nil || r.Error.Code != "credential_rejected" || inv.isBlind() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.ContainsFunc(v.records, func(c record) bool { return c.inv != inv && c.since.After(inv.started) }) { // that may have lost it
		v.refused = refusal{v, time.Now()}
	}
}

// checkHeld: whether alerts are being lost is told as it is, and that a failure is over is told.
func (w *world) checkHeld(inv *invocation, r result) {
	v := w.find(r)
	if v == nil {
		return
	}
	w.mu.Lock()
	records := slices.DeleteFunc(slices.Clone(w.recordsOf(v.subject, inv)), func(c record) bool { return c.inv == inv })
	lost := slices.ContainsFunc(records, func(c record) bool { return c.lost || c.id != "" && w.at(c.id, time.Now()).ID == "" })
	failing := !slices.ContainsFunc(records, func(c record) bool { return !c.failing })
	w.mu.Unlock()
	if r.Error == nil && failing && r.Recovered == nil {
		w.violated("%s does not say that %s works again", inv.id, v.secretName())
	}
	if r.Held == nil {
		return
	}
	held := r
	held.Secret.VersionID = r.Held.VersionID
	var told verdict
	if h := w.find(held); h != nil {
		told = inv.verdict(h.secret)
	}
	if r.Held.Verification == "rejected" && !told.refused && !lost || r.Held.Verification == "accepted" && !told.accepted {
		w.violated("%s says that what Datadog holds of %s is %s, and did not learn that", inv.id, v.secretName(), r.Held.Verification)
	}
}

// judgeReconcile: whatever version Datadog took from it, it published, or tried to.
func (w *world) judgeReconcile(inv *invocation, text []byte) {
	var answer reconciliation
	if json.Unmarshal(text, &answer) != nil || len(answer.Error) > 0 || answer.LeftOver > 0 {
		return
	}
	took := map[*subject]*pushable{}
	w.mu.Lock()
	inv.stack.last = answer
	for _, c := range w.commits {
		if c.inv == inv {
			took[c.subject] = c.pushable
		}
	}
	w.mu.Unlock()
	for x, v := range took {
		fails := slices.ContainsFunc(answer.Failures, func(r result) bool { return r.Secret.ARN == x.arn })
		if !fails && !inv.hasTold(x.arn) && !w.wasPublished(v) && w.record(x)["state"] != "unproven" {
			w.violated("%s pushed %s, and nobody is told", inv.id, v.secret)
		}
	}
}

func (w *world) wasPublished(v *pushable) bool {
	return slices.ContainsFunc(w.resultsNow(), func(r result) bool { return r.Error == nil && w.find(r) == v })
}

func (w *world) resultsNow() []result {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.results)
}

// published takes an event as soon as it is on the bus.
func (w *world) published(detail string, at time.Time) {
	r := result{at: at}
	if err := json.Unmarshal([]byte(detail), &r); err != nil {
		panic(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.results = append(w.results, r)
}

// checkCounts: the last reconcile counted what fails as it is recorded.
func (w *world) checkCounts(k *stack) {
	failing, lost := 0, 0
	for _, x := range w.subjects {
		if last := x.records[len(x.records)-1]; x.stack == k && last.failing {
			failing++
			if last.lost {
				lost++
			}
		}
	}
	if k.last.Failing != failing || k.last.AtRisk != lost {
		w.violated("%s counts %d that fail and %d at risk, of %d and %d", k.function, k.last.Failing, k.last.AtRisk, failing, lost)
	}
}

// checkResult: what a result says was so.
func (w *world) checkResult(r result) {
	if r.Error != nil {
		return
	}
	i := slices.IndexFunc(w.invoked, func(inv *invocation) bool { return inv.id == r.RequestID })
	v := w.find(r)
	if i < 0 || v == nil {
		w.violated("a result of nobody's, or about no version: %+v", r)
		return
	}
	inv := w.invoked[i]
	wrote, ok := inv.wrote[v.secret]
	switch {
	case !ok:
		w.violated("%s says %s of %s, which it did not push", inv.id, r.Outcome, v.secret)
	case !w.wasCurrent(v, wrote.Add(-w.staleness())):
		w.violated("%s says %s of %s, which was not AWSCURRENT any more", inv.id, r.Outcome, v.secret)
	}
	if !r.PreviousSecretSafeToRevoke {
		return
	}
	if !inv.verdict(v.secret).accepted {
		w.violated("%s says that the secret before %s may be revoked, which the token endpoint did not accept", inv.id, v.secret)
	}
	for _, c := range w.commits {
		if c.subject == v.subject && c.method == r.AuthMethod.ID && c.at.After(r.at) && c.pushable != v && !w.wasCurrent(c.pushable, r.at.Add(-30*time.Second)) {
			w.violated("%s said that what is older than %s may be revoked, then %s came back", inv.id, v.secret, c.secret)
		}
	}
}

// find is the version that a result is about.
func (w *world) find(r result) *pushable {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range w.subjects {
		for _, v := range x.versions {
			if x.secretName() == r.Secret.Name && slices.Contains(v.ids, r.Secret.VersionID) {
				return v
			}
		}
	}
	return nil
}
