package handler_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/secretstore/secretstoretest"
	"datadog-webhook-auth-sync/handler/standin"
	"datadog-webhook-auth-sync/handler/tokencheck/tokentest"
)

// A reconcile that listed the secrets before the loss counts none at risk. The page, which looks at all datapoints of
// ReconcileAlarmMinutes, stays.
func TestAReconcileThatListedBeforeTheLossDoesNotEndThePage(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		first := w.createSettled(secretName)
		w.secrets.Latency = func(op, _ string) time.Duration {
			return map[string]time.Duration{"ListSecrets": time.Minute}[op]
		}
		reconciled := make(chan struct{})
		go func() {
			w.reconcile()
			close(reconciled)
		}()
		time.Sleep(40 * time.Second) // the list is read, and on its way
		w.revoke(first)
		w.putRejected(secretName, "second")
		if _, err := w.sync(secretName); err == nil {
			t.Error("the sync succeeded")
		}
		<-reconciled
		values := w.metrics()["AtRisk"]
		values = values[len(values)-2:] // of the sync and of the reconcile, a minute apart at most
		if diff := cmp.Diff([]float64{1, 0}, values); diff != "" {
			t.Fatalf("AtRisk (-want +got):\n%s", diff)
		}
		if minutes := atRiskAlarmMinutes(t); minutes < 2 {
			t.Errorf("the alarm looks at %d minute, and the reconcile ends it", minutes)
		}
	})
}

// atRiskAlarmMinutes is how many minutes back the page's alarm looks, by the template's defaults.
func atRiskAlarmMinutes(t *testing.T) int {
	t.Helper()
	template, err := os.ReadFile("../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	find := func(pattern string) string {
		if found := regexp.MustCompile(pattern).FindSubmatch(template); found != nil {
			return string(found[1])
		}
		return ""
	}
	periods := find(`(?s)\n  AtRiskAlarm:\n.*?EvaluationPeriods: ([^\n]+)`)
	if periods == "!Ref ReconcileAlarmMinutes" {
		periods = find(`(?s)\n  ReconcileAlarmMinutes:\n.*?Default: (\d+)`)
	}
	n, _ := strconv.Atoi(periods)
	return n
}

// No webhook waits for a secret that was never synced.
func TestNewSecretsDoNotDelayARepair(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createManySettled(3)
		for i := range 3 {
			w.secrets.Put(nameOf(i), w.numbered(i, "second"))
		}
		for i := range 200 {
			w.secrets.Create(fmt.Sprintf("%s-new-%d", secretName, i), w.value("of-many", fmt.Sprintf("name=new %d", i)))
		}
		w.datadog.Latency = 2 * time.Second
		w.datadog.ResetCalls()
		w.reconcile()
		for i := range 3 {
			if !w.isSynced(nameOf(i)) {
				t.Errorf("%s waits behind new secrets", nameOf(i))
			}
		}
		created := false
		for _, c := range w.datadog.Calls() {
			created = created || c.Method == "POST"
			if created && c.Method == "PATCH" {
				t.Fatal("an update came after a create")
			}
		}
	})
}

// What stands before Datadog refuses what some secrets state, whatever the keys.
func TestSecretsThatDatadogRefusesStopNoRun(t *testing.T) {
	for _, n := range []int{1, 2, 3} {
		for _, status := range []int{403, 500} {
			t.Run(fmt.Sprintf("%d answered %d", n, status), func(t *testing.T) {
				inWorld(t, func(t *testing.T, w *world) {
					const all = 12
					w.createManySettled(all)
					for i := range all {
						name := nameOf(i)
						if i < n {
							w.datadog.Fail(datadogtest.Fault{Method: "PATCH", Status: status, Path: w.methodPath(name)})
						}
						w.secrets.Put(name, w.numbered(i, "second"))
					}
					w.reconcile()
					for i := n; i < all; i++ {
						if !w.isSynced(nameOf(i)) {
							t.Errorf("%s was not synced", nameOf(i))
						}
					}
					w.reconcileFor(3 * time.Hour)
					told := map[string]int{}
					for _, r := range w.published() {
						if r.Outcome == report.Failed {
							told[r.Secret.Name]++
						}
					}
					for i := range n {
						if name := nameOf(i); told[name] != 1 {
							t.Errorf("the failure of %s was published %d times; want once", name, told[name])
						}
					}
				})
			})
		}
	}
}

