package simulation

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
)

// invocation is what one invocation of the function did, and was told.
type invocation struct {
	id      string
	stack   *stack
	kind    string
	nth     int
	kill    *kill
	started time.Time
	since   time.Time // the event's time, in whole seconds
	dead    atomic.Bool
	vanish  func()

	mu     sync.Mutex
	calls  map[string]int
	failed map[string]failure
	token  map[string]verdict   // by client secret
	wrote  map[string]time.Time // client secret → when Datadog's answer said that it took it
	looks  []look
	told   map[string]bool // ARNs of secrets that it published something about, or tried to
	blind  bool            // a call of Secrets Manager failed
}

type failure struct {
	times int
	at    time.Time
}

// look is an answer of Datadog that showed what there is.
type look struct {
	id string // of the one auth method shown; empty: all
	at time.Time
}

// verdict is what the token endpoint told an invocation of a client secret.
type verdict struct {
	asked             int
	accepted, refused bool
}

type invocationKey struct{}

func newInvocation(id string) *invocation {
	return &invocation{id: id, started: time.Now(), calls: map[string]int{}, failed: map[string]failure{}, token: map[string]verdict{},
		wrote: map[string]time.Time{}, told: map[string]bool{}}
}

func invocationOf(ctx context.Context) *invocation {
	if inv, ok := ctx.Value(invocationKey{}).(*invocation); ok {
		return inv
	}
	return newInvocation("init")
}

// called counts a call, and returns the kill that it meets.
func (inv *invocation) called(op string) *kill {
	inv.mu.Lock()
	defer inv.mu.Unlock()
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

// asked notes the status of a token endpoint's answer; 0: none, or none that can be relied on.
func (inv *invocation) asked(secret string, status int) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	v := inv.token[secret]
	v.asked++
	if status != 0 {
		v.accepted, v.refused = status == 200, status != 200
	}
	inv.token[secret] = v
}

func (inv *invocation) verdict(secret string) verdict {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	return inv.token[secret]
}

func (inv *invocation) took(secret string) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	inv.wrote[secret] = time.Now()
}

func (inv *invocation) looked(id string, at time.Time) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	inv.looks = append(inv.looks, look{id, at})
}

// looksAt are the times at which it was shown the auth method.
func (inv *invocation) looksAt(id string) (all []time.Time) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	for _, l := range inv.looks {
		if l.id == "" || l.id == id {
			all = append(all, l.at)
		}
	}
	return all
}

// listed is when it was shown all auth methods, the last time.
func (inv *invocation) listed() (at time.Time) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	for _, l := range inv.looks {
		if l.id == "" && l.at.After(at) {
			at = l.at
		}
	}
	return at
}

func (inv *invocation) tells(e types.PutEventsRequestEntry) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	inv.told[strings.Join(e.Resources, "")] = true
}

func (inv *invocation) hasTold(arn string) bool {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	return inv.told[arn]
}

func (inv *invocation) isBlind() bool {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	return inv.blind
}

func (inv *invocation) sawNothing() {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	inv.blind = true
}

// total is the number of its calls.
func (inv *invocation) total() (n int) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	for _, c := range inv.calls {
		n += c
	}
	return n
}
