package simulation

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
)

// team has a secret, and may have an auth method.
type team struct {
	kind     kind
	name     string // of the secret, without the prefix
	stated   string // the name of its auth method, if it states one
	arn      string
	method   string // id of the auth method that people made for it, which it pins or its operator records
	clientID string
	provider string // host
	scope    string
	edited   bool // its auth method or its record, by people

	versions  []*credential   // in order of creation
	current   []labelMove     // AWSCURRENT, latest last
	own       map[string]bool // ids of the auth methods that it may write to
	tags      []tagging
	rotations rotations
}

// credential is a version of a secret.
type credential struct {
	*team
	version
	ids                                          []string // its own, and those of the copies that rotations made
	value, secret                                string
	pin, name, clientID, accessTokenURL, scopeIs string // as stated
	refusedBefore                                bool   // of a planted bug
}

// id is that of the version or of its latest copy.
func (v *credential) id() string { return v.ids[len(v.ids)-1] }

// labelMove is when AWSCURRENT moved to a version.
type labelMove struct {
	*credential
	since time.Time
}

func (w *world) create(i int, s secret) {
	x := &team{kind: s.Kind, name: fmt.Sprintf("team-%d", i), provider: hosts[0],
		clientID: fmt.Sprintf("client-%d", i), scope: "all", own: map[string]bool{},
		rotations: rotations{staged: map[string]int{}, promoted: map[string]map[string]bool{}}}
	if s.Client > 0 {
		x.clientID, x.provider = w.teams[s.Client-1].clientID, w.teams[s.Client-1].provider
	}
	if x.kind == named {
		x.stated = "named-" + x.name
	}
	if s.Name > 0 && x.kind == named {
		x.stated = cmp.Or(w.teams[s.Name-1].stated, x.stated)
	}
	w.teams = append(w.teams, x)
	if name := x.methodName(); x.kind.made() && w.methodNamed(name) == "" {
		x.method = w.makeByHand(x, name)
	}
	special := version{}
	if x.kind == attacker { // which begins with an auth method of its own
		special.Attack = &attack{Client: own, URL: own}
	}
	v := w.next(x, special)
	var id string
	x.arn, id = w.secrets.Create(x.secretName(), v.value)
	v.ids = []string{id}
	w.tagged(nil, x, "")
	if s.Kind == recorded {
		w.operatorTags(x)
	}
	w.moved(v, s.Deliveries)
}

func (x *team) now() *credential { return x.current[len(x.current)-1].credential }

func (x *team) secretName() string { return prefix + x.name }

// methodName is the name of the team's auth method, stated or default.
func (x *team) methodName() string { return cmp.Or(x.stated, x.name) }

// methodName is that by which an auth method is found, where nothing else says which.
func (v *credential) methodName() string { return cmp.Or(v.name, v.team.name) }

// record is what the tag says now.
func (w *world) record(x *team) record { return recordOf(w.secrets.Tags(x.secretName())[recordTag]) }

// versionWith is the one with this id.
func (x *team) versionWith(id string) *credential {
	for _, v := range x.versions {
		if slices.Contains(v.ids, id) {
			return v
		}
	}
	return nil
}

// teamOf is the one whose secret has that name or ARN.
func (w *world) teamOf(id string) *team {
	for _, x := range w.teams {
		if x.arn == id || x.secretName() == id {
			return x
		}
	}
	return nil
}

// honest teams are all but the attacker.
func (w *world) honest() []*team {
	return slices.DeleteFunc(slices.Clone(w.teams), func(x *team) bool { return x.kind == attacker })
}

// next makes a version, whose client secret the token endpoint honours from the time that special says.
func (w *world) next(x *team, special version) *credential {
	n := len(x.versions) + 1
	if !x.kind.made() && x.kind != attacker {
		if special.ClientID || special.Move {
			x.clientID = fmt.Sprintf("client-of-%s-%d", x.name, n)
		}
		if special.Move {
			x.provider = hosts[1-slices.Index(hosts, x.provider)]
		}
		if special.Rename && x.kind == named {
			x.stated = fmt.Sprintf("named-%s-%d", x.name, n)
		}
	}
	if special.Scope {
		x.scope = fmt.Sprintf("scope-%d", n)
	}
	v := &credential{team: x, version: special,
		secret: fmt.Sprintf("%s%s-%d!", canary, strings.ReplaceAll(x.secretName(), "/", "."), n)}
	if special.Never {
		special.Honoured = 100 * time.Hour
	}
	w.state(v)
	w.providers[x.provider].honoured[[2]string{x.clientID, v.secret}] = time.Now().Add(special.Honoured)
	x.versions = append(x.versions, v)
	w.versions[v.secret] = v
	return v
}