// methodPath is the path of the auth method that a secret records.
func (w *world) methodPath(name string) string {
	return datadogtest.MethodPath + "/" + w.record(name)["id"]
}

func TestAKeySecretThatIsDeniedIsDatadogsTrouble(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, w.value("first"))
		if _, err := w.sync(secretName); !fault.Is(err, fault.DatadogUnauthorized) {
			t.Errorf("error: %v", err)
		}
	}, func(w *world) {
		w.secrets.Hook = func(op, secret string) error {
			if secret == "datadog/keys" {
				return secretDenied
			}
			return nil
		}
	})
}

// However little time is left: a failure that was published is on the secret.
func TestWhatIsPublishedIsRecorded(t *testing.T) {
	for _, value := range []string{"invalid", "rejected, and the one before too"} {
		t.Run(value, func(t *testing.T) {
			for left := time.Duration(0); left <= 14*time.Second; left += 100 * time.Millisecond {
				inWorld(t, func(t *testing.T, w *world) {
					first := w.createSettled(secretName)
					if value == "invalid" {
						w.secrets.Put(secretName, "{}")
					} else {
						w.putRejected(secretName, "second")
						w.revoke(first)
					}
					w.secrets.Latency = func(string, string) time.Duration { return 300 * time.Millisecond }
					w.tokens.Latency, w.bus.Latency = 700*time.Millisecond, 700*time.Millisecond
					w.datadog.Latency = 400 * time.Millisecond
					_, _ = w.invokeIn(left, `{"action":"sync","secretId":"`+secretName+`"}`)
					time.Sleep(time.Second) // for what is under way
					told := len(w.newResults()) > 0
					record := w.record(secretName)
					if told && record["failing"]+record["lost"] == "" {
						t.Errorf("with %v left it is published, and the record is %q", left, w.tag(secretName))
					}
					if left > 12*time.Second && !told {
						t.Errorf("with %v left it is not published", left)
					}
				})
			}
		})
	}
}

func TestAFirstDescribeThatFailsIsRecordedOnTheSecret(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createSettled(secretName)
		w.secrets.Fail("DescribeSecret", 1, throttled)
		if _, err := w.sync(secretName); !fault.Is(err, fault.SecretsUnavailable) {
			t.Errorf("error: %v", err)
		}
		if w.record(secretName)["waiting"] != "secrets_unavailable" || len(w.metrics()["RecordFailed"]) > 0 {
			t.Errorf("record %q, RecordFailed %v", w.tag(secretName), w.metrics()["RecordFailed"])
		}
	})
}

func TestASharedAuthMethodIsNotWrittenWhenDescribeIsThrottled(t *testing.T) {
	for calls := 1; calls <= 3; calls++ {
		t.Run(fmt.Sprintf("%d calls", calls), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				m := w.datadogHolds("shared", "payments-client")
				for _, name := range []string{secretName + "-a", secretName + "-b"} {
					w.secrets.Create(name, w.value(name))
					w.secrets.Tag(name, secretstore.RecordTag, "id="+m.ID)
				}
				w.secrets.Fail("DescribeSecret", calls, throttled)
				w.reconcile()
				w.reconcile()
				if after, _ := w.datadog.Get(m.ID); after.ClientSecret != m.ClientSecret {
					t.Error("one of the two was written")
				}
			})
		})
	}
}

// LastChangedDate moves with each tag. What a failure waits for does not.
func TestATagBeforeEachReconcileHidesNoFailure(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createSettled(secretName)
		w.putRejected(secretName, "second")
		for i := range 4 {
			w.secrets.Tag(secretName, "run", fmt.Sprint(i))
			w.reconcile()
			time.Sleep(15 * time.Minute)
		}
		w.wantResults("an hour", "failed credential_rejected held accepted")
	})
}

