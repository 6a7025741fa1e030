package handler_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"datadog-webhook-auth-sync/handler"
	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/secretstore/secretstoretest"
	"datadog-webhook-auth-sync/handler/standin"
	"datadog-webhook-auth-sync/handler/tokencheck/tokentest"
)

func TestCallsOfASync(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, w.value("first"))
		for _, outcome := range []report.Outcome{report.Created, report.Updated} {
			w.resetCalls()
			if res, err := w.sync(secretName); err != nil || res.Outcome != outcome {
				t.Fatalf("%s, %v; want %s", res.Outcome, err, outcome)
			}
			write := map[report.Outcome]string{report.Created: "POST", report.Updated: "PATCH"}[outcome]
			w.wantCalls(string(outcome), map[string]int{"GetSecretValue": 1, "DescribeSecret": 2, "token": 1, "list": 1,
				write: 1, "TagResource": 1, "PutEvents": 1})
			w.secrets.Put(secretName, w.value("second"))
		}
	})
}

// The first PATCH is held back while a second rotation comes and goes; read → PATCH → publish would end stale.
func TestOverlappingRotationsEndOnAWSCURRENT(t *testing.T) {
	for delay := time.Duration(0); delay <= 4*time.Second; delay += 250 * time.Millisecond {
		for gap := 50 * time.Millisecond; gap <= 2*time.Second; gap *= 3 {
			t.Run(fmt.Sprintf("PATCH late by %v, rotations %v apart", delay, gap), func(t *testing.T) {
				inWorld(t, func(t *testing.T, w *world) {
					w.secrets.Create(secretName, w.value("created"))
					if _, err := w.sync(secretName); err != nil {
						t.Fatal(err)
					}
					w.datadog.Latency = 200 * time.Millisecond
					w.datadog.Fail(datadogtest.Fault{Method: "PATCH", Times: 1, Delay: delay})
					var invocations sync.WaitGroup
					w.secrets.OnLabel = func(e secretstoretest.Event) {
						invocations.Go(func() {
							if _, err := w.invoke(label(e)); err != nil {
								t.Error(err)
							}
						})
					}
					w.secrets.Put(secretName, w.value("first"))
					time.Sleep(gap)
					w.secrets.Put(secretName, w.value("second"))
					invocations.Wait()
					w.mustHold("in the end")
				})
			})
		}
	}
}

func TestABurstOfRotationsPublishesNoFailure(t *testing.T) {
	for _, apart := range []time.Duration{0, 30 * time.Millisecond, 300 * time.Millisecond} {
		t.Run(apart.String(), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.secrets.Create(secretName, w.value("0"))
				if _, err := w.sync(secretName); err != nil {
					t.Fatal(err)
				}
				w.datadog.Latency = 200 * time.Millisecond
				w.secrets.Stale = func(string, string) time.Duration { return 150 * time.Millisecond }
				var all sync.WaitGroup
				w.secrets.OnLabel = func(e secretstoretest.Event) {
					all.Go(func() {
						time.Sleep(300 * time.Millisecond)
						if _, err := w.invoke(label(e)); err != nil {
							t.Error(err)
						}
					})
				}
				for i := range 16 {
					w.secrets.Put(secretName, w.value(fmt.Sprint(i+1)))
					time.Sleep(apart)
				}
				all.Wait()
				for _, res := range w.published() {
					if res.Outcome == report.Failed {
						t.Errorf("published: %+v", res)
					}
				}
				w.mustHold("in the end")
			})
		})
	}
}

func TestSixteenFirstSyncsAtOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.datadog.Latency = 200 * time.Millisecond
		w.secrets.Create(secretName, w.value("first"))
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				if _, err := w.sync(secretName); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		count := map[string]int{}
		for _, outcome := range w.outcomes() {
			count[outcome]++
		}
		if w.holds(); count["created"] != 1 || count["created"]+count["adopted"]+count["updated"] != 16 {
			t.Errorf("published: %v", count)
		}
	})
}

// The first reads are older than the event; the version that it names is written all the same, once.
func TestStaleReads(t *testing.T) {
	for _, ops := range []string{"GetSecretValue", "DescribeSecret", "GetSecretValue and DescribeSecret"} {
		t.Run(ops, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.secrets.Create(secretName, w.value("first"))
				if _, err := w.sync(secretName); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				w.secrets.Stale = func(op, _ string) time.Duration {
					if strings.Contains(ops, op) {
						return 600 * time.Millisecond
					}
					return 0
				}
				w.secrets.Put(secretName, w.value("second"))
				payload := w.sample("secret-label-updated.json")
				w.resetCalls()
				if _, err := w.invoke(payload); err != nil {
					t.Fatal(err)
				}
				if n := w.calls()["PATCH"]; n != 1 {
					t.Errorf("%d PATCHes", n)
				}
				w.mustHold("in the end")
			})
		})
	}
}

