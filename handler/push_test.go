package handler_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/tokencheck/tokentest"
)

// A create whose answer is lost is resolved by looking: one auth method, and created only where Datadog said so.
func TestAmbiguousCreate(t *testing.T) {
	post := func(f datadogtest.Fault) datadogtest.Fault { f.Method, f.Times = "POST", max(f.Times, 1); return f }
	for _, c := range []struct {
		name    string
		faults  []datadogtest.Fault
		outcome report.Outcome
		code    fault.Code
		posts   int
		patches int
	}{
		{"500, and done", []datadogtest.Fault{post(datadogtest.Fault{Status: 500, Commit: true})}, report.Adopted, "", 1, 1},
		{"cut, and done", []datadogtest.Fault{post(datadogtest.Fault{Cut: true, Commit: true})}, report.Adopted, "", 1, 1},
		{"201 without an id, and done", []datadogtest.Fault{post(datadogtest.Fault{Status: 201, Body: `{"data":{}}`, Commit: true})}, report.Adopted, "", 1, 1},
		{"too slow, and done", []datadogtest.Fault{post(datadogtest.Fault{Delay: 6 * time.Second})}, report.Created, "", 2, 0},
		{"500, and not done", []datadogtest.Fault{post(datadogtest.Fault{Status: 500})}, report.Created, "", 2, 0},
		{"500 twice, and not done", []datadogtest.Fault{post(datadogtest.Fault{Status: 500, Times: 2})}, report.Created, "", 3, 0},
		{"500 for ever", []datadogtest.Fault{post(datadogtest.Fault{Status: 500, Times: 99})}, report.Failed, fault.DatadogUnavailable, 3, 0},
		{"500, done a moment after the look", []datadogtest.Fault{post(datadogtest.Fault{Status: 500, Commit: true, CommitAfter: time.Millisecond}),
			{Method: "POST", Times: 1, Delay: 2 * time.Millisecond}}, report.Adopted, "", 2, 1},
		{"429 is repeated", []datadogtest.Fault{datadogtest.Throttled(1)}, report.Created, "", 1, 0},
		{"409 that nothing explains", []datadogtest.Fault{post(datadogtest.Fault{Status: 409, Times: 99})}, report.Failed, fault.DatadogRejected, 1, 0},
		{"400", []datadogtest.Fault{post(datadogtest.Fault{Status: 400})}, report.Failed, fault.DatadogRejected, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.secrets.Create(secretName, w.value("first"))
				for _, f := range c.faults {
					w.datadog.Fail(f)
				}
				_, err := w.sync(secretName)
				if (err != nil) != (c.code != "") || err != nil && fault.From(err).Code != c.code {
					t.Errorf("error: %v; want %q", err, c.code)
				}
				if diff := cmp.Diff([]string{string(c.outcome)}, w.outcomes()); diff != "" {
					t.Errorf("published (-want +got):\n%s", diff)
				}
				calls := w.calls(0)
				if calls["POST"] != c.posts || calls["PATCH"] != c.patches {
					t.Errorf("calls: %v; want %d POST, %d PATCH", calls, c.posts, c.patches)
				}
				if c.code == "" {
					if _, value := w.secrets.Current(secretName); w.holds() != secretIn(value) {
						t.Error("Datadog does not hold AWSCURRENT")
					}
				}
			})
		})
	}
}

