package simulation

import (
	"context"
	"slices"
	"time"

	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// call is what invokes the function.
type call struct {
	kind    string // event, direct, reconcile or rotation
	payload string
	team    *team     // whose secret it is about; nil of a reconcile
	eventAt time.Time // in whole seconds; zero without an event
}

// invocation is what one invocation of the function did and was answered.
type invocation struct {
	*call
	id      string
	started time.Time
	kill    *kill
	dead    bool
	vanish  func()

	calls    map[string]int
	failures int       // of Datadog's answers, in a row
	resume   time.Time // when it goes on after those at the latest: it waits at random, and the simulation for the rest
	blind    bool      // a call of Secrets Manager failed

	described map[*team][]description
	attempts  map[string][]attempt // at token endpoints, by client secret
	shown     []shown
	wrote     map[string]time.Time // client secret → when Datadog's answer said that it took it
	surprised map[*team]time.Time  // when Datadog turned out not to be as listed, or an answer to a POST was lost
	posting   int                  // POSTs under way
	results   map[*team][]*publication

	firstList []byte                   // of a planted bug
	firstLook *sm.DescribeSecretOutput // of another
}

// attempt is one token request: its style, and what its answer says.
type attempt struct{ style, answer string }

// What an answer of a token endpoint says.
const (
	aToken    = "token"
	refusal   = "refusal"
	noVerdict = "no verdict"
)

// shown is an answer of Datadog that showed auth methods.
type shown struct {
	id string // of the only one; empty: all
	at time.Time
}

// description is an answer of DescribeSecret.
type description struct {
	record
	current  string // id of the version labelled AWSCURRENT
	changed  time.Time
	at, asOf time.Time // when it was read, and of when at the earliest is what it shows
}

type invocationKey struct{}

func newInvocation(id string, c *call) *invocation {
	return &invocation{call: c, id: id, started: time.Now(), calls: map[string]int{}, described: map[*team][]description{},
		attempts: map[string][]attempt{}, wrote: map[string]time.Time{}, surprised: map[*team]time.Time{}, results: map[*team][]*publication{}}
}

func invocationOf(ctx context.Context) *invocation {
	if inv, ok := ctx.Value(invocationKey{}).(*invocation); ok {
		return inv
	}
	return newInvocation("init", &call{})
}

// answered notes whether an answer of Datadog was a failure.
func (inv *invocation) answered(failed bool) {
	if inv.failures++; !failed {
		inv.failures = 0
		return
	}
	inv.resume = time.Now().Add(min(2*time.Second, max(800*time.Millisecond, 200*time.Millisecond<<(inv.failures-1))))
}

// accepted: the last check of the client secret ended with a token.
func (inv *invocation) accepted(secret string) bool {
	all := inv.attempts[secret]
	return len(all) > 0 && all[len(all)-1].answer == aToken
}

// verdict is the last token or refusal, if there was one.
func (inv *invocation) verdict(secret string) (last string) {
	for _, a := range inv.attempts[secret] {
		if a.answer != noVerdict {
			last = a.answer
		}
	}
	return last
}

func (inv *invocation) refused(secret string) bool { return inv.verdict(secret) == refusal }

// rejected: of the last check every attempt was refused, or that of the known style.
func (inv *invocation) rejected(secret, known string) bool {
	refused, silent := map[string]bool{}, false
	for _, a := range inv.attempts[secret] {
		if _, again := refused[a.style]; again { // each style is tried once in a check
			refused, silent = map[string]bool{}, false
		}
		refused[a.style] = a.answer == refusal
		silent = silent || a.answer == noVerdict
	}
	return inv.refused(secret) && (!silent || refused[known])
}

// last is what DescribeSecret showed inv of x last.
func (inv *invocation) last(x *team) (d description) {
	if all := inv.described[x]; len(all) > 0 {
		d = all[len(all)-1]
	}
	return d
}

// saw reports whether inv was shown the auth method at a time at which it was so.
func (inv *invocation) saw(id string, is func(then time.Time) bool) bool {
	return slices.ContainsFunc(inv.shown, func(s shown) bool { return (s.id == "" || s.id == id) && is(s.at) })
}

// listed is when inv was shown all auth methods last.
func (inv *invocation) listed() (at time.Time) {
	for _, s := range inv.shown {
		if s.id == "" && s.at.After(at) {
			at = s.at
		}
	}
	return at
}

// published are the results of x that inv knows to be on the bus.
func (inv *invocation) published(x *team) (all []*publication) {
	for _, p := range inv.results[x] {
		if p.answered {
			all = append(all, p)
		}
	}
	return all
}
