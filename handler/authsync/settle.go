package authsync

import (
	"time"

	"datadog-webhook-auth-sync/handler/secretstore"
)

const (
	// SettleAfter is when nobody who read an older version can still be alive: an invocation lasts 2 minutes, and what it
	// sent last takes its time to land.
	SettleAfter = 10 * time.Minute
	// RecordGrace is how long after a record is dated its own tag may change the secret.
	RecordGrace = 5 * time.Second
)

// settles reports whether a push at now of version, AWSCURRENT of s, is the last that it needs: it was pushed before, and
// no invocation that read another version, nor what it sent, can still be under way. A label that moved of late may have
// moved away and back, so it forbids that, even where the same version was settled before.
func settles(s secretstore.Secret, version string, now time.Time) bool {
	r := s.Record
	quiet := !s.LastChanged.After(r.At.Add(RecordGrace)) || now.Sub(s.LastChanged) >= SettleAfter
	return r.VersionID == version && quiet && (r.Settled || now.Sub(r.At) >= SettleAfter)
}