// A fetch that another secret's surprise began before a write of this one, and that ends after it, does not bring back
// what was there before.
func TestAnOlderFetchDoesNotOverwriteAWrite(t *testing.T) {
	for name, surprise := range map[string]datadogtest.Fault{
		"a POST whose answer is lost": {Method: "POST", Times: 1, Status: 500},
		"a PATCH answered 404":        {Method: "PATCH", Times: 1, Status: 404},
		"a PATCH answered 409":        {Method: "PATCH", Times: 1, Status: 409},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.createManySettled(2)
				mine, others := secretName+"-0", secretName+"-1"
				if surprise.Method == "POST" {
					others = secretName + "-2"
					w.secrets.Create(others, w.value("of-2", "name=method 2"))
				} else {
					surprise.Path = w.methodPath(others)
					w.secrets.Put(others, w.value("second-of-1", "name=method 1"))
				}
				w.secrets.Put(mine, w.value("second-of-0", "name=method 0", "scope=another"))
				w.datadog.Fail(surprise)
				w.datadog.Latency = 200 * time.Millisecond
				bare := w.clientSecret("third-of-0")
				id := w.record(mine)["id"]
				var fetches, patches atomic.Int32
				fetched := make(chan struct{})
				w.secrets.Latency = func(op, secret string) time.Duration {
					if secret == mine && op == "DescribeSecret" && patches.Load() > 0 {
						return 4 * time.Second
					}
					return 0
				}
				w.interceptDatadog(func(r *http.Request, _ []byte) *http.Response {
					switch {
					case r.Method == "GET" && r.URL.Path == datadogtest.ListPath && fetches.Add(1) == 2:
						list, _ := standin.Hosts{"api.datadoghq.com": w.datadog}.RoundTrip(r)
						close(fetched)
						time.Sleep(2 * time.Second) // what it shows is older than the write when it arrives
						return list
					case r.Method == "PATCH" && strings.HasSuffix(r.URL.Path, id) && patches.Add(1) == 1:
						select {
						case <-fetched:
						case <-time.After(3 * time.Second): // nobody fetches meanwhile
						}
						time.AfterFunc(300*time.Millisecond, func() { w.secrets.Put(mine, bare) }) // before the look
					}
					return nil
				})
				answer := w.reconcile()
				if len(answer.Failures) > 0 && answer.Failures[0].Secret.Name == mine {
					t.Errorf("failure: %v", answer.Failures[0].Error)
				}
				if m, _ := w.datadog.Get(id); m.ClientSecret != bare {
					t.Error("Datadog does not hold AWSCURRENT")
				}
			})
		})
	}
}

// What the token endpoint refused is not pushed because it does not answer the next time, told or not.
func TestABrownOutPushesNothingThatWasRefused(t *testing.T) {
	for name, between := range map[string]func(w *world){
		"at once": func(*world) {},
		"after another failure": func(w *world) {
			w.secrets.Fail("GetSecretValue", 1, secretDenied)
			_, _ = w.sync(secretName)
		},
		"after a tag": func(w *world) { w.secrets.Tag(secretName, "team", "payments") },
		"after a success of the version before": func(w *world) {
			second, _ := w.secrets.Current(secretName)
			first := w.secrets.Labels(secretName)["AWSPREVIOUS"]
			w.secrets.MoveCurrent(secretName, first)
			if _, err := w.sync(secretName); err != nil {
				w.t.Error(err)
			}
			w.secrets.MoveCurrent(secretName, second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				first := w.createSettled(secretName)
				w.putRejected(secretName, "second")
				event := w.sample("secret-label-updated.json")
				if _, err := w.invoke(event); !fault.Is(err, fault.CredentialRejected) {
					t.Fatalf("error: %v", err)
				}
				between(w)
				w.tokens.Fail(tokentest.Fault{Status: 503})
				time.Sleep(time.Minute)
				if _, err := w.invoke(event); !fault.Is(err, fault.CredentialRejected) {
					t.Errorf("error: %v", err)
				}
				w.reconcileFor(45 * time.Minute)
				if w.holds() != secretIn(first) {
					t.Error("what was refused is at Datadog")
				}
			})
		})
	}
}

// The same where it was refused as what Datadog holds, beside the failure of another version.
func TestABrownOutPushesNoHeldVersionThatWasRefused(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		value := w.createSettled(secretName)
		first, _ := w.secrets.Current(secretName)
		w.revoke(value)
		w.secrets.Put(secretName, "{}")
		if _, err := w.sync(secretName); !fault.Is(err, fault.SecretInvalid) {
			t.Errorf("error: %v", err)
		}
		w.secrets.MoveCurrent(secretName, first)
		w.tokens.Fail(tokentest.Fault{Status: 503})
		w.resetCalls()
		if _, err := w.sync(secretName); !fault.Is(err, fault.CredentialRejected) || w.calls()["PATCH"] > 0 {
			t.Errorf("error: %v, calls: %v", err, w.calls())
		}
	})
}

