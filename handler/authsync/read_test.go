package authsync

import (
	"testing"
	"time"

	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
)

// An event of a second ago, about version new; each case is one look at the secret.
func TestWhatALookShows(t *testing.T) {
	now := time.Date(2026, 1, 15, 3, 12, 45, 0, time.UTC)
	event := func(age time.Duration) Event { return Event{Time: now.Add(-age), VersionID: "new"} }
	const second, tick = time.Second, time.Nanosecond
	seen := func(current string, changed time.Duration, others ...string) reading {
		labels := map[string][]string{}
		if current != "" {
			labels[current] = []string{"AWSCURRENT"}
		}
		for _, id := range others {
			labels[id] = append(labels[id], "AWSPENDING")
		}
		return reading{Secret: secretstore.Secret{Labels: labels, LastChanged: now.Add(-changed)}, value: secretstore.Value{VersionID: current}, noValue: current == ""}
	}
	with := func(r reading, edit func(*reading)) reading { edit(&r); return r }

	for _, c := range []struct {
		name  string
		r     reading
		event Event
		again bool
		code  fault.Code // after the last look
	}{
		{"all agree", seen("new", second), event(second), false, ""},
		{"no event, reads agree", seen("old", time.Hour), Event{}, false, ""},
		{"no version id in the event", seen("old", time.Hour), Event{Time: now}, false, ""},
		{"the value is older than the labels", with(seen("new", second), func(r *reading) { r.value.VersionID = "old" }), event(second), true, ""},
		{"the labels are older than the value", with(seen("old", time.Hour), func(r *reading) { r.value.VersionID = "new" }), Event{}, true, ""},
		{"the value is not there yet", with(seen("new", second), func(r *reading) { r.value = secretstore.Value{}; r.noValue = true }), event(second), true, fault.SecretsUnavailable},
		{"both older than the event", seen("old", time.Hour), event(second), true, fault.SecretsUnavailable},
		{"both older, and the version is pending still", seen("old", time.Hour, "new"), event(second), true, fault.SecretsUnavailable},
		{"changed in the event's second", seen("newer", second), event(second), true, ""},
		{"changed just before a second after the event", seen("newer", tick), event(second), true, ""},
		{"changed a second after the event: overtaken", seen("newer", 0), event(second), false, ""},
		{"changed just before the event", seen("old", second+tick), event(second), true, fault.SecretsUnavailable},
		{"the event is just under 10 min old", seen("old", time.Hour), event(10*time.Minute - tick), true, fault.SecretsUnavailable},
		{"the event is 10 min old", seen("old", time.Hour), event(10 * time.Minute), false, ""},
		{"moved back: the version has another label", with(seen("old", time.Hour), func(r *reading) { r.Labels["new"] = []string{"AWSPREVIOUS"} }), event(second), true, ""},
		{"no AWSCURRENT", seen("", time.Hour), Event{}, false, ""},
		{"no AWSCURRENT, but an event of one", seen("", time.Hour), event(second), true, fault.SecretsUnavailable},
		{"marked for deletion", with(seen("new", second), func(r *reading) { r.Deleted = true }), event(second), false, ""},
		{"a replica", with(seen("old", time.Hour), func(r *reading) { r.Replica = true }), event(second), false, ""},
		{"no such secret", reading{noSecret: true, noValue: true}, Event{}, false, fault.SecretNotFound},
		{"no such secret, but an event just under 1 min old", reading{noSecret: true}, event(time.Minute - tick), true, fault.SecretNotFound},
		{"no such secret, and an event 1 min old", reading{noSecret: true}, event(time.Minute), false, fault.SecretNotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.r.mayChange(c.event, now); got != c.again {
				t.Errorf("mayChange = %v", got)
			}
			err := c.r.conclude(c.event, now)
			if c.code == "" && err != nil || c.code != "" && !fault.Is(err, c.code) {
				t.Errorf("conclude = %v; want %s", err, c.code)
			}
			if c.code == fault.SecretNotFound && fault.From(err).Retryable != c.again {
				t.Errorf("retryable = %v", fault.From(err).Retryable)
			}
		})
	}
}
