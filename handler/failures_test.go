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

func TestAProviderThatIsTwoMinutesLateIsNoIncident(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createSettled(secretName)
		value := w.putRejected(secretName, "second")
		w.tokens.HonourAfter("payments-client", secretIn(value), 2*time.Minute)
		event := w.sample("secret-label-updated.json")
		for _, wait := range []time.Duration{0, time.Minute} {
			time.Sleep(wait)
			if _, err := w.invoke(event); !fault.Is(err, fault.CredentialRejected) {
				t.Fatalf("Lambda gets %v, and would not try again", err)
			}
			w.reconcile()
		}
		w.wantResults("meanwhile")
		if tag := w.tag(secretName); !strings.Contains(tag, "waiting=credential_rejected") {
			t.Errorf("record: %s", tag)
		}
		if failing := w.status("").Secrets[0].Failing; failing == nil || failing.Told {
			t.Errorf("status: %+v", failing)
		}
		time.Sleep(2 * time.Minute)
		if _, err := w.invoke(event); err != nil {
			t.Fatal(err)
		}
		w.wantResults("in the end", "updated")
		got := w.metrics()
		for _, value := range append(got["SyncFailed"], got["AtRisk"]...) {
			if value > 0 {
				t.Errorf("metrics: %v", got)
			}
		}
	})
}

func TestWhenAFailureIsTold(t *testing.T) {
	const rejected, lost = "failed credential_rejected held accepted", "failed credential_rejected held rejected"
	const invalid = "failed secret_invalid held accepted"
	putRejected := func(w *world, _ string) { w.putRejected(secretName, "second") }
	putInvalid := func(w *world, _ string) { w.secrets.Put(secretName, "{}") }
	label := func(after time.Duration) func(w *world) error {
		return func(w *world) error {
			event := w.sample("secret-label-updated.json")
			time.Sleep(after)
			_, err := w.invoke(event)
			return err
		}
	}
	direct := func(w *world) error {
		_, err := w.sync(secretName)
		return err
	}
	reconciles := func(apart ...time.Duration) func(w *world) error {
		return func(w *world) error {
			for _, pause := range append(apart, 0) {
				w.reconcile()
				time.Sleep(pause)
			}
			return nil
		}
	}
	const tick = time.Nanosecond
	for _, c := range []struct {
		name    string
		prepare func(w *world, first string)
		do      func(w *world) error
		fails   bool // the invocation, so that Lambda tries again
		want    []string
		record  string
	}{
		{"an event just under 150 s old", putRejected, label(150*time.Second - tick), true, nil,
			"waiting=credential_rejected"},
		{"an event 150 s old", putRejected, label(150 * time.Second), false, []string{rejected},
			"failing=credential_rejected"},
		{"a direct sync", putRejected, direct, true, nil, "waiting=credential_rejected"},
		{"a direct sync, permanent", putInvalid, direct, true, []string{invalid}, "failing=secret_invalid"},
		{"an event, permanent", putInvalid, label(0), false, []string{invalid}, "failing=secret_invalid"},
		{"an event, while alerts are lost", func(w *world, first string) {
			w.revoke(first)
			w.putRejected(secretName, "second")
		}, label(0), true, []string{lost}, "lost=credential_rejected"},
		{"one reconcile", putRejected, reconciles(), false, nil, "waiting=credential_rejected"},
		{"two reconciles within 150 s", putRejected, reconciles(149 * time.Second), false, nil,
			"waiting=credential_rejected"},
		{"two reconciles", putRejected, reconciles(151 * time.Second), false, []string{rejected},
			"failing=credential_rejected"},
		{"three reconciles", putRejected, reconciles(15*time.Minute, 15*time.Minute), false, []string{rejected},
			"failing=credential_rejected"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				c.prepare(w, w.createSettled(secretName))
				if err := c.do(w); (err != nil) != c.fails {
					t.Errorf("the invocation ends with %v", err)
				}
				w.wantResults("in the end", c.want...)
				if !strings.Contains(w.tag(secretName), c.record+" since=") {
					t.Errorf("record: %s", w.tag(secretName))
				}
			})
		})
	}
}

