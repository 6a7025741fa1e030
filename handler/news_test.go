package handler_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/tokencheck"
	"datadog-webhook-auth-sync/handler/tokencheck/tokentest"
)

// onboard makes a secret whose first version is at Datadog and settled.
func (w *world) onboard(name string) (value string) {
	w.t.Helper()
	value = w.value("first-of-" + name)
	w.secrets.Create(name, value)
	w.reconcile()
	time.Sleep(11 * time.Minute)
	w.reconcile()
	if r := w.record(name); r.State != secretstore.Settled {
		w.t.Fatalf("record of %s: %v", name, r)
	}
	return value
}

func (w *world) record(name string) secretstore.Record {
	return secretstore.ParseRecord(w.secrets.Tags(name)[secretstore.RecordTag], "datadoghq.com", time.Now())
}

// refuse stores a version that the identity provider does not know.
func (w *world) refuse(name, clientSecret string) (value string) {
	value = w.value(clientSecret)
	w.tokens.Revoke("payments-client", secretIn(value))
	w.secrets.Put(name, value)
	return value
}

// told are the outcomes, codes and held verdicts that were published since the last call.
func (w *world) told() (all []string) {
	results := w.published()
	for _, r := range results[w.heard:] {
		text := string(r.Outcome)
		if r.Error != nil {
			text += " " + string(r.Error.Code)
		}
		if r.Held != nil {
			text += " held " + string(r.Held.Verification)
		}
		if r.Recovered != nil {
			text += " recovered " + string(r.Recovered.Code)
		}
		all = append(all, text)
	}
	w.heard = len(results)
	return all
}

func (w *world) mustTell(what string, want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.told()); diff != "" {
		w.t.Errorf("%s: told (-want +got):\n%s", what, diff)
	}
}

func TestAProviderThatIsTwoMinutesLateIsNoIncident(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.onboard(secretName)
		w.told()
		value := w.refuse(secretName, "second")
		w.tokens.HonourAfter("payments-client", secretIn(value), 2*time.Minute)
		event := w.sample("secret-label-updated.json")
		for _, wait := range []time.Duration{0, time.Minute} {
			time.Sleep(wait)
			if _, err := w.invoke(event); err == nil || fault.From(err).Code != fault.CredentialRejected {
				t.Fatalf("Lambda gets %v, and would not try again", err)
			}
		}
		w.reconcile() // in between
		w.mustTell("meanwhile")
		if r := w.record(secretName); r.Failing != "" {
			t.Errorf("record: %v", r)
		}
		time.Sleep(2 * time.Minute)
		if _, err := w.invoke(event); err != nil {
			t.Fatal(err)
		}
		w.mustTell("in the end", "updated")
		if got := w.metrics(); len(got["SyncFailed"]) > 0 || got["AtRisk"] != nil && cmp.Diff([]float64{0, 0, 0}, got["AtRisk"]) != "" {
			t.Errorf("metrics: %v", got)
		}
	})
}

func TestTheBoundaryOfTheGrace(t *testing.T) {
	for name, c := range map[string]struct {
		after time.Duration
		told  []string
	}{
		"just within": {150*time.Second - time.Nanosecond, nil},
		"just past":   {150 * time.Second, []string{"failed credential_rejected held accepted"}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.onboard(secretName)
				w.told()
				w.refuse(secretName, "second")
				event := w.sample("secret-label-updated.json")
				time.Sleep(c.after)
				if _, err := w.invoke(event); (err != nil) != (c.told == nil) {
					t.Errorf("Lambda gets %v", err)
				}
				w.mustTell("the event", c.told...)
			})
		})
	}
}

