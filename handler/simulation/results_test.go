package simulation

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
)

// What the function publishes and answers: that it is true, that it is news, and that nothing is missing.

// maxCalls of one invocation for one secret, over every repetition.
const maxCalls = 80

// grace is how long a failure that may pass is not published.
const grace = 150 * time.Second

// result is what the function publishes and answers.
type result struct {
	Outcome                    string
	Secret                     struct{ ARN, Name, VersionID string }
	AuthMethod                 struct{ ID string }
	RequestID                  string
	Verification               string
	Held                       *struct{ VersionID, Verification string }
	Recovered                  *struct{ Code, Since string }
	Error                      *failure
	PreviousSecretSafeToRevoke bool
}

type failure struct {
	Code      string
	Retryable bool
}

func (r result) code() string {
	if r.Error == nil {
		return ""
	}
	return r.Error.Code
}

func (r result) held() string {
	if r.Held == nil {
		return ""
	}
	return r.Held.Verification
}

// publication is a result on its way to the bus.
type publication struct {
	result
	at       time.Time // its Time
	inv      *invocation
	answered bool // the function knows that it arrived
}

// reconciliation is the answer of a reconcile.
type reconciliation struct {
	LeftOver, Failing, AtRisk, Unverified int
	Error                                 *failure
	Failures                              []result
}

// publishing compares a result with what its invocation knows at that moment.
func (w *world) publishing(inv *invocation, detail string, at time.Time) *publication {
	p := &publication{at: at, inv: inv}
	if err := json.Unmarshal([]byte(detail), &p.result); err != nil {
		panic(err)
	}
	x := w.teamOf(p.Secret.ARN)
	switch {
	case x == nil || p.RequestID != inv.id:
		w.violated("%s publishes a result of nobody's: %s", inv.id, detail)
		return p
	case p.Error == nil:
		w.checkSuccess(inv, x, p.result)
	default:
		w.checkFailure(inv, x, p.result)
	}
	inv.results[x] = append(inv.results[x], p)
	return p
}

// checkSuccess: what is published was written, was AWSCURRENT after that, and ends the failure that was published.
func (w *world) checkSuccess(inv *invocation, x *team, r result) {
	seen, v := inv.last(x), x.versionWith(r.Secret.VersionID)
	if v == nil {
		w.violated("%s publishes %s of no version: %+v", inv.id, r.Outcome, r.Secret)
		return
	}
	recovers := seen.record.published() != "" && r.Verification == "accepted"
	switch wrote := inv.wrote[v.secret]; {
	case wrote.IsZero():
		w.violated("%s says %s of %s, which it did not push", inv.id, r.Outcome, v.secret)
	case !slices.Contains(v.ids, seen.current) || !seen.at.After(wrote):
		w.violated("%s says %s of %s, which was not AWSCURRENT any more", inv.id, r.Outcome, v.secret)
	case (r.Verification == "accepted") != inv.accepted(v.secret):
		w.violated("%s says %s of %s, and learned otherwise", inv.id, r.Verification, v.secret)
	case recovers && (r.Recovered == nil || r.Recovered.Code != seen.code() || r.Recovered.Since != seen.record["since"]):
		w.violated("%s does not say that %s works again: %v", inv.id, x.secretName(), seen.record)
	case !recovers && r.Recovered != nil:
		w.violated("%s says that %s works again: %v", inv.id, x.secretName(), seen.record)
	case r.Outcome == "settled" && (inv.kind != "reconcile" || seen.record["state"] == "settled"),
		r.Outcome == "created" && !w.created(inv, x),
		r.PreviousSecretSafeToRevoke && (r.Outcome != "settled" || r.Verification != "accepted"):
		w.violated("%s says %s of %s", inv.id, r.Outcome, v.secret)
	}
}