func TestWhereACredentialGoes(t *testing.T) {
	bare := func(w *world) string { return w.secret[len(w.secret)-1] } // the client secret alone
	for _, c := range []struct {
		name     string
		there    func(w *world) // before the first sync
		value    func(w *world) string
		outcome  report.Outcome
		code     fault.Code
		retry    bool
		verified string
		tokens   int
		gets     int
	}{
		{name: "an auth method of the same name and client is adopted", there: func(w *world) { w.datadogHolds("payments", "payments-client") },
			outcome: report.Adopted, verified: "accepted", tokens: 1},
		{name: "one of the same name and another client is not", there: func(w *world) { w.datadogHolds("payments", "another") },
			outcome: report.Failed, code: fault.AuthMethodMismatch},
		{name: "one of the same name and another URL is not", there: func(w *world) {
			w.datadog.Put(datadogtest.AuthMethod{Name: "payments", ClientID: "payments-client", ClientSecret: "unknown", AccessTokenURL: "https://thief.example.com/token"})
		}, outcome: report.Failed, code: fault.AuthMethodMismatch},
		{name: "what the credential does not open is not adopted", there: func(w *world) {
			w.datadogHolds("payments", "payments-client")
			w.tokens.Scopes = []string{"other"}
		}, outcome: report.Failed, code: fault.AuthMethodMismatch, retry: true, verified: "rejected", tokens: 2},
		{name: "nor while that cannot be verified", there: func(w *world) {
			w.datadogHolds("payments", "payments-client")
			w.tokens.Fail(tokentest.Fault{Status: 503})
		}, outcome: report.Failed, code: fault.AuthMethodMismatch, retry: true, verified: "inconclusive", tokens: 1},
		{name: "nor with verification off", there: func(w *world) {
			w.config.VerifyCredential = false
			w.start()
			w.datadogHolds("payments", "payments-client")
		}, outcome: report.Failed, code: fault.AuthMethodMismatch, retry: true},
		{name: "a create with verification off", there: func(w *world) {
			w.config.VerifyCredential = false
			w.start()
		}, outcome: report.Created, verified: "off"},
		{name: "a client secret alone is not sent where a name leads", there: func(w *world) { w.datadogHolds("payments", "payments-client") },
			value: bare, outcome: report.Failed, code: fault.AuthMethodMismatch, retry: true},
		{name: "a client secret alone, and nothing there", value: bare, outcome: report.Failed, code: fault.SecretInvalid},
		{name: "an id recorded by hand", there: func(w *world) {
			w.secrets.Tag(secretName, secretstore.RecordTag, "id="+w.datadogHolds("by hand", "payments-client").ID)
		}, outcome: report.Updated, verified: "accepted", tokens: 1},
		{name: "an id recorded by hand, a client secret alone", there: func(w *world) {
			w.secrets.Tag(secretName, secretstore.RecordTag, "id="+w.datadogHolds("by hand", "payments-client").ID)
		}, value: bare, outcome: report.Updated, verified: "accepted", tokens: 1, gets: 1},
		{name: "a recorded id that is gone", there: func(w *world) {
			w.secrets.Tag(secretName, secretstore.RecordTag, "id=aaaaaaaa-0000-4000-8000-000000000001")
		}, outcome: report.Created, verified: "accepted", tokens: 1},
		{name: "the record of another site", there: func(w *world) {
			w.secrets.Tag(secretName, secretstore.RecordTag, "id="+w.datadogHolds("elsewhere", "x").ID+" site=datadoghq.eu")
		}, value: func(w *world) string { return w.value("second", "client_id=other-client") }, outcome: report.Failed, code: fault.CredentialRejected, retry: true, verified: "rejected", tokens: 2},
		{name: "a pinned id", value: func(w *world) string {
			return w.value("second", "auth_method_id="+w.datadogHolds("pinned", "payments-client").ID)
		}, outcome: report.Adopted, verified: "accepted", tokens: 1, gets: 1},
		{name: "a pinned id, a client secret alone", value: func(w *world) string {
			return w.value("second", "auth_method_id="+w.datadogHolds("pinned", "payments-client").ID, "client_id", "access_token_url", "scope", "audience")
		}, outcome: report.Adopted, verified: "accepted", tokens: 1, gets: 1},
		{name: "a pinned id of another client's", value: func(w *world) string {
			return w.value("second", "auth_method_id="+w.datadogHolds("pinned", "victim").ID)
		}, outcome: report.Failed, code: fault.AuthMethodMismatch, gets: 1},
		{name: "a pinned id that the credential does not open", value: func(w *world) string {
			return w.value("second", "auth_method_id="+w.datadogHolds("pinned", "victim").ID, "client_id", "access_token_url")
		}, outcome: report.Failed, code: fault.AuthMethodMismatch, retry: true, verified: "rejected", tokens: 2, gets: 1},
		{name: "what the secret omits is proven as Datadog holds it", there: func(w *world) {
			m := w.datadogHolds("payments", "payments-client")
			w.secrets.Tag(secretName, secretstore.RecordTag, "id="+m.ID)
			w.tokens.Scopes = []string{""}
		}, value: func(w *world) string { return w.value("second", "scope", "audience") }, outcome: report.Updated, verified: "accepted", tokens: 1, gets: 1},
		{name: "a rejected credential stays away", there: func(w *world) { w.tokens.Scopes = []string{"other"} },
			outcome: report.Failed, code: fault.CredentialRejected, retry: true, verified: "rejected", tokens: 2},
		{name: "one that cannot be verified creates nothing", there: func(w *world) { w.tokens.Fail(tokentest.Fault{Status: 503}) },
			outcome: report.Failed, code: fault.CredentialRejected, retry: true, verified: "inconclusive", tokens: 1},
		{name: "one that cannot be verified updates its own", there: func(w *world) {
			w.secrets.Tag(secretName, secretstore.RecordTag, "id="+w.datadogHolds("by hand", "payments-client").ID)
			w.tokens.Fail(tokentest.Fault{Status: 503})
		}, outcome: report.Updated, verified: "inconclusive", tokens: 1},
		{name: "but not while it fails", there: func(w *world) {
			w.secrets.Tag(secretName, secretstore.RecordTag, "id="+w.datadogHolds("by hand", "payments-client").ID+" failing=credential_rejected since=1999-12-31T23:00:00Z")
			w.tokens.Fail(tokentest.Fault{Status: 503})
		}, outcome: report.Failed, code: fault.CredentialRejected, retry: true, verified: "inconclusive", tokens: 1},
		{name: "another URL than is allowed", value: func(w *world) string { return w.value("second", "access_token_url=https://10.0.0.1/token") },
			outcome: report.Failed, code: fault.SecretInvalid},
		{name: "a token endpoint that does not exist", value: func(w *world) string { return w.value("second", "access_token_url=https://nowhere.example.com/token") },
			outcome: report.Failed, code: fault.CredentialRejected, retry: true, verified: "rejected"},
		{name: "a token endpoint in the clear", value: func(w *world) string { return w.value("second", "access_token_url=http://idp.example.com/token") },
			outcome: report.Failed, code: fault.SecretInvalid},
		{name: "keys that were rotated", there: func(w *world) {
			w.datadog.SetKeys("canary-of-a-new-api-key", appKey)
			w.secrets.Put("datadog/keys", `{"api_key":"canary-of-a-new-api-key","app_key":"`+appKey+`"}`)
			w.secret = append(w.secret, "canary-of-a-new-api-key", w.secret[len(w.secret)-1])
		}, outcome: report.Created, verified: "accepted", tokens: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.secrets.Create(secretName, w.value("first"))
				w.datadog.Latency = 200 * time.Millisecond
				if c.there != nil {
					c.there(w)
				}
				if c.value != nil {
					w.secrets.Put(secretName, c.value(w))
				}
				before := w.datadog.AuthMethods()
				res, err := w.sync(secretName)
				if c.code != "" {
					if err == nil || fault.From(err).Code != c.code || fault.From(err).Retryable != c.retry {
						t.Errorf("error: %v; want %s", err, c.code)
					}
					res = w.published()[0]
					if diff := cmp.Diff(before, w.datadog.AuthMethods()); diff != "" {
						t.Errorf("Datadog was written to:\n%s", diff)
					}
				} else if err != nil {
					t.Fatal(err)
				}
				if res.Outcome != c.outcome || res.Verification != c.verified {
					t.Errorf("%s, verification %s; want %s, %s", res.Outcome, res.Verification, c.outcome, c.verified)
				}
				gets := 0
				for _, call := range w.datadog.Calls() {
					if call.Method == "GET" && call.Path != datadogtest.ListPath {
						gets++
					}
				}
				if got := len(w.tokens.Calls()); got != c.tokens || gets != c.gets {
					t.Errorf("%d token requests, %d GETs; want %d, %d", got, gets, c.tokens, c.gets)
				}
			})
		})
	}
}