// A label event that names a version which Secrets Manager does not show is tried again, and is not forgotten.
func TestAVersionThatDoesNotShow(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createSettled(secretName)
		time.Sleep(11 * time.Minute)
		w.secrets.Put(secretName, w.value("second"))
		event := w.sample("secret-label-updated.json")
		w.secrets.Stale = func(string, string) time.Duration { return time.Minute }
		if _, err := w.invoke(event); !fault.Is(err, fault.SecretsUnavailable) {
			t.Errorf("error: %v", err)
		}
		time.Sleep(time.Minute)
		if _, err := w.invoke(event); err != nil {
			t.Error(err)
		}
		w.mustHold("a minute later")
	})
}

// A secret may show later than the event of its first version.
func TestALabelEventOfASecretThatIsNotFound(t *testing.T) {
	for age, retried := range map[time.Duration]bool{0: true, 148 * time.Second: true, 150 * time.Second: false} {
		t.Run(age.String(), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.secrets.Create(secretName, w.value("first"))
				event := w.sample("secret-label-updated.json")
				w.purge(secretName)
				time.Sleep(age)
				if _, err := w.invoke(event); fault.Is(err, fault.SecretNotFound) != retried {
					t.Errorf("the invocation ends with %v", err)
				}
				w.wantResults("in the end")
			})
		})
	}
}

// In each case AWSCURRENT moves while the first round writes.
func TestASecondRound(t *testing.T) {
	putBare := func(w *world) { w.secrets.Put(secretName, w.clientSecret("alone")) }
	for _, c := range []struct {
		name    string
		prepare func(w *world)
		next    func(w *world) // moves AWSCURRENT
		want    string
	}{
		{"goes on with what the first one made", nil, putBare, "created"},
		{"goes on with what the first one took over", func(w *world) {
			w.datadogHolds("payments", "payments-client") // without a scope, which the secret states
		}, putBare, "adopted"},
		{"has its own warnings", func(w *world) {
			w.secrets.Tag(secretName, secretstore.RecordTag, "id="+w.datadogHolds("by hand", "payments-client").ID)
			w.tokens.Fail(tokentest.Fault{Cut: true, Times: 1})
		}, func(w *world) { w.secrets.Put(secretName, w.value("second")) }, "adopted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.secrets.Create(secretName, w.value("first"))
				if c.prepare != nil {
					c.prepare(w)
				}
				w.datadog.Latency = 400 * time.Millisecond
				time.AfterFunc(700*time.Millisecond, func() { c.next(w) })
				res, err := w.sync(secretName)
				if err != nil || string(res.Outcome) != c.want || res.Verification != "accepted" ||
					strings.Contains(strings.Join(res.Warnings, ""), "verified") {
					t.Errorf("%s, verification %s, warnings %q, %v", res.Outcome, res.Verification, res.Warnings, err)
				}
				w.mustHold("in the end")
			})
		})
	}
}

// Round 1 writes a version that works, over one that was revoked; round 2's is not honoured yet. No alert is lost.
func TestAFailureAfterAWriteIsNotALoss(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.revoke(w.createSettled(secretName))
		w.datadog.Latency = 400 * time.Millisecond
		w.secrets.Put(secretName, w.value("second"))
		event := w.sample("secret-label-updated.json")
		time.AfterFunc(300*time.Millisecond, func() { w.putRejected(secretName, "third") })
		if _, err := w.invoke(event); !fault.Is(err, fault.CredentialRejected) {
			t.Errorf("error: %v", err)
		}
		w.wantResults("within 150 s")
		if r := w.record(secretName); r["waiting"] != "credential_rejected" || len(w.metrics()["AtRisk"]) > 2 {
			t.Errorf("record %q, AtRisk %v", w.tag(secretName), w.metrics()["AtRisk"])
		}
	})
}

// What Datadog took is recorded whatever fails later: here the look, so nothing else is. Of a creation, which was not
// published, only the id is, so that the next sync tells it.
func TestALookThatFailed(t *testing.T) {
	for _, write := range []string{"POST", "PATCH"} {
		t.Run(write, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				next := "adopted"
				if w.secrets.Create(secretName, w.value("first")); write == "PATCH" {
					w.settle(1)
					w.secrets.Put(secretName, w.value("second"))
					next = "updated"
				}
				event := w.sample("secret-label-updated.json")
				w.resetCalls()
				w.secrets.Hook = func(op, _ string) error {
					if op == "DescribeSecret" && w.calls()[write] > 0 {
						return throttled
					}
					return nil
				}
				if _, err := w.invoke(event); !fault.Is(err, fault.SecretsUnavailable) {
					t.Errorf("error: %v", err)
				}
				created := write == "POST"
				if r := w.record(secretName); r["id"] != w.datadog.AuthMethods()[0].ID || w.isSynced(secretName) == created {
					t.Errorf("record: %q", w.tag(secretName))
				}
				w.secrets.Hook = nil
				if _, err := w.invoke(event); err != nil {
					t.Error(err)
				}
				w.wantResults("the next attempt", next)
			})
		})
	}
}