// checkFailure: it is news, and what is said of the held credential was learned by this invocation.
func (w *world) checkFailure(inv *invocation, x *team, r result) {
	known, held, via := w.afterWrites(inv, x)
	gone := known["id"] != "" && w.at(known["id"], time.Now()).ID == ""
	rejected := r.held() == "rejected"
	asKnown := func(c *credential) func(description) bool { // the style that was recorded when a round began
		return func(d description) bool { return d.record["via"] != "" && inv.rejected(c.secret, d.record["via"]) }
	}
	if !isNews(inv, r, known, time.Now()) {
		w.violated("%s publishes what is no news: %s, held %s, after %v", inv.id, r.code(), r.held(), known)
	}
	switch {
	case r.Held == nil && known["version"] != "" && !inv.blind:
		w.violated("%s does not say whether what Datadog holds of %s works", inv.id, x.secretName())
	case r.Held == nil:
	case rejected && gone:
	case held == nil || !slices.Contains(held.ids, r.Held.VersionID):
		w.violated("%s says what is held of %s, and %+v is not what is recorded: %v", inv.id, x.secretName(), *r.Held, known)
	case rejected && !inv.rejected(held.secret, via) && !slices.ContainsFunc(inv.described[x], asKnown(held)),
		r.held() == "accepted" && !inv.accepted(held.secret):
		w.violated("%s says that what Datadog holds of %s is %s, and did not learn that", inv.id, x.secretName(), r.held())
	}
}

// afterWrites is what inv knows of the record, of the version that Datadog holds, and of its style: as recorded or,
// where inv wrote itself and nobody later, of that write, which ends a loss.
func (w *world) afterWrites(inv *invocation, x *team) (known record, held *credential, via string) {
	known = maps.Clone(inv.last(x).record)
	held, via = x.versionWith(known["version"]), known["via"]
	for _, c := range w.commits {
		wrote := inv.wrote[c.secret]
		if c.inv != inv || c.team != x || wrote.IsZero() || known.time("at").After(wrote) {
			continue
		}
		held, known["id"], known["version"] = c.credential, c.method, c.id()
		if code := known["lost"]; code != "" {
			known["failing"] = code
			delete(known, "lost")
		}
		for _, a := range inv.attempts[c.secret] {
			if a.answer == aToken {
				via = a.style
			}
		}
	}
	return known, held, via
}

// isNews: the failure is not what the record tells already, and it will not pass, or what Datadog holds is
// rejected, or it has lasted: since the event or, without one, as recorded.
func isNews(inv *invocation, r result, known record, now time.Time) bool {
	rejected, since := r.held() == "rejected", inv.eventAt
	if since.IsZero() {
		since = known.time("since")
	}
	lasted := !since.IsZero() && now.Sub(since) >= grace
	repeated := known["failing"] == r.code() && !rejected || known["lost"] == r.code() && r.held() != "accepted"
	return !repeated && (!r.Error.Retryable || rejected || lasted)
}

// checkEnd looks at what came of an invocation that did not vanish.
func (w *world) checkEnd(inv *invocation, text []byte, err error) {
	calls, limit := 0, maxCalls
	for _, n := range inv.calls {
		calls += n
	}
	if inv.kind == "reconcile" {
		limit = 10 + maxCalls*len(w.teams)
	}
	if calls > limit || time.Since(inv.started) >= 120*time.Second {
		w.violated("%s made %d calls in %v", inv.id, calls, time.Since(inv.started))
	}
	var r result
	switch inv.kind {
	case "rotation":
		return
	case "reconcile":
		w.checkReconcile(inv, text)
		return
	default:
		_ = json.Unmarshal(text, &r)
	}
	code, event := r.code(), inv.kind == "event"
	if err != nil {
		code, _, _ = strings.Cut(err.Error(), ":")
	}
	switch {
	case err == nil && string(text) == "null":
		w.violated("%s got neither an answer nor an error", inv.id)
	case code == "" && (len(inv.results[inv.team]) == 0 || event && len(inv.published(inv.team)) == 0):
		w.violated("%s succeeded and published nothing: %s", inv.id, text)
	case err == nil && code != "" && event && r.Error.Retryable && time.Since(inv.eventAt) < grace-2*time.Second:
		w.violated("%s is not tried again after %v", inv.id, code)
	}
	w.checkFailed(inv, inv.team, code, r)
}

