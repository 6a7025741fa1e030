package authsync

import (
	"testing"
	"time"

	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

func TestStateAfter(t *testing.T) {
	now := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	const tick, min10 = time.Nanosecond, 10 * time.Minute
	const pushed, unproven, settled = secretstore.Pushed, secretstore.Unproven, secretstore.Settled
	for _, c := range []struct {
		name    string
		state   secretstore.State
		age     time.Duration // of the record
		changed time.Duration // before now, the secret
		may     bool          // settle
		verdict tokencheck.Outcome
		want    secretstore.State
	}{
		{"pushed 10 min ago", pushed, min10, min10, true, tokencheck.Accepted, settled},
		{"pushed 10 min ago, verification off", pushed, min10, min10, true, "", settled},
		{"pushed 10 min ago, no verdict", pushed, min10, min10, true, tokencheck.Inconclusive, unproven},
		{"pushed just under 10 min ago", pushed, min10 - tick, time.Hour, true, tokencheck.Accepted, pushed},
		{"pushed long ago, by an event", pushed, time.Hour, time.Hour, false, tokencheck.Accepted, pushed},
		{"settled stays settled, by an event too", settled, time.Minute, time.Hour, false, tokencheck.Accepted, settled},
		{"settled, and no verdict now", settled, time.Hour, time.Hour, true, tokencheck.Inconclusive, unproven},
		{"settled, and a label may have moved away and back", settled, time.Hour, min10 - tick, true, tokencheck.Accepted, pushed},
		{"settled, and whatever moved did so 10 min ago", settled, time.Hour, min10, true, tokencheck.Accepted, settled},
		{"settled, and our own tag was the last change", settled, time.Minute, time.Minute - 5*time.Second, true, tokencheck.Accepted, settled},
		{"settled, and a change just after our own tag", settled, time.Minute, time.Minute - 5*time.Second - tick, true, tokencheck.Accepted, pushed},
		{"unproven, accepted at its refresh", unproven, time.Hour, time.Hour, true, tokencheck.Accepted, settled},
		{"unproven, accepted by an event", unproven, time.Hour, time.Hour, false, tokencheck.Accepted, pushed},
		{"unproven, no verdict again", unproven, time.Hour, time.Hour, true, tokencheck.Inconclusive, unproven},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := secretstore.Secret{LastChanged: now.Add(-c.changed), Record: secretstore.Record{ID: idA, VersionID: "v1", At: now.Add(-c.age), State: c.state}}
			if got := stateAfter(s, "v1", c.verdict, c.may, now); got != c.want {
				t.Errorf("state %s; want %s", got, c.want)
			}
			if got := stateAfter(s, "v2", c.verdict, c.may, now); got != pushed {
				t.Errorf("of another version: %s", got)
			}
			s.Record.Failing = fault.Deadline
			if got := stateAfter(s, "v1", c.verdict, c.may, now); got != pushed {
				t.Errorf("after a failure: %s", got)
			}
		})
	}
}