// What fails is told once, told again when it gets worse or better, and its end is told.
func TestTheCourseOfAFailure(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		first := w.createSettled(secretName)
		w.secrets.Tag(secretName, "team", "payments-team")
		recorded := w.record(secretName)["version"]
		second := w.putRejected(secretName, "second")
		began := time.Now().UTC().Truncate(time.Second)
		w.reconcile()
		w.wantResults("the first reconcile")
		for _, step := range []struct {
			when            string
			change          func()
			want            string // result; empty: none
			failing, atRisk int
			record, advice  string
		}{
			{"the second", func() {}, "failed credential_rejected held accepted", 1, 0, "failing=credential_rejected",
				"no alert is lost yet"},
			{"the third", func() {}, "", 1, 0, "failing=credential_rejected", ""},
			{"what Datadog holds is rejected too", func() { w.revoke(first) },
				"failed credential_rejected held rejected", 1, 1, "lost=credential_rejected", "ALERTS ARE BEING LOST NOW"},
			{"it still is", func() {}, "", 1, 1, "lost=credential_rejected", ""},
			{"what Datadog holds is accepted again", func() { w.tokens.Allow("payments-client", secretIn(first)) },
				"failed credential_rejected held accepted", 1, 0, "failing=credential_rejected", "no alert is lost yet"},
			{"the new one is accepted", func() { w.tokens.Allow("payments-client", secretIn(second)) },
				"updated recovered credential_rejected", 0, 0, "state=pushed", "recovered from credential_rejected"},
		} {
			time.Sleep(15 * time.Minute)
			step.change()
			tags := w.secrets.Calls()["TagResource"]
			if answer := w.reconcile(); answer.Failing != step.failing || answer.AtRisk != step.atRisk {
				t.Errorf("%s: answer %+v", step.when, answer)
			}
			tag, tagged := w.tag(secretName), w.secrets.Calls()["TagResource"] > tags
			if !strings.Contains(tag, step.record) || tagged != (step.want != "") {
				t.Errorf("%s: record %s, written: %t", step.when, tag, tagged)
			}
			if step.want == "" {
				w.wantResults(step.when)
				continue
			}
			w.wantResults(step.when, step.want)
			result := w.published()[len(w.published())-1]
			named := strings.HasPrefix(result.Summary, secretName+" (payments-team): ")
			if !named || !strings.Contains(result.Summary, step.advice) {
				t.Errorf("%s: summary %q; want %q", step.when, result.Summary, step.advice)
			}
			if step.failing == 0 {
				if !result.Recovered.Since.Equal(began) {
					t.Errorf("recovered: %+v", result.Recovered)
				}
				continue
			}
			failing := w.status("").Secrets[0].Failing
			if failing == nil || failing.Lost != (step.atRisk > 0) || !failing.Told || !failing.Since.Equal(began) {
				t.Errorf("%s: status %+v", step.when, failing)
			}
			caused := strings.Contains(result.Summary, "idp.example.com answered 401 invalid_client")
			if result.Held.VersionID != recorded || !caused {
				t.Errorf("%s: held %+v, summary %q", step.when, result.Held, result.Summary)
			}
		}
	})
}

// A credential that expires at the provider without a rotation is found by the refresh.
func TestARefreshFindsADeadCredential(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.revoke(w.createSettled(secretName))
		w.reconcileFor(24 * time.Hour)
		w.wantResults("within RefreshHours", "failed credential_rejected held rejected")
	})
}

