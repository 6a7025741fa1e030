package fleet

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/authsync"
	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
)

// listing is Datadog's list, and when its fetch began.
type listing struct {
	methods map[string]datadog.AuthMethod
	began   time.Time
}

func TestJudge(t *testing.T) {
	const (
		tick    = time.Nanosecond
		id      = "aaaaaaaa-0000-4000-8000-000000000001"
		current = "00000000-0000-4000-8000-000000000001"
		earlier = "00000000-0000-4000-8000-000000000000"
		arn     = "arn:aws:secretsmanager:us-east-1:123456789012:secret:datadog/webhooks/payments-AbCdEf"
		refresh = 24 * time.Hour
	)
	now := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	old := refreshOf(arn, refresh)
	method := datadog.AuthMethod{ID: id, Name: "payments", ClientID: "client", AccessTokenURL: "https://idp.example.com/oauth2/token"}
	// secret was recorded that long ago, and has not changed since.
	secret := func(state secretstore.State, age time.Duration, edits ...func(*secretstore.Secret)) secretstore.Secret {
		at := now.Add(-age)
		s := secretstore.Secret{ARN: arn, Labels: map[string][]string{current: {"AWSCURRENT"}}, LastChanged: at,
			Record: secretstore.Record{ID: id, Version: current, At: at, Digest: method.Digest(), Site: "datadoghq.com", State: state}}
		for _, edit := range edits {
			edit(&s)
		}
		return s
	}
	record := func(r secretstore.Record) func(*secretstore.Secret) {
		return func(s *secretstore.Secret) { s.Record = r }
	}
	changed := func(after time.Duration) func(*secretstore.Secret) {
		return func(s *secretstore.Secret) { s.LastChanged = s.Record.At.Add(after) }
	}
	version := func(s *secretstore.Secret) { s.Record.Version = earlier }
	code := func(s *secretstore.Secret) { s.Record.Code = fault.CredentialRejected }
	const pushed, settled, unproven = secretstore.Pushed, secretstore.Settled, secretstore.Unproven

	there := listing{map[string]datadog.AuthMethod{id: method}, now}
	edited := listing{map[string]datadog.AuthMethod{id: {ID: id, Scope: "edited"}}, now}
	missing, unlisted := listing{began: now}, listing{}
	began := func(l listing, at time.Time) listing { l.began = at; return l }

	for _, c := range []struct {
		name   string
		secret secretstore.Secret
		listing
		shared bool
		want   []Reason
		state  State
	}{
		{"settled", secret(settled, time.Hour), there, false, nil, InSync},
		{"no record", secret("", time.Hour, record(secretstore.Record{})), missing, false, []Reason{NeverSynced}, OutOfSync},
		{"only an id", secret("", time.Hour, record(secretstore.Record{ID: id})), there, false, []Reason{NeverSynced}, OutOfSync},
		{"only an id, shared", secret("", time.Hour, record(secretstore.Record{ID: id})), there, true, []Reason{NeverSynced, AuthMethodShared}, OutOfSync},
		{"only a failure", secret("", time.Hour, record(secretstore.Record{State: secretstore.Waiting, Code: fault.Deadline})), missing, false, []Reason{NeverSynced, Failing}, OutOfSync},
		{"another version", secret(settled, time.Hour, version), there, false, []Reason{OtherVersion}, OutOfSync},
		{"missing", secret(settled, time.Hour), missing, false, []Reason{AuthMethodMissing}, OutOfSync},
		{"missing, recorded a second before the listing", secret(settled, time.Hour), began(missing, now.Add(-time.Hour+time.Second)), false, nil, InSync},
		{"missing, recorded earlier than that", secret(settled, time.Hour), began(missing, now.Add(-time.Hour+time.Second+tick)), false, []Reason{AuthMethodMissing}, OutOfSync},
		{"not listed", secret(settled, time.Hour), unlisted, false, nil, InSync},
		{"shared", secret(settled, time.Hour), there, true, []Reason{AuthMethodShared}, OutOfSync},
		{"edited", secret(settled, time.Hour), edited, false, []Reason{AttributesDiffer}, OutOfSync},
		{"edited, recorded after the listing", secret(settled, time.Hour), began(edited, now.Add(-2*time.Hour)), false, nil, InSync},
		{"changed 5 s after the record", secret(settled, time.Hour, changed(5*time.Second)), there, false, nil, InSync},
		{"changed later than that", secret(settled, time.Hour, changed(5*time.Second+tick)), there, false, []Reason{ChangedSince}, OutOfSync},
		{"waiting", secret(secretstore.Waiting, time.Hour, code), there, false, []Reason{Failing}, OutOfSync},
		{"failing for days", secret(secretstore.Failing, 100*time.Hour, code), there, false, []Reason{Failing}, OutOfSync},
		{"lost", secret(secretstore.Lost, time.Hour, code), there, false, []Reason{Failing}, OutOfSync},
		{"pushed now", secret(pushed, 0), there, false, []Reason{Settling}, IsSettling},
		{"pushed just under 10 min ago", secret(pushed, 10*time.Minute-tick), there, false, []Reason{Settling}, IsSettling},
		{"pushed 10 min ago", secret(pushed, 10*time.Minute), there, false, []Reason{NotSettled}, OutOfSync},
		{"pushed, then changed", secret(pushed, time.Minute, changed(time.Minute)), there, false, []Reason{ChangedSince, Settling}, OutOfSync},
		{"pushed days ago", secret(pushed, 100*time.Hour), there, false, []Reason{NotSettled}, OutOfSync},
		{"unproven", secret(unproven, time.Hour), there, false, []Reason{NotVerified}, InSync},
		{"unproven, and old", secret(unproven, old), there, false, []Reason{NotVerified, RecordOld}, OutOfSync},
		{"just not old", secret(settled, old-tick), there, false, nil, InSync},
		{"old", secret(settled, old), there, false, []Reason{RecordOld}, OutOfSync},
		{"all at once", secret(settled, 100*time.Hour, version, changed(time.Hour)), missing, true,
			[]Reason{OtherVersion, AuthMethodMissing, AuthMethodShared, ChangedSince, RecordOld}, OutOfSync},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &Fleet{Syncer: &authsync.Syncer{Now: func() time.Time { return now }}, Refresh: refresh}
			l := datadog.NewListing(func(context.Context) ([]datadog.AuthMethod, error) {
				return slices.Collect(maps.Values(c.methods)), nil
			}, func() time.Time { return c.began })
			if err := l.Load(t.Context()); err != nil {
				t.Fatal(err)
			}
			got := f.judge(c.secret, l, c.shared)
			if diff := cmp.Diff(c.want, got); diff != "" || stateOf(got) != c.state {
				t.Errorf("state %s (-want +got):\n%s", stateOf(got), diff)
			}
		})
	}
	if refreshOf(arn+"-b", refresh) == old {
		t.Error("two secrets that were written together are written together again")
	}
	if old < refresh*3/4 || old >= refresh {
		t.Errorf("the record is old after %v", old)
	}
}

func TestRank(t *testing.T) {
	for want, same := range [][][]Reason{
		{{OtherVersion, ChangedSince}, {AuthMethodMissing}, {AuthMethodShared}, {AttributesDiffer}, {ChangedSince, Settling}, {NeverSynced}},
		{{NotSettled}},
		{{OtherVersion, Failing}, {Failing}, {NeverSynced, Failing}},
		{{RecordOld}, {NotVerified, RecordOld}},
	} {
		for _, reasons := range same {
			i := &item{reasons: reasons, secret: secretstore.Secret{Record: secretstore.Record{ID: "an id"}}}
			if got := i.rank(); got != want {
				t.Errorf("rank of %v: %d; want %d", reasons, got, want)
			}
			if i.secret.Record.ID = ""; i.rank() != lastRank {
				t.Errorf("rank of %v without an id: %d", reasons, i.rank())
			}
		}
	}
}
