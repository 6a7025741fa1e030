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
	Plain   bool     // the token endpoints say text/plain of their JSON
	Prefix  bool     // the second stack has an AuthMethodNamePrefix
	Secrets []secret // there at the start
	Steps   []step   // one after another
}

type secret struct {
	Kind       kind
	Stack      int        `json:",omitzero"` // 1: the second function's, with another prefix and the same Datadog organisation
	Client     int        `json:",omitzero"` // n: shares the client of secret n-1
	Name       int        `json:",omitzero"` // n: shares the name of secret n-1, in another stack, or as both state it
	Deliveries []delivery `json:",omitzero"` // of the event of its creation
}

// kind is what a secret states, and what there is at Datadog beforehand.
type kind string

const (
	full     kind = "full"     // all, save a name
	named    kind = "named"    // all
	claimed  kind = "claimed"  // all, save a name; the auth method is there
	claiming kind = "claiming" // all, save a name, and the id of an auth method that is there under another name
	pinned   kind = "pinned"   // the client secret and the auth method's id
	recorded kind = "recorded" // the client secret alone; the operator's tag holds an auth method's id
	thief    kind = "thief"    // what its Ruses say
)

func (k kind) partial() bool { return k == pinned || k == recorded }

// made reports whether people made the auth method in Datadog's UI.
func (k kind) made() bool { return k.partial() || k == claimed || k == claiming }

// action is what a step does.
type action string

const (
	// Users of Secrets Manager. The first three move AWSCURRENT, so an event follows.
	put      action = "put"      // a new version
	rollback action = "rollback" // AWSCURRENT goes Back versions
	promote  action = "promote"  // a version staged under another label gets AWSCURRENT
	untag    action = "untag"    // the record is lost
	tag      action = "tag"      // the operator records the id alone
	keys     action = "keys"     // Datadog's keys rotate; for a time the secret and Datadog do not agree
	stage    action = "stage"    // a version for the rotation to promote
	rotate   action = "rotate"   // the four steps, up to three times
	foreign  action = "foreign"  // from now on another function rotates the secret; a rotation of its own is pending

	// Users of Datadog's UI.
	edit     action = "edit"
	rename   action = "rename"
	redirect action = "redirect" // the access token URL leads to the thief
	remove   action = "remove"   // an auth method that people made, which cannot always be made again, stays

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
	Move      bool          `json:",omitzero"` // another provider, and so another client
	Rename    bool          `json:",omitzero"` // another name, where one is stated
	Scope     bool          `json:",omitzero"` // another scope
	Malformed bool          `json:",omitzero"`
	Ruse      *ruse         `json:",omitzero"` // of a thief
}

// ruse is what a thief writes in its secret, in order to reach the auth method of another one.
type ruse struct {
	Victim int
	Pin    bool `json:",omitzero"` // the victim's auth method, as far as there is one
	Name   bool `json:",omitzero"` // the victim's
	Client whose
	URL    whose
}

type whose string

const (
	nobodys whose = "nobody's" // not stated
	own     whose = "own"      // the URL: of a server that accepts anything; the client: known to the honest provider
	theirs  whose = "theirs"
)

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
	text := fmt.Sprintf("schedule{Seed: %d, Warm: %v, Plain: %v, Prefix: %v}", s.Seed, s.Warm, s.Plain, s.Prefix)
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

// schedules draws them. Some are wide: of all that can happen, to 1 to 3 secrets. Some are narrow: the label of one secret
// moves back and forth, mostly around the schedule's reconcile, while invocations vanish and events get lost. In some a
// thief writes a secret, in some secrets share what they should not, in some the identity provider is in trouble, and in
// some the function rotates the secret.
var schedules = drawn(wide, wide, wide, narrow, narrow, narrow, hostile, hostile, sharing, sharing, doubtful, rotating)

