package simulation

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"datadog-webhook-auth-sync/handler/authsync"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/sensitive"
)

// maxCalls of one invocation for one secret, over every repetition.
const maxCalls = 80

// invocation is what one invocation of the function did.
type invocation struct {
	id      string
	kind    string
	nth     int
	kill    *kill
	started time.Time
	dead    atomic.Bool
	vanish  func()

	mu     sync.Mutex
	calls  map[string]int
	failed map[string]failure
	token  map[string]verdict
	wrote  map[string]time.Time // client secret → when Datadog's answer said that it took it
}

type failure struct {
	times int
	at    time.Time
}

// verdict is what the token endpoint told an invocation of a client secret.
type verdict struct {
	asked   int
	refused int // in the last answers; one for each style make a rejection
}

type invocationKey struct{}

func invocationOf(ctx context.Context) *invocation {
	if inv, ok := ctx.Value(invocationKey{}).(*invocation); ok {
		return inv
	}
	return &invocation{id: "init"}
}

// called counts a call, and returns the kill that it meets.
func (inv *invocation) called(op string) *kill {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if inv.calls == nil {
		inv.calls = map[string]int{}
	}
	inv.calls[op]++
	if k := inv.kill; k != nil && k.Op == op && k.Nth == inv.calls[op]-1 {
		return k
	}
	return nil
}

// answered notes whether the answer to a call was a failure.
func (inv *invocation) answered(call string, failed bool) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if inv.failed == nil {
		inv.failed = map[string]failure{}
	}
	if !failed {
		delete(inv.failed, call)
		return
	}
	inv.failed[call] = failure{inv.failed[call].times + 1, time.Now()}
}

// repeats is when the function repeats a call that failed, at the latest: how long it waits is random, so the simulation
// waits for the rest.
func (inv *invocation) repeats(call string) time.Time {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	f, ok := inv.failed[call]
	if !ok {
		return time.Time{}
	}
	return f.at.Add(min(2*time.Second, 200*time.Millisecond<<(f.times-1)))
}

func (inv *invocation) asked(secret string, refused bool) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if inv.token == nil {
		inv.token = map[string]verdict{}
	}
	v := verdict{asked: inv.token[secret].asked + 1}
	if refused {
		v.refused = inv.token[secret].refused + 1
	}
	inv.token[secret] = v
}

func (inv *invocation) took(secret string) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if inv.wrote == nil {
		inv.wrote = map[string]time.Time{}
	}
	inv.wrote[secret] = time.Now()
}

