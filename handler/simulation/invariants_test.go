package simulation

import (
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"datadog-webhook-auth-sync/handler/sensitive"
)

// What must hold when every fault has ended and time has passed.

// check looks at the world when the dust has settled.
func (w *world) check() {
	for _, r := range w.results {
		w.checkResult(r)
	}
	for _, x := range w.subjects {
		if x.kind != thief {
			w.checkSubject(x)
		}
	}
	for _, k := range w.stacks {
		w.checkCounts(k)
	}
	for _, c := range w.commits {
		// What is never honoured is asked about again each time, and who shares an auth method writes over the other.
		if c.at.After(time.Now().Add(-schedulePause)) && !c.Never && !w.shared(c.method) {
			w.violated("%s writes %s though all is quiet", c.inv.id, c.secret)
		}
	}
	if unknown := w.datadog.Unknown(); len(unknown) > 0 {
		w.violated("Datadog knows no call %v", unknown)
	}
	w.checkSecrecy()
}

// shared: more than one secret has a right to write to the auth method.
func (w *world) shared(id string) bool {
	n := 0
	for _, x := range w.subjects {
		if x.own[id] {
			n++
		}
	}
	return n > 1
}

// checkSubject: Datadog holds AWSCURRENT, as it is stated, in the one auth method of the secret, and that was published.
func (w *world) checkSubject(x *subject) {
	now := x.now()
	if now.Malformed || now.Never || w.excused(x) {
		return
	}
	id := w.record(x)["id"]
	m, ok := w.datadog.Get(id)
	switch {
	case !ok:
		w.violated("%s has no auth method: %s", x.secretName(), w.lastCode(x))
		return
	case m.ClientSecret != now.secret && !w.isOfAnother(m.ClientSecret, x, id):
		w.violated("%s: Datadog holds %s, AWSCURRENT is %s: %s", x.secretName(), m.ClientSecret, now.secret, w.lastCode(x))
		return
	case w.shared(id):
		return
	case now.clientID != "" && (m.ClientID != now.clientID || aws.ToString(m.Scope) != now.scopeIs || m.Audience != nil || m.AccessTokenURL != now.accessTokenURL):
		w.violated("%s: Datadog's attributes are not the secret's: %+v", x.secretName(), m)
	case now.name != "" && now.name != m.Name:
		w.violated("%s: the auth method's name is %s", x.secretName(), m.Name)
	case !w.wasPublished(now) && w.record(x)["state"] != "unproven": // which its next refresh tells
		w.violated("%s is pushed, and nobody was told", now.secret)
	}
	if n := w.made(x); n > 1 && !x.renamed() {
		w.violated("%s has made %d auth methods", x.secretName(), n)
	}
}

// made counts the auth methods that there are because of x.
func (w *world) made(x *subject) int {
	ids := map[string]bool{}
	for _, c := range w.commits {
		if _, ok := w.datadog.Get(c.method); ok && c.subject == x && c.created {
			ids[c.method] = true
		}
	}
	return len(ids)
}

// renamed: what looks for the auth method by its name may miss it.
func (x *subject) renamed() bool {
	return x.edited || slices.ContainsFunc(x.versions, func(v *pushable) bool { return v.Rename })
}

// isOfAnother: who shares an auth method may find in it the AWSCURRENT of the other.
func (w *world) isOfAnother(secret string, x *subject, id string) bool {
	v := w.versions[secret]
	return v != nil && v.subject != x && v.own[id]
}

// excused: the function refuses to go on, and people have to decide.
func (w *world) excused(x *subject) bool {
	switch w.lastCode(x) {
	case "auth_method_mismatch":
		// Somebody else's has its name, or its client; or two secrets record its own; or it has another client than the one
		// that lost its record.
		return w.contested(x) || slices.ContainsFunc(x.versions, func(v *pushable) bool { return v.ClientID || v.Move }) || x.edited
	case "datadog_rejected":
		return x.stated != "" && w.contested(x)
	}
	return false
}

func (w *world) contested(x *subject) bool {
	now, id := x.now(), w.record(x)["id"]
	if w.shared(id) {
		return true
	}
	for _, m := range w.datadog.AuthMethods() {
		switch {
		case w.shared(m.ID) && x.own[m.ID]:
			return true
		case m.ID != id && (m.Name == now.looksFor() || now.clientID == m.ClientID && now.accessTokenURL == m.AccessTokenURL):
			return true
		}
	}
	return false
}

// lastCode is what fails as recorded, or else as published: the latest time wins, whenever it arrived.
func (w *world) lastCode(x *subject) string {
	if tag := w.record(x); tag["failing"]+tag["lost"] != "" {
		return tag["failing"] + tag["lost"]
	}
	last, code := time.Time{}, "nothing published"
	for _, r := range w.results {
		if r.Secret.ARN != x.arn || r.at.Before(last) {
			continue
		}
		if last, code = r.at, ""; r.Error != nil {
			code = r.Error.Code
		}
	}
	return code
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

func (w *world) staleness() time.Duration {
	if slices.ContainsFunc(w.Steps, func(s step) bool { return s.Do == staleLabels || s.Do == staleValues }) {
		return maxStale
	}
	return 0
}

// checkSecrecy: no secret value is in what the function said. Every one begins with the canary; one schedule in 50 is also
// searched for each of them in other forms.
func (w *world) checkSecrecy() {
	said := w.log.String()
	for _, e := range w.bus.Events() {
		said += *e.Detail
	}
	if i := strings.Index(said, canary); i >= 0 {
		w.violated("a secret value is in what the function said: %.200s", said[max(0, i-100):])
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