// What fails is told once, told again when it gets worse, and its end is told.
func TestTheStoryOfAFailure(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		first := w.onboard(secretName)
		w.told()
		second := w.refuse(secretName, "second")
		moved := w.record(secretName).VersionID
		time.Sleep(3 * time.Minute)
		began := time.Now().UTC().Truncate(time.Second)
		w.reconcile()
		w.mustTell("the first reconcile", "failed credential_rejected held accepted")
		advises := func(text string) {
			t.Helper()
			if all := w.published(); !strings.HasSuffix(all[len(all)-1].Summary, text) {
				t.Errorf("summary: %s", all[len(all)-1].Summary)
			}
		}
		advises("Check that the identity provider knows the new client secret.")
		if r := w.record(secretName); r.Failing != fault.CredentialRejected || r.Lost || !r.Since.Equal(began) || r.VersionID != moved {
			t.Errorf("record: %+v", r)
		}

		time.Sleep(15 * time.Minute)
		tags := w.secrets.Calls()["TagResource"]
		if answer := w.reconcile(); answer.Failing != 1 || answer.AtRisk != 0 || len(answer.Failures) != 1 {
			t.Errorf("answer: %+v", answer)
		}
		w.mustTell("the next one")
		if n := w.secrets.Calls()["TagResource"]; n != tags {
			t.Error("the same failure was recorded again")
		}

		w.tokens.Revoke("payments-client", secretIn(first)) // now alerts are being lost
		time.Sleep(15 * time.Minute)
		if answer := w.reconcile(); answer.AtRisk != 1 {
			t.Errorf("answer: %+v", answer)
		}
		w.mustTell("when what Datadog holds is refused too", "failed credential_rejected held rejected")
		advises("Store a client secret that works, or go back to one that does.")
		if s := w.status("").Secrets[0]; s.Failing == nil || !s.Failing.Lost || !s.Failing.Since.Equal(began) || s.Failing.Code != fault.CredentialRejected {
			t.Errorf("status: %+v", s.Failing)
		}

		time.Sleep(15 * time.Minute)
		w.tokens.ResetCalls()
		if answer := w.reconcile(); answer.AtRisk != 1 {
			t.Errorf("answer: %+v", answer)
		}
		w.mustTell("and then")
		if n := len(w.tokens.Calls()); n != 2 {
			t.Errorf("%d token requests; want 2, since what was lost is not asked about again", n)
		}

		w.tokens.Allow("payments-client", secretIn(second))
		time.Sleep(15 * time.Minute)
		if answer := w.reconcile(); answer.Failing != 0 || answer.AtRisk != 0 {
			t.Errorf("answer: %+v", answer)
		}
		w.mustTell("when it is mended", "updated recovered credential_rejected")
		if r := w.record(secretName); r.State != secretstore.Pushed || r.Failing != "" {
			t.Errorf("record: %+v", r)
		}
		results := w.published()
		if last := results[len(results)-1]; !last.Recovered.Since.Equal(began) || !strings.Contains(last.Summary, "recovered from credential_rejected") {
			t.Errorf("recovery: %+v", last)
		}
	})
}

// A credential that expires at the provider without a rotation is found by the refresh.
func TestARefreshFindsADeadCredential(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		first := w.onboard(secretName)
		w.told()
		w.tokens.Revoke("payments-client", secretIn(first))
		for range 24 * 4 {
			time.Sleep(15 * time.Minute)
			w.reconcile()
		}
		w.mustTell("within RefreshHours", "failed credential_rejected held rejected")
		summary := w.published()[len(w.published())-1].Summary
		if !strings.Contains(summary, "ALERTS ARE BEING LOST NOW") || !strings.HasPrefix(summary, secretName+": ") {
			t.Error(summary)
		}
	})
}