// The same in the second round of a sync whose first one wrote another version.
func TestABrownOutPushesNothingThatWasRefusedInALaterRound(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		value := w.createSettled(secretName)
		first, _ := w.secrets.Current(secretName)
		w.putRejected(secretName, "second")
		second, _ := w.secrets.Current(secretName)
		if _, err := w.sync(secretName); !fault.Is(err, fault.CredentialRejected) {
			t.Errorf("error: %v", err)
		}
		w.secrets.MoveCurrent(secretName, first)
		w.interceptDatadog(func(r *http.Request, _ []byte) *http.Response {
			if r.Method == "PATCH" {
				w.secrets.MoveCurrent(secretName, second)
				w.tokens.Fail(tokentest.Fault{Status: 503})
			}
			return nil
		})
		if _, err := w.sync(secretName); !fault.Is(err, fault.CredentialRejected) || w.holds() != secretIn(value) {
			t.Errorf("error: %v", err)
		}
	})
}

// A team chooses its version ids.
func TestAnyVersionIDIsRecorded(t *testing.T) {
	for _, id := range []string{
		"a version id with spaces, 32 of them",
		"00000000 lost=credential_rejected since=2020-01-01T00:00:00Z",
		"00000000 failing=secret_invalid",
		strings.Repeat("ü", 64),
		strings.Repeat("0", 64),
	} {
		t.Run(id, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.createSettled(secretName)
				ids := 0
				w.secrets.NewID = func() string {
					ids++
					return id
				}
				w.secrets.Put(secretName, w.value("second"))
				if _, err := w.sync(secretName); err != nil {
					t.Fatal(err)
				}
				w.reconcileFor(time.Hour)
				w.wantResults("an hour", "updated", "settled")
				s := w.status(`{"secretId":"` + secretName + `"}`).Secrets[0]
				if s.State != "in_sync" || !s.Settled || s.RecordedVersionID != id {
					t.Errorf("status: %+v", s)
				}
				if repaired := w.metrics()["Repaired"]; len(repaired) > 0 {
					t.Errorf("Repaired %v", repaired)
				}
			})
		})
	}
}

// An auth method that somebody named after a secret value fails no run, and its name is said nowhere.
func TestAnAnswerThatRepeatsASecretValue(t *testing.T) {
	for _, key := range []bool{true, false} {
		t.Run(fmt.Sprintf("of a key: %t", key), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				value := w.value("first")
				w.secrets.Create(secretName, value)
				w.datadogHolds("copy of "+map[bool]string{true: apiKey, false: secretIn(value)}[key], "another-client")
				if answer := w.reconcile(); answer.Error != nil || answer.Outcomes[report.Created] != 1 {
					t.Errorf("answer: %+v", answer)
				}
				if key {
					_, _ = w.invoke(`{"action":"reconcile","dryRun":true}`) // lists what no secret manages
				}
				w.secrets.Put(secretName, w.value("second"))
				w.interceptDatadog(func(r *http.Request, sent []byte) *http.Response {
					if r.Method != "PATCH" {
						return nil
					}
					id := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
					return response(r, 200, fmt.Sprintf(`{"data":{"id":%q,"attributes":{"name":%q},`+
						`"type":"webhooks-auth-method-oauth2-client-credentials"}}`, id, sent))
				})
				if res, err := w.sync(secretName); err != nil || res.Outcome != report.Updated {
					t.Errorf("%s, %v", res.Outcome, err)
				}
			})
		})
	}
}

func TestAFailureIsToldOnceHoweverOftenALabelMoves(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createSettled(secretName)
		for i := range 20 {
			w.putRejected(secretName, fmt.Sprint("rejected-", i))
			event := w.sample("secret-label-updated.json")
			for _, pause := range []time.Duration{0, time.Minute, 2 * time.Minute} { // as Lambda repeats it
				time.Sleep(pause)
				if _, err := w.invoke(event); err == nil {
					break
				}
			}
		}
		w.wantResults("twenty moves", "failed credential_rejected held accepted")
	})
}

