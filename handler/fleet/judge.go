package fleet

import (
	"hash/fnv"
	"slices"
	"time"

	"datadog-webhook-auth-sync/handler/authsync"
	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/secretstore"
)

// Reason is why a secret is out of sync, as far as is recorded.
type Reason string

const (
	NeverSynced       Reason = "never_synced"
	OtherVersion      Reason = "other_version"       // AWSCURRENT is not what was written
	AuthMethodMissing Reason = "auth_method_missing" // at Datadog
	AuthMethodShared  Reason = "auth_method_shared"  // two secrets record one id
	AttributesDiffer  Reason = "attributes_differ"   // somebody edited the auth method
	ChangedSince      Reason = "changed_since"       // the secret, in any way
	Failing           Reason = "failing"             // the last sync failed
	NotSettled        Reason = "not_settled"         // written once: see authsync.SettleAfter
	NotVerified       Reason = "not_verified"        // the token endpoint gave no verdict; in sync all the same
	RecordOld         Reason = "record_old"
	Settling          Reason = "settling" // written less than 10 minutes ago
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
	case slices.ContainsFunc(reasons, func(r Reason) bool { return r != Settling && r != NotVerified }):
		return OutOfSync
	case slices.Contains(reasons, Settling):
		return IsSettling
	}
	return InSync
}

// judge returns why a secret is out of sync, what matters most first; none: it is in sync. A record later than one
// second before the listing began is not judged by it.
func (f *Fleet) judge(s secretstore.Secret, l *datadog.Listing, shared bool) (reasons []Reason) {
	r, age := s.Record, f.Syncer.Now().Sub(s.Record.At)
	methods, began := l.Methods()
	m, found := methods[r.ID]
	synced, pushed := r.Version != "", r.State == secretstore.Pushed
	listed := synced && r.At.Before(began.Add(-time.Second))
	add := func(is bool, why Reason) {
		if is {
			reasons = append(reasons, why)
		}
	}
	add(!synced, NeverSynced)
	add(synced && !r.IsOf(s.Labelled(secretstore.Current)), OtherVersion)
	add(listed && !found, AuthMethodMissing)
	add(shared, AuthMethodShared)
	add(listed && found && m.Digest() != r.Digest, AttributesDiffer)
	add(synced && s.LastChanged.After(r.At.Add(5*time.Second)), ChangedSince) // until then by the record's own tag
	add(r.Fails(), Failing)
	add(pushed && age >= authsync.SettleAfter, NotSettled)
	add(r.State == secretstore.Unproven, NotVerified)
	add(synced && !pushed && !r.Fails() && age >= refreshOf(s.ARN, f.Refresh), RecordOld)
	add(pushed && age < authsync.SettleAfter, Settling)
	return reasons
}

// refreshOf returns the age at which a secret's record is old: 75 to 100 % of refresh, by its ARN, so that secrets
// which were written together are not written again together.
func refreshOf(arn string, refresh time.Duration) time.Duration {
	return refresh*3/4 + time.Duration(hash(arn)%uint64(refresh/4))
}

func hash(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s))
	return h.Sum64()
}
