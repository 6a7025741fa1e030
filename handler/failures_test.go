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
	"datadog-webhook-auth-sync/handler/tokencheck"
	"datadog-webhook-auth-sync/handler/tokencheck/tokentest"
)

func TestWhenAFailureIsTold(t *testing.T) {
	const tick = time.Nanosecond
	rejected := []string{"failed credential_rejected held accepted"}
	lost := []string{"failed credential_rejected held rejected"}
	invalid := []string{"failed secret_invalid held accepted"}
	putRejected := func(w *world, _ string) { w.putRejected("second") }
	putInvalid := func(w *world, _ string) { w.secrets.Put(secretName, "{}") }
	label := func(after time.Duration) func(w *world) error {
		return func(w *world) error {
			event := w.labelEvent()
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
		{"an event 150 s old", putRejected, label(150 * time.Second), false, rejected, "failing=credential_rejected"},
		{"a direct sync", putRejected, direct, true, nil, "waiting=credential_rejected"},
		{"a direct sync, permanent", putInvalid, direct, true, invalid, "failing=secret_invalid"},
		{"an event, while alerts are lost", func(w *world, first string) {
			w.revoke(first)
			w.putRejected("second")
		}, label(0), true, lost, "lost=credential_rejected"},
		{"a Describe that fails once", func(w *world, _ string) { w.secrets.Fail("DescribeSecret", 1, throttled) },
			direct, true, nil, "waiting=secrets_unavailable"},
		{"one reconcile", putRejected, reconciles(), false, nil, "waiting=credential_rejected"},
		{"two reconciles within 150 s", putRejected, reconciles(149 * time.Second), false, nil,
			"waiting=credential_rejected"},
		{"two reconciles", putRejected, reconciles(151 * time.Second), false, rejected, "failing=credential_rejected"},
		{"a provider that is two minutes late", func(w *world, _ string) {
			w.tokens.HonourAfter("payments-client", secretIn(w.putRejected("second")), 2*time.Minute)
		}, func(w *world) error {
			event := w.labelEvent()
			w.mustInvoke(event, fault.CredentialRejected)
			w.reconcile()
			if failing := w.status("null").Secrets[0].Failing; failing == nil || failing.Told {
				w.t.Errorf("status: %+v", failing)
			}
			time.Sleep(2 * time.Minute)
			_, err := w.invoke(event)
			return err
		}, false, []string{"updated"}, "state=pushed"},
		// LastChangedDate moves with each tag. What a failure waits for does not.
		{"four reconciles, each after another tag", putRejected, func(w *world) error {
			for i := range 4 {
				w.secrets.Tag(secretName, "run", fmt.Sprint(i))
				w.reconcile()
				time.Sleep(15 * time.Minute)
			}
			return nil
		}, false, rejected, "failing=credential_rejected"},
		{"twenty moves of AWSCURRENT", func(*world, string) {}, func(w *world) (err error) {
			for i := range 20 {
				w.putRejected(fmt.Sprint("rejected-", i))
				event := w.labelEvent()
				for _, pause := range []time.Duration{0, time.Minute, 2 * time.Minute} { // as Lambda repeats it
					time.Sleep(pause)
					if _, err = w.invoke(event); err == nil {
						break
					}
				}
			}
			return err
		}, false, rejected, "failing=credential_rejected"},
	} {
		subtest(t, c.name, func(t *testing.T, w *world) {
			c.prepare(w, w.createSettled())
			if err := c.do(w); (err != nil) != c.fails {
				t.Errorf("the invocation ends with %v", err)
			}
			w.wantResults("in the end", c.want...)
			if !strings.Contains(w.tag(secretName), c.record) || len(w.metrics()["RecordFailed"]) > 0 {
				t.Errorf("record: %s", w.tag(secretName))
			}
		})
	}
}

// What fails is told once, told again when it gets worse or better, and its end is told.
func TestTheCourseOfAFailure(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		first := w.createSettled()
		w.secrets.Tag(secretName, "team", "payments@team.example") // of which a channel must make no link
		recorded := w.record(secretName)["version"]
		second := w.putRejected("second")
		began := time.Now().UTC().Truncate(time.Second)
		w.reconcile()
		w.wantResults("the first reconcile")
		for _, step := range []struct {
			when            string
			change          func()
			want            string // result; empty: none
			failing, atRisk int
			record          string
		}{
			{"the second", func() {}, "failed credential_rejected held accepted", 1, 0, "failing=credential_rejected"},
			{"the third", func() {}, "", 1, 0, "failing=credential_rejected"},
			{"what Datadog holds is rejected too", func() { w.revoke(first) },
				"failed credential_rejected held rejected", 1, 1, "lost=credential_rejected"},
			{"it still is", func() {}, "", 1, 1, "lost=credential_rejected"},
			{"what Datadog holds is accepted again", func() { w.tokens.Allow("payments-client", secretIn(first)) },
				"failed credential_rejected held accepted", 1, 0, "failing=credential_rejected"},
			{"the new one is accepted", func() { w.tokens.Allow("payments-client", secretIn(second)) },
				"updated recovered credential_rejected", 0, 0, "state=pushed"},
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
			result := w.lastResult()
			if !strings.HasPrefix(result.Summary, secretName+" (payments(at)team-example): ") {
				t.Errorf("%s: summary %q", step.when, result.Summary)
			}
			failing := w.status("null").Secrets[0].Failing
			if step.failing == 0 {
				if !result.Recovered.Since.Equal(began) || failing != nil {
					t.Errorf("recovered: %+v, status %+v", result.Recovered, failing)
				}
				continue
			}
			lost, logged := step.atRisk > 0, strings.Contains(w.log.String(), `"held":{"versionId"`)
			if failing == nil || !logged || failing.Lost != lost || !failing.Told || !failing.Since.Equal(began) ||
				result.Held.VersionID != recorded || !strings.Contains(result.Summary, "answered 401 invalid_client") {
				t.Errorf("%s: status %+v, held %+v, summary %q", step.when, failing, result.Held, result.Summary)
			}
		}
	})
}