func TestFinishSecretRefusesWhatTestSecretRefused(t *testing.T) {
	for name, value := range map[string]func(w *world) string{
		"rejected": func(w *world) string {
			value := w.value("second")
			w.revoke(value)
			return value
		},
		"invalid": func(*world) string { return "{}" },
		"without a verdict": func(w *world) string {
			w.tokens.Fail(tokentest.Fault{Status: 503})
			return w.value("second")
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.secret = append(w.secret, rotationToken)
				w.createSettled(secretName)
				before, _ := w.secrets.Current(secretName)
				w.secrets.Stage(secretName, value(w), "NEXT")
				token := w.secrets.StartRotation(secretName, function)
				for _, step := range []string{"createSecret", "setSecret"} {
					if err := w.step(step, token); err != nil {
						t.Fatalf("%s: %v", step, err)
					}
				}
				for _, step := range []string{"testSecret", "finishSecret"} {
					if err := w.step(step, token); err == nil {
						t.Errorf("%s passed", step)
					}
				}
				if current, _ := w.secrets.Current(secretName); current != before {
					t.Error("AWSCURRENT moved")
				}
			})
		})
	}
}

// A 404 to a PATCH says nothing about an auth method that Datadog still lists.
func TestAForeign404MakesNoTwin(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, w.value("first", "name=payments in production"))
		m := w.datadogHolds("made by hand", "payments-client")
		w.secrets.Tag(secretName, secretstore.RecordTag, "id="+m.ID)
		w.datadog.Fail(datadogtest.Fault{Method: "PATCH", Times: 1, Status: 404})
		_, _ = w.sync(secretName)
		if all := w.datadog.AuthMethods(); len(all) != 1 || all[0].ID != m.ID {
			t.Errorf("%d auth methods", len(all))
		}
		if _, err := w.sync(secretName); err != nil {
			t.Error(err)
		}
		w.mustHold("in the end")
	})
}

// A second auth method would be used by no webhook.
func TestADeletedAuthMethodIsToldAndNotMadeAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createSettled(secretName)
		time.Sleep(11 * time.Minute)
		w.datadog.Delete(w.datadog.AuthMethods()[0].ID)
		for range 4 {
			w.reconcile()
			time.Sleep(15 * time.Minute)
		}
		w.wantResults("an hour", "failed auth_method_not_found held rejected")
		if answer := w.reconcile(); answer.AtRisk != 1 || answer.Failing != 1 || len(w.datadog.AuthMethods()) > 0 {
			t.Errorf("answer %+v; %d auth methods", answer, len(w.datadog.AuthMethods()))
		}
		failure := w.published()[len(w.published())-1]
		if message := failure.Error.Message; !strings.Contains(message, "tag") || !strings.Contains(message, "attach") {
			t.Errorf("the message does not say how to have another one made: %s", message)
		}
		if !strings.Contains(failure.Summary, "ALERTS ARE BEING LOST NOW") {
			t.Errorf("summary: %s", failure.Summary)
		}
		w.secrets.Untag(secretName, secretstore.RecordTag) // as the message says
		w.reconcile()
		w.wantResults("without the tag", "created")
	})
}

// A listing that was read before Datadog shows what it made is no loss.
func TestAnAuthMethodThatIsNotListedYetIsNotLost(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, w.value("first"))
		if _, err := w.sync(secretName); err != nil {
			t.Fatal(err)
		}
		w.newResults()
		w.datadog.Fail(datadogtest.Fault{Method: "GET", Path: datadogtest.ListPath, Body: `{"data":[],"included":[]}`})
		w.datadog.Fail(datadogtest.Fault{Method: "GET", Status: 404})
		if _, err := w.sync(secretName); !fault.Is(err, fault.DatadogUnavailable) {
			t.Errorf("error: %v", err)
		}
		w.wantResults("at once")
	})
}

// What another invocation wrote since a round read the secret is no failure of that round.
func TestTwoInvocationsAtOnce(t *testing.T) {
	t.Run("an auth method that is made again", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			w.createSettled(secretName)
			time.Sleep(15 * time.Minute)
			w.datadog.Delete(w.datadog.AuthMethods()[0].ID)
			time.AfterFunc(time.Second, func() { // the first waits before it says that alerts are being lost
				w.secrets.Untag(secretName, secretstore.RecordTag)
				_, _ = w.sync(secretName)
			})
			_, _ = w.sync(secretName)
			w.wantResults("in the end", "created", "updated")
		})
	})
	for offset := 400 * time.Millisecond; offset <= 700*time.Millisecond; offset += 50 * time.Millisecond {
		t.Run(fmt.Sprintf("the second %v after the first", offset), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.createSettled(secretName)
				w.secrets.Put(secretName, w.value("second", "access_token_url", "scope=write:webhooks"))
				const slow = 200 * time.Millisecond
				w.datadog.Latency, w.tokens.Latency = slow, slow
				w.secrets.Latency = func(string, string) time.Duration { return slow / 2 }
				time.AfterFunc(offset, func() { _, _ = w.sync(secretName) })
				_, _ = w.sync(secretName)
				time.Sleep(15 * time.Second)
				w.reconcileFor(30 * time.Minute)
				w.wantResults("a rotation", "updated", "updated", "settled")
			})
		})
	}
}

