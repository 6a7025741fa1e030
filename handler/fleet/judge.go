package fleet

import (
	"hash/fnv"
	"time"

	"datadog-webhook-auth-sync/handler/authsync"
	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/secretstore"
)

// Reason is why a secret is out of sync, as far as is recorded.
type Reason string

const (
	NeverSynced       Reason = "never_synced"
	OtherVersion      Reason = "other_version"       // AWSCURRENT is not what was pushed
	AuthMethodMissing Reason = "auth_method_missing" // at Datadog
	AuthMethodShared  Reason = "auth_method_shared"  // two secrets record one id
	AttributesDiffer  Reason = "attributes_differ"   // somebody edited the auth method
	ChangedSince      Reason = "changed_since"       // the secret, in any way
	Failing           Reason = "failing"             // the last sync failed, and that was told
	NotSettled        Reason = "not_settled"         // pushed once: see authsync.SettleAfter
	RecordOld         Reason = "record_old"
	Settling          Reason = "settling" // pushed of late: to be left alone
)

// State of a secret.
type State string

const (
	InSync     State = "in_sync"
	IsSettling State = "settling"
	OutOfSync  State = "out_of_sync"
)

func stateOf(reasons []Reason) State {
	switch {
	case len(reasons) == 0:
		return InSync
	case len(reasons) == 1 && reasons[0] == Settling:
		return IsSettling
	}
	return OutOfSync
}

// evidence is what a secret is judged by, besides itself.
type evidence struct {
	method  datadog.AuthMethod // of the record
	found   bool               // in the listing
	listed  bool               // the listing is later than the record; otherwise it tells nothing of it
	shared  bool               // another secret records the same auth method
	refresh time.Duration      // a record is older than that is allowed to be
	now     time.Time
}

// judge says why a secret is out of sync, what matters most first. No reason means in sync.
//
//  1. nothing is recorded but an id: all else is unknown, except a failure;
//  2. AWSCURRENT is not the recorded version;
//  3. the auth method is gone, as far as the listing tells;
//  4. another secret records it too;
//  5. it differs from what Datadog answered to the last push;
//  6. the secret changed since, other than by our own tag;
//  7. it fails;
//  8. the push is to be repeated, once 10 minutes have passed, or is too recent for that;
//  9. the record is old.
func judge(s secretstore.Secret, e evidence) (reasons []Reason) {
	r := s.Record
	add := func(is bool, why Reason) {
		if is {
			reasons = append(reasons, why)
		}
	}
	if r.VersionID == "" { // 1
		add(true, NeverSynced)
		add(e.shared, AuthMethodShared)
		add(r.Failing != "", Failing)
		return reasons
	}
	age := e.now.Sub(r.At)
	pushed := r.State == secretstore.Pushed
	add(r.VersionID != s.Labelled(secretstore.Current), OtherVersion)                // 2
	add(e.listed && !e.found, AuthMethodMissing)                                     // 3
	add(e.shared, AuthMethodShared)                                                  // 4
	add(e.listed && e.found && e.method.Digest() != r.Digest, AttributesDiffer)      // 5
	add(s.LastChanged.After(r.At.Add(authsync.RecordGrace)), ChangedSince)           // 6
	add(r.Failing != "", Failing)                                                    // 7
	add(pushed && age >= authsync.SettleAfter, NotSettled)                           // 8
	add(pushed && age < authsync.SettleAfter, Settling)                              // 8
	add(!pushed && r.Failing == "" && age >= refreshOf(s.ARN, e.refresh), RecordOld) // 9
	return reasons
}

// refreshOf is when a secret's record is old: at 75 to 100 % of refresh, by its ARN, so that secrets which were synced
// together are not pushed again together.
func refreshOf(arn string, refresh time.Duration) time.Duration {
	return refresh*3/4 + time.Duration(hash(arn)%uint64(refresh/4))
}

func hash(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s))
	return h.Sum64()
}