func drawn(from ...drawing) *rapid.Generator[schedule] {
	return rapid.Custom(func(t *rapid.T) schedule {
		s := schedule{Seed: rapid.Uint64().Draw(t, "seed"), Warm: rapid.Bool().Draw(t, "warm"), Plain: percent(t, "plain", 20)}
		d := from[rapid.IntRange(0, len(from)-1).Draw(t, "from")]
		s.Prefix = d.shares && rapid.Bool().Draw(t, "prefix")
		s.Secrets = rapid.SliceOfN(rapid.Custom(d.secret), 1, d.secrets).Draw(t, "secrets")
		if d.thief {
			s.Secrets = append(s.Secrets, secret{Kind: thief, Deliveries: d.deliveries(t)})
		}
		for i := range s.Secrets {
			s.Secrets[i].Client, s.Secrets[i].Name = min(s.Secrets[i].Client, i), min(s.Secrets[i].Name, i)
		}
		if d.crowd > 0 && percent(t, "crowded", 4) {
			for i := range rapid.IntRange(5, d.crowd).Draw(t, "crowd") { // nobody tells of them: the schedule's reconcile finds all at once
				s.Secrets = append(s.Secrets, secret{Kind: full, Client: (i % 3) * len(s.Secrets) / 2})
			}
		}
		s.Steps = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step { return d.step(t, s.Secrets) }), 1, d.steps).Draw(t, "steps")
		return s
	})
}

// drawing says what is drawn, and how often.
type drawing struct {
	secrets, steps int // at most
	crowd          int // of secrets besides, at most, in some
	thief, shares  bool
	kinds          []kind
	versions       *rapid.Generator[version]
	events         int // deliveries of one event, at most
	marks, kills   int // percent: of steps near a reconcile of the schedule, of invocations that vanish
	actions        *rapid.Generator[action]
	killed         *rapid.Generator[kill]
}

var kinds = []kind{full, full, named, pinned, recorded, claimed, claiming}

var wide = drawing{secrets: 3, steps: 10, kinds: kinds, versions: anyVersions, events: 3, marks: 5, kills: 30,
	actions: weighted(map[int][]action{
		8: {put},
		5: {rollback},
		2: {promote, direct, reconcile, landLate},
		1: {untag, keys, edit, remove, cloudTrail, http, throttle429, fail500, loseAnswers, failTags, throttleSM, staleValues,
			staleLabels, staleLists, failTokens, failBus, rename, tag},
	}),
	killed: rapid.Custom(func(t *rapid.T) kill {
		return kill{rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "attempt"), ops.Draw(t, "op"),
			rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "nth"), rapid.Bool().Draw(t, "unsent"), late.Draw(t, "late")}
	}),
}

var narrow = drawing{secrets: 1, steps: 5, kinds: kinds, versions: anyVersions, events: 1, marks: 40, kills: 50,
	actions: weighted(map[int][]action{
		6: {rollback},
		4: {put},
		1: {direct, reconcile, landLate, failTags, staleLabels, edit},
	}),
	killed: rapid.Custom(func(t *rapid.T) kill {
		return kill{Op: rapid.SampledFrom([]string{"PATCH", "GetSecretValue", "TagResource", "PutEvents"}).Draw(t, "op"), Late: late.Draw(t, "late")}
	}),
}

var hostile = drawing{secrets: 2, steps: 8, thief: true, kinds: kinds, versions: anyVersions, events: 2, marks: 10, kills: 15,
	actions: weighted(map[int][]action{
		9: {put},
		2: {direct, reconcile, redirect, untag},
		1: {rollback, http, failTokens, loseAnswers, landLate, remove, rename, tag, edit, failTags},
	}),
	killed: wide.killed,
}

var sharing = drawing{secrets: 4, steps: 6, crowd: 40, shares: true, kinds: []kind{full, full, full, named, claimed}, versions: anyVersions, events: 1, marks: 30, kills: 30,
	actions: weighted(map[int][]action{
		4: {put, loseAnswers, landLate},
		2: {reconcile, remove, direct},
		1: {rollback, fail500, staleLists, untag, rename, throttle429},
	}),
	killed: rapid.Custom(func(t *rapid.T) kill {
		return kill{Op: rapid.SampledFrom([]string{"POST", "POST", "list", "TagResource"}).Draw(t, "op"), Late: late.Draw(t, "late")}
	}),
}