// The same in a second round, where the record of the first is not written yet.
func TestALookThatFailedInASecondRound(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createSettled(secretName)
		second := w.secrets.Put(secretName, w.value("second"))
		w.datadog.Latency = 400 * time.Millisecond
		event := w.sample("secret-label-updated.json")
		time.AfterFunc(300*time.Millisecond, func() { w.secrets.Put(secretName, "{") })
		w.resetCalls()
		w.secrets.Hook = func(op, _ string) error {
			if op == "DescribeSecret" && w.calls()["PATCH"] > 0 && w.calls()["DescribeSecret"] > 3 {
				return throttled
			}
			return nil
		}
		if _, err := w.invoke(event); err != nil {
			t.Errorf("error: %v", err)
		}
		w.wantResults("then", "failed secret_invalid held accepted")
		if w.record(secretName)["version"] != second {
			t.Errorf("record: %q; want version %s", w.tag(secretName), second)
		}
	})
}

// A secret that this sync has read is not gone because a later read does not find it.
func TestASecretThatIsNotFoundInALaterRound(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createSettled(secretName)
		w.secrets.Put(secretName, w.value("second"))
		event := w.sample("secret-label-updated.json")
		w.datadog.Fail(datadogtest.Fault{Method: "PATCH", Status: 409, Times: 1})
		time.AfterFunc(time.Millisecond, func() { w.purge(secretName) })
		_, err := w.invoke(event)
		if !fault.Is(err, fault.SecretsUnavailable) || len(w.datadog.AuthMethods()) != 1 {
			t.Errorf("error: %v", err)
		}
	})
}

// otherAccount is a Secrets Manager that answers with a secret of another account.
type otherAccount struct{ *secretstoretest.Server }

func (o otherAccount) DescribeSecret(ctx context.Context, in *secretsmanager.DescribeSecretInput,
	options ...func(*secretsmanager.Options)) (*secretsmanager.DescribeSecretOutput, error) {
	out, err := o.Server.DescribeSecret(ctx, in, options...)
	if err == nil {
		out.ARN = aws.String(strings.Replace(*out.ARN, "123456789012", "210987654321", 1))
	}
	return out, err
}

// Scope is judged by what was read, too.
func TestAnAnswerAboutAnotherSecretIsOutOfScope(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, w.value("first"))
		w.handler = handler.New(w.config, handler.Outside{Secrets: otherAccount{w.secrets}, Bus: w.bus, Log: w.log,
			Datadog: standin.Hosts{"api.datadoghq.com": w.datadog}, Tokens: standin.Hosts{"idp.example.com": w.tokens}})
		if _, err := w.sync(secretName); !fault.Is(err, fault.SecretOutOfScope) {
			t.Errorf("error: %v", err)
		}
		if calls := w.calls(); calls["token"]+calls["POST"]+calls["TagResource"] > 0 {
			t.Errorf("calls: %v", calls)
		}
	})
}

func TestARecordThatCannotBeWrittenIsAWarning(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, w.value("first"))
		w.secrets.Fail("TagResource", 1, secretDenied)
		res, err := w.sync(secretName)
		warned := strings.Contains(strings.Join(res.Warnings, "\n"), "recorded")
		if err != nil || !warned || len(w.metrics()["RecordFailed"]) != 1 {
			t.Errorf("answer: %+v, %v", res, err)
		}
	})
}

// It is written, and has no lag.
func TestALabelEventWithoutATime(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createSettled(secretName)
		w.secrets.Put(secretName, w.value("second"))
		_, err := w.invoke(fmt.Sprintf(`{"id":"x","source":"aws.secretsmanager","detail-type":"Secret Label Updated",`+
			`"resources":[%q],"detail":{"labelUpdated":"AWSCURRENT"}}`, w.arn()))
		if gap := w.metrics()["AlertGap"]; err != nil || len(gap) > 0 {
			t.Errorf("AlertGap %v, %v", gap, err)
		}
	})
}

func TestTheRecord(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, w.value("first"))
		version, _ := w.secrets.Current(secretName)
		at := time.Now().UTC().Format(time.RFC3339)
		if _, err := w.sync(secretName); err != nil {
			t.Fatal(err)
		}
		digest := w.record(secretName)["digest"]
		want := fmt.Sprintf("id=%s version=%s at=%s digest=%s site=datadoghq.com via=header state=pushed",
			w.datadog.AuthMethods()[0].ID, version, at, digest)
		if got := w.tag(secretName); got != want || len(digest) != 16 {
			t.Errorf("record %q; want %q", got, want)
		}
	})
}

// Both keys in one secret is what all other tests have.
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
