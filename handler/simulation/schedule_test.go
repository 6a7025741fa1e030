package simulation

import (
	"time"

	"pgregory.net/rapid"
)

// schedule is all that happens to the function, as data.
type schedule struct {
	Seed    uint64   // of latencies, and of which calls a fault hits
	Warm    bool     // the secrets have settled before the first step
	Styles  [2]style // of the identity providers
	Secrets []secret // there at the start
	Steps   []step   // one after another
}

// style is how an identity provider lets clients authenticate.
type style struct {
	Only      string `json:",omitzero"` // header, body or plain; empty: header or body
	Otherwise int    `json:",omitzero"` // the status of its answer to another style, if not 401
}

type secret struct {
	Kind       kind
	Client     int        `json:",omitzero"` // n: shares the client of secret n-1
	Name       int        `json:",omitzero"` // n: shares the name of secret n-1, if both state one
	Deliveries []delivery `json:",omitzero"` // of the event of its creation
}

// kind is what a secret states, and what there is at Datadog beforehand.
type kind string

const (
	full     kind = "full"     // all, save a name
	named    kind = "named"    // all
	claimed  kind = "claimed"  // all, save a name; the auth method is there
	pinned   kind = "pinned"   // the client secret and the auth method's id
	recorded kind = "recorded" // the client secret alone; the operator's tag holds an auth method's id
	attacker kind = "attacker" // what its Attacks say
)

func (k kind) partial() bool { return k == pinned || k == recorded }

// made reports whether people made the auth method in Datadog's UI.
func (k kind) made() bool { return k.partial() || k == claimed }

// action is what a step does.
type action string

const (
	// Users of Secrets Manager. The first three move AWSCURRENT, so an event follows.
	put      action = "put"      // a new version
	rollback action = "rollback" // AWSCURRENT goes Back versions
	promote  action = "promote"  // a version staged under another label gets AWSCURRENT
	untag    action = "untag"    // the record is lost
	tag      action = "tag"      // the operator records the id alone
	stage    action = "stage"    // a version for the rotation to promote
	rotate   action = "rotate"   // the four steps, up to three times
	foreign  action = "foreign"  // from now on another function rotates the secret; a rotation of its own is pending

	revoke action = "revoke" // the identity provider forgets every client secret but the newest

	// Users of Datadog's UI.
	edit     action = "edit"
	rename   action = "rename"
	redirect action = "redirect" // the access token URL leads to the attacker
	remove   action = "remove"

	// Callers of the function.
	cloudTrail action = "cloudtrail"
	direct     action = "direct"
	reconcile  action = "reconcile" // besides the schedule

	// Faults, for a time and a share of the calls.
	throttle429  action = "429"          // of Datadog
	proxy404     action = "404"          // of a proxy in front of Datadog
	fail500      action = "500"          // of Datadog
	forbidWrites action = "403"          // of Datadog to writes, as to keys that may only read
	loseAnswers  action = "lost"         // of writes to Datadog, which take effect
	landLate     action = "late"         // writes to Datadog take effect long after the caller gave up
	failTags     action = "tags"         // TagResource fails, or seems to
	throttleSM   action = "throttle"     // all of Secrets Manager
	staleValues  action = "stale values" // reads of values, some seconds
	staleLabels  action = "stale labels" // reads of labels and tags, some seconds
	staleLists   action = "stale lists"  // some minutes
	failTokens   action = "tokens"       // the token endpoints give no verdict
	refuseTokens action = "refuse"       // the token endpoints refuse everything
	failBus      action = "bus"          // PutEvents fails, or seems to
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
	Attack    *attack       `json:",omitzero"` // of an attacker
}

