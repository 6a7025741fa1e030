package simulation

import (
	"encoding/json"
	"fmt"
	"time"

	"pgregory.net/rapid"
)

// schedule is all that happens to the function, as data.
type schedule struct {
	Seed    uint64   // of latencies, and of which calls a fault hits
	Warm    bool     // the secrets have settled before the first step
	Secrets []secret // there at the start
	Steps   []step   // one after another
}

type secret struct {
	Kind       kind
	Deliveries []delivery `json:",omitzero"` // of the event of its creation
}

// kind is what a secret states.
type kind string

const (
	full     kind = "full"     // all, save a name
	named    kind = "named"    // all
	pinned   kind = "pinned"   // the client secret and the auth method's id
	recorded kind = "recorded" // the client secret alone; the record holds an auth method's id
)

func (k kind) partial() bool { return k == pinned || k == recorded }

// action is what a step does.
type action string

const (
	// Users of Secrets Manager. The first three move AWSCURRENT, so an event follows.
	put      action = "put"      // a new version
	rollback action = "rollback" // AWSCURRENT goes Back versions
	promote  action = "promote"  // a version staged under another label gets AWSCURRENT
	untag    action = "untag"    // the record is lost
	keys     action = "keys"     // Datadog's keys rotate; for a time the secret and Datadog do not agree

	// Users of Datadog's UI.
	edit   action = "edit"
	remove action = "remove" // a partial secret's auth method, which cannot be made again, stays

	// Callers of the function.
	cloudTrail action = "cloudtrail"
	direct     action = "direct"
	http       action = "http"
	reconcile  action = "reconcile" // besides the schedule

	// Faults, for a time and a share of the calls.
	throttle429 action = "429"          // of Datadog
	fail500     action = "500"          // of Datadog
	loseAnswers action = "lost"         // of writes to Datadog, which take effect
	landLate    action = "late"         // writes to Datadog take effect long after the caller gave up
	failTags    action = "tags"         // TagResource fails, or seems to
	throttleSM  action = "throttle"     // all of Secrets Manager
	staleValues action = "stale values" // reads of values, some seconds
	staleLabels action = "stale labels" // reads of labels and tags, some seconds
	staleLists  action = "stale lists"  // some minutes
	failTokens  action = "tokens"       // the token endpoint
	failBus     action = "bus"          // PutEvents fails, or seems to
)

const (
	maxLate       = 7 * time.Minute // with the function's 2 min and stale reads, below the 10 after which nobody is alive
	maxStale      = 5 * time.Second
	maxStaleLists = 5 * time.Minute
	schedulePause = 15 * time.Minute
)

type step struct {
	Ahead      time.Duration `json:",omitzero"` // if not 0, first waits until so long before the schedule's next reconcile
	After      time.Duration `json:",omitzero"` // that, or the step before
	Do         action        `json:",omitzero"`
	Secret     int           `json:",omitzero"`
	Back       int           `json:",omitzero"` // of rollback
	Version    version       `json:",omitzero"` // of put and promote
	Deliveries []delivery    `json:",omitzero"` // of the event
	Call       delivery      `json:",omitzero"` // of a caller of the function
	For        time.Duration `json:",omitzero"` // of a fault
	Rate       int           `json:",omitzero"` // percent of the calls that a fault hits
	Late       time.Duration `json:",omitzero"` // at most, of landLate
}

// version says what is special about a version's value.
type version struct {
	Honoured  time.Duration `json:",omitzero"` // after which the token endpoint knows the client secret
	Never     bool          `json:",omitzero"` // it never does
	ClientID  bool          `json:",omitzero"` // another client than the version before
	Scope     bool          `json:",omitzero"` // another scope
	Malformed bool          `json:",omitzero"`
}

// delivery of an event; Lambda tries again twice.
type delivery struct {
	After   time.Duration `json:",omitzero"`
	Kill    *kill         `json:",omitzero"`
	NoRetry bool          `json:",omitzero"`
}

// kill ends an invocation at one of its calls.
type kill struct {
	Attempt int           `json:",omitzero"` // 0 is the first
	Op      string        `json:",omitzero"`
	Nth     int           `json:",omitzero"` // 0 is the first
	Unsent  bool          `json:",omitzero"` // before the request is on the wire
	Late    time.Duration `json:",omitzero"` // until the request takes effect
}

func (s schedule) String() string {
	text := fmt.Sprintf("schedule{Seed: %d, Warm: %v}", s.Seed, s.Warm)
	for _, part := range s.Secrets {
		text += "\n" + compact(part)
	}
	for _, part := range s.Steps {
		text += "\n" + compact(part)
	}
	return text
}

func compact(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// schedules draws them. Half are wide: of all that can happen, to 1 to 3 secrets. Half are narrow: the label of one secret
// moves back and forth, mostly around the schedule's reconcile, while invocations vanish and events get lost.
var schedules, narrowSchedules = drawn(wide, narrow), drawn(narrow)

func drawn(from ...drawing) *rapid.Generator[schedule] {
	return rapid.Custom(func(t *rapid.T) schedule {
		s := schedule{Seed: rapid.Uint64().Draw(t, "seed"), Warm: rapid.Bool().Draw(t, "warm")}
		d := from[rapid.IntRange(0, len(from)-1).Draw(t, "from")]
		s.Secrets = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) secret {
			return secret{rapid.SampledFrom([]kind{full, full, named, pinned, recorded}).Draw(t, "kind"), wide.deliveries(t)}
		}), 1, d.secrets).Draw(t, "secrets")
		s.Steps = rapid.SliceOfN(rapid.Custom(d.step), 1, d.steps).Draw(t, "steps")
		for i := range s.Steps {
			s.Steps[i].Secret %= len(s.Secrets)
		}
		return s
	})
}

