package simulation

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
)

// What must hold at each call, whatever happens: who writes to which auth method, where a client secret goes, what is
// pushed.

// was is an auth method from one change to the next. A removed one has no id.
type was struct {
	since time.Time
	datadogtest.AuthMethod
}

// commit is a write that Datadog took.
type commit struct {
	at      time.Time
	inv     *invocation
	method  string // id
	url     string // that the auth method had then
	created bool
	*pushable
}

// record is a tag of the function, or the operator's.
type record struct {
	since                time.Time
	inv                  *invocation
	id, digest           string
	alone, failing, lost bool
}

// refusal is what was told of a version, so that it must not be pushed on a mere hope.
type refusal struct {
	*pushable
	since time.Time
}

// written is a write on the way to Datadog.
type written struct {
	*pushable
	inv       *invocation
	create    bool
	id        string    // of the auth method, once it is written
	listed    time.Time // when its invocation was last shown all auth methods
	attribute struct {
		Name     string `json:"name"`
		ClientID string `json:"client_id"`
		URL      string `json:"access_token_url"`
		Secret   string `json:"client_secret"`
	}
}

func (w *world) violated(format string, args ...any) {
	w.tell("VIOLATED: "+format, args...)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

// changed notes what an auth method is now.
func (w *world) changed(id string) datadogtest.AuthMethod {
	m, _ := w.datadog.Get(id)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.methods[id] = append(w.methods[id], was{time.Now(), m})
	return m
}

// at is what an auth method was then.
func (w *world) at(id string, then time.Time) (m datadogtest.AuthMethod) {
	for _, s := range w.methods[id] {
		if s.since.After(then) {
			break
		}
		m = s.AuthMethod
	}
	return m
}

func (w *world) version(secret string) *pushable {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.versions[secret]
}

// asking: a client secret goes only where its own value says, or where its auth method led to when it was recorded.
func (w *world) asking(inv *invocation, secret, url string) {
	v := w.version(secret)
	if v == nil {
		w.violated("%s asks %s about what is no version's client secret", inv.id, url)
		return
	}
	w.mu.Lock()
	ok := w.mayGo(inv, v, url)
	w.mu.Unlock()
	if !ok {
		w.violated("%s sends %s to %s", inv.id, secret, url)
	}
}

// mayGo: the URL is 1. what the value states; 2. that of the auth method as recorded at some time of the invocation, or
// as the invocation wrote it; 3. for a value that states none, that of the auth method which the operator's tag names, or
// which the value pins and no record does yet, as the invocation was shown it.
func (w *world) mayGo(inv *invocation, v *pushable, url string) bool {
	if v.accessTokenURL == url { // 1
		return true
	}
	for _, c := range w.commits { // 2
		if c.inv == inv && c.subject == v.subject && c.url == url {
			return true
		}
	}
	for _, r := range w.recordsOf(v.subject, inv) {
		switch {
		case w.digests[r.digest+" "+url]: // 2
			return true
		case v.accessTokenURL != "":
		case r.alone && w.shown(inv, r.id, url), v.pin != "" && r.id != v.pin && w.shown(inv, v.pin, url): // 3
			return true
		}
	}
	return false
}

func (w *world) shown(inv *invocation, id, url string) bool {
	return slices.ContainsFunc(inv.looksAt(id), func(t time.Time) bool { return w.at(id, t).AccessTokenURL == url })
}

// recordsOf are those that the invocation may have seen on x.
func (w *world) recordsOf(x *subject, inv *invocation) []record {
	first := inv.started.Add(-w.staleness())
	i := len(x.records) - 1
	for ; i > 0 && x.records[i].since.After(first); i-- {
	}
	return x.records[max(0, i):]
}

// recorded is a tag of the function's, or, without an invocation, of the operator's.
func (w *world) recorded(inv *invocation, x *subject, tag string) {
	field := fieldsOf(tag)
	r := record{since: time.Now(), inv: inv, id: field["id"], digest: field["digest"], alone: field["id"] != "" && field["version"] == "",
		failing: field["failing"]+field["lost"] != "", lost: field["lost"] != ""}
	w.mu.Lock()
	for _, c := range w.commits {
		if c.inv == inv && c.method == r.id {
			w.digests[r.digest+" "+c.url] = true
		}
	}
	x.records = append(x.records, r)
	if !r.failing {
		x.refused = refusal{}
	}
	known := r.id == "" || x.own[r.id]
	w.mu.Unlock()
	if !known {
		w.violated("%s records on %s an auth method that is not its own", inv.id, x.secretName())
	}
}

// writing: nothing is pushed but what the token endpoint was asked about, and did not refuse. A create, and the first write
// to an auth method, takes its acceptance; and so does what was told to have failed.
func (w *world) writing(inv *invocation, op, id string, body []byte) *written {
	s := written{inv: inv, create: op == "POST", listed: inv.listed()}
	var doc struct {
		Data struct{ Attributes any }
	}
	doc.Data.Attributes = &s.attribute
	_ = json.Unmarshal(body, &doc)
	secret := s.attribute.Secret
	if s.pushable = w.version(secret); s.pushable == nil {
		w.violated("%s pushes what is no version's client secret", inv.id)
		return nil
	}
	told := inv.verdict(secret)
	w.mu.Lock()
	records := w.recordsOf(s.subject, inv)
	isOwn := slices.ContainsFunc(records, func(r record) bool { return r.id == id }) ||
		slices.ContainsFunc(w.commits, func(c commit) bool { return c.inv == inv && c.method == id })
	fails := !slices.ContainsFunc(records, func(r record) bool { return !r.failing })
	toldSo := s.refused.pushable == s.pushable && inv.started.After(s.refused.since.Add(2*maxStale))
	w.mu.Unlock()
	switch {
	case s.create && s.listed.IsZero():
		w.violated("%s creates without a look", inv.id)
	case told.refused:
		w.violated("%s pushes %s, which the token endpoint rejected", inv.id, secret)
	case told.asked == 0:
		w.violated("%s pushes %s and did not ask the token endpoint", inv.id, secret)
	case told.accepted:
	case s.create:
		w.violated("%s creates with %s, which the token endpoint did not accept", inv.id, secret)
	case !isOwn:
		w.violated("%s takes over with %s, which the token endpoint did not accept", inv.id, secret)
	case fails, toldSo:
		w.violated("%s pushes %s, which failed and was not accepted since", inv.id, secret)
	}
	return &s
}

// committed: 1. an auth method is written to by whoever may; 2. what it holds stays where its own value says; 3. there is
// one for each client, as far as one invocation can know.
func (w *world) committed(s *written, answer []byte) {
	var doc struct {
		Data struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	_ = json.Unmarshal(answer, &doc)
	id, x, inv := doc.Data.ID, s.subject, s.inv
	s.id = id
	w.mu.Lock()
	entitled := s.create || w.entitled(inv, s.pushable, id)
	twin := s.create && s.name == "" && w.twin(s, id)
	w.mu.Unlock()
	m := w.changed(id)
	w.mu.Lock()
	x.own[id] = true
	x.refused = refusal{}
	w.commits = append(w.commits, commit{time.Now(), inv, id, m.AccessTokenURL, s.create, s.pushable})
	leads := s.attribute.URL != "" && s.attribute.URL == s.accessTokenURL || s.attribute.URL == "" && w.led(inv, s.pushable, id)
	w.mu.Unlock()
	w.tell("%s: Datadog holds %s", inv.id, s.secret)
	if !entitled {
		w.violated("%s writes %s to the auth method %s, which is not its own", inv.id, s.secret, m.Name)
	}
	if !leads {
		w.violated("%s leaves %s with %s", inv.id, s.secret, m.AccessTokenURL)
	}
	if twin {
		w.violated("%s makes a second auth method of %s", inv.id, m.ClientID)
	}
}

// entitled: the auth method is x's own, or the invocation was shown it with what the value states, and the token endpoint
// accepted.
func (w *world) entitled(inv *invocation, v *pushable, id string) bool {
	if v.subject.own[id] {
		return true
	}
	return inv.verdict(v.secret).accepted && slices.ContainsFunc(inv.looksAt(id), func(t time.Time) bool {
		m := w.at(id, t)
		byPin := v.pin == id && (v.clientID == "" || v.clientID == m.ClientID) && (v.accessTokenURL == "" || v.accessTokenURL == m.AccessTokenURL)
		return byPin || m.Name == v.looksFor() && v.clientID == m.ClientID && v.accessTokenURL == m.AccessTokenURL
	})
}

// led: the auth method leads to where the client secret may go, or did when the invocation was shown it.
func (w *world) led(inv *invocation, v *pushable, id string) bool {
	return slices.ContainsFunc(inv.looksAt(id), func(t time.Time) bool { return w.mayGo(inv, v, w.at(id, t).AccessTokenURL) }) ||
		w.mayGo(inv, v, w.at(id, time.Now()).AccessTokenURL)
}

// twin: one of this client is there, and was when the invocation was last shown all auth methods; or it made one itself.
func (w *world) twin(s *written, id string) bool {
	is := func(m datadogtest.AuthMethod) bool {
		return m.ClientID == s.attribute.ClientID && m.AccessTokenURL == s.attribute.URL
	}
	for other := range w.methods {
		if other != id && is(w.at(other, s.listed)) && is(w.at(other, time.Now())) {
			return true
		}
	}
	return slices.ContainsFunc(w.commits, func(c commit) bool {
		return c.inv == s.inv && c.created && c.name == "" && c.subject != s.subject && is(w.at(c.method, time.Now()))
	})
}
