package handler_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/smithy-go"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore/secretstoretest"
	"datadog-webhook-auth-sync/handler/tokencheck/tokentest"
)

var steps = []string{"createSecret", "setSecret", "testSecret", "finishSecret"}

// step plays Secrets Manager's part.
func (w *world) step(step, token string) error {
	_, err := w.invoke(fmt.Sprintf(`{"Step":%q,"SecretId":%q,"ClientRequestToken":%q,"RotationToken":"canary-of-the-rotation-token"}`, step, w.arn(), token))
	return err
}

func TestRotation(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secret = append(w.secret, "canary-of-the-rotation-token")
		w.secrets.Create(secretName, w.value("first"))
		next := w.value("next")
		w.secrets.Stage(secretName, next, "NEXT")
		token := w.secrets.StartRotation(secretName)
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
	})
}

func TestTheSampleOfARotationStep(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, w.value("first"))
		next := w.value("next")
		w.secrets.Stage(secretName, next, "NEXT")
		token := w.secrets.StartRotation(secretName)
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
		w.secret = append(w.secret, "canary-of-the-rotation-token")
		w.secrets.Create(secretName, w.value("first"))
		next := w.value("next")
		w.secrets.Stage(secretName, next, "NEXT")
		token := w.secrets.StartRotation(secretName)
		w.secrets.Fail("PutSecretValue", 1, &smithy.GenericAPIError{Code: "ValidationException",
			Message: "Value 'canary-of-the-rotation-token' at 'rotationToken', value '" + secretIn(next) + "' at 'secretString'"})
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
			return w.secrets.StartRotation(secretName)
		}},
		{"what is staged is AWSCURRENT", "createSecret", fault.RotationRefused, "--version-stages NEXT", func(w *world) string {
			w.secrets.MoveCurrent(secretName, w.secrets.Stage(secretName, w.value("next"), "NEXT"))
			return w.secrets.StartRotation(secretName)
		}},
		{"a token that is no version", "createSecret", fault.RotationRefused, "no version", func(w *world) string {
			w.secrets.SetRotation(secretName, true)
			return "2a3b4c5d-6e7f-4081-92a3-b4c5d6e7f809"
		}},
		{"rotation is off", "createSecret", fault.RotationRefused, "not enabled", func(w *world) string {
			token := w.secrets.StartRotation(secretName)
			w.secrets.SetRotation(secretName, false)
			return token
		}},
		{"the token is not pending", "finishSecret", fault.RotationRefused, "AWSPENDING", func(w *world) string {
			w.secrets.SetRotation(secretName, true)
			return w.secrets.Stage(secretName, w.value("next"), "NEXT")
		}},
		{"unknown step", "dropSecret", fault.RotationRefused, "createSecret", func(w *world) string {
			return w.secrets.StartRotation(secretName)
		}},
		{"the identity provider does not know it", "testSecret", fault.CredentialRejected, "401", func(w *world) string {
			w.tokens.Revoke("payments-client", w.secret[len(w.secret)-1])
			return w.pending()
		}},
		{"it cannot be proven", "testSecret", fault.CredentialRejected, "could not be proven", func(w *world) string {
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
	token = w.secrets.StartRotation(secretName)
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
		"a version without a value": {nil, func(w *world) string { return w.secrets.StartRotation(secretName) }},
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
