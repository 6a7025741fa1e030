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

// subject is a secret, and how it came to be what it is.
type subject struct {
	kind     kind
	stack    *stack
	name     string // of the secret, without the prefix
	stated   string // the name of its auth method, if it states one
	arn      string
	method   string // id of the auth method that people made for it, which it pins or its operator records
	clientID string
	provider string // host
	scope    string
	edited   bool        // its auth method or its record, by people
	versions []*pushable // in order of creation

	// Under the world's lock.
	current   []turn          // AWSCURRENT, latest last
	own       map[string]bool // ids of the auth methods that it may write to
	records   []record        // latest last
	refused   refusal
	rotated   rotated
	foreignAt time.Time // since when another function rotates it
}

// pushable is a version of a secret.
type pushable struct {
	*subject
	version
	ids                                          []string // the version's own, and those of the copies that rotations made
	value, secret                                string
	pin, name, clientID, accessTokenURL, scopeIs string // as stated
}

type turn struct {
	*pushable
	since time.Time
}

func (w *world) create(i int, s secret) {
	x := &subject{kind: s.Kind, stack: w.stacks[s.Stack], name: fmt.Sprintf("team-%d", i), clientID: fmt.Sprintf("client-%d", i),
		provider: providers[0], scope: "all", own: map[string]bool{}}
	if s.Client > 0 {
		x.clientID, x.provider = w.subjects[s.Client-1].clientID, w.subjects[s.Client-1].provider
	}
	if x.kind == named {
		x.stated = "named-" + x.name
	}
	if s.Name > 0 {
		switch y := w.subjects[s.Name-1]; {
		case x.stack != y.stack && !slices.ContainsFunc(w.subjects, func(z *subject) bool { return z.stack == x.stack && z.name == y.name }):
			x.name = y.name
		case x.kind == named && y.kind == named:
			x.stated = y.stated
		}
	}
	w.mu.Lock()
	w.subjects = append(w.subjects, x)
	w.mu.Unlock()
	if name := x.methodName(); x.kind.made() && w.methodNamed(name) == "" {
		if x.kind == claiming {
			name = "kept-" + x.name
		}
		x.method = w.inDatadog(datadogtest.AuthMethod{Name: name, ClientID: x.clientID, ClientSecret: canary + "before", AccessTokenURL: tokenURL(x.provider)})
	}
	v := x.next(w, version{Ruse: x.firstRuse()})
	var id string
	x.arn, id = w.secrets.Create(x.secretName(), v.value)
	w.identified(v, id)
	w.recorded(nil, x, "")
	if s.Kind == recorded {
		w.operatorTags(x)
	}
	w.moved(x, v, s.Deliveries)
}

func (x *subject) now() *pushable { return x.current[len(x.current)-1].pushable }

// had is the version that was AWSCURRENT back turns ago.
func (x *subject) had(back int) *pushable { return x.current[max(0, len(x.current)-1-back)].pushable }

func (x *subject) secretName() string { return x.stack.prefix + x.name }

// methodName is the name of the subject's auth method, stated or default.
func (x *subject) methodName() string {
	return cmp.Or(x.stated, x.stack.namePrefix+x.name)
}

// looksFor is the name of the auth method, where nothing else tells which.
func (v *pushable) looksFor() string { return cmp.Or(v.name, v.stack.namePrefix+v.subject.name) }

// record is what the function's tag says.
func (w *world) record(x *subject) map[string]string {
	return fieldsOf(w.secrets.Tags(x.secretName())[recordTag])
}

func fieldsOf(tag string) map[string]string {
	fields := map[string]string{}
	for _, pair := range strings.Fields(tag) {
		key, value, _ := strings.Cut(pair, "=")
		fields[key] = value
	}
	return fields
}