// attack is what an attacker writes in its secret, in order to reach the auth method of another one.
type attack struct {
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

// schedules draws them. Some are wide: of all that can happen, to 1 to 3 secrets. Some are narrow: the label of one
// secret moves back and forth, mostly around the schedule's reconcile, while invocations vanish and events get
// lost. In some an attacker writes a secret, in some secrets share what they should not, in some the identity
// provider is in trouble, and in some the function rotates the secret.
var schedules = drawn(wide, wide, wide, narrow, narrow, narrow, hostile, hostile, sharing, sharing, doubtful, doubtful,
	doubtful, rotating)

// drawing says what is drawn, and how often.
type drawing struct {
	secrets, steps, events int // at most; events: deliveries of one
	crowd                  int // of secrets besides, at most, in some
	attacker, shares       bool
	kinds                  []kind
	versions               *rapid.Generator[version]
	actions                *rapid.Generator[action]
	marks, kills           int                      // percent: of steps near a reconcile, of invocations that vanish
	long, styles           int                      // percent: of faults that last minutes, of providers with one style
	ops                    *rapid.Generator[string] // at which they vanish
	first                  bool                     // only at the first call of the first attempt, once it is sent
}

var kinds = []kind{full, full, named, pinned, recorded, claimed, claimed}

var wide = drawing{secrets: 3, steps: 10, events: 3, kinds: kinds, versions: anyVersions, marks: 5, kills: 30,
	styles: 15,
	actions: weighted(map[int][]action{
		8: {put},
		5: {rollback},
		2: {promote, direct, reconcile, landLate},
		1: {untag, revoke, edit, remove, cloudTrail, throttle429, fail500, loseAnswers, failTags, throttleSM, staleValues,
			staleLabels, staleLists, failTokens, refuseTokens, failBus, rename, tag, proxy404, forbidWrites},
	}),
	ops: anyOps}

var narrow = drawing{secrets: 1, steps: 5, events: 1, kinds: kinds, versions: anyVersions, marks: 40, kills: 50,
	actions: weighted(map[int][]action{
		6: {rollback},
		4: {put},
		1: {direct, reconcile, landLate, failTags, staleLabels, edit},
	}),
	ops: rapid.SampledFrom([]string{"PATCH", "PATCH", "PATCH", "GetSecretValue", "TagResource", "PutEvents"}), first: true}

var hostile = drawing{secrets: 2, steps: 8, events: 2, attacker: true, kinds: kinds, versions: anyVersions, marks: 10,
	kills: 15,
	actions: weighted(map[int][]action{
		9: {put},
		2: {direct, reconcile, redirect, untag},
		1: {rollback, failTokens, loseAnswers, landLate, remove, rename, tag, edit, failTags},
	}),
	ops: anyOps}

var sharing = drawing{secrets: 4, steps: 6, events: 1, crowd: 40, shares: true,
	kinds: []kind{full, full, named, named, claimed}, versions: anyVersions, marks: 30, kills: 30,
	actions: weighted(map[int][]action{
		4: {put, loseAnswers, landLate},
		2: {reconcile, remove, direct},
		1: {rollback, fail500, forbidWrites, staleLists, untag, rename, throttle429, proxy404},
	}),
	ops: rapid.SampledFrom([]string{"POST", "POST", "list", "TagResource"}), first: true}

var doubtful = drawing{secrets: 2, steps: 7, events: 2, kinds: kinds, versions: doubtfulVersions, marks: 20, kills: 10,
	long: 40, styles: 50,
	actions: weighted(map[int][]action{
		5: {put},
		4: {failTokens},
		2: {direct, reconcile, rollback, revoke, refuseTokens, failBus},
		1: {failTags, untag, tag, edit, cloudTrail, fail500, throttle429, remove, loseAnswers},
	}),
	ops: anyOps}

var rotating = drawing{secrets: 1, steps: 9, events: 1, kinds: kinds, versions: anyVersions, marks: 5, kills: 30,
	actions: weighted(map[int][]action{
		5: {rotate},
		3: {stage},
		1: {put, rollback, foreign, throttleSM, staleLabels, staleValues, failTokens, promote},
	}),
	ops: rapid.SampledFrom([]string{"PutSecretValue", "UpdateSecretVersionStage", "UpdateSecretVersionStage",
		"DescribeSecret", "GetSecretValue", "token"})}

func drawn(from ...drawing) *rapid.Generator[schedule] {
	return rapid.Custom(func(t *rapid.T) schedule {
		s := schedule{Seed: rapid.Uint64().Draw(t, "seed"), Warm: rapid.Bool().Draw(t, "warm")}
		d := rapid.SampledFrom(from).Draw(t, "from")
		for i := range s.Styles {
			if percent(t, "special style", d.styles) {
				s.Styles[i].Only = rapid.SampledFrom([]string{"header", "body", "plain"}).Draw(t, "only")
				s.Styles[i].Otherwise = rapid.SampledFrom([]int{0, 200, 500}).Draw(t, "otherwise")
			}
		}
		s.Secrets = rapid.SliceOfN(rapid.Custom(d.secret), 1, d.secrets).Draw(t, "secrets")
		if d.attacker {
			s.Secrets = append(s.Secrets, secret{Kind: attacker, Deliveries: d.deliveries(t)})
		}
		for i := range s.Secrets {
			s.Secrets[i].Client, s.Secrets[i].Name = min(s.Secrets[i].Client, i), min(s.Secrets[i].Name, i)
		}
		if d.crowd > 0 && percent(t, "crowded", 6) { // no event comes: the schedule's reconcile finds all at once
			for i := range rapid.IntRange(5, d.crowd).Draw(t, "crowd") {
				s.Secrets = append(s.Secrets, secret{Kind: full, Client: (i % 3) * len(s.Secrets) / 2})
			}
		}
		steps := rapid.Custom(func(t *rapid.T) step { return d.step(t, s.Secrets) })
		s.Steps = rapid.SliceOfN(steps, 1, d.steps).Draw(t, "steps")
		return s
	})
}

func (d drawing) secret(t *rapid.T) secret {
	s := secret{Kind: rapid.SampledFrom(d.kinds).Draw(t, "kind"), Deliveries: d.deliveries(t)}
	if d.shares {
		s.Client = rapid.SampledFrom([]int{0, 1, 1, 2, 3}).Draw(t, "client")
		s.Name = rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, "name")
		if rapid.Bool().Draw(t, "silent") {
			s.Deliveries = nil
		}
	}
	return s
}