var doubtful = drawing{secrets: 2, steps: 7, kinds: kinds, versions: doubtfulVersions, events: 1, marks: 20, kills: 10,
	actions: weighted(map[int][]action{
		5: {put},
		4: {failTokens},
		2: {direct, reconcile},
		1: {rollback, failTags, untag, tag, edit, failBus, cloudTrail},
	}),
	killed: wide.killed,
}

var rotating = drawing{secrets: 1, steps: 9, kinds: kinds, versions: anyVersions, events: 1, marks: 5, kills: 30,
	actions: weighted(map[int][]action{
		5: {rotate},
		3: {stage},
		1: {put, rollback, foreign, throttleSM, staleLabels, staleValues, failTokens, promote},
	}),
	killed: rapid.Custom(func(t *rapid.T) kill {
		return kill{rapid.IntRange(0, 2).Draw(t, "attempt"), rapid.SampledFrom([]string{"PutSecretValue", "UpdateSecretVersionStage",
			"UpdateSecretVersionStage", "DescribeSecret", "GetSecretValue", "token"}).Draw(t, "op"), rapid.IntRange(0, 1).Draw(t, "nth"),
			rapid.Bool().Draw(t, "unsent"), late.Draw(t, "late")}
	}),
}

func (d drawing) secret(t *rapid.T) secret {
	s := secret{Kind: rapid.SampledFrom(d.kinds).Draw(t, "kind"), Deliveries: d.deliveries(t)}
	if d.shares {
		s.Stack = rapid.SampledFrom([]int{0, 0, 1}).Draw(t, "stack")
		s.Client = rapid.SampledFrom([]int{0, 1, 1, 2, 3}).Draw(t, "client")
		s.Name = rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, "name")
		if rapid.Bool().Draw(t, "silent") {
			s.Deliveries = nil
		}
	}
	return s
}

func (d drawing) step(t *rapid.T, secrets []secret) step {
	s := step{After: pauses.Draw(t, "after"), Do: d.actions.Draw(t, "do"), Secret: rapid.IntRange(0, len(secrets)-1).Draw(t, "secret")}
	if percent(t, "ahead", d.marks) {
		s.Ahead = rapid.SampledFrom([]time.Duration{time.Nanosecond, 10 * time.Second, 3 * time.Minute}).Draw(t, "ahead")
	}
	switch s.Do {
	case put, promote, stage:
		if secrets[s.Secret].Kind == thief {
			s.Version.Ruse = ruses.Draw(t, "ruse")
		} else {
			s.Version = d.versions.Draw(t, "version")
		}
		s.Deliveries = d.deliveries(t)
	case rollback:
		s.Back, s.Deliveries = rapid.IntRange(1, 3).Draw(t, "back"), d.deliveries(t)
	case rotate:
		s.Call, s.Deliveries = d.delivery(t), d.deliveries(t)
	case cloudTrail, direct, http, reconcile, foreign:
		s.Call = d.delivery(t)
	case untag, tag, edit, remove, rename, redirect:
	default:
		s.For = pauses.Draw(t, "for") + time.Second
		s.Rate = rapid.SampledFrom([]int{100, 50, 20}).Draw(t, "rate")
		if s.Do == landLate {
			s.Late = late.Draw(t, "late")
		}
	}
	return s
}

var ruses = rapid.Custom(func(t *rapid.T) *ruse {
	owners := rapid.SampledFrom([]whose{nobodys, own, theirs})
	return &ruse{rapid.IntRange(0, 1).Draw(t, "victim"), rapid.Bool().Draw(t, "pin"), rapid.Bool().Draw(t, "name"),
		owners.Draw(t, "client"), owners.Draw(t, "URL")}
})

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

var anyVersions, doubtfulVersions = versions(0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7), versions(0, 1, 1, 3, 4, 6)

func versions(special ...int) *rapid.Generator[version] {
	return rapid.Custom(func(t *rapid.T) (v version) {
		switch rapid.SampledFrom(special).Draw(t, "version") {
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
		case 6:
			v.Move = true
		case 7:
			v.Rename = true
		}
		return v
	})
}

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