func TestTheHeldCredential(t *testing.T) {
	const accepted, rejected, inconclusive = tokencheck.Accepted, tokencheck.Rejected, tokencheck.Inconclusive
	for _, c := range []struct {
		name   string
		broken func(w *world, first string)
		want   tokencheck.Outcome // empty: no verdict
	}{
		{"it works", func(*world, string) {}, accepted},
		{"it is refused", func(w *world, first string) { w.tokens.Revoke("payments-client", secretIn(first)) }, rejected},
		{"the provider fails", func(w *world, _ string) {
			w.secrets.Put(secretName, "{}")
			w.tokens.Fail(tokentest.Fault{Status: 503})
		}, inconclusive},
		{"one style is refused, the other not answered", func(w *world, first string) {
			w.tokens.Revoke("payments-client", secretIn(first))
			w.secrets.Put(secretName, "{}")
			w.tokens.Fail(tokentest.Fault{Times: 1, Status: 401, Body: `{"error":"invalid_client"}`})
			w.tokens.Fail(tokentest.Fault{Cut: true})
		}, inconclusive},
		{"the auth method is gone", func(w *world, _ string) {
			w.datadog.Delete(w.datadog.AuthMethods()[0].ID)
			w.secrets.Put(secretName, "{}")
		}, rejected},
		{"the auth method was edited", func(w *world, _ string) {
			m := w.datadog.AuthMethods()[0]
			m.ClientID = "edited"
			w.datadog.Put(m)
		}, inconclusive},
		{"the secret pins another", func(w *world, _ string) {
			w.secrets.Put(secretName, w.value("third", "auth_method_id="+w.datadogHolds("other", "victim").ID))
		}, inconclusive},
		{"Datadog is down", func(w *world, _ string) { w.datadog.Fail(datadogtest.Fault{Status: 500}) }, inconclusive},
		{"its value cannot be read", func(w *world, _ string) {
			w.secrets.Put(secretName, "{}")
			w.secrets.Fail("GetSecretValue", 99, kmsDenied)
		}, inconclusive},
		{"nothing was pushed", func(w *world, _ string) { w.secrets.Untag(secretName, secretstore.RecordTag) }, ""},
		{"the secret is invalid", func(w *world, _ string) { w.secrets.Put(secretName, "{}") }, accepted},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				first := w.onboard(secretName)
				w.refuse(secretName, "second")
				c.broken(w, first)
				w.told()
				_, _ = w.sync(secretName)
				results := w.published()
				got := results[len(results)-1]
				if got.Error == nil || (got.Held != nil) != (c.want != "") || got.Held != nil && got.Held.Verification != c.want {
					t.Errorf("result: %v, held %+v; want %q", got.Error, got.Held, c.want)
				}
				if n := len(w.metrics()["AtRisk"]); (n == 3) != (c.want == rejected) {
					t.Errorf("AtRisk: %v", w.metrics()["AtRisk"])
				}
				if r := w.record(secretName); r.Failing == "" || r.Lost != (c.want == rejected) {
					t.Errorf("record: %+v", r)
				}
			})
		})
	}
	t.Run("a dry run does not ask", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			w.onboard(secretName)
			w.refuse(secretName, "second")
			w.told()
			w.tokens.ResetCalls()
			_, _ = w.invoke(`{"action":"sync","dryRun":true,"secretId":"` + secretName + `"}`)
			if n := len(w.tokens.Calls()); n != 2 {
				t.Errorf("%d token requests; want 2", n)
			}
			w.mustTell("a dry run")
		})
	})
}

// A webhook does not use the auth method that a recovery had to make anew.
func TestARecoveryInANewAuthMethodSaysSo(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.onboard(secretName)
		w.datadog.Delete(w.datadog.AuthMethods()[0].ID)
		w.secrets.Put(secretName, "{}")
		if _, err := w.sync(secretName); err == nil || !strings.Contains(err.Error(), "ALERTS ARE BEING LOST NOW") {
			t.Errorf("error: %v", err)
		}
		w.secrets.Put(secretName, w.value("second"))
		if res, err := w.sync(secretName); err != nil || res.Outcome != report.Created || !strings.Contains(res.Summary, "ALERTS ARE LOST until you attach it") {
			t.Errorf("%v: %s", err, res.Summary)
		}
	})
}