// Of an auth method that nobody looked at, a failure does not make up the name.
func TestAFailureNamesNoAuthMethodThatItDidNotSee(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, w.value("first"))
		id := w.datadogHolds("another name", "payments-client").ID
		w.secrets.Tag(secretName, secretstore.RecordTag, "id="+id)
		w.datadog.Fail(refusing("PATCH", 400))
		_, _ = w.sync(secretName)
		want := &report.AuthMethodRef{ID: id, Site: "datadoghq.com"}
		if diff := cmp.Diff(want, w.published()[0].AuthMethod); diff != "" {
			t.Errorf("auth method (-want +got):\n%s", diff)
		}
	})
}

func TestTheRecord(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, w.value("first"))
		version, _ := w.secrets.Current(secretName)
		if _, err := w.sync(secretName); err != nil {
			t.Fatal(err)
		}
		tag := w.secrets.Tags(secretName)[secretstore.RecordTag]
		got := secretstore.ParseRecord(tag, "datadoghq.com", time.Now())
		want := secretstore.Record{ID: w.datadog.AuthMethods()[0].ID, VersionID: version, At: time.Now().UTC().Truncate(time.Second),
			Digest: got.Digest, Site: "datadoghq.com", State: secretstore.Pushed}
		if diff := cmp.Diff(want, got); diff != "" || len(got.Digest) != 16 {
			t.Errorf("record %q (-want +got):\n%s", tag, diff)
		}
		w.tokens.Fail(tokentest.Fault{Status: 500})
		if _, err := w.sync(secretName); err != nil {
			t.Fatal(err)
		}
		if again := secretstore.ParseRecord(w.secrets.Tags(secretName)[secretstore.RecordTag], "datadoghq.com", time.Now()); again.State != secretstore.Pushed || again.Digest != got.Digest {
			t.Errorf("the record after an unproven push: %+v", again)
		}
	})
}