func TestTheHeldCredential(t *testing.T) {
	const accepted, rejected, inconclusive = tokencheck.Accepted, tokencheck.Rejected, tokencheck.Inconclusive
	putInvalid := func(w *world) { w.secrets.Put(secretName, "{}") }
	refusal := tokentest.Fault{Status: 401, Body: `{"error":"invalid_client"}`}
	for _, c := range []struct {
		name    string
		prepare func(w *world, first string)
		want    tokencheck.Outcome // empty: no held
	}{
		{"it works", func(*world, string) {}, accepted},
		{"it works, and AWSCURRENT is invalid", func(w *world, _ string) { putInvalid(w) }, accepted},
		{"it is rejected", func(w *world, first string) { w.revoke(first) }, rejected},
		{"no verdict", func(w *world, _ string) {
			putInvalid(w)
			w.tokens.Fail(tokentest.Fault{Status: 503})
		}, inconclusive},
		{"the recorded style is refused, no verdict on others", func(w *world, _ string) {
			putInvalid(w)
			refusal := refusal
			refusal.Times = 1
			w.tokens.Fail(refusal)
			w.tokens.Fail(tokentest.Fault{Status: 503})
		}, rejected},
		{"no verdict on the recorded style, others are refused", func(w *world, _ string) {
			putInvalid(w)
			w.tokens.Fail(tokentest.Fault{Times: 1, Status: 503})
			w.tokens.Fail(refusal)
		}, inconclusive},
		{"the auth method is gone", func(w *world, _ string) {
			time.Sleep(10 * time.Minute)
			w.datadog.Delete(w.datadog.AuthMethods()[0].ID)
			putInvalid(w)
		}, rejected},
		{"the auth method may not show yet", func(w *world, _ string) {
			w.datadog.Delete(w.datadog.AuthMethods()[0].ID)
			putInvalid(w)
		}, inconclusive},
		{"the auth method was edited", func(w *world, _ string) {
			m := w.datadog.AuthMethods()[0]
			m.ClientID = "edited"
			w.datadog.Put(m)
		}, inconclusive},
		{"the secret pins another", func(w *world, _ string) {
			w.secrets.Put(secretName, w.value("third", "auth_method_id="+w.datadogHolds("other", "victim").ID))
		}, inconclusive},
		{"Datadog is down", func(w *world, _ string) { w.datadog.Fail(datadogtest.Fault{Status: 500}) }, inconclusive},
		{"Datadog's proxy answers 404 to everything", func(w *world, _ string) {
			time.Sleep(10 * time.Minute)
			w.datadog.Fail(datadogtest.Fault{Status: 404})
		}, inconclusive},
		{"its value cannot be read", func(w *world, _ string) {
			w.secrets.Fail("GetSecretValue", 99, kmsDenied)
		}, inconclusive},
		{"nothing is recorded", func(w *world, _ string) { w.secrets.Untag(secretName, secretstore.RecordTag) }, ""},
		{"another site is recorded", func(w *world, _ string) {
			tag := strings.Replace(w.tag(secretName), "datadoghq.com", "datadoghq.eu", 1)
			w.secrets.Tag(secretName, secretstore.RecordTag, tag)
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				first := w.createSettled(secretName)
				w.putRejected(secretName, "second")
				c.prepare(w, first)
				res := w.http(w.sample("http-api-sync.json")).problem(t).Result
				if got := res.Held.Verification; got != c.want {
					t.Errorf("held %q; want %q: %s", got, c.want, res.Summary)
				}
				if n := len(w.metrics()["AtRisk"]); (n == 3) != (c.want == rejected) { // two are of reconciles
					t.Errorf("AtRisk: %v", w.metrics()["AtRisk"])
				}
				if r := w.record(secretName); (r["lost"] != "") != (c.want == rejected) {
					t.Errorf("record: %s", w.tag(secretName))
				}
			})
		})
	}
	t.Run("another invocation wrote meanwhile", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			first := w.createSettled(secretName)
			w.putRejected(secretName, "second")
			w.revoke(first)
			const another = "2a3b4c5d-6e7f-4081-92a3-b4c5d6e7f809"
			written := strings.Replace(w.tag(secretName), w.record(secretName)["version"], another, 1)
			time.AfterFunc(time.Second, func() { // before the look, which waits for 5 s before it calls this lost
				w.secrets.Tag(secretName, secretstore.RecordTag, written)
			})
			res := w.http(w.sample("http-api-sync.json")).problem(t).Result
			want := report.Held{VersionID: another, Verification: inconclusive}
			if diff := cmp.Diff(want, res.Held); diff != "" || len(w.metrics()["AtRisk"]) > 2 {
				t.Errorf("held (-want +got):\n%s", diff)
			}
		})
	})
	t.Run("a dry run does not ask", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			w.createSettled(secretName)
			w.putRejected(secretName, "second")
			before := w.tag(secretName)
			_, err := w.invoke(`{"action":"sync","dryRun":true,"secretId":"` + secretName + `"}`)
			asked := strings.Contains(fmt.Sprint(err), "lost")
			if !fault.Is(err, fault.CredentialRejected) || asked || w.tag(secretName) != before {
				t.Errorf("error %v, record %s", err, w.tag(secretName))
			}
			w.wantResults("a dry run")
		})
	})
	t.Run("with verification off it is only asked whether it is there", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			w.createSettled(secretName)
			w.secrets.Put(secretName, "{}")
			_, _ = w.sync(secretName)
			w.wantResults("it is there", "failed secret_invalid")
			w.datadog.Delete(w.datadog.AuthMethods()[0].ID)
			time.Sleep(10 * time.Minute)
			_, _ = w.sync(secretName)
			w.wantResults("it is gone", "failed secret_invalid held rejected")
		}, func(w *world) { w.config.VerifyCredential = false })
	})
}