// A page neither ends nor begins because a secret could not be read.
func TestWhatAReconcileCounts(t *testing.T) {
	type counts struct{ Secrets, Failing, AtRisk int }
	lost := func(w *world) {
		first := w.createSettled(secretName)
		w.putRejected(secretName, "second")
		w.revoke(first)
		_, _ = w.sync(secretName)
	}
	for name, tc := range map[string]struct {
		prepare func(w *world)
		want    counts
	}{
		"lost, and not readable any more": {func(w *world) {
			lost(w)
			w.secrets.Fail("DescribeSecret", 100, secretDenied)
		}, counts{1, 1, 1}},
		"found lost while Datadog takes no write": {func(w *world) {
			first := w.createSettled(secretName)
			w.secrets.Put(secretName, w.value("second"))
			w.revoke(first)
			w.datadog.Fail(datadogtest.Fault{Method: "PATCH", Status: 429})
		}, counts{1, 1, 1}},
		"purged in the run": {func(w *world) {
			w.secrets.Create(secretName, w.value("first"))
			described := 0
			w.secrets.Latency = func(op, _ string) time.Duration {
				if op != "DescribeSecret" {
					return 0
				}
				if described++; described == 2 {
					return 2 * time.Second
				}
				return 0
			}
			time.AfterFunc(500*time.Millisecond, func() { w.purge(secretName) })
		}, counts{}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				tc.prepare(w)
				answer := w.reconcile()
				if got := (counts{answer.Secrets, answer.Failing, answer.AtRisk}); got != tc.want {
					t.Errorf("counts %+v; want %+v", got, tc.want)
				}
			})
		})
	}
}

// Lambda ends an invocation at its deadline, with what it would have said and measured.
func TestARecordThatHangsDelaysNoAnswer(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createSettled(secretName)
		w.secrets.Put(secretName, w.value("second"))
		w.secrets.Latency = func(op, _ string) time.Duration {
			return map[string]time.Duration{"TagResource": time.Hour}[op]
		}
		for what, invoke := range map[string]func(){
			"a reconcile": func() { w.reconcile() },
			"a sync":      func() { _, _ = w.sync(secretName) },
		} {
			began := time.Now()
			if invoke(); time.Since(began) >= 120*time.Second {
				t.Errorf("%s answers after %v", what, time.Since(began))
			}
		}
	})
}

// What was written counts, even if there is nothing to do any more.
func TestASecretThatIsDeletedAfterItWasWritten(t *testing.T) {
	for _, conflict := range []bool{false, true} {
		t.Run(fmt.Sprintf("after a conflict: %t", conflict), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.createSettled(secretName)
				second := w.secrets.Put(secretName, w.value("second"))
				patches := 0
				w.interceptDatadog(func(r *http.Request, _ []byte) *http.Response {
					switch {
					case r.Method != "PATCH":
						return nil
					case patches == 0: // before the look
						w.secrets.Put(secretName, w.value("third"))
					}
					if patches++; patches == 1 && conflict {
						return nil
					}
					w.secrets.Delete(secretName)
					if patches == 1 {
						return nil
					}
					return response(r, 409, `{"errors":["conflict"]}`)
				})
				res, err := w.sync(secretName)
				of := res.Secret.VersionID
				if err != nil || res.Outcome != report.Updated || of != second || res.Verification != "accepted" {
					t.Errorf("%s %s of %s, %v", res.Outcome, res.Verification, of, err)
				}
			})
		})
	}
}