// News is published first: what could not be told is told later, and nothing is forgotten meanwhile.
func TestNewsThatCouldNotBePublished(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.onboard(secretName)
		w.told()
		second := w.refuse(secretName, "second")
		time.Sleep(3 * time.Minute)
		w.bus.Hook = denied
		w.reconcile()
		if r := w.record(secretName); r.Failing != "" {
			t.Errorf("the record tells what nobody was told: %+v", r)
		}
		w.bus.Hook = nil
		w.reconcile()
		w.mustTell("once the bus is back", "failed credential_rejected held accepted")

		w.tokens.Allow("payments-client", secretIn(second))
		w.bus.Hook = denied
		w.reconcile()
		version, _ := w.secrets.Current(secretName)
		if r := w.record(secretName); r.Failing != fault.CredentialRejected || r.VersionID != version {
			t.Errorf("the record after an unpublished recovery: %+v", r)
		}
		w.bus.Hook = nil
		w.reconcile()
		w.mustTell("once the bus is back again", "updated recovered credential_rejected")
	})
}

// With forty secrets of which one has been broken for a day, a second one that breaks is heard within one period, and by
// name.
func TestABrokenSecretHidesNoOther(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		name := func(i int) string { return fmt.Sprintf("%s-%d", secretName, i) }
		for i := range 40 {
			w.secrets.Create(name(i), w.value(fmt.Sprint("of-", i), fmt.Sprintf("name=method %d", i)))
		}
		w.reconcile()
		w.secrets.Put(name(7), "{}")
		for range 24 * 4 {
			time.Sleep(15 * time.Minute)
			w.reconcile()
		}
		w.told()
		w.secrets.Put(name(23), "{}")
		time.Sleep(15 * time.Minute)
		if answer := w.reconcile(); answer.Failing != 2 {
			t.Errorf("answer: %+v", answer)
		}
		w.mustTell("after a period", "failed secret_invalid held accepted")
		if last := w.published()[len(w.published())-1]; !strings.HasPrefix(last.Summary, name(23)+": ") {
			t.Error(last.Summary)
		}
	})
}

func TestSummaries(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		long := "datadog/webhooks/" + strings.Repeat("a-very-long-name/", 20) + "end"
		w.secrets.Create(long, "{}")
		_, _ = w.sync(long)
		summary := w.published()[0].Summary
		if len(summary) > 300 || len(summary) < 298 || !strings.HasPrefix(summary, "datadog/webhooks/a-very-long") || !strings.Contains(summary, "long-name/end: the secret's value") {
			t.Errorf("%d characters: %s", len(summary), summary)
		}
	})
	for _, row := range fault.Table { // with room for a name
		for _, held := range []string{"What Datadog holds does not work either: ALERTS ARE BEING LOST NOW."} {
			if n := len(fmt.Sprintf(": %s (%s). %s %s", row.Means, row.Code, held, row.Hint)); n > 260 {
				t.Errorf("%s takes %d characters", row.Code, n)
			}
		}
	}
}

// Of a change that nothing told, and of somebody else's write, a reconcile says that it repaired it.
func TestRepaired(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(w *world)
		want int
	}{
		"a lost event":                 {func(w *world) { w.secrets.Put(secretName, w.value("second")); time.Sleep(6 * time.Minute) }, 1},
		"an event that may still come": {func(w *world) { w.secrets.Put(secretName, w.value("second")); time.Sleep(4 * time.Minute) }, 0},
		"an edit in Datadog": {func(w *world) {
			m := w.datadog.AuthMethods()[0]
			m.Scope = nil
			w.datadog.Put(m)
		}, 1},
		"an auth method that is gone": {func(w *world) { w.datadog.Delete(w.datadog.AuthMethods()[0].ID) }, 1},
		"a tag":                       {func(w *world) { w.secrets.Tag(secretName, "team", "payments") }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.onboard(secretName)
				time.Sleep(11 * time.Minute)
				c.edit(w)
				if answer := w.reconcile(); answer.Outcomes[report.Failed] > 0 {
					t.Errorf("answer: %+v", answer)
				}
				if got := len(w.metrics()["Repaired"]); got != c.want {
					t.Errorf("Repaired %d times; want %d", got, c.want)
				}
			})
		})
	}
}