// A write that was followed by a failure happened all the same, so it is remembered.
func TestAPushThatCouldNotBeLookedAtIsRecorded(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, w.value("first"))
		payload := w.sample("secret-label-updated.json")
		w.secrets.Hook = func(op, _ string) error {
			if op == "DescribeSecret" && len(w.datadog.Calls()) > 1 {
				return secretDenied
			}
			return nil
		}
		if _, err := w.invoke(payload); err == nil || fault.From(err).Code != fault.SecretsUnavailable {
			t.Errorf("error: %v", err)
		}
		if record := w.secrets.Tags(secretName)[secretstore.RecordTag]; !strings.Contains(record, w.datadog.AuthMethods()[0].ID) {
			t.Errorf("record: %q", record)
		}
	})
}

func TestARecordThatCannotBeWrittenIsAWarning(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, w.value("first"))
		w.secrets.Fail("TagResource", 1, secretDenied)
		res, err := w.sync(secretName)
		if err != nil || !strings.Contains(strings.Join(res.Warnings, "\n"), "recorded") {
			t.Errorf("answer: %+v, %v", res, err)
		}
	})
}

// The first looks are older than the event; the version that it names is pushed all the same.
func TestStaleReads(t *testing.T) {
	for name, stale := range map[string]func(op, secret string) time.Duration{
		"values": func(op, _ string) time.Duration {
			return map[string]time.Duration{"GetSecretValue": 600 * time.Millisecond}[op]
		},
		"labels": func(op, _ string) time.Duration {
			return map[string]time.Duration{"DescribeSecret": 600 * time.Millisecond}[op]
		},
		"values and labels": func(string, string) time.Duration { return 600 * time.Millisecond },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.secrets.Create(secretName, w.value("first"))
				if _, err := w.sync(secretName); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				w.secrets.Stale = stale
				w.secrets.Put(secretName, w.value("second"))
				payload := w.sample("secret-label-updated.json")
				w.datadog.ResetCalls()
				if _, err := w.invoke(payload); err != nil {
					t.Fatal(err)
				}
				if _, value := w.secrets.Current(secretName); w.holds() != secretIn(value) || len(w.datadog.Calls()) != 1 {
					t.Errorf("AWSCURRENT at Datadog: %v, after %d calls", w.holds() == secretIn(value), len(w.datadog.Calls()))
				}
			})
		})
	}
}
