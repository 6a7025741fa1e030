package fleet

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
)

func TestJudge(t *testing.T) {
	now := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	const tick = time.Nanosecond
	const idA = "aaaaaaaa-0000-4000-8000-000000000001"
	method := datadog.AuthMethod{ID: idA, Name: "payments", ClientID: "client", AccessTokenURL: "https://idp.example.com/oauth2/token"}
	const arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:datadog/webhooks/payments-AbCdEf"
	const refresh = 24 * time.Hour
	old := refreshOf(arn, refresh)
	// ago is a secret whose push was recorded and settled that long ago, and that has not changed since.
	ago := func(age time.Duration) secretstore.Secret {
		at := now.Add(-age)
		return secretstore.Secret{ARN: arn, Labels: map[string][]string{"v1": {"AWSCURRENT"}}, LastChanged: at,
			Record: secretstore.Record{ID: idA, VersionID: "v1", At: at, Digest: method.Digest(), Site: "datadoghq.com", State: secretstore.Settled}}
	}
	with := func(s secretstore.Secret, edit func(*secretstore.Secret)) secretstore.Secret { edit(&s); return s }
	pushed := func(age time.Duration) secretstore.Secret {
		return with(ago(age), func(s *secretstore.Secret) { s.Record.State = secretstore.Pushed })
	}
	unproven := func(age time.Duration) secretstore.Secret {
		return with(ago(age), func(s *secretstore.Secret) { s.Record.State = secretstore.Unproven })
	}
	failing := func(s secretstore.Secret) secretstore.Secret {
		s.Record.State, s.Record.Failing = "", fault.CredentialRejected
		return s
	}
	there, gone, unlisted := evidence{method: method, found: true, listed: true}, evidence{listed: true}, evidence{}
	edited, shared := there, there
	edited.method.Scope = "edited"
	shared.shared = true

	for _, c := range []struct {
		name   string
		secret secretstore.Secret
		by     evidence
		want   []Reason
		state  State
	}{
		{"settled", ago(time.Hour), there, nil, InSync},
		{"unproven", unproven(time.Hour), there, nil, InSync},
		{"no record", with(ago(time.Hour), func(s *secretstore.Secret) { s.Record = secretstore.Record{} }), gone, []Reason{NeverSynced}, OutOfSync},
		{"only an id", with(ago(time.Hour), func(s *secretstore.Secret) { s.Record = secretstore.Record{ID: idA} }), there, []Reason{NeverSynced}, OutOfSync},
		{"only an id, which another has too", with(ago(time.Hour), func(s *secretstore.Secret) { s.Record = secretstore.Record{ID: idA} }), shared, []Reason{NeverSynced, AuthMethodShared}, OutOfSync},
		{"only a failure", with(ago(time.Hour), func(s *secretstore.Secret) { s.Record = secretstore.Record{Failing: fault.Deadline} }), gone, []Reason{NeverSynced, Failing}, OutOfSync},
		{"another version", with(ago(time.Hour), func(s *secretstore.Secret) { s.Record.VersionID = "v0" }), there, []Reason{OtherVersion}, OutOfSync},
		{"the auth method is gone", ago(time.Hour), gone, []Reason{AuthMethodMissing}, OutOfSync},
		{"recorded after the listing", ago(time.Hour), unlisted, nil, InSync},
		{"another secret records it too", ago(time.Hour), shared, []Reason{AuthMethodShared}, OutOfSync},
		{"the auth method was edited", ago(time.Hour), edited, []Reason{AttributesDiffer}, OutOfSync},
		{"changed 5 s after the record", with(ago(time.Hour), func(s *secretstore.Secret) { s.LastChanged = s.Record.At.Add(5 * time.Second) }), there, nil, InSync},
		{"changed later than that", with(ago(time.Hour), func(s *secretstore.Secret) { s.LastChanged = s.Record.At.Add(5*time.Second + tick) }), there, []Reason{ChangedSince}, OutOfSync},
		{"failing", failing(ago(time.Hour)), there, []Reason{Failing}, OutOfSync},
		{"failing for days", failing(ago(100 * time.Hour)), there, []Reason{Failing}, OutOfSync},
		{"pushed just now", pushed(0), there, []Reason{Settling}, IsSettling},
		{"pushed just under 10 min ago", pushed(10*time.Minute - tick), there, []Reason{Settling}, IsSettling},
		{"pushed 10 min ago", pushed(10 * time.Minute), there, []Reason{NotSettled}, OutOfSync},
		{"pushed just now, and changed", with(pushed(time.Minute), func(s *secretstore.Secret) { s.LastChanged = now }), there, []Reason{ChangedSince, Settling}, OutOfSync},
		{"pushed days ago", pushed(100 * time.Hour), there, []Reason{NotSettled}, OutOfSync},
		{"the record is just not old", ago(old - tick), there, nil, InSync},
		{"the record is old", ago(old), there, []Reason{RecordOld}, OutOfSync},
		{"unproven, and old", unproven(old), there, []Reason{RecordOld}, OutOfSync},
		{"everything at once", with(ago(100*time.Hour), func(s *secretstore.Secret) { s.Record.VersionID = "v0"; s.LastChanged = now }), gone, []Reason{OtherVersion, AuthMethodMissing, ChangedSince, RecordOld}, OutOfSync},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.by.now, c.by.refresh = now, refresh
			got := judge(c.secret, c.by)
			if diff := cmp.Diff(c.want, got); diff != "" || stateOf(got) != c.state {
				t.Errorf("state %s (-want +got):\n%s", stateOf(got), diff)
			}
		})
	}
	if old < refresh*3/4 || old >= refresh {
		t.Errorf("the record is old after %v", old)
	}
}

func TestUrgency(t *testing.T) {
	order := [][]Reason{{NeverSynced}, {OtherVersion, ChangedSince}, {AuthMethodMissing}, {AuthMethodShared}, {AttributesDiffer}, {ChangedSince, Settling}, {NotSettled}, {OtherVersion, Failing}, {RecordOld}}
	for i := range order[1:] {
		if urgency(order[i]) >= urgency(order[i+1]) {
			t.Errorf("%v does not come before %v", order[i], order[i+1])
		}
	}
}
