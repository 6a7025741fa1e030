package simulation

import (
	"encoding/json"
	"slices"
	"time"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
)

// What must hold at each call, whatever happens: who writes to which auth method, where a client secret is sent,
// what is written.

type datadogMethod = datadogtest.AuthMethod

// state is what an auth method is from one change to the next. That of a removed one has no id.
type state struct {
	since time.Time
	datadogMethod
}

// write is one to Datadog.
type write struct {
	*credential
	inv       *invocation
	create    bool
	sent      time.Time
	listed    time.Time // when its invocation was last shown all auth methods
	at        time.Time // when Datadog took it
	method    string    // id of the auth method, then
	url       string    // of the auth method, then
	attribute struct {
		Name     string `json:"name"`
		ClientID string `json:"client_id"`
		URL      string `json:"access_token_url"`
		Secret   string `json:"client_secret"`
	}
}

// changed notes what an auth method is now.
func (w *world) changed(id string) datadogMethod {
	m, _ := w.datadog.Get(id)
	w.methods[id] = append(w.methods[id], state{time.Now(), m})
	return m
}

// at is what an auth method was then.
func (w *world) at(id string, then time.Time) (m datadogMethod) {
	for _, s := range w.methods[id] {
		if s.since.After(then) {
			break
		}
		m = s.datadogMethod
	}
	return m
}

// checkURL: a client secret goes only where its own value says, or where its auth method led to when it was recorded.
func (w *world) checkURL(inv *invocation, secret, url string) {
	switch v := w.versions[secret]; {
	case v == nil:
		w.violated("%s asks %s about what is no version's client secret", inv.id, url)
	case !w.maySend(inv, v, url):
		w.violated("%s sends %s to %s", inv.id, secret, url)
	}
}

// maySend: the URL is 1. what the value states; 2. that of the auth method as the record has it, or as the
// invocation wrote it; 3. for a value that states none, that of the auth method which the operator's tag names, or
// which the value pins and no record does yet, as the invocation was shown it.
func (w *world) maySend(inv *invocation, v *credential, url string) bool {
	shown := func(id string) bool {
		return inv.saw(id, func(then time.Time) bool { return w.at(id, then).AccessTokenURL == url })
	}
	return v.accessTokenURL == url || // 1
		slices.ContainsFunc(w.commits, func(c *write) bool { return c.inv == inv && c.team == v.team && c.url == url }) || // 2
		slices.ContainsFunc(inv.described[v.team], func(d description) bool {
			operators := d.record["id"] != "" && d.record["digest"] == ""
			pins := v.pin != "" && d.record["id"] != v.pin
			return w.digests[d.record["digest"]+" "+url] || // 2
				v.accessTokenURL == "" && (operators && shown(d.record["id"]) || pins && shown(v.pin)) // 3
		})
}

// writing: nothing is written but what the token endpoint was asked about, and did not refuse. A create, the first
// write to an auth method, one that changes the URL, and one of a version that is recorded as refused takes its
// acceptance. Two invocations at once cannot see what the other was refused, so this holds for what the invocation
// itself was refused and for what DescribeSecret showed it last. No auth method is made in place of one that is
// recorded, and no two at once.
func (w *world) writing(inv *invocation, op, id string, body []byte) *write {
	s := write{inv: inv, create: op == "POST", sent: time.Now(), listed: inv.listed()}
	var doc struct {
		Data struct{ Attributes any }
	}
	doc.Data.Attributes = &s.attribute
	_ = json.Unmarshal(body, &doc)
	secret := s.attribute.Secret
	if s.credential = w.versions[secret]; s.credential == nil {
		w.violated("%s pushes what is no version's client secret", inv.id)
		return nil
	}
	seen, all := inv.last(s.team), inv.attempts[secret]
	own := slices.ContainsFunc(inv.described[s.team], func(d description) bool { return d.record["id"] == id }) ||
		slices.ContainsFunc(w.commits, func(c *write) bool { return c.inv == inv && c.method == id })
	sameURL := inv.saw(id, func(then time.Time) bool { return w.at(id, then).AccessTokenURL == s.attribute.URL })
	switch {
	case s.create && s.listed.IsZero():
		w.violated("%s creates without a look", inv.id)
	case s.listed.Before(inv.surprised[s.team]):
		w.violated("%s pushes %s again without a look", inv.id, secret)
	case s.create && seen.record["id"] != "":
		w.violated("%s creates though %s records an auth method", inv.id, s.secretName())
	case inv.refused(secret):
		w.violated("%s pushes %s, which the token endpoint refused", inv.id, secret)
	case len(all) == 0:
		w.violated("%s pushes %s and did not ask the token endpoint", inv.id, secret)
	case inv.accepted(secret):
	case s.create:
		w.violated("%s creates with %s, which the token endpoint did not accept", inv.id, secret)
	case !own:
		w.violated("%s takes over with %s, which the token endpoint did not accept", inv.id, secret)
	case !sameURL:
		w.violated("%s leads %s to another URL, which did not accept it", inv.id, secret)
	case slices.Contains(s.ids, seen.current) && seen.record["refused"] == refusedKey(seen.current):
		w.violated("%s pushes %s, which was refused and not accepted since", inv.id, secret)
	}
	if s.create {
		if inv.posting++; inv.posting > 1 {
			w.violated("%s creates two at once", inv.id)
		}
	}
	return &s
}

