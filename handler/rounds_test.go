package handler_test

import (
	"fmt"
	"testing"
	"time"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/tokencheck/tokentest"
)

// Round 1 pushes v1, which works; round 2's v2 is not honoured yet. That v0 was revoked loses nothing.
func TestHeldIsWhatThisPushLeft(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		first := w.onboard(secretName)
		w.told()
		w.datadog.Latency = 400 * time.Millisecond
		w.secrets.Put(secretName, w.value("v1"))
		w.tokens.Revoke("payments-client", secretIn(first))
		event := w.sample("secret-label-updated.json")
		time.AfterFunc(300*time.Millisecond, func() { w.refuse(secretName, "v2") })
		_, _ = w.invoke(event)
		w.mustTell("within the grace")
		if r := w.record(secretName); r.Lost {
			t.Errorf("record: %v", r)
		}
	})
}

// The same, where the look after the PATCH fails.
func TestHeldWhereTheLookFailed(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		first := w.onboard(secretName)
		w.told()
		w.secrets.Put(secretName, w.value("v1"))
		w.tokens.Revoke("payments-client", secretIn(first))
		event := w.sample("secret-label-updated.json")
		w.datadog.ResetCalls()
		w.secrets.Hook = func(op, _ string) error {
			if op == "DescribeSecret" && len(w.datadog.Calls()) > 0 {
				return throttled
			}
			return nil
		}
		_, _ = w.invoke(event)
		w.mustTell("within the grace")
		if m := w.metrics()["AtRisk"]; len(m) > 2 {
			t.Errorf("AtRisk %v", m)
		}
	})
}

// The PATCH of round 1 is no edit of somebody else's to round 2, which states no URL.
func TestListingAfterOwnPatch(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, w.value("v1"))
		w.datadogHolds("payments", "payments-client") // no scope; the secret states one
		w.datadog.Latency = 400 * time.Millisecond
		time.AfterFunc(700*time.Millisecond, func() {
			w.secrets.Put(secretName, "canary+of/the&v1") // the client secret alone
		})
		if _, err := w.sync(secretName); err != nil {
			t.Error(err)
		}
	})
}

// It is pushed, and tells of no gap.
func TestALabelEventWithoutATime(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.onboard(secretName)
		w.secrets.Put(secretName, w.value("v1"))
		if _, err := w.invoke(fmt.Sprintf(`{"id":"x","source":"aws.secretsmanager","detail-type":"Secret Label Updated","resources":[%q],"detail":{"labelUpdated":"AWSCURRENT"}}`, w.arn())); err != nil {
			t.Error(err)
		}
	})
}

// What was not verified in round 1 is no warning of round 2.
func TestAWarningOfTheRoundBefore(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.onboard(secretName)
		w.datadog.Latency = 400 * time.Millisecond
		w.secrets.Put(secretName, w.value("v1"))
		w.tokens.Fail(tokentest.Fault{Status: 503, Times: 1})
		time.AfterFunc(300*time.Millisecond, func() { w.secrets.Put(secretName, w.value("v2")) })
		res, err := w.sync(secretName)
		if err != nil || res.Verification != "accepted" || len(res.Warnings) > 0 {
			t.Errorf("%s, %v, %v", res.Verification, res.Warnings, err)
		}
	})
}

// Secrets that Datadog does not take keep no other from its repair.
func TestWhatCannotBeWrittenStarvesNoOther(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		const poisoned, n = 10, 40
		w.settled(n)
		w.datadog.Latency = 200 * time.Millisecond
		for i := range n {
			name := fmt.Sprintf("%s-%d", secretName, i)
			if i < poisoned {
				w.datadog.Fail(datadogtest.Fault{Method: "PATCH", Status: 500, Path: datadogtest.MethodPath + "/" + w.record(name).ID})
			}
			w.secrets.Put(name, w.value(fmt.Sprint("second-of-", i), fmt.Sprintf("name=method %d", i)))
		}
		for range 24 * 4 {
			time.Sleep(15 * time.Minute)
			w.reconcile()
		}
		stale := 0
		for i := range n {
			name := fmt.Sprintf("%s-%d", secretName, i)
			if v, _ := w.secrets.Current(name); i >= poisoned && w.record(name).VersionID != v {
				stale++
			}
		}
		if stale > 0 {
			t.Errorf("%d of %d are stale after a day, since %d others cannot be written", stale, n-poisoned, poisoned)
		}
	})
}