func (w *world) violated(format string, args ...any) {
	w.tell("VIOLATED: "+format, args...)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

// asked notes what the token endpoint said.
func (w *world) asked(secret string, status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if v := w.versions[secret]; v != nil && status == 200 {
		v.accepted = true
	}
}

// pushing: what was rejected is not pushed, and nothing is pushed that nobody asked about, unless it was accepted before
// and reconcile pushes it again.
func (w *world) pushing(inv *invocation, secret string) {
	w.mu.Lock()
	v := w.versions[secret]
	proven := v != nil && v.accepted
	w.mu.Unlock()
	inv.mu.Lock()
	told := inv.token[secret]
	inv.mu.Unlock()
	switch {
	case v == nil:
		w.violated("%s pushes what is no version's client secret", inv.id)
	case told.refused >= 2:
		w.violated("%s pushes %s, which the token endpoint rejected", inv.id, secret)
	case told.asked == 0 && (inv.kind != "reconcile" || !proven):
		w.violated("%s pushes %s and did not ask the token endpoint", inv.id, secret)
	}
}

func (w *world) committed(inv *invocation, secret, path string, body []byte) {
	var doc struct {
		Data struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	_ = json.Unmarshal(body, &doc)
	w.mu.Lock()
	w.commits = append(w.commits, commit{time.Now(), inv, doc.Data.ID, w.versions[secret]})
	w.mu.Unlock()
	w.tell("%s: Datadog holds %s", inv.id, secret)
}

// wasCurrent reports whether v had AWSCURRENT at any time from then on.
func (w *world) wasCurrent(v *pushable, then time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, c := range v.current {
		over := i+1 < len(v.current) && !v.current[i+1].since.After(then)
		if c.pushable == v && !over {
			return true
		}
	}
	return false
}

// judge looks at how an invocation ended that did not vanish.
func (w *world) judge(inv *invocation, got any, err error) {
	text, _ := json.Marshal(got)
	fmt.Fprintf(w, "%s %v\n", text, err)
	limit := maxCalls
	if inv.kind == "reconcile" {
		limit = 10 + maxCalls*len(w.subjects)
	}
	total := 0
	inv.mu.Lock()
	for _, n := range inv.calls {
		total += n
	}
	inv.mu.Unlock()
	if total > limit {
		w.violated("%s made %d calls", inv.id, total)
	}
	if time.Since(inv.started) >= 120*time.Second {
		w.violated("%s ran past its deadline", inv.id)
	}
	res, isResult := got.(authsync.Result)
	if inv.kind != "event" || err != nil {
		if err == nil && string(text) == "null" {
			w.violated("%s got neither an answer nor an error", inv.id)
		}
		return
	}
	published := slices.ContainsFunc(w.bus.Events(), func(e types.PutEventsRequestEntry) bool {
		return strings.Contains(*e.Detail, `"requestId":"`+inv.id+`"`)
	})
	switch {
	case isResult && res.Trigger.Type == "cloudtrail" && res.Error != nil && res.Error.Code == fault.SecretNotFound:
		// The first moments of a secret, which Secrets Manager does not show yet, are for its label event.
	case !isResult || !published:
		w.violated("%s ended without an error and published nothing: %s", inv.id, text)
	case res.Error != nil && res.Error.Retryable:
		w.violated("%s is not tried again after %v", inv.id, res.Error)
	}
}

// results are what was published so far.
func (w *world) results() (all []authsync.Result) {
	for _, e := range w.bus.Events() {
		var r authsync.Result
		if err := json.Unmarshal([]byte(*e.Detail), &r); err != nil {
			panic(err)
		}
		all = append(all, r)
	}
	return all
}

// check looks at the world when the dust has settled.
func (w *world) check() {
	results := w.results()
	for i, r := range results {
		w.checkResult(r, *w.bus.Events()[i].Time)
	}
	valid := 0
	for _, x := range w.subjects {
		if w.checkSubject(x, results) {
			valid++
		}
	}
	for _, c := range w.commits {
		// What is never honoured is asked about again each time, and a refusal that comes too late counts as none.
		if c.at.After(time.Now().Add(-schedulePause)) && !c.Never {
			w.violated("%s writes %s though all is quiet", c.inv.id, c.secret)
		}
	}
	if unknown := w.datadog.Unknown(); len(unknown) > 0 {
		w.violated("Datadog knows no call %v", unknown)
	}
	w.checkSecrecy()
}

// checkSubject: Datadog holds AWSCURRENT in the one auth method of the secret.
func (w *world) checkSubject(x *subject, results []authsync.Result) bool {
	now := x.now()
	held, found := "", 0
	for _, m := range w.datadog.AuthMethods() {
		if m.Name != x.methodName() {
			continue
		}
		found++
		held = m.ClientSecret
		if !x.kind.partial() && held == now.secret && (m.ClientID != now.clientID || aws.ToString(m.Scope) != now.scope || m.Audience != nil || m.AccessTokenURL != tokenURL) {
			w.violated("%s: Datadog's attributes are not the secret's: %+v", x.name, m)
		}
	}
	if now.Malformed || now.Never {
		return false
	}
	if w.mayMismatch(x) && w.lastCode(x, results) == fault.AuthMethodMismatch {
		return false
	}
	if found != 1 {
		w.violated("%s has %d auth methods", x.name, found)
	}
	if held != now.secret {
		w.violated("%s: Datadog holds %s, AWSCURRENT is %s", x.name, held, now.secret)
	}
	return true
}

// mayMismatch: an auth method that nobody recorded, and whose client changes, may be anybody's.
func (w *world) mayMismatch(x *subject) bool {
	return slices.ContainsFunc(x.versions, func(v *pushable) bool { return v.ClientID })
}

func (w *world) lastCode(x *subject, results []authsync.Result) fault.Code {
	for _, r := range slices.Backward(results) {
		if r.Secret.Name == prefix+x.name {
			if r.Error == nil {
				return ""
			}
			return r.Error.Code
		}
	}
	return ""
}

// checkResult: what a result says was so.
func (w *world) checkResult(r authsync.Result, at time.Time) {
	if r.Error != nil {
		return
	}
	i := slices.IndexFunc(w.invoked, func(inv *invocation) bool { return inv.id == r.RequestID })
	v := w.find(r.Secret)
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
	if !v.accepted {
		w.violated("%s says that the secret before %s may be revoked, which the token endpoint never accepted", inv.id, v.secret)
	}
	for _, c := range w.commits {
		if c.method == r.AuthMethod.ID && c.at.After(at) && c.pushable != v && !w.wasCurrent(c.pushable, at.Add(-30*time.Second)) {
			w.violated("%s said that what is older than %s may be revoked, then %s came back", inv.id, v.secret, c.secret)
		}
	}
}

func (w *world) staleness() time.Duration {
	if slices.ContainsFunc(w.Steps, func(s step) bool { return s.Do == staleLabels || s.Do == staleValues }) {
		return maxStale
	}
	return 0
}

func (w *world) find(ref authsync.SecretRef) *pushable {
	for _, v := range w.versions {
		if v.id == ref.VersionID && prefix+v.name == ref.Name {
			return v
		}
	}
	return nil
}

// checkSecrecy: no secret value is in what the function said. Every one begins with the canary; one schedule in 50 is also
// searched for each of them in other forms.
func (w *world) checkSecrecy() {
	said := w.log.String()
	for _, e := range w.bus.Events() {
		said += *e.Detail
	}
	if strings.Contains(said, canary) {
		w.violated("a secret value is in what the function said: %.200s", said[strings.Index(said, canary)-100:])
	}
	if w.Seed%50 > 0 {
		return
	}
	for secret := range w.versions {
		if sensitive.New(secret).In(said) {
			w.violated("%s is in what the function said, in some form", secret)
		}
	}
}