func TestTheHeldCredential(t *testing.T) {
	const accepted, rejected, inconclusive = tokencheck.Accepted, tokencheck.Rejected, tokencheck.Inconclusive
	putInvalid := func(w *world) { w.secrets.Put(secretName, "{}") }
	refusal := tokentest.Fault{Status: 401, Body: `{"error":"invalid_client"}`}
	answers := func(faults ...tokentest.Fault) func(w *world, _ string) {
		return func(w *world, _ string) {
			putInvalid(w)
			for i, f := range faults {
				if f.Times = 1; i == len(faults)-1 {
					f.Times = 0 // for ever
				}
				w.tokens.Fail(f)
			}
		}
	}
	gone := func(age time.Duration) func(w *world, _ string) {
		return func(w *world, _ string) {
			time.Sleep(age)
			w.deleteMethods(secretName)
			putInvalid(w)
		}
	}
	for _, c := range []struct {
		name    string
		prepare func(w *world, first string) // after a version that is rejected
		want    tokencheck.Outcome           // empty: no held
	}{
		{"it works", func(*world, string) {}, accepted},
		{"it works, and AWSCURRENT is invalid", func(w *world, _ string) { putInvalid(w) }, accepted},
		{"it is rejected", func(w *world, first string) { w.revoke(first) }, rejected},
		{"no verdict", answers(unavailable), inconclusive},
		{"the recorded style is refused, no verdict on others", answers(refusal, unavailable), rejected},
		{"no verdict on the recorded style, others are refused", answers(unavailable, refusal), inconclusive},
		{"the auth method is gone", gone(10 * time.Minute), rejected},
		{"the auth method may not show yet", gone(0), inconclusive},
		{"the auth method was edited", func(w *world, _ string) {
			w.editMethod(func(m *datadogtest.AuthMethod) { m.ClientID = "edited" })
		}, inconclusive},
		{"the secret pins another", func(w *world, _ string) {
			w.put("third", "auth_method_id="+w.datadogHolds("other", "victim").ID)
		}, inconclusive},
		{"Datadog is down", func(w *world, _ string) { w.datadog.Fail(datadogtest.Fault{Status: 500}) }, inconclusive},
		{"Datadog's proxy answers 404 to everything", func(w *world, _ string) {
			time.Sleep(10 * time.Minute)
			w.datadog.Fail(datadogtest.Fault{Status: 404})
		}, inconclusive},
		{"its value cannot be read", func(w *world, _ string) { w.secrets.Fail("GetSecretValue", 99, kmsDenied) },
			inconclusive},
		{"nothing is recorded", func(w *world, _ string) { w.setRecord("") }, ""},
		{"another site is recorded", func(w *world, _ string) {
			w.setRecord(strings.Replace(w.tag(secretName), "datadoghq.com", "datadoghq.eu", 1))
		}, ""},
	} {
		subtest(t, c.name, func(t *testing.T, w *world) {
			first := w.createSettled()
			w.putRejected("second")
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
	}
	subtest(t, "another invocation wrote meanwhile", func(t *testing.T, w *world) {
		first := w.createSettled()
		w.putRejected("second")
		w.revoke(first)
		const another = "2a3b4c5d-6e7f-4081-92a3-b4c5d6e7f809"
		written := strings.Replace(w.tag(secretName), w.record(secretName)["version"], another, 1)
		// Before the look, which waits for 5 s before it calls this lost.
		time.AfterFunc(time.Second, func() { w.setRecord(written) })
		res := w.http(w.sample("http-api-sync.json")).problem(t).Result
		want := report.Held{VersionID: another, Verification: inconclusive}
		if diff := cmp.Diff(want, res.Held); diff != "" || len(w.metrics()["AtRisk"]) > 2 {
			t.Errorf("held (-want +got):\n%s", diff)
		}
	})
	subtest(t, "no time is left to see it twice", func(t *testing.T, w *world) {
		w.revoke(w.createSettled())
		w.putRejected("second")
		_, err := w.invokeIn(7*time.Second, directSync)
		unknown := strings.Contains(fmt.Sprint(err), "Whether alerts are being lost is not known")
		if r := w.record(secretName); !fault.Is(err, fault.CredentialRejected) || !unknown || r["waiting"] == "" {
			t.Errorf("error %v, record %s", err, w.tag(secretName))
		}
	})
	subtest(t, "a dry run does not ask", func(t *testing.T, w *world) {
		w.createSettled()
		w.putRejected("second")
		w.resetCalls()
		w.mustInvoke(dryRun, fault.CredentialRejected)
		w.wantCalls("a dry run", map[string]int{"GetSecretValue": 1, "DescribeSecret": 1, "token": 3, "list": 1})
	})
	subtest(t, "with verification off it is only asked whether it is there", func(t *testing.T, w *world) {
		w.createSettled()
		putInvalid(w)
		w.mustInvoke(directSync, fault.SecretInvalid)
		w.wantResults("it is there", "failed secret_invalid")
		w.deleteMethods(secretName)
		time.Sleep(10 * time.Minute)
		w.mustInvoke(directSync, fault.SecretInvalid)
		w.wantResults("it is gone", "failed secret_invalid held rejected")
	}, func(w *world) { w.config.VerifyCredential = false })
}

// What the token endpoint refused is not pushed because it gives no verdict the next time, whatever happens in between.
func TestABrownOutPushesNothingThatWasRefused(t *testing.T) {
	for name, between := range map[string]func(w *world, first, second string){ // version ids
		"at once": func(*world, string, string) {},
		"after another failure": func(w *world, _, _ string) {
			w.secrets.Fail("GetSecretValue", 1, secretDenied)
			w.mustInvoke(directSync, fault.SecretAccessDenied)
		},
		"after a tag": func(w *world, _, _ string) { w.secrets.Tag(secretName, "team", "payments") },
		"after a success of the version before": func(w *world, first, second string) {
			w.secrets.MoveCurrent(secretName, first)
			w.mustSync()
			w.secrets.MoveCurrent(secretName, second)
		},
		"in the second round of a sync that wrote the version before": func(w *world, first, second string) {
			w.secrets.MoveCurrent(secretName, first)
			w.beforePatch(func(int) {
				w.secrets.MoveCurrent(secretName, second)
				w.tokens.Fail(unavailable)
			})
			w.mustInvoke(directSync, fault.CredentialRejected)
		},
	} {
		subtest(t, name, func(t *testing.T, w *world) {
			value := w.createSettled()
			first, _ := w.secrets.Current(secretName)
			w.putRejected("second")
			second, _ := w.secrets.Current(secretName)
			event := w.labelEvent()
			w.mustInvoke(event, fault.CredentialRejected)
			between(w, first, second)
			w.tokens.Fail(unavailable)
			time.Sleep(time.Minute)
			w.mustInvoke(event, fault.CredentialRejected)
			w.reconcileFor(45 * time.Minute)
			if w.holds() != secretIn(value) {
				t.Error("what was refused is at Datadog")
			}
		})
	}
	subtest(t, "as the held version, beside the failure of another", func(t *testing.T, w *world) {
		w.revoke(w.createSettled())
		first, _ := w.secrets.Current(secretName)
		w.secrets.Put(secretName, "{}")
		w.mustInvoke(directSync, fault.SecretInvalid)
		w.secrets.MoveCurrent(secretName, first)
		w.tokens.Fail(unavailable)
		w.resetCalls()
		if w.mustInvoke(directSync, fault.CredentialRejected); w.calls()["PATCH"] > 0 {
			t.Errorf("calls: %v", w.calls())
		}
	})
	subtest(t, "accepted since, it is", func(t *testing.T, w *world) {
		w.createSettled()
		second := w.putRejected("second")
		w.mustInvoke(directSync, fault.CredentialRejected)
		w.tokens.Allow("payments-client", secretIn(second))
		w.mustSync()
		w.tokens.Fail(unavailable)
		w.mustSync()
	})
}

// The record says nothing that was not published.
func TestWhatCannotBePublished(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		reconcileUnpublished := func() (record map[string]string) {
			w.bus.Hook = denied
			w.reconcile()
			w.bus.Hook = nil
			return w.record(secretName)
		}
		w.create()
		r := reconcileUnpublished()
		written := r["id"] != "" && r["at"] != "" && r["digest"] != "" && r["site"] != "" && r["via"] != ""
		if !written || r["version"]+r["state"] != "" {
			t.Errorf("the record of a creation: %s", r)
		}
		w.reconcile()
		w.wantResults("creation", "adopted")

		time.Sleep(11 * time.Minute)
		if r := reconcileUnpublished(); r["state"] != "pushed" {
			t.Errorf("the record of a settling: %s", r)
		}
		w.reconcile()
		w.wantResults("settling", "settled")

		second := w.putRejected("second")
		w.reconcile()
		time.Sleep(3 * time.Minute)
		if r := reconcileUnpublished(); r["waiting"] != "credential_rejected" {
			t.Errorf("the record of a failure: %s", r)
		}
		w.reconcile()
		w.wantResults("failure", "failed credential_rejected held accepted")

		w.tokens.Allow("payments-client", secretIn(second))
		if r := reconcileUnpublished(); r["failing"] != "credential_rejected" || !w.isSynced(secretName) {
			t.Errorf("the record of a recovery: %s", r)
		}
		w.reconcile()
		w.wantResults("recovery", "updated recovered credential_rejected")
	})
}

// However little time is left: a failure that was published is on the secret.
func TestWhatIsPublishedIsRecorded(t *testing.T) {
	for name, put := range map[string]func(w *world, first string){
		"invalid": func(w *world, _ string) { w.secrets.Put(secretName, "{}") },
		"rejected, and the one before too": func(w *world, first string) {
			w.putRejected("second")
			w.revoke(first)
		},
	} {
		for left := time.Duration(0); left <= 14*time.Second; left += 100 * time.Millisecond {
			subtest(t, fmt.Sprintf("%s, %v left", name, left), func(t *testing.T, w *world) {
				put(w, w.createSettled())
				w.secrets.Latency = func(string, string) time.Duration { return 300 * time.Millisecond }
				w.tokens.Latency, w.bus.Latency = 700*time.Millisecond, 700*time.Millisecond
				w.datadog.Latency = 400 * time.Millisecond
				_, _ = w.invokeIn(left, directSync)
				time.Sleep(time.Second) // for what is under way
				told, record := len(w.newResults()) > 0, w.record(secretName)
				if told && record["failing"]+record["lost"] == "" || !told && left > 12*time.Second {
					t.Errorf("published: %t, and the record is %q", told, record)
				}
			})
		}
	}
}