// A URL that the secret does not state is used only while the auth method is as recorded.
func TestAnEditedAuthMethodGetsNoSecret(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.onboard(secretName)
		w.value("second")
		w.secrets.Put(secretName, w.secret[len(w.secret)-1]) // the client secret alone
		m := w.datadog.AuthMethods()[0]
		m.AccessTokenURL = "https://idp.example.com/elsewhere"
		w.datadog.Put(m)
		w.tokens.ResetCalls()
		if _, err := w.sync(secretName); !fault.Is(err, fault.AuthMethodMismatch) {
			t.Errorf("error: %v", err)
		}
		if w.datadog.AuthMethods()[0].ClientSecret != m.ClientSecret || len(w.tokens.Calls()) > 0 {
			t.Error("the secret was sent where an edit leads")
		}
		w.secrets.Tag(secretName, secretstore.RecordTag, "id="+m.ID) // the operator accepts what is there
		if _, err := w.sync(secretName); err != nil {
			t.Error(err)
		}
	})
}

// Round 2 of a create, with only the client secret.
func TestASecondRoundGoesOnWithWhatTheFirstMade(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, w.value("first"))
		w.datadog.Latency = 400 * time.Millisecond
		w.value("second")
		bare := w.secret[len(w.secret)-1]
		time.AfterFunc(700*time.Millisecond, func() { w.secrets.Put(secretName, bare) })
		res, err := w.sync(secretName)
		if err != nil || res.Outcome != "created" || w.holds() != bare {
			t.Errorf("%s, %v", res.Outcome, err)
		}
	})
}

// A failure whose look failed is told, and not recorded.
func TestAFailureWithoutALookIsNotRecorded(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.onboard(secretName)
		w.secrets.Put(secretName, "{}")
		read := false
		w.secrets.Hook = func(op, _ string) error {
			if op == "DescribeSecret" && read {
				return throttled
			}
			read = read || op == "DescribeSecret"
			return nil
		}
		w.told()
		_, err := w.sync(secretName)
		w.mustTell("the failure", "failed secret_invalid held accepted")
		if r := w.record(secretName); r.Failing != "" {
			t.Errorf("%v, record %v", err, r)
		}
	})
}

// A failure that took all the time is recorded all the same.
func TestAFailureByDeadlineIsRecorded(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.onboard(secretName)
		w.datadog.Fail(datadogtest.Fault{Method: "PATCH", Delay: time.Minute})
		w.told()
		_, err := w.invokeIn(7*time.Second, `{"action":"sync","secretId":"`+secretName+`"}`)
		w.datadog.ClearFaults()
		if r := w.record(secretName); err == nil || r.Failing == "" {
			t.Errorf("%v, record %v", err, r)
		}
	})
}

// While nobody knows what became of a POST, no other create of that client starts.
func TestAnUnknownCreateHoldsTheOthersBack(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName+"-a", w.value("x", "name=a"))
		w.secrets.Create(secretName+"-b", w.value("x", "name=b"))
		w.datadog.Fail(datadogtest.Fault{Method: "POST", Status: 500})
		answer := w.reconcile()
		if posts := w.calls(0)["POST"]; posts != 3 || answer.LeftOver != 2 {
			t.Errorf("%d POSTs, %+v", posts, answer)
		}
	})
}

// It is told with the next reconcile.
func TestASettlingThatCouldNotBePublished(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, w.value("first"))
		w.reconcile()
		time.Sleep(11 * time.Minute)
		w.bus.Hook = denied
		w.reconcile()
		w.bus.Hook = nil
		if r := w.record(secretName); r.State != secretstore.Pushed {
			t.Errorf("record %v", r)
		}
		time.Sleep(11 * time.Minute)
		w.told()
		w.reconcile()
		w.mustTell("later", "settled")
	})
}

// One for each key.
func TestKeysInTwoSecrets(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, w.value("first"))
		if _, err := w.sync(secretName); err != nil {
			t.Error(err)
		}
	}, func(w *world) {
		w.config.APIKeySecretARN, _ = w.secrets.Create("datadog/api", apiKey)
		w.config.AppKeySecretARN, _ = w.secrets.Create("datadog/app", appKey)
	})
}

// A run that has time for some only begins with what loses alerts.
func TestARotationComesBeforeARefresh(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.settled(100)
		time.Sleep(25 * time.Hour)
		last := secretName + "-99"
		w.secrets.Put(last, w.value("second-of-99", "name=method 99"))
		w.datadog.Fail(datadogtest.Fault{Method: "PATCH", Delay: 4 * time.Second})
		_, err := w.invokeIn(27*time.Second, `{"action":"reconcile"}`)
		if v, _ := w.secrets.Current(last); w.record(last).VersionID != v {
			t.Error("the rotation waits behind refreshes", err)
		}
	})
}

// A secret that is gone since it was listed is nobody's failure.
func TestASecretThatIsGoneSinceTheListing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.onboard(secretName)
		w.secrets.Put(secretName, w.value("second"))
		w.secrets.Hook = func(op, _ string) error {
			if op == "DescribeSecret" {
				w.secrets.Hook = nil
				w.purge(secretName)
			}
			return nil
		}
		if answer := w.reconcile(); answer.Secrets != 0 || len(answer.Outcomes) > 0 || answer.Error != nil {
			t.Errorf("answer: %+v", answer)
		}
	})
}
