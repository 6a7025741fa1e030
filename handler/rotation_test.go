package handler_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/smithy-go"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore/secretstoretest"
	"datadog-webhook-auth-sync/handler/tokencheck/tokentest"
)

var steps = []string{"createSecret", "setSecret", "testSecret", "finishSecret"}

// function is this function's ARN, as world has it invoked.
const function = "arn:aws:lambda:us-east-1:123456789012:function:sync"

// step plays Secrets Manager's part.
func (w *world) step(step, token string) error {
	_, err := w.invoke(w.stepPayload(step, token))
	return err
}

func (w *world) stepPayload(step, token string) string {
	return fmt.Sprintf(`{"Step":%q,"SecretId":%q,"ClientRequestToken":%q,"RotationToken":%q}`, step, w.arn(), token, rotationToken)
}

const rotationToken = "canary-of-the-rotation-token"

// staging is a secret with a credential staged under NEXT.
func (w *world) staging() (next string) {
	w.secret = append(w.secret, rotationToken)
	w.secrets.Create(secretName, w.value("first"))
	next = w.value("next")
	w.secrets.Stage(secretName, next, "NEXT")
	return next
}

func TestRotation(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		next := w.staging()
		token := w.secrets.StartRotation(secretName, function)
		var events []string
		w.secrets.OnLabel = func(e secretstoretest.Event) { events = append(events, e.VersionID) }
		for _, step := range steps {
			for range 2 { // each may be repeated
				if err := w.step(step, token); err != nil {
					t.Fatalf("%s: %v", step, err)
				}
			}
			if _, value := w.secrets.Current(secretName); (value == next) != (step == "finishSecret") {
				t.Fatalf("after %s AWSCURRENT is %v", step, value == next)
			}
			if w.secrets.Labels(secretName)["NEXT"] != "" {
				t.Fatalf("after %s NEXT is still there", step)
			}
		}
		if len(events) != 1 || events[0] != token {
			t.Errorf("label events: %v; want one, for the token", events)
		}
		if len(w.datadog.AuthMethods()) > 0 {
			t.Error("a rotation step pushed; the label event is to")
		}
		for _, step := range steps {
			if err := w.step(step, token); err != nil {
				t.Errorf("%s once the token is AWSCURRENT: %v", step, err)
			}
		}
		w.secrets.Put(secretName, w.value("by hand"))
		if err := w.step("createSecret", w.secrets.StartRotation(secretName, function)); err == nil || fault.From(err).Code != fault.RotationRefused {
			t.Errorf("a rotation with nothing staged: %v", err)
		}
	})
}

// An attempt may end before or after each of its calls took effect; Secrets Manager repeats the step.
func TestRotationIsRepeatedAfterACrash(t *testing.T) {
	for _, staged := range []string{"once", "anew after the crash"} {
		for _, took := range []string{"before", "after"} {
			crashes := 0
			for crashed := true; crashed; {
				crashed = false
				t.Run(fmt.Sprintf("staged %s, crashed %s call %d", staged, took, crashes+1), func(t *testing.T) {
					inWorld(t, func(t *testing.T, w *world) {
						first, later := w.staging(), w.value("later")
						token := w.secrets.StartRotation(secretName, function)
						payloads := map[string]string{}
						for _, step := range steps {
							payloads[step] = w.stepPayload(step, token)
						}
						n, anew := 0, false
						w.secrets.Hook = func(op, _ string) error {
							if n++; n != crashes+1 {
								return nil
							}
							crashed = true
							if took == "before" {
								return secretstoretest.Internal
							}
							w.secrets.Lose(op, 1, secretstoretest.Internal)
							return nil
						}
						for _, step := range steps {
							was := crashed
							if _, err := w.invoke(payloads[step]); err == nil {
								continue
							} else if was == crashed {
								t.Fatalf("%s: %v", step, err)
							}
							if anew = staged != "once"; anew {
								w.secrets.Stage(secretName, later, "NEXT")
							}
							if _, err := w.invoke(payloads[step]); err != nil {
								t.Fatalf("%s, repeated: %v", step, err)
							}
						}
						version, value := w.secrets.Current(secretName)
						left := w.secrets.Labels(secretName)["NEXT"] != ""
						if version != token || value != first && value != later {
							t.Error("AWSCURRENT is not what was staged")
						}
						if wanted := anew && value == first; left != wanted {
							t.Errorf("NEXT is left: %t; want %t", left, wanted)
						}
					})
				})
				crashes++
			}
			if crashes < 9 {
				t.Errorf("%d calls; want at least nine", crashes)
			}
		}
	}
}

