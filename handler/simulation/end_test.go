package simulation

import (
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"datadog-webhook-auth-sync/handler/sensitive"
)

// What must hold when every fault has ended and time has passed.

func (w *world) check() {
	for _, p := range w.results {
		w.checkRevocation(p)
	}
	for _, x := range w.honest() {
		w.checkTeam(x)
	}
	w.checkCounts()
	for _, c := range w.commits {
		// A client secret that is never honoured is tried again each time; who shares an auth method overwrites the other.
		if c.at.After(w.ended.Add(-schedulePause)) && !c.Never && !w.shared(c.method) {
			w.violated("%s writes %s though all is quiet", c.inv.id, c.secret)
		}
	}
	if unknown := w.datadog.Unknown(); len(unknown) > 0 {
		w.violated("Datadog knows no call %v", unknown)
	}
	w.checkSecrecy()
}

// shared: more than one secret may write to the auth method.
func (w *world) shared(id string) bool {
	n := 0
	for _, x := range w.teams {
		if x.own[id] {
			n++
		}
	}
	return n > 1
}

// checkTeam: Datadog holds AWSCURRENT, as it is stated, in the one auth method of the secret, and that was published.
func (w *world) checkTeam(x *team) {
	now := x.now()
	if now.Malformed || now.Never || w.excused(x) {
		return
	}
	r := w.record(x)
	m, ok := w.datadog.Get(r["id"])
	other := w.versions[m.ClientSecret] // who shares an auth method may find in it the AWSCURRENT of the other
	ofAnother := other != nil && other.team != x && other.own[m.ID]
	asStated := m.ClientID == now.clientID && aws.ToString(m.Scope) == now.scopeIs && m.Audience == nil &&
		m.AccessTokenURL == now.accessTokenURL
	switch {
	case !ok:
		w.violated("%s has no auth method: %s", x.secretName(), w.lastCode(x))
	case m.ClientSecret != now.secret && !ofAnother:
		w.violated("%s: Datadog holds %s, AWSCURRENT is %s: %s", x.secretName(), m.ClientSecret, now.secret, w.lastCode(x))
	case w.shared(m.ID):
	case now.clientID != "" && !asStated || now.name != "" && now.name != m.Name:
		w.violated("%s: Datadog's attributes are not the secret's: %+v", x.secretName(), m)
	case !w.wasPublished(now) && r["state"] != "unproven": // which its next refresh publishes
		w.violated("%s is pushed, and that was not published", now.secret)
	case w.made(x) > 1 && !x.edited && !slices.ContainsFunc(x.versions, func(v *credential) bool { return v.Rename }):
		w.violated("%s has made more than one auth method", x.secretName())
	}
}

// made counts the auth methods that there are because of x.
func (w *world) made(x *team) int {
	ids := map[string]bool{}
	for _, c := range w.commits {
		if _, ok := w.datadog.Get(c.method); ok && c.team == x && c.create {
			ids[c.method] = true
		}
	}
	return len(ids)
}

// excused: the function refuses to go on, and people have to decide.
func (w *world) excused(x *team) bool {
	switch w.lastCode(x) {
	case "auth_method_mismatch":
		// Somebody else's has its name, or its client; or two secrets record its own; or it has another client than the one
		// that lost its record.
		other := func(v *credential) bool { return v.ClientID || v.Move }
		return w.contested(x) || slices.ContainsFunc(x.versions, other) || x.edited
	case "datadog_rejected":
		return x.stated != "" && w.contested(x)
	}
	return false
}

func (w *world) contested(x *team) bool {
	now, id := x.now(), w.record(x)["id"]
	return w.shared(id) || slices.ContainsFunc(w.datadog.AuthMethods(), func(m datadogMethod) bool {
		has := func(m datadogMethod) bool {
			return now.clientID == m.ClientID && now.accessTokenURL == m.AccessTokenURL
		}
		return w.shared(m.ID) && x.own[m.ID] || m.ID != id && (m.Name == now.methodName() || has(m))
	})
}

// lastCode is what fails as recorded, or else as published: the latest time wins, whenever it arrived.
func (w *world) lastCode(x *team) string {
	if code := w.record(x).code(); code != "" {
		return code
	}
	last, code := time.Time{}, "nothing published"
	for _, p := range w.results {
		if p.Secret.ARN == x.arn && !p.at.Before(last) {
			last, code = p.at, p.code()
		}
	}
	return code
}

// checkRevocation: what is called safe to revoke does not come back.
func (w *world) checkRevocation(p *publication) {
	for _, c := range w.commits {
		older := p.PreviousSecretSafeToRevoke && !slices.Contains(c.ids, p.Secret.VersionID) &&
			!c.wasCurrent(p.at.Add(-30*time.Second))
		if older && c.method == p.AuthMethod.ID && c.arn == p.Secret.ARN && c.at.After(p.at) {
			w.violated("%s called what is older than %s safe to revoke, then %s came back", p.inv.id, p.Secret.VersionID, c.secret)
		}
	}
}

// wasCurrent reports whether v had AWSCURRENT at any time from then on.
func (v *credential) wasCurrent(then time.Time) bool {
	for i, c := range v.current {
		over := i+1 < len(v.current) && !v.current[i+1].since.After(then)
		if c.credential == v && !over {
			return true
		}
	}
	return false
}

// checkSecrecy: no secret value is in what the function wrote. Every one begins with the canary; one schedule in 50
// is also searched for each of them in other forms.
func (w *world) checkSecrecy() {
	output := w.log.String()
	for _, e := range w.bus.Events() {
		output += *e.Detail
	}
	if i := strings.Index(output, canary); i >= 0 {
		w.violated("a secret value is in what the function wrote: %.200s", output[max(0, i-100):])
	}
	for secret := range w.versions {
		if w.Seed%50 == 0 && sensitive.New(secret).In(output) {
			w.violated("%s is in what the function wrote, in some form", secret)
		}
	}
}