// A conflict at Datadog makes no older version the event's.
func TestAnEventCountsAfterASurprise(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createSettled(secretName)
		var event secretstoretest.Event
		w.secrets.OnLabel = func(e secretstoretest.Event) { event = e }
		w.secrets.Put(secretName, w.value("second"))
		put := time.Now()
		var patched atomic.Bool
		time.Sleep(2 * time.Second)
		w.secrets.Stale = func(string, string) time.Duration {
			if patched.Load() {
				return time.Since(put) + time.Second // another replica, behind
			}
			return 0
		}
		w.interceptDatadog(func(r *http.Request, _ []byte) *http.Response {
			if r.Method != "PATCH" || patched.Swap(true) {
				return nil
			}
			return response(r, 409, `{"errors":["conflict"]}`)
		})
		if _, err := w.invoke(label(event)); !fault.Is(err, fault.SecretsUnavailable) {
			t.Errorf("error: %v", err)
		}
		w.wantResults("at once")
	})
}

// Datadog's list may be behind what it made, whether that was told or not.
func TestAnUnpublishedCreationThatIsNotListedYetIsNotDeleted(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, w.value("first"))
		w.bus.Hook = denied
		_, _ = w.sync(secretName)
		w.bus.Hook = nil
		w.datadog.Fail(datadogtest.Fault{Method: "GET", Path: datadogtest.ListPath, Body: `{"data":[],"included":[]}`})
		w.datadog.Fail(datadogtest.Fault{Method: "GET", Status: 404})
		if _, err := w.sync(secretName); !fault.Is(err, fault.DatadogUnavailable) {
			t.Errorf("error: %v", err)
		}
		w.wantResults("at once")
		w.datadog.ClearFaults()
		w.reconcile()
		w.wantResults("once it is listed", "adopted")
	})
}

// A client secret goes to no access_token_url that neither the secret states nor a round verified.
func TestAURLThatNobodyVerifiedGetsNoClientSecret(t *testing.T) {
	// answersWith has Datadog show another URL from the next PATCH on.
	answersWith := func(w *world, url string) {
		edited := false
		w.interceptDatadog(func(r *http.Request, _ []byte) *http.Response {
			resp, err := standin.Hosts{"api.datadoghq.com": w.datadog}.RoundTrip(r)
			if err != nil {
				w.t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			if edited = edited || r.Method == "PATCH"; edited {
				body = bytes.ReplaceAll(body, []byte(tokenURL), []byte(url))
			}
			return response(r, resp.StatusCode, string(body))
		})
		w.secrets.Put(secretName, w.clientSecret("second"))
		if _, err := w.sync(secretName); err != nil {
			w.t.Fatal(err)
		}
	}
	for name, prepare := range map[string]func(w *world){
		"edited while it was written": func(w *world) {
			w.createSettled(secretName)
			answersWith(w, "https://thief.example.com/token")
		},
		"with a key in it, by an operator's tag": func(w *world) {
			w.createSettled(secretName)
			answersWith(w, "https://"+apiKey+".example.com/token")
			w.secrets.Tag(secretName, secretstore.RecordTag, "id="+w.record(secretName)["id"])
		},
		"edited after an adoption that was not published": func(w *world) {
			m := w.datadogHolds("by hand", "payments-client")
			w.secrets.Create(secretName, w.value("first", "client_id", "access_token_url", "auth_method_id="+m.ID))
			w.bus.Hook = denied
			if _, err := w.sync(secretName); err != nil {
				w.t.Fatal(err)
			}
			m, _ = w.datadog.Get(m.ID)
			m.AccessTokenURL = "https://thief.example.com/token"
			w.datadog.Put(m)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				prepare(w)
				w.tokens.ResetCalls()
				w.secrets.Put(secretName, w.clientSecret("third"))
				if _, err := w.sync(secretName); !fault.Is(err, fault.AuthMethodMismatch) || len(w.tokens.Calls()) > 0 {
					t.Errorf("error %v after %d token requests", err, len(w.tokens.Calls()))
				}
			})
		})
	}
}

// A notice's template escapes nothing, and mail makes a link of an address.
func TestASummaryQuotesAndLinksNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, `{"client_id":"payments-client","CLIENT-SECRET":"x","access_token_url":"`+tokenURL+`"}`)
		w.secrets.Tag(secretName, "team", "https://evil.example/reset")
		_, _ = w.sync(secretName)
		summary := w.published()[0].Summary
		if strings.ContainsAny(summary, "\"\\<>`@") || strings.Contains(summary, "evil.example") ||
			!strings.Contains(summary, "CLIENT-SECRET") {
			t.Error(summary)
		}
	})
}
