package secretstore_test

import (
	"testing"
	"testing/synctest"
	"time"

	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/secretstore/secretstoretest"
)

// A secret is an hour old, or just made, when a version becomes AWSCURRENT and an event tells of it. Each case reads the
// secret when the event has an age, while values and labels are shown late.
func TestRead(t *testing.T) {
	const second, tick, never, all = time.Second, time.Nanosecond, 24 * time.Hour, 1700 * time.Millisecond
	type server = *secretstoretest.Server
	for what, tc := range map[string]struct {
		made           bool          // just now
		age            time.Duration // of the event; negative: there is none
		values, labels time.Duration // from the event until they show it
		also           func(server)
		want           string // the value; empty: none
		code           fault.Code
		reads          int
	}{
		"both show it":               {false, second, 0, 0, nil, "new", "", 1},
		"the value 0.2 s later":      {false, second, 1200 * time.Millisecond, 0, nil, "new", "", 2},
		"the labels 0.7 s later":     {false, second, 0, 1700 * time.Millisecond, nil, "new", "", 3},
		"both 1.7 s later":           {false, second, second + all, second + all, nil, "new", "", 4},
		"both later than that":       {false, second, second + all + tick, second + all + tick, nil, "", fault.SecretsUnavailable, 4},
		"the value never":            {false, second, never, 0, nil, "old", "", 4},
		"the labels never":           {false, second, 0, never, nil, "", fault.SecretsUnavailable, 4},
		"neither, without an event":  {false, -1, never, never, nil, "old", "", 1},
		"one, without an event":      {false, -1, 0, never, nil, "new", "", 4},
		"neither, just under 10 min": {false, 10*time.Minute - all - tick, never, never, nil, "", fault.SecretsUnavailable, 4},
		"neither, 10 min old":        {false, 10 * time.Minute, never, never, nil, "old", "", 1},

		"overtaken":           {false, 0, 0, 0, func(s server) { s.Put(name, "newer") }, "newer", "", 4},
		"moved back":          {false, second, 0, 0, func(s server) { s.MoveCurrent(name, s.Labels(name)["AWSPREVIOUS"]) }, "old", "", 4},
		"marked for deletion": {false, second, 0, 0, func(s server) { s.Delete(name) }, "", "", 1},
		"a replica":           {false, second, never, 0, func(s server) { s.SetPrimaryRegion(name, "eu-west-1") }, "", "", 1},
		"a primary itself":    {false, second, 0, 0, func(s server) { s.SetPrimaryRegion(name, "us-east-1") }, "new", "", 1},
		"value denied":        {false, second, 0, 0, func(s server) { s.Fail("GetSecretValue", 1, secretstoretest.AccessDenied) }, "", fault.SecretAccessDenied, 1},
		"labels throttled":    {false, second, 0, 0, func(s server) { s.Fail("DescribeSecret", 1, secretstoretest.Throttled) }, "", fault.SecretsUnavailable, 1},

		"made, shown late":               {true, second, second + all, second + all, nil, "new", "", 4},
		"made, the value never":          {true, second, never, 0, nil, "", fault.SecretsUnavailable, 4},
		"made, not shown":                {true, second, never, never, nil, "", fault.SecretNotFound, 4},
		"made, not shown, under 150 s":   {true, 150*second - all - tick, never, never, nil, "", fault.SecretNotFound, 4},
		"made, not shown, 150 s old":     {true, 150 * second, never, never, nil, "", fault.SecretNotFound, 1},
		"made, not shown, without event": {true, -1, never, never, nil, "", fault.SecretNotFound, 1},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &secretstoretest.Server{}
				if !tc.made {
					s.Create(name, "old")
				}
				time.Sleep(time.Hour)
				moved, event := time.Now(), secretstore.Event{Time: time.Now()}
				if tc.made {
					_, event.VersionID = s.Create(name, "new")
				} else {
					event.VersionID = s.Put(name, "new")
				}
				if tc.also != nil {
					tc.also(s)
				}
				s.Stale = func(op, _ string) time.Duration {
					late := tc.labels
					if op == "GetSecretValue" {
						late = tc.values
					}
					if since := time.Since(moved); since < late {
						return since + tick // as it was just before
					}
					return 0
				}
				time.Sleep(max(tc.age, 0))
				if tc.age < 0 {
					event = secretstore.Event{}
				}
				_, value, err := (&secretstore.Store{API: s, Region: "us-east-1", Site: site, Now: time.Now}).Read(t.Context(), name, event)
				if tc.code == "" && (err != nil || value.Text.Reveal() != tc.want) {
					t.Errorf("%q, %v; want %q", value.Text.Reveal(), err, tc.want)
				}
				if tc.code != "" && codeOf(err) != tc.code {
					t.Errorf("error %v, want %s", err, tc.code)
				}
				if tc.code == fault.SecretNotFound && fault.From(err).Retryable != (tc.reads > 1) {
					t.Errorf("retryable: %t", fault.From(err).Retryable)
				}
				if reads := s.Calls()["DescribeSecret"]; reads != tc.reads {
					t.Errorf("%d reads, want %d", reads, tc.reads)
				}
			})
		})
	}
}