func (d drawing) step(t *rapid.T, secrets []secret) step {
	s := step{After: pauses.Draw(t, "after"), Do: d.actions.Draw(t, "do"),
		Secret: rapid.IntRange(0, len(secrets)-1).Draw(t, "secret")}
	if percent(t, "ahead", d.marks) {
		s.Ahead = rapid.SampledFrom([]time.Duration{time.Nanosecond, 10 * time.Second, 3 * time.Minute}).Draw(t, "ahead")
	}
	switch s.Do {
	case put, promote, stage:
		if secrets[s.Secret].Kind == attacker {
			s.Version.Attack = attacks.Draw(t, "attack")
		} else {
			s.Version = d.versions.Draw(t, "version")
		}
		s.Deliveries = d.deliveries(t)
	case rollback:
		s.Back, s.Deliveries = rapid.IntRange(1, 3).Draw(t, "back"), d.deliveries(t)
	case rotate:
		s.Call, s.Deliveries = d.delivery(t), d.deliveries(t)
	case cloudTrail, direct, reconcile, foreign:
		s.Call = d.delivery(t)
	case untag, tag, revoke, edit, remove, rename, redirect:
	default:
		s.For = pauses.Draw(t, "for") + time.Second
		s.Rate = rapid.SampledFrom([]int{100, 50, 20}).Draw(t, "rate")
		if percent(t, "long", d.long) {
			s.For *= 30
		}
		if s.Do == landLate {
			s.Late = late.Draw(t, "late")
		}
	}
	return s
}

var attacks = rapid.Custom(func(t *rapid.T) *attack {
	owners := rapid.SampledFrom([]whose{nobodys, own, theirs})
	return &attack{rapid.IntRange(0, 1).Draw(t, "victim"), rapid.Bool().Draw(t, "pin"), rapid.Bool().Draw(t, "name"),
		owners.Draw(t, "client"), owners.Draw(t, "URL")}
})

func (d drawing) deliveries(t *rapid.T) []delivery {
	return rapid.SliceOfN(rapid.Custom(d.delivery), 1, d.events).Draw(t, "deliveries")
}

func (d drawing) delivery(t *rapid.T) delivery {
	one := delivery{After: pauses.Draw(t, "after")}
	if !percent(t, "killed", d.kills) {
		return one
	}
	k := kill{Op: d.ops.Draw(t, "op"), Late: late.Draw(t, "late")}
	if one.Kill, one.NoRetry = &k, rapid.Bool().Draw(t, "no retry"); !d.first {
		nth := rapid.SampledFrom([]int{0, 0, 0, 1, 2})
		k.Attempt, k.Nth, k.Unsent = nth.Draw(t, "attempt"), nth.Draw(t, "nth"), rapid.Bool().Draw(t, "unsent")
	}
	return one
}

func percent(t *rapid.T, what string, n int) bool {
	return rapid.IntRange(1, 100).Draw(t, what) > 100-n
}

var (
	plain, later, never = version{}, version{Honoured: 1}, version{Never: true}
	otherClient, moved  = version{ClientID: true}, version{Move: true}

	anyVersions = versions(plain, plain, plain, plain, plain, plain, later, later, never, otherClient, moved,
		version{Scope: true}, version{Malformed: true}, version{Rename: true})
	doubtfulVersions = versions(plain, later, later, never, otherClient, moved)
)

func versions(special ...version) *rapid.Generator[version] {
	return rapid.Custom(func(t *rapid.T) version {
		v := rapid.SampledFrom(special).Draw(t, "version")
		if v == later {
			v.Honoured = pauses.Draw(t, "honoured")
		}
		return v
	})
}

var anyOps = weighted(map[int][]string{
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