// created: inv made an auth method for x.
func (w *world) created(inv *invocation, x *team) bool {
	return slices.ContainsFunc(w.commits, func(c *write) bool { return c.inv == inv && c.create && c.team == x })
}

// committed: 1. an auth method is written to by whoever may; 2. what it holds stays where its own value says; 3.
// there is one for each client, as far as one invocation can know.
func (w *world) committed(s *write, answer []byte) {
	var doc struct {
		Data struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	_ = json.Unmarshal(answer, &doc)
	s.method, s.at = doc.Data.ID, time.Now()
	entitled, twin := s.create || w.entitled(s), s.create && s.name == "" && w.twin(s)
	m := w.changed(s.method)
	if !entitled { // 1
		w.violated("%s writes %s to the auth method %s, which is not its own", s.inv.id, s.secret, m.Name)
	}
	if s.attribute.URL == "" || !w.maySend(s.inv, s.credential, s.attribute.URL) { // 2
		w.violated("%s leaves %s with %s", s.inv.id, s.secret, m.AccessTokenURL)
	}
	if twin { // 3
		w.violated("%s makes a second auth method of %s", s.inv.id, m.ClientID)
	}
	s.own[s.method], s.url = true, m.AccessTokenURL
	w.commits = append(w.commits, s)
	w.tracef("%s: Datadog holds %s", s.inv.id, s.secret)
}

// entitled: the auth method is the team's own, or the invocation was shown it with what the value states, and the
// token endpoint accepted.
func (w *world) entitled(s *write) bool {
	return s.own[s.method] || s.inv.accepted(s.secret) && s.inv.saw(s.method, func(then time.Time) bool {
		m := w.at(s.method, then)
		client, url := s.clientID == m.ClientID, s.accessTokenURL == m.AccessTokenURL
		byPin := s.pin == s.method && (client || s.clientID == "") && (url || s.accessTokenURL == "")
		return byPin || m.Name == s.credential.methodName() && client && url
	})
}

// twin: one of this client is there, and was when the invocation was last shown all auth methods; or the invocation
// made one itself, and was answered so or not shown all auth methods since.
func (w *world) twin(s *write) bool {
	is := func(id string, then time.Time) bool {
		m := w.at(id, then)
		return m.ClientID == s.attribute.ClientID && m.AccessTokenURL == s.attribute.URL
	}
	for id := range w.methods {
		if id != s.method && is(id, s.listed) && is(id, time.Now()) {
			return true
		}
	}
	return slices.ContainsFunc(w.commits, func(c *write) bool {
		atOnce := s.listed.Before(c.sent) && c.sent.Before(s.sent) // an earlier one may land later: nobody can know
		wrote := s.inv.wrote[c.secret]
		known := !wrote.IsZero() && wrote.Before(s.sent) || atOnce
		return c.inv == s.inv && c.create && known && c.name == "" && c.team != s.team && is(c.method, time.Now())
	})
}