// For a moment, a label may be seen on two versions.
func TestRotationGoesByTheTokensOwnLabels(t *testing.T) {
	t.Run("AWSPENDING and AWSCURRENT", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			next := w.staging()
			token := w.secrets.StartRotation(secretName, function)
			for i := range 20 { // the order of a map is random
				w.secrets.LabelAlso(secretName, w.secrets.Stage(secretName, w.value(fmt.Sprint(i)), "OTHER"), "AWSPENDING")
			}
			for _, step := range steps {
				if err := w.step(step, token); err != nil {
					t.Fatalf("%s: %v", step, err)
				}
			}
			if _, value := w.secrets.Current(secretName); value != next {
				t.Error("AWSCURRENT is not what was staged")
			}
			for i := range 20 {
				w.secrets.LabelAlso(secretName, w.secrets.Stage(secretName, w.value(fmt.Sprint(i)), "OTHER"), "AWSCURRENT")
			}
			w.secrets.ResetCalls()
			if err := w.step("finishSecret", token); err != nil || w.secrets.Calls()["UpdateSecretVersionStage"] > 0 {
				t.Errorf("the token is AWSCURRENT, as is another version: %v", err)
			}
		})
	})
	t.Run("NEXT", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			next := w.staging()
			copied := w.secrets.Labels(secretName)["NEXT"]
			token := w.secrets.StartRotation(secretName, function)
			w.secrets.Fail("UpdateSecretVersionStage", 1, secretstoretest.Internal)
			if err := w.step("createSecret", token); err == nil {
				t.Fatal("no error")
			}
			later := w.secrets.Stage(secretName, w.value("later"), "NEXT")
			w.secrets.LabelAlso(secretName, copied, "NEXT")
			if err := w.step("createSecret", token); err != nil {
				t.Fatal(err)
			}
			w.secrets.MoveCurrent(secretName, token)
			_, value := w.secrets.Current(secretName)
			if left := w.secrets.Labels(secretName)["NEXT"]; value != next || left != later {
				t.Errorf("NEXT is on %s; want it on %s", left, later)
			}
		})
	})
}

func TestRotationOfAQualifiedFunction(t *testing.T) {
	for name, c := range map[string]struct {
		named, invoked string
		ok             bool
	}{
		"unqualified":        {function, function, true},
		"named by alias":     {function + ":live", function, true},
		"invoked by version": {function, function + ":7", true},
		"both":               {function + ":live", function + ":7", true},
		"another function":   {function + "2", function, false},
		"another account":    {strings.Replace(function, "123456789012", "210987654321", 1), function, false},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.staging()
				token := w.secrets.StartRotation(secretName, function)
				w.secrets.Hook = func(op, _ string) error {
					w.secrets.SetRotation(secretName, c.named)
					return nil
				}
				ctx := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{InvokedFunctionArn: c.invoked})
				payload := strings.ReplaceAll(w.stepPayload("createSecret", token), w.arn(), secretName)
				_, err := w.handler.Handle(ctx, json.RawMessage(payload))
				if (err == nil) != c.ok || !c.ok && fault.From(err).Code != fault.RotationRefused {
					t.Errorf("%v; want success: %v", err, c.ok)
				}
			})
		})
	}
}

func TestTheSampleOfARotationStep(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		next := w.staging()
		token := w.secrets.StartRotation(secretName, function)
		sample := strings.ReplaceAll(w.sample("rotation-step.json"), "2a3b4c5d-6e7f-4081-92a3-b4c5d6e7f809", token)
		if _, err := w.invoke(sample); err != nil {
			t.Fatal(err)
		}
		w.secrets.MoveCurrent(secretName, token)
		if _, value := w.secrets.Current(secretName); value != next {
			t.Error("the pending version has another value than the staged one")
		}
	})
}

// Secrets Manager may quote in a refusal what it was sent.
func TestARefusedPutIsNotQuoted(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		next := w.staging()
		token := w.secrets.StartRotation(secretName, function)
		w.secrets.Fail("PutSecretValue", 1, &smithy.GenericAPIError{Code: "ValidationException",
			Message: "Value '" + rotationToken + "' at 'rotationToken', value '" + secretIn(next) + "' at 'secretString'"})
		if err := w.step("createSecret", token); err == nil || fault.From(err).Code != fault.BadRequest {
			t.Errorf("error: %v", err)
		}
	})
}

