package simulation

import (
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// What the function records on a secret: in its grammar, after the news that it stands for, and without forgetting
// what a token endpoint refused.

// record is the fields of the tag.
type record map[string]string

func recordOf(tag string) record {
	r := record{}
	for _, pair := range strings.Fields(tag) {
		key, value, _ := strings.Cut(pair, "=")
		r[key] = value
	}
	return r
}

// code is that of the failure which stands.
func (r record) code() string { return r["waiting"] + r.published() }

// published is the code of the failure which stands, if it was published.
func (r record) published() string { return r["failing"] + r["lost"] }

func (r record) time(field string) time.Time {
	at, _ := time.Parse(time.RFC3339, r[field])
	return at
}

// refusedKey is what a record holds of the id of a version that was refused.
func refusedKey(id string) string {
	sum := sha256.Sum256([]byte(id))
	return base64.RawURLEncoding.EncodeToString(sum[:])[:10]
}

var (
	grammar = regexp.MustCompile(`^(id=[0-9a-f-]{36}( |$))?(version=[0-9a-f-]{36} )?(at=\S{20} )?` +
		`(digest=[\w-]{16} )?(site=\S+( |$))?(via=(header|body|plain)( |$))?` +
		`((state=(pushed|unproven|settled)|(waiting|failing|lost)=[a-z_]+ since=\S{20})( |$))?(refused=[\w-]{10})?$`)
)

// tagging is a tag written by an invocation or, without one, by the operator.
type tagging struct {
	at  time.Time
	inv *invocation
}

func (w *world) tagged(inv *invocation, x *team, tag string) {
	if inv != nil {
		w.checkRecord(inv, x, tag)
	}
	r := recordOf(tag)
	for _, c := range w.commits {
		if c.inv == inv && c.method == r["id"] && r["digest"] != "" {
			w.digests[r["digest"]+" "+c.url] = true
		}
	}
	x.tags = append(x.tags, tagging{time.Now(), inv})
}

// othersTagged: somebody else wrote the record since inv last saw it.
func (x *team) othersTagged(inv *invocation) bool {
	seen := inv.last(x).asOf
	return slices.ContainsFunc(x.tags, func(t tagging) bool { return t.inv != inv && !t.at.Before(seen) })
}

// checkRecord compares what inv records with what it saw recorded, and with what it knows.
func (w *world) checkRecord(inv *invocation, x *team, tag string) {
	next, seen := recordOf(tag), inv.last(x)
	was := seen.record
	wrong := func(what string) { w.violated("%s %s on %s: %q after %q", inv.id, what, x.secretName(), next, was) }
	news := func(is func(*publication) bool) bool { return slices.ContainsFunc(inv.published(x), is) }
	held := func(verification string) bool {
		return news(func(p *publication) bool { return p.held() == verification })
	}
	known, _, _ := w.afterWrites(inv, x)
	v := x.versionWith(next["version"])
	accepted := v != nil && inv.accepted(v.secret)
	switch {
	case !grammar.MatchString(tag) || len(tag) > 255:
		wrong("records what is no record")
	case maps.Equal(next, was):
		wrong("writes the tag that is there")
	case next["id"] != "" && !x.own[next["id"]]:
		wrong("records an auth method that is not its own")
	}
	switch code := next.code(); {
	case code == "" && was.published() != "" && !news(func(p *publication) bool { return p.Recovered != nil }):
		wrong("ends a failure without news")
	case code == "" && next["version"] != "" && was.code() != "" && !accepted:
		wrong("ends a failure without a proof")
	case code != "" && was.code() != "" && was["since"] != next["since"]:
		wrong("dates a failure anew")
	case next["waiting"] != "" && was.code() != "" && was["waiting"] != code:
		wrong("does not leave a failure as it is")
	case next.published() != "" && code != was.published() && !news(func(p *publication) bool { return p.code() == code }):
		wrong("records a failure that it did not publish")
	case next["lost"] != "" && known["lost"] == "" && !held("rejected"):
		wrong("records a loss that it did not publish")
	case next["failing"] != "" && known["lost"] == code && !held("accepted"):
		wrong("ends a loss without news")
	}
	succeeded := news(func(p *publication) bool { return p.Error == nil })
	switch s := next["state"]; {
	case succeeded || s == "":
	case s == "settled" && was["state"] != s, w.created(inv, x) && was["id"] != next["id"] && !inv.blind:
		wrong("records a success that it did not publish")
	}
	if s := next["state"]; s == "settled" || s == "unproven" {
		old := time.Now().Add(-10 * time.Minute)
		same := was["id"] == next["id"] && was["version"] == next["version"] && was["digest"] == next["digest"]
		switch {
		case inv.kind != "reconcile" || !same || was.code() != "" || was.time("at").After(old) || seen.changed.After(old):
			wrong("settles too early")
		case slices.ContainsFunc(inv.described[x], func(d description) bool { return d.current != seen.current }):
			wrong("settles though AWSCURRENT moved in this sync")
		case (s == "settled") != accepted:
			wrong("settles as " + s)
		}
	}
	if why := inv.forgets(x, was["refused"], next["refused"]); why != "" {
		wrong(why)
	}
}

// forgets says in what the refused version that is recorded now differs from what inv saw recorded and learned
// itself: a version stays until it is accepted, or until another is refused; and one that inv was refused is
// recorded, AWSCURRENT before another.
func (inv *invocation) forgets(x *team, was, is string) string {
	current, refused, accepted := inv.last(x).current, map[string]bool{}, map[string]bool{}
	mustBe, anyRefused := "", false
	for _, v := range x.versions {
		for _, id := range v.ids {
			key := refusedKey(id)
			refused[key], accepted[key] = inv.refused(v.secret), inv.verdict(v.secret) == aToken
			if anyRefused = anyRefused || refused[key]; refused[key] && id == current {
				mustBe = key
			}
		}
	}
	switch {
	case is != "" && accepted[is]:
		return "keeps as refused what is accepted"
	case mustBe != "" && is != mustBe, anyRefused && !refused[is] && (is == "" || is != was),
		is == "" && was != "" && !accepted[was]:
		return "forgets what was refused"
	case is != was && is != "" && !refused[is]:
		return "says refused of what was not"
	}
	return ""
}
