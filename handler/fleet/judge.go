package fleet

import (
	"hash/fnv"
	"time"

	"datadog-webhook-auth-sync/handler/authsync"
	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/secretstore"
)

const (
	recordOld = 18 * time.Hour // at the earliest; up to recordSpread later, by the secret's ARN
	// recordSpread keeps secrets that were synced together from being pushed again together.
	recordSpread = 6 * time.Hour
)

// Reason is why a secret is out of step, as far as is recorded.
type Reason string

const (
	NeverSynced       Reason = "never_synced"
	OtherVersion      Reason = "other_version"       // AWSCURRENT is not what was pushed
	AuthMethodMissing Reason = "auth_method_missing" // at Datadog
	AuthMethodShared  Reason = "auth_method_shared"  // two secrets record one id
	AttributesDiffer  Reason = "attributes_differ"   // somebody edited the auth method
	ChangedSince      Reason = "changed_since"       // the secret, in any way
	NotSettled        Reason = "not_settled"         // pushed once: see authsync.SettleAfter
	RecordOld         Reason = "record_old"
	Settling          Reason = "settling" // pushed of late: to be left alone
)

// State of a secret.
type State string

const (
	InStep     State = "in_step"
	IsSettling State = "settling"
	Due        State = "due"
)

func stateOf(reasons []Reason) State {
	switch {
	case len(reasons) == 0:
		return InStep
	case len(reasons) == 1 && reasons[0] == Settling:
		return IsSettling
	}
	return Due
}

// judge says why a secret may be out of step with the auth method of its record, which is nil where there is none. No
// reason means in step. The order of reasons is that of what matters most:
//
//  1. nothing is recorded, or an id alone: all else is unknown;
//  2. AWSCURRENT is not the recorded version;
//  3. the auth method is gone;
//  4. it differs from what Datadog answered to the last push;
//  5. the secret changed since, other than by our own tag;
//  6. the push is to be repeated, once 10 minutes have passed, or is too recent for that;
//  7. the record is old.
func judge(s secretstore.Secret, m *datadog.AuthMethod, now time.Time) (reasons []Reason) {
	r := s.Record
	if r.VersionID == "" { // 1
		return []Reason{NeverSynced}
	}
	age := now.Sub(r.At)
	add := func(is bool, why Reason) {
		if is {
			reasons = append(reasons, why)
		}
	}
	add(r.VersionID != s.Labelled(secretstore.Current), OtherVersion)      // 2
	add(m == nil, AuthMethodMissing)                                       // 3
	add(m != nil && authsync.Digest(*m) != r.Digest, AttributesDiffer)     // 4
	add(s.LastChanged.After(r.At.Add(authsync.RecordGrace)), ChangedSince) // 5
	add(!r.Settled && age >= authsync.SettleAfter, NotSettled)             // 6
	add(!r.Settled && age < authsync.SettleAfter, Settling)                // 6
	add(r.Settled && age >= recordOld+spread(s.ARN), RecordOld)            // 7
	return reasons
}

func spread(arn string) time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(arn))
	return time.Duration(h.Sum64() % uint64(recordSpread))
}