// drawing says what is drawn, and how often.
type drawing struct {
	secrets, steps int // at most
	events         int // deliveries of one event, at most
	marks, kills   int // percent: of steps near a reconcile of the schedule, of invocations that vanish
	actions        *rapid.Generator[action]
	killed         *rapid.Generator[kill]
}

var wide = drawing{secrets: 3, steps: 10, events: 3, marks: 5, kills: 30,
	actions: weighted(map[int][]action{
		8: {put},
		5: {rollback},
		2: {promote, direct, reconcile, landLate},
		1: {untag, keys, edit, remove, cloudTrail, http, throttle429, fail500, loseAnswers, failTags, throttleSM, staleValues,
			staleLabels, staleLists, failTokens, failBus},
	}),
	killed: rapid.Custom(func(t *rapid.T) kill {
		return kill{rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "attempt"), ops.Draw(t, "op"),
			rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "nth"), rapid.Bool().Draw(t, "unsent"), late.Draw(t, "late")}
	}),
}

var narrow = drawing{secrets: 1, steps: 5, events: 1, marks: 40, kills: 50,
	actions: weighted(map[int][]action{
		6: {rollback},
		4: {put},
		1: {direct, reconcile, landLate, failTags, staleLabels, edit},
	}),
	killed: rapid.Custom(func(t *rapid.T) kill {
		return kill{Op: rapid.SampledFrom([]string{"PATCH", "GetSecretValue", "TagResource", "PutEvents"}).Draw(t, "op"), Late: late.Draw(t, "late")}
	}),
}

func (d drawing) step(t *rapid.T) step {
	s := step{After: pauses.Draw(t, "after"), Do: d.actions.Draw(t, "do"), Secret: rapid.IntRange(0, 2).Draw(t, "secret")}
	if percent(t, "ahead", d.marks) {
		s.Ahead = rapid.SampledFrom([]time.Duration{time.Nanosecond, 10 * time.Second, 3 * time.Minute}).Draw(t, "ahead")
	}
	switch s.Do {
	case put, promote:
		s.Version, s.Deliveries = versions.Draw(t, "version"), d.deliveries(t)
	case rollback:
		s.Back, s.Deliveries = rapid.IntRange(1, 3).Draw(t, "back"), d.deliveries(t)
	case cloudTrail, direct, http, reconcile:
		s.Call = d.delivery(t)
	case untag, edit, remove:
	default:
		s.For = pauses.Draw(t, "for") + time.Second
		s.Rate = rapid.SampledFrom([]int{100, 50, 20}).Draw(t, "rate")
		if s.Do == landLate {
			s.Late = late.Draw(t, "late")
		}
	}
	return s
}

func (d drawing) deliveries(t *rapid.T) []delivery {
	return rapid.SliceOfN(rapid.Custom(d.delivery), 1, d.events).Draw(t, "deliveries")
}

func (d drawing) delivery(t *rapid.T) delivery {
	one := delivery{After: pauses.Draw(t, "after")}
	if percent(t, "killed", d.kills) {
		k := d.killed.Draw(t, "kill")
		one.Kill, one.NoRetry = &k, rapid.Bool().Draw(t, "no retry")
	}
	return one
}

func percent(t *rapid.T, what string, n int) bool {
	return rapid.IntRange(1, 100).Draw(t, what) > 100-n
}

var versions = rapid.Custom(func(t *rapid.T) (v version) {
	switch rapid.SampledFrom([]int{0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5}).Draw(t, "version") {
	case 1:
		v.Honoured = pauses.Draw(t, "honoured")
	case 2:
		v.Scope = true
	case 3:
		v.ClientID = true
	case 4:
		v.Never = true
	case 5:
		v.Malformed = true
	}
	return v
})

var ops = weighted(map[int][]string{
	5: {"PATCH"},
	3: {"POST", "TagResource"},
	2: {"PutEvents", "DescribeSecret"},
	1: {"GetSecretValue", "ListSecrets", "token", "list", "GET"},
})

// pauses are short in most cases, so that invocations overlap.
var pauses = rapid.Custom(func(t *rapid.T) time.Duration {
	switch rapid.SampledFrom([]int{0, 0, 0, 0, 0, 0, 1, 1, 1, 2}).Draw(t, "scale") {
	case 0:
		return time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond
	case 1:
		return time.Duration(rapid.IntRange(0, 100).Draw(t, "s")) * time.Second
	}
	return time.Duration(rapid.IntRange(1, 16).Draw(t, "min")) * time.Minute
})

var late = rapid.Custom(func(t *rapid.T) time.Duration {
	if percent(t, "minutes", 40) {
		return time.Duration(rapid.IntRange(1, int(maxLate/time.Minute)).Draw(t, "late")) * time.Minute
	}
	return min(maxLate, pauses.Draw(t, "late"))
})

func weighted[V any](by map[int][]V) *rapid.Generator[V] {
	var all []V
	for weight := 9; weight > 0; weight-- {
		for range weight {
			all = append(all, by[weight]...)
		}
	}
	return rapid.SampledFrom(all)
}