// state makes up the value, and notes what it states.
func (w *world) state(v *credential) {
	x := v.team
	switch x.kind {
	case attacker:
		w.attack(v)
	case pinned:
		v.pin = x.method
	case recorded:
	default:
		v.clientID, v.accessTokenURL, v.scopeIs, v.name = x.clientID, tokenURL(x.provider), x.scope, x.stated
	}
	members := map[string]string{"client_secret": v.secret}
	for field, text := range map[string]string{"auth_method_id": v.pin, "name": v.name, "client_id": v.clientID,
		"access_token_url": v.accessTokenURL, "scope": v.scopeIs} {
		if text != "" {
			members[field] = text
		}
	}
	if v.scopeIs != "" {
		members["audience"] = ""
	}
	text, _ := json.Marshal(members)
	switch v.value = string(text); {
	case v.Malformed:
		v.value = "{" + v.secret
	case x.kind == recorded:
		v.value = v.secret
	}
}

// secretIn is the client secret in a value.
func secretIn(value string) string {
	var members struct {
		Secret string `json:"client_secret"`
	}
	_ = json.Unmarshal([]byte(value), &members)
	return cmp.Or(members.Secret, strings.TrimPrefix(value, "{"))
}

// attack states what the attack says of the victim.
func (w *world) attack(v *credential) {
	honest := w.honest()
	victim := honest[v.Attack.Victim%len(honest)]
	if v.Attack.Pin {
		v.pin = w.methodOf(victim)
	}
	if v.Attack.Name {
		v.name = victim.methodName()
	}
	v.clientID = map[whose]string{own: v.team.clientID, theirs: victim.clientID}[v.Attack.Client]
	v.accessTokenURL = map[whose]string{own: tokenURL(attackerHost), theirs: tokenURL(victim.provider)}[v.Attack.URL]
}

// methodOf is the id of x's auth method if there is one, or else one that does not exist.
func (w *world) methodOf(x *team) string {
	for _, id := range []string{w.record(x)["id"], x.method, w.methodNamed(x.methodName())} {
		if _, ok := w.datadog.Get(id); ok {
			return id
		}
	}
	return uuid.NewString()
}

func (w *world) methodNamed(name string) string {
	for _, m := range w.datadog.AuthMethods() {
		if m.Name == name {
			return m.ID
		}
	}
	return ""
}

// operatorTags brings the auth method that people made for x, or that is recorded, under management as it is now.
func (w *world) operatorTags(x *team) {
	id := cmp.Or(x.method, w.record(x)["id"])
	if _, ok := w.datadog.Get(id); ok && x.kind != attacker {
		x.own[id] = true
		w.secrets.Tag(x.secretName(), recordTag, "id="+id)
		w.tagged(nil, x, "id="+id)
	}
}

// inUI does what people do in Datadog. An edit of the client secret alone nobody can see, so another attribute
// changes too.
func (w *world) inUI(do action, x *team) {
	m, ok := w.datadog.Get(w.methodOf(x))
	if !ok || x.kind == attacker {
		return
	}
	x.edited = true
	w.edits++
	switch do {
	case edit:
		m.ClientSecret, m.Scope = canary+"typed", new(fmt.Sprintf("typed-%d", w.edits))
	case rename:
		m.Name = fmt.Sprintf("renamed-%d", w.edits)
	case redirect:
		m.AccessTokenURL = tokenURL(attackerHost)
	case remove:
		w.datadog.Delete(m.ID)
		w.changed(m.ID)
		return
	}
	w.inDatadog(m)
}

// remake has people do what a deleted auth method asks for, once it must be known to be lost: they make another, or
// take the record off.
func (w *world) remake() {
	for _, x := range w.honest() {
		r, byHand := w.record(x), x.kind.partial()
		id := r["id"]
		if byHand {
			id = x.method
		}
		if _, exists := w.datadog.Get(id); exists || id == "" {
			continue
		}
		if r["version"] != "" && r["id"] == id && r["lost"] == "" && w.last.Error == nil {
			w.violated("nobody knows that the auth method of %s was deleted: %v", x.secretName(), r)
		}
		if byHand {
			x.method = w.makeByHand(x, "again-"+x.name)
		} else {
			w.do(step{Do: untag}, x)
		}
		switch x.kind {
		case recorded:
			w.operatorTags(x)
		case pinned:
			w.do(step{Do: put, Deliveries: []delivery{{}}}, x)
		}
	}
}

func (w *world) makeByHand(x *team, name string) (id string) {
	return w.inDatadog(datadogtest.AuthMethod{Name: name, ClientID: x.clientID, ClientSecret: canary + "by hand",
		AccessTokenURL: tokenURL(x.provider)})
}

// inDatadog stores m, by hand.
func (w *world) inDatadog(m datadogtest.AuthMethod) (id string) {
	m = w.datadog.Put(m)
	w.changed(m.ID)
	return m.ID
}
