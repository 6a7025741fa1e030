package fleet

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/authsync"
	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/secretstore"
)

func TestJudge(t *testing.T) {
	now := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	const tick = time.Nanosecond
	const idA, url = "aaaaaaaa-0000-4000-8000-000000000001", "https://idp.example.com/oauth2/token"
	method := datadog.AuthMethod{ID: idA, Name: "payments", ClientID: "client", AccessTokenURL: url}
	const arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:datadog/webhooks/payments-AbCdEf"
	old := recordOld + spread(arn)
	// ago is a secret whose push was recorded and settled that long ago, and that has not changed since.
	ago := func(age time.Duration) secretstore.Secret {
		at := now.Add(-age)
		return secretstore.Secret{ARN: arn, Labels: map[string][]string{"v1": {"AWSCURRENT"}}, LastChanged: at,
			Record: secretstore.Record{ID: idA, VersionID: "v1", At: at, Digest: authsync.Digest(method), Site: "datadoghq.com", Settled: true}}
	}
	pushed := func(age time.Duration) secretstore.Secret { s := ago(age); s.Record.Settled = false; return s }
	with := func(s secretstore.Secret, edit func(*secretstore.Secret)) secretstore.Secret { edit(&s); return s }
	edited := method
	edited.Scope = "edited"

	for _, c := range []struct {
		name   string
		secret secretstore.Secret
		method *datadog.AuthMethod
		want   []Reason
		state  State
	}{
		{"settled", ago(time.Hour), &method, nil, InStep},
		{"no record", with(ago(time.Hour), func(s *secretstore.Secret) { s.Record = secretstore.Record{} }), nil, []Reason{NeverSynced}, Due},
		{"an id alone", with(ago(time.Hour), func(s *secretstore.Secret) { s.Record = secretstore.Record{ID: idA} }), &method, []Reason{NeverSynced}, Due},
		{"another version", with(ago(time.Hour), func(s *secretstore.Secret) { s.Record.VersionID = "v0" }), &method, []Reason{OtherVersion}, Due},
		{"the auth method is gone", ago(time.Hour), nil, []Reason{AuthMethodMissing}, Due},
		{"the auth method was edited", ago(time.Hour), &edited, []Reason{AttributesDiffer}, Due},
		{"changed 5 s after the record", with(ago(time.Hour), func(s *secretstore.Secret) { s.LastChanged = s.Record.At.Add(5 * time.Second) }), &method, nil, InStep},
		{"changed later than that", with(ago(time.Hour), func(s *secretstore.Secret) { s.LastChanged = s.Record.At.Add(5*time.Second + tick) }), &method, []Reason{ChangedSince}, Due},
		{"pushed just now", pushed(0), &method, []Reason{Settling}, IsSettling},
		{"pushed just under 10 min ago", pushed(10*time.Minute - tick), &method, []Reason{Settling}, IsSettling},
		{"pushed 10 min ago", pushed(10 * time.Minute), &method, []Reason{NotSettled}, Due},
		{"pushed just now, and changed", with(pushed(time.Minute), func(s *secretstore.Secret) { s.LastChanged = now }), &method, []Reason{ChangedSince, Settling}, Due},
		{"pushed days ago", pushed(100 * time.Hour), &method, []Reason{NotSettled}, Due},
		{"the record is just not old", ago(old - tick), &method, nil, InStep},
		{"the record is old", ago(old), &method, []Reason{RecordOld}, Due},
		{"everything at once", with(ago(100*time.Hour), func(s *secretstore.Secret) { s.Record.VersionID = "v0"; s.LastChanged = now }), nil, []Reason{OtherVersion, AuthMethodMissing, ChangedSince, RecordOld}, Due},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := judge(c.secret, c.method, now)
			if diff := cmp.Diff(c.want, got); diff != "" || stateOf(got) != c.state {
				t.Errorf("state %s (-want +got):\n%s", stateOf(got), diff)
			}
		})
	}
	if spread(arn) < 0 || spread(arn) >= 6*time.Hour {
		t.Errorf("spread: %v", spread(arn))
	}
}