// next makes a version, whose client secret the token endpoint honours when it is said to.
func (x *subject) next(w *world, special version) *pushable {
	n := len(x.versions) + 1
	if !x.kind.made() && x.kind != thief {
		if special.ClientID || special.Move {
			x.clientID = fmt.Sprintf("client-of-%s-%d", x.name, n)
		}
		if special.Move {
			x.provider = providers[1-slices.Index(providers, x.provider)]
		}
		if special.Rename && x.kind == named {
			x.stated = fmt.Sprintf("named-%s-%d", x.name, n)
		}
	}
	if special.Scope {
		x.scope = fmt.Sprintf("scope-%d", n)
	}
	v := &pushable{subject: x, version: special, secret: fmt.Sprintf("%s%s-%d!", canary, strings.ReplaceAll(x.secretName(), "/", "."), n)}
	if special.Never {
		special.Honoured = 100 * time.Hour
	}
	v.state(w)
	w.tokens[x.provider].HonourAfter(x.clientID, v.secret, special.Honoured)
	w.mu.Lock()
	defer w.mu.Unlock()
	x.versions = append(x.versions, v)
	w.versions[v.secret] = v
	return v
}

// identified: v is a version with this id.
func (w *world) identified(v *pushable, id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v.ids = append(v.ids, id)
}

// state makes up the value, and notes what it states.
func (v *pushable) state(w *world) {
	x := v.subject
	switch x.kind {
	case thief:
		v.steal(w)
	case pinned:
		v.pin = x.method
	case recorded:
	default:
		v.clientID, v.accessTokenURL, v.scopeIs, v.name = x.clientID, tokenURL(x.provider), x.scope, x.stated
		if x.kind == claiming {
			v.pin = x.method
		}
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
	case len(members) == 1 && x.kind == recorded:
		v.value = v.secret
	}
}

// firstRuse is how a thief begins: with an auth method of its own.
func (x *subject) firstRuse() *ruse {
	if x.kind != thief {
		return nil
	}
	return &ruse{Client: own, URL: own}
}

// steal states what the ruse says of the victim.
func (v *pushable) steal(w *world) {
	honest := slices.DeleteFunc(slices.Clone(w.subjects), func(x *subject) bool { return x.kind == thief })
	victim := honest[v.Ruse.Victim%len(honest)]
	if v.Ruse.Pin {
		v.pin = w.methodOf(victim)
	}
	if v.Ruse.Name {
		v.name = victim.methodName()
	}
	v.clientID = map[whose]string{own: v.subject.clientID, theirs: victim.clientID}[v.Ruse.Client]
	v.accessTokenURL = map[whose]string{own: tokenURL(thiefHost), theirs: tokenURL(victim.provider)}[v.Ruse.URL]
}

// methodOf is the id of x's auth method as far as there is one, or else one that does not exist.
func (w *world) methodOf(x *subject) string {
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
func (w *world) operatorTags(x *subject) {
	id := x.method
	if id == "" {
		id = w.record(x)["id"]
	}
	if _, ok := w.datadog.Get(id); !ok || x.kind == thief {
		return
	}
	w.mu.Lock()
	x.own[id] = true
	w.mu.Unlock()
	w.secrets.Tag(x.secretName(), recordTag, "id="+id)
	w.recorded(nil, x, "id="+id)
}

// inUI does what people do in Datadog. An edit of the client secret alone nobody can see, so another attribute changes too.
func (w *world) inUI(do action, x *subject) {
	m, ok := w.datadog.Get(w.methodOf(x))
	if !ok || x.kind == thief {
		return
	}
	x.edited = true
	w.edits++
	switch do {
	case edit:
		m.ClientSecret = canary + "typed"
		m.Scope = new(fmt.Sprintf("typed-%d", w.edits))
		w.inDatadog(m)
	case rename:
		m.Name = fmt.Sprintf("renamed-%d", w.edits)
		w.inDatadog(m)
	case redirect:
		m.AccessTokenURL = tokenURL(thiefHost)
		w.inDatadog(m)
	case remove:
		if !x.kind.made() {
			w.datadog.Delete(m.ID)
			w.changed(m.ID)
		}
	}
}

func (w *world) restoreURL(x *subject) {
	if m, ok := w.datadog.Get(x.method); ok {
		m.AccessTokenURL = tokenURL(x.provider)
		w.inDatadog(m)
	}
}

// inDatadog puts m there, by hand.
func (w *world) inDatadog(m datadogtest.AuthMethod) (id string) {
	m = w.datadog.Put(m)
	w.changed(m.ID)
	return m.ID
}