// The record says nothing that was not published.
func TestWhatCannotBePublished(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		failing := func(do func()) {
			w.bus.Hook = denied
			do()
			w.bus.Hook = nil
		}
		w.secrets.Create(secretName, w.value("first"))
		failing(func() { w.reconcile() })
		r := w.record(secretName)
		written := r["id"] != "" && r["at"] != "" && r["digest"] != "" && r["site"] != "" && r["via"] != ""
		if !written || r["version"]+r["state"] != "" {
			t.Errorf("the record of a creation: %s", w.tag(secretName))
		}
		w.reconcile()
		w.wantResults("creation", "adopted")

		time.Sleep(11 * time.Minute)
		failing(func() { w.reconcile() })
		if r := w.record(secretName); r["state"] != "pushed" {
			t.Errorf("the record of a settling: %s", w.tag(secretName))
		}
		w.reconcile()
		w.wantResults("settling", "settled")

		second := w.putRejected(secretName, "second")
		w.reconcile()
		time.Sleep(3 * time.Minute)
		failing(func() { w.reconcile() })
		if tag := w.tag(secretName); !strings.Contains(tag, "waiting=credential_rejected") {
			t.Errorf("the record of a failure: %s", tag)
		}
		w.reconcile()
		w.wantResults("failure", "failed credential_rejected held accepted")

		w.tokens.Allow("payments-client", secretIn(second))
		failing(func() { w.reconcile() })
		if r := w.record(secretName); r["failing"] != "credential_rejected" || !w.isSynced(secretName) {
			t.Errorf("the record of a recovery: %s", w.tag(secretName))
		}
		w.reconcile()
		w.wantResults("recovery", "updated recovered credential_rejected")
	})
}

// With one broken secret among forty, a second one that breaks is told within one period, and by name.
func TestABrokenSecretHidesNoOther(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createManySettled(40)
		w.secrets.Put(nameOf(7), "{}")
		w.reconcileFor(6 * time.Hour)
		w.newResults()
		w.secrets.Put(nameOf(23), "{}")
		w.reconcileFor(15 * time.Minute)
		w.wantResults("after a period", "failed secret_invalid held accepted")
		if last := w.published()[len(w.published())-1]; !strings.HasPrefix(last.Summary, nameOf(23)+": ") {
			t.Error(last.Summary)
		}
	})
}

