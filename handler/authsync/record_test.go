package authsync

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

func TestRecordAfter(t *testing.T) {
	m := method(idA, "payments")
	w := &written{method: m, record: secretstore.Record{ID: idA, Version: version1, At: now, Digest: m.Digest(), State: secretstore.Pushed}}
	// look is the secret as it was recorded 10 minutes ago.
	look := func(state secretstore.State, edits ...func(*secretstore.Secret)) secretstore.Secret {
		s := secretstore.Secret{LastChanged: now.Add(-SettleAfter), Record: w.record}
		s.Record.At, s.Record.State = now.Add(-SettleAfter), state
		if s.Record.Fails() {
			s.Record.Code, s.Record.Since = fault.CredentialRejected, now.Add(-time.Hour)
		}
		for _, edit := range edits {
			edit(&s)
		}
		return s
	}
	const pushed, settled, unproven = secretstore.Pushed, secretstore.Settled, secretstore.Unproven
	const failing, lost, waiting = secretstore.Failing, secretstore.Lost, secretstore.Waiting
	version := func(s *secretstore.Secret) { s.Record.Version = version2 }
	id := func(s *secretstore.Secret) { s.Record.ID = idB }
	digest := func(s *secretstore.Secret) { s.Record.Digest = "another" }
	young := func(s *secretstore.Secret) { s.Record.At = s.Record.At.Add(time.Nanosecond) }
	changed := func(s *secretstore.Secret) { s.LastChanged = s.LastChanged.Add(time.Nanosecond) }
	for _, c := range []struct {
		name    string
		look    secretstore.Secret
		verdict tokencheck.Outcome
		settles bool
		want    secretstore.State
		stays   bool // the record is not touched
	}{
		{"accepted", look(pushed), tokencheck.Accepted, true, settled, false},
		{"verification off", look(pushed), "", true, settled, false},
		{"no verdict", look(pushed), tokencheck.Inconclusive, true, unproven, false},
		{"settled before", look(settled), tokencheck.Accepted, true, settled, false},
		{"unproven before", look(unproven), tokencheck.Accepted, true, settled, false},
		{"no reconcile", look(pushed), tokencheck.Accepted, false, pushed, true},
		{"recorded less than 10 min ago", look(pushed, young), tokencheck.Accepted, true, pushed, true},
		{"changed less than 10 min ago", look(pushed, changed), tokencheck.Accepted, true, pushed, true},
		{"settled, no reconcile", look(settled), tokencheck.Accepted, false, pushed, false},
		{"settled, changed less than 10 min ago", look(settled, changed), tokencheck.Accepted, true, pushed, false},
		{"another version", look(pushed, version), tokencheck.Accepted, true, pushed, false},
		{"another auth method", look(pushed, id), tokencheck.Accepted, true, pushed, false},
		{"another digest", look(pushed, digest), tokencheck.Accepted, true, pushed, false},
		{"a failure ends", look(failing), tokencheck.Accepted, true, pushed, false},
		{"a failure ends with verification off", look(lost), "", true, pushed, false},
		{"a failure stays without a verdict", look(failing), tokencheck.Inconclusive, true, failing, false},
		{"so does one not told", look(waiting), tokencheck.Inconclusive, false, waiting, false},
		{"what was lost is not known any more", look(lost), tokencheck.Inconclusive, false, failing, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.look.Record.Refused = "0123456789"
			got, want := recordAfter(w, c.look, c.verdict, c.settles, now), w.record
			want.State, want.Refused = c.want, c.look.Record.Refused
			if want.Fails() {
				want.Code, want.Since = c.look.Record.Code, c.look.Record.Since
			}
			if c.stays {
				want = c.look.Record
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// What was written before a failure is recorded, unless another invocation wrote and recorded later.
func TestAFailureAfterAWrite(t *testing.T) {
	wrote := &written{record: secretstore.Record{ID: idA, Version: version1, At: now.Add(-time.Second), State: secretstore.Pushed}}
	for age, version := range map[time.Duration]string{time.Minute: version1, time.Second: version1, time.Millisecond: version2} {
		look := secretstore.Secret{Record: secretstore.Record{ID: idA, Version: version2, At: now.Add(-age), State: secretstore.Pushed}}
		all := rounds{{written: wrote, plan: plan{outcome: report.Updated}}, {err: fault.New(fault.Deadline, "no"), look: &look}}
		if end := endFailure(Request{}, all, now, "datadoghq.com"); end.record.Version != version || end.record.State != secretstore.Waiting {
			t.Errorf("recorded %v ago: %v", age, end.record)
		}
	}
}

func TestToTell(t *testing.T) {
	const tick = time.Nanosecond
	passing, permanent := fault.New(fault.CredentialRejected, "no"), fault.New(fault.SecretInvalid, "no")
	record := func(state secretstore.State, code fault.Code, since time.Duration) secretstore.Record {
		return secretstore.Record{State: state, Code: code, Since: now.Add(-since)}
	}
	none := secretstore.Record{State: secretstore.Settled}
	event := func(age time.Duration) secretstore.Event { return secretstore.Event{Time: now.Add(-age)} }
	const rejected, accepted, unknown = tokencheck.Rejected, tokencheck.Accepted, tokencheck.Inconclusive
	const waiting, failing, lost = secretstore.Waiting, secretstore.Failing, secretstore.Lost
	for _, c := range []struct {
		name        string
		err         *fault.Error
		record      secretstore.Record
		held        tokencheck.Outcome
		event       secretstore.Event
		tell, known bool
		after       secretstore.State // if it could be published
	}{
		{"permanent", permanent, none, accepted, secretstore.Event{}, true, false, failing},
		{"passing, without an event", passing, none, accepted, secretstore.Event{}, false, false, waiting},
		{"the same, met again 150 s later", passing, record(waiting, passing.Code, grace), "", secretstore.Event{}, true, false, failing},
		{"the same, a little sooner", passing, record(waiting, passing.Code, grace-tick), "", secretstore.Event{}, false, false, waiting},
		{"an event of 150 s", passing, none, unknown, event(grace), true, false, failing},
		{"a younger event", passing, none, unknown, event(grace - tick), false, false, waiting},
		{"a younger event of a failure that waits", passing, record(waiting, passing.Code, time.Hour), unknown, event(grace - tick), false, false, waiting},
		{"held is rejected", passing, none, rejected, event(0), true, false, lost},
		{"told already", passing, record(failing, passing.Code, time.Hour), accepted, secretstore.Event{}, false, true, failing},
		{"told already, permanent", permanent, record(failing, permanent.Code, time.Hour), "", secretstore.Event{}, false, true, failing},
		{"told as another code", permanent, record(failing, passing.Code, time.Hour), "", secretstore.Event{}, true, false, failing},
		{"told, and now lost", passing, record(failing, passing.Code, time.Hour), rejected, event(0), true, false, lost},
		{"lost as told", passing, record(lost, passing.Code, time.Hour), rejected, secretstore.Event{}, false, true, lost},
		{"lost as told, and not known now", passing, record(lost, passing.Code, time.Hour), unknown, secretstore.Event{}, false, true, lost},
		{"lost as told, and nothing held", passing, record(lost, passing.Code, time.Hour), "", secretstore.Event{}, false, true, lost},
		{"lost no more", passing, record(lost, passing.Code, time.Hour), accepted, secretstore.Event{}, true, false, failing},
		{"lost, and another code", permanent, record(lost, passing.Code, time.Hour), unknown, secretstore.Event{}, true, false, lost},
	} {
		t.Run(c.name, func(t *testing.T) {
			tell, known := toTell(c.err, c.record, c.held, c.event, now)
			if tell != c.tell || known != c.known {
				t.Errorf("tell %v, known %v; want %v, %v", tell, known, c.tell, c.known)
			}
			lost := c.held == tokencheck.Rejected || c.record.State == secretstore.Lost && c.held != tokencheck.Accepted
			got := c.record.WithFailure(c.err.Code, tell, lost, now, "datadoghq.com")
			since := now
			if c.record.Fails() {
				since = c.record.Since
			}
			if got.State != c.after || !got.Since.Equal(since) || tell && got.Code != c.err.Code {
				t.Errorf("record: %v; want %s since %v", got, c.after, since)
			}
			if got := c.record.WithFailure(c.err.Code, false, lost, now, "datadoghq.com"); c.record.Fails() && got != c.record {
				t.Errorf("a failure that was not told changes the record to %v", got)
			}
		})
	}
}

func TestRefusedAfter(t *testing.T) {
	verdict := func(version string, o tokencheck.Outcome, refused bool) verification {
		return verification{Verdict: tokencheck.Verdict{Outcome: o, Refused: refused}, version: version}
	}
	r := func(version string, o tokencheck.Outcome, refused bool) round {
		return round{verification: verdict(version, o, refused)}
	}
	held := func(version string, o tokencheck.Outcome, refused bool) round {
		return round{held: verdict(version, o, refused)}
	}
	one, two := secretstore.RefusedKey(version1), secretstore.RefusedKey(version2)
	for _, c := range []struct {
		name   string
		rounds []round
		old    string
		want   string
	}{
		{"nothing asked", []round{r(version1, "", false)}, one, one},
		{"rejected", []round{r(version1, tokencheck.Rejected, true)}, "", one},
		{"one attempt refused", []round{r(version1, tokencheck.Inconclusive, true)}, two, one},
		{"none refused", []round{r(version1, tokencheck.Inconclusive, false)}, one, one},
		{"accepted", []round{r(version1, tokencheck.Accepted, false)}, one, ""},
		{"accepted in the second style", []round{r(version1, tokencheck.Accepted, true)}, "", ""},
		{"another accepted", []round{r(version1, tokencheck.Accepted, false)}, two, two},
		{"refused, then moved on", []round{r(version1, tokencheck.Rejected, true), r(version2, tokencheck.Accepted, false)}, "", one},
		{"held is refused", []round{held(version2, tokencheck.Rejected, true)}, "", two},
		{"one style of it is", []round{held(version2, tokencheck.Inconclusive, true)}, "", two},
		{"held is refused, another before", []round{held(version2, tokencheck.Rejected, true)}, one, one},
		{"held is accepted", []round{held(version2, tokencheck.Accepted, false)}, two, ""},
		{"held is accepted in the second style", []round{held(version2, tokencheck.Accepted, true)}, "", ""},
		{"held is accepted, another refused", []round{held(version2, tokencheck.Accepted, true)}, one, one},
		{"refused, then accepted", []round{r(version1, tokencheck.Rejected, true), r(version1, tokencheck.Accepted, false)}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := refusedAfter(c.rounds, c.old); got != c.want {
				t.Errorf("%q; want %q", got, c.want)
			}
		})
	}
}