func TestRotationRefused(t *testing.T) {
	for _, c := range []struct {
		name, step string
		code       fault.Code
		text       string
		prepare    func(w *world) (token string)
	}{
		{"nothing staged", "createSecret", fault.RotationRefused, "--version-stages NEXT", func(w *world) string {
			return w.secrets.StartRotation(secretName, function)
		}},
		{"two are staged", "createSecret", fault.RotationRefused, "2 versions are labelled NEXT", func(w *world) string {
			w.secrets.LabelAlso(secretName, w.secrets.Stage(secretName, w.value("next"), "OTHER"), "NEXT")
			w.secrets.LabelAlso(secretName, w.secrets.Stage(secretName, w.value("more"), "OTHER"), "NEXT")
			return w.secrets.StartRotation(secretName, function)
		}},
		{"another rotation's pending version", "finishSecret", fault.RotationRefused, "another function", func(w *world) string {
			return w.secrets.StartRotation(secretName, function+"-of-another-team")
		}},
		{"a token that is no version", "createSecret", fault.RotationRefused, "no version", func(w *world) string {
			w.secrets.SetRotation(secretName, function)
			return "2a3b4c5d-6e7f-4081-92a3-b4c5d6e7f809"
		}},
		{"rotation is off", "createSecret", fault.RotationRefused, "not enabled", func(w *world) string {
			token := w.secrets.StartRotation(secretName, function)
			w.secrets.SetRotation(secretName, "")
			return token
		}},
		{"the token is not pending", "finishSecret", fault.RotationRefused, "AWSPENDING", func(w *world) string {
			w.secrets.SetRotation(secretName, function)
			return w.secrets.Stage(secretName, w.value("next"), "NEXT")
		}},
		{"unknown step", "dropSecret", fault.RotationRefused, "createSecret", func(w *world) string {
			return w.secrets.StartRotation(secretName, function)
		}},
		{"the identity provider does not know it", "testSecret", fault.CredentialRejected, "401", func(w *world) string {
			w.tokens.Revoke("payments-client", w.secret[len(w.secret)-1])
			return w.pending()
		}},
		{"it cannot be proven", "testSecret", fault.CredentialRejected, "could not be verified", func(w *world) string {
			w.tokens.Fail(tokentest.Fault{Status: 503})
			return w.pending()
		}},
		{"it is no credential", "testSecret", fault.SecretInvalid, "client_secret", func(w *world) string {
			w.secrets.Stage(secretName, "{}", "NEXT")
			return w.pending()
		}},
		{"Datadog is down where only it knows the client id", "testSecret", fault.DatadogUnavailable, "503", func(w *world) string {
			w.datadog.Fail(datadogtest.Fault{Status: 503})
			w.secrets.Stage(secretName, "a-client-secret-alone", "NEXT")
			return w.pending()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.secrets.Create(secretName, w.value("first"))
				w.secrets.Stage(secretName, w.value("next"), "OTHER")
				token := c.prepare(w)
				before, _ := w.secrets.Current(secretName)
				err := w.step(c.step, token)
				if err == nil || fault.From(err).Code != c.code || !strings.Contains(err.Error(), c.text) {
					t.Errorf("%v; want %s with %q", err, c.code, c.text)
				}
				if after, _ := w.secrets.Current(secretName); after != before {
					t.Error("AWSCURRENT moved")
				}
			})
		})
	}
}

// pending starts a rotation and gives the pending version what is staged: by default the credential that was made last.
func (w *world) pending() (token string) {
	if w.secrets.Labels(secretName)["NEXT"] == "" {
		w.secrets.Stage(secretName, w.valueOf(w.secret[len(w.secret)-1]), "NEXT")
	}
	token = w.secrets.StartRotation(secretName, function)
	if err := w.step("createSecret", token); err != nil {
		w.t.Fatal(err)
	}
	return token
}

func TestRotationTestPasses(t *testing.T) {
	for name, c := range map[string]struct {
		option  func(*world)
		prepare func(w *world) (token string)
	}{
		"a version without a value": {nil, func(w *world) string { return w.secrets.StartRotation(secretName, function) }},
		"verification off": {func(w *world) { w.config.VerifyCredential = false }, func(w *world) string {
			w.secrets.Stage(secretName, "whatever", "NEXT")
			return w.pending()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			options := []func(*world){}
			if c.option != nil {
				options = append(options, c.option)
			}
			inWorld(t, func(t *testing.T, w *world) {
				w.secrets.Create(secretName, w.value("first"))
				if err := w.step("testSecret", c.prepare(w)); err != nil {
					t.Error(err)
				}
			}, options...)
		})
	}
}