func TestASummaryFitsAnyChannel(t *testing.T) {
	for _, owner := range []string{"", "payments-team", "日本 @team", strings.Repeat("é", 100)} {
		t.Run(owner, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				long := "datadog/webhooks/" + strings.Repeat("a-very-long-name/", 20) + "end"
				w.secrets.Create(long, "{}")
				if owner != "" {
					w.secrets.Tag(long, "team", owner)
				}
				_, _ = w.sync(long)
				result := w.published()[0]
				summary, shown := result.Summary, strings.ReplaceAll(result.Secret.Owner, "@", "(at)")
				named := strings.HasPrefix(summary, "datadog/webhooks/") && strings.Contains(summary, "name/end")
				owned := owner == "" || strings.Contains(summary, " ("+shown[:5])
				if n := len([]rune(summary)); n > 300 || n < 290 || !named || !owned {
					t.Errorf("%d characters: %s", n, summary)
				}
				if len([]rune(result.Secret.Owner)) > 64 {
					t.Errorf("owner: %s", result.Secret.Owner)
				}
			})
		})
	}
}

// Datadog answers 500 for ten minutes. Lambda gives up after its retries; nothing is lost, and nobody has to act.
func TestDatadogIsDownForTenMinutes(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createSettled(secretName)
		w.datadog.Fail(datadogtest.Fault{Status: 500})
		time.AfterFunc(10*time.Minute, w.datadog.ClearFaults)
		w.secrets.Put(secretName, w.value("second"))
		event := w.sample("secret-label-updated.json")
		for again, wait := range []time.Duration{0, time.Minute, 2 * time.Minute} {
			time.Sleep(wait)
			if _, err := w.invoke(event); (err == nil) != (again == 2) {
				t.Fatalf("after attempt %d Lambda gets %v", again+1, err)
			}
		}
		w.reconcileFor(45 * time.Minute)
		w.wantResults("in the end", "failed datadog_unavailable held inconclusive",
			"updated recovered datadog_unavailable", "settled")
		if last := w.published()[len(w.published())-1]; !last.PreviousSecretSafeToRevoke {
			t.Errorf("in the end: %+v", last)
		}
		w.mustHold("in the end")
	})
}

// Datadog and the identity provider may send back what they were sent. inWorld looks for it in all that the function says.
func TestEchoes(t *testing.T) {
	elsewhere := map[string][]string{"Location": {"https://elsewhere.example.com/"}}
	answers := []datadogtest.Fault{{Status: 302, Header: elsewhere}, {Status: 307, Header: elsewhere},
		{Status: 200, Body: "<html>"}, {Status: 201, Body: "<html>"}, {Cut: true},
		{Status: 400, Body: `{"error":"invalid_client","error_description":"you sent `},
		{Status: 400, Body: `{"errors":["you sent `}}
	for _, status := range []int{400, 401, 403, 404, 409, 418, 429, 500} {
		answers = append(answers, datadogtest.Fault{Status: status})
	}
	for _, answer := range answers {
		answer.Echo = true
		for who, fail := range map[string]func(w *world){
			"Datadog":            func(w *world) { w.datadog.Fail(answer) },
			"the token endpoint": func(w *world) { w.tokens.Fail(answer) },
		} {
			t.Run(fmt.Sprintf("%s answers %d %s", who, answer.Status, answer.Body), func(t *testing.T) {
				inWorld(t, func(t *testing.T, w *world) {
					w.secrets.Create(secretName, w.value("first"))
					fail(w)
					_, _ = w.sync(secretName)
					w.http(w.sample("http-api-sync.json"))
					if answer := w.reconcile(); answer.Outcomes[report.Created] > 0 {
						t.Errorf("answer: %+v", answer)
					}
				})
			})
		}
	}
}
