package authsync

import (
	"testing"
	"time"

	"datadog-webhook-auth-sync/handler/secretstore"
)

func TestSettles(t *testing.T) {
	now := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	const tick = time.Nanosecond
	record := func(age time.Duration, settled bool) secretstore.Record {
		return secretstore.Record{ID: idA, VersionID: "v1", At: now.Add(-age), Settled: settled}
	}
	for _, c := range []struct {
		name    string
		record  secretstore.Record
		changed time.Duration // before now
		version string
		want    bool
	}{
		{"pushed 10 min ago", record(10*time.Minute, false), 10 * time.Minute, "v1", true},
		{"pushed just under 10 min ago", record(10*time.Minute-tick, false), time.Hour, "v1", false},
		{"another version", record(time.Hour, true), time.Hour, "v2", false},
		{"settled stays settled", record(time.Minute, true), time.Hour, "v1", true},
		{"settled, and a label may have moved away and back", record(time.Hour, true), 10*time.Minute - tick, "v1", false},
		{"settled, and whatever moved did so 10 min ago", record(time.Hour, true), 10 * time.Minute, "v1", true},
		{"settled, and our own tag was the last change", record(time.Minute, true), time.Minute - 5*time.Second, "v1", true},
		{"pushed long ago, and changed of late", record(time.Hour, false), time.Minute, "v1", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := secretstore.Secret{Record: c.record, LastChanged: now.Add(-c.changed)}
			if got := settles(s, c.version, now); got != c.want {
				t.Errorf("settles = %v", got)
			}
		})
	}
}