// checkFailed: a failure that counts is published if it is news, and recorded. Where an error was the only answer,
// r is zero. What the invocation was refused is recorded whatever became of it, as far as it saw and could write
// the record.
func (w *world) checkFailed(inv *invocation, x *team, code string, r result) {
	if code == "deadline" || inv.blind || x.othersTagged(inv) {
		return
	}
	now, was := w.record(x), inv.last(x).record
	known, _, _ := w.afterWrites(inv, x)
	uncounted := []string{"", "bad_request", "secret_out_of_scope", "secret_not_found", "publish_failed"}
	published := inv.published(x)
	recorded := known.published()
	if len(published) > 0 {
		recorded = now.published()
	}
	switch {
	case code == "datadog_rejected" && inv.listed().Before(inv.surprised[x]):
		w.violated("%s fails with %s without a look", inv.id, code)
	case slices.Contains(uncounted, code):
	case now.code() == "":
		w.violated("%s fails with %s and does not record a failure of %s", inv.id, code, x.secretName())
	case r.Error != nil && len(inv.results[x]) == 0 && isNews(inv, r, known, inv.started):
		w.violated("%s does not publish %s of %s after %v", inv.id, code, x.secretName(), was)
	case r.Error != nil && inv.kind == "event" && recorded != code:
		w.violated("%s ended without an error, and did not publish %s: %v", inv.id, code, known)
	}
	if n := len(published); n > 0 && published[n-1].Error != nil {
		p := published[n-1]
		lost := p.held() == "rejected" || known["lost"] != "" && p.held() != "accepted"
		if now.published() != p.code() || lost != (now["lost"] != "") {
			w.violated("%s published %s of %s, held %s, and recorded %v", inv.id, p.code(), x.secretName(), p.held(), now)
		}
	}
	if why := inv.forgets(x, was["refused"], now["refused"]); why != "" {
		w.violated("%s %s of %s: %v after %v", inv.id, why, x.secretName(), now, was)
	}
}

// checkReconcile: trouble that is Datadog's is published for two secrets at most.
func (w *world) checkReconcile(inv *invocation, text []byte) {
	var answer reconciliation
	_ = json.Unmarshal(text, &answer)
	w.last = answer
	of := map[string]int{}
	for _, r := range answer.Failures {
		of[r.code()]++
		w.checkFailed(inv, w.teamOf(r.Secret.ARN), r.code(), r)
	}
	wrote := slices.ContainsFunc(w.commits, func(c *write) bool { return c.inv == inv })
	for code, most := range map[string]int{"datadog_unauthorized": 2, "datadog_unavailable": 2, "datadog_throttled": 0} {
		published := 0
		for _, all := range inv.results {
			if slices.ContainsFunc(all, func(p *publication) bool { return p.code() == code }) {
				published++
			}
		}
		if n := max(of[code], published); n > most && (!wrote || most == 0) {
			w.violated("%s has %d failures with %s, %d published: %v", inv.id, of[code], code, published, answer.Error)
		}
	}
}

func (w *world) wasPublished(v *credential) bool {
	return slices.ContainsFunc(w.results, func(p *publication) bool {
		return p.Error == nil && p.Secret.ARN == v.arn && slices.Contains(v.ids, p.Secret.VersionID)
	})
}

// checkCounts: the last reconcile counted what fails as it is recorded.
func (w *world) checkCounts() {
	failing, lost, unproven := 0, 0, 0
	for _, x := range w.teams {
		r := w.record(x)
		failing += min(1, len(r.published()))
		lost += min(1, len(r["lost"]))
		unproven += strings.Count(r["state"], "unproven")
	}
	if w.last.Failing != failing || w.last.AtRisk != lost || w.last.Unverified != unproven {
		w.violated("it counts %d that fail, %d at risk, %d unverified, of %d, %d and %d", w.last.Failing, w.last.AtRisk,
			w.last.Unverified, failing, lost, unproven)
	}
}
