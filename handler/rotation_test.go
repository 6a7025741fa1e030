package handler_test

import (
	"fmt"
	"strings"
	"testing"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore/secretstoretest"
)

const (
	function      = "arn:aws:lambda:us-east-1:123456789012:function:sync" // this one, without an alias
	rotationToken = "bullfinch-rotation"
)

var steps = []string{"createSecret", "setSecret", "testSecret", "finishSecret"}

// step invokes the function as Secrets Manager does.
func (w *world) step(step, token string) error {
	_, err := w.invoke(fmt.Sprintf(`{"Step":%q,"SecretId":%q,"ClientRequestToken":%q,"RotationToken":%q}`,
		step, secretName, token, rotationToken))
	return err
}

// mustStep takes some of the four steps, none of which may fail.
func (w *world) mustStep(token string, steps ...string) {
	w.t.Helper()
	for _, step := range steps {
		if err := w.step(step, token); err != nil {
			w.t.Fatalf("%s: %v", step, err)
		}
	}
}

// stage creates the secret and puts a credential that works under NEXT.
func (w *world) stage() (value string) {
	w.secret = append(w.secret, rotationToken)
	w.create()
	value = w.value("next")
	w.secrets.Stage(secretName, value, "NEXT")
	return value
}

// pending starts a rotation to what is staged, and does its first step.
func (w *world) pending() (token string) {
	token = w.secrets.StartRotation(secretName, function)
	w.mustStep(token, "createSecret")
	return token
}

// mustBeCurrent fails the test unless the rotation put this value under AWSCURRENT, and took NEXT off it.
func (w *world) mustBeCurrent(token, value string) {
	w.t.Helper()
	if version, current := w.secrets.Current(secretName); version != token || current != value {
		w.t.Error("AWSCURRENT is not what was staged")
	}
	if w.secrets.Labels(secretName)["NEXT"] != "" {
		w.t.Error("NEXT is still there")
	}
}

func TestRotation(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		next := w.stage()
		token := w.secrets.StartRotation(secretName, function+":live")
		w.mustStep(token, "testSecret") // without a value, as RotateImmediately=false asks
		var events []string
		w.secrets.OnLabel = func(e secretstoretest.Event) { events = append(events, e.VersionID) }
		for _, step := range steps {
			w.mustStep(token, step, step) // each may be repeated
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
		if len(w.datadog.AuthMethods())+len(w.secrets.Tags(secretName))+len(w.published()) > 0 {
			t.Error("a rotation step pushed, recorded or published; the label event does")
		}
		w.revoke(next)
		w.mustStep(token, steps...) // since the token is AWSCURRENT
	})
}

// A step may crash before or after each of its calls takes effect. Secrets Manager repeats it.
func TestRotationIsRepeatedAfterACrash(t *testing.T) {
	for _, lose := range []bool{false, true} {
		for call, crashed := 1, true; crashed; call++ {
			crashed = false
			subtest(t, fmt.Sprintf("call %d, takes effect %v", call, lose), func(t *testing.T, w *world) {
				next := w.stage()
				token := w.secrets.StartRotation(secretName, function)
				calls := 0
				w.secrets.Hook = func(op, _ string) error {
					if calls++; calls != call {
						return nil
					}
					if crashed = true; lose {
						w.secrets.Lose(op, 1, secretstoretest.Internal)
						return nil
					}
					return secretstoretest.Internal
				}
				for _, step := range steps {
					if w.step(step, token) != nil {
						w.mustStep(token, step)
					}
				}
				w.mustBeCurrent(token, next)
			})
			if !crashed && call < 10 {
				t.Errorf("a rotation makes %d calls; want at least nine", call-1)
			}
		}
	}
}

// For a moment, a label may be seen on two versions.
func TestRotationGoesByTheTokensOwnLabels(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		next := w.stage()
		token := w.secrets.StartRotation(secretName, function)
		others := func(label string) {
			for i := range 20 { // the order of a map is random
				w.secrets.LabelAlso(secretName, w.secrets.Stage(secretName, w.value(fmt.Sprint(i)), "OTHER"), label)
			}
		}
		others("AWSPENDING")
		w.mustStep(token, steps...)
		w.mustBeCurrent(token, next)
		others("AWSCURRENT")
		w.secrets.ResetCalls()
		w.mustStep(token, "finishSecret")
		if w.secrets.Calls()["UpdateSecretVersionStage"] > 0 {
			t.Error("a label moved, though the token is AWSCURRENT, as is another version")
		}
	})
}

// NEXT is taken off what was copied, not off what was staged since.
func TestNextIsTakenOffWhatWasCopied(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		next := w.stage()
		copied := w.secrets.Labels(secretName)["NEXT"]
		token := w.secrets.StartRotation(secretName, function)
		w.secrets.Fail("UpdateSecretVersionStage", 1, secretstoretest.Internal)
		if err := w.step("createSecret", token); err == nil {
			t.Fatal("no error")
		}
		later := w.secrets.Stage(secretName, w.value("later"), "NEXT")
		w.secrets.LabelAlso(secretName, copied, "NEXT")
		w.mustStep(token, "createSecret")
		w.secrets.MoveCurrent(secretName, token)
		_, value := w.secrets.Current(secretName)
		if left := w.secrets.Labels(secretName)["NEXT"]; value != next || left != later {
			t.Errorf("NEXT is on %s; want it on %s", left, later)
		}
	})
}

func TestRotationRefused(t *testing.T) {
	const refused = fault.RotationRefused
	for _, c := range []struct {
		name    string
		steps   string // each of which is refused
		code    fault.Code
		text    string
		prepare func(w *world) (token string)
	}{
		{"nothing staged", "createSecret", refused, "--version-stages NEXT", func(w *world) string {
			w.pending() // promotes what was staged
			return w.secrets.StartRotation(secretName, function)
		}},
		{"two are staged", "createSecret", refused, "2 versions are labelled NEXT", func(w *world) string {
			w.secrets.LabelAlso(secretName, w.secrets.Stage(secretName, w.value("more"), "OTHER"), "NEXT")
			return w.secrets.StartRotation(secretName, function)
		}},
		{"no value", "finishSecret", refused, "no value", func(w *world) string {
			return w.secrets.StartRotation(secretName, function)
		}},
		{"another rotation's pending version", "finishSecret", refused, "another function", func(w *world) string {
			return w.secrets.StartRotation(secretName, function+"-of-another-team")
		}},
		{"the function of another account", "createSecret", refused, "another function", func(w *world) string {
			return w.secrets.StartRotation(secretName, strings.Replace(function, "123456789012", "210987654321", 1))
		}},
		{"a token that is no version", "createSecret", refused, "no version", func(w *world) string {
			w.secrets.SetRotation(secretName, function)
			return "2a3b4c5d-6e7f-4081-92a3-b4c5d6e7f809"
		}},
		{"rotation is off", "createSecret", refused, "not enabled", func(w *world) string {
			token := w.secrets.StartRotation(secretName, function)
			w.secrets.SetRotation(secretName, "")
			return token
		}},
		{"the token is not pending", "finishSecret", refused, "AWSPENDING", func(w *world) string {
			w.secrets.SetRotation(secretName, function)
			return w.secrets.Labels(secretName)["NEXT"]
		}},
		{"an unknown step", "dropSecret", refused, "createSecret", (*world).pending},
		{"out of scope", "createSecret", fault.SecretOutOfScope, "", func(w *world) string {
			w.config.Prefix = "elsewhere/"
			w.start()
			return w.secrets.StartRotation(secretName, function)
		}},
		{"rejected", "testSecret finishSecret", fault.CredentialRejected, "401", func(w *world) string {
			w.revoke(w.secret[len(w.secret)-1])
			return w.pending()
		}},
		{"inconclusive", "testSecret finishSecret", fault.CredentialRejected, "could not be verified", func(w *world) string {
			w.tokens.Fail(unavailable)
			return w.pending()
		}},
		{"no credential", "testSecret finishSecret", fault.SecretInvalid, "client_secret", func(w *world) string {
			w.secrets.Stage(secretName, "{}", "NEXT")
			return w.pending()
		}},
		{"only Datadog knows the client id, and is down", "testSecret finishSecret", fault.DatadogUnavailable, "503",
			func(w *world) string {
				w.datadog.Fail(datadogtest.Fault{Status: 503})
				w.secrets.Stage(secretName, "a-client-secret-alone", "NEXT")
				return w.pending()
			}},
	} {
		subtest(t, c.name, func(t *testing.T, w *world) {
			w.stage()
			token := c.prepare(w)
			before, _ := w.secrets.Current(secretName)
			for _, step := range strings.Fields(c.steps) {
				if err := w.step(step, token); !fault.Is(err, c.code) || !strings.Contains(err.Error(), c.text) {
					t.Errorf("%s: %v; want %s with %q", step, err, c.code, c.text)
				}
			}
			if after, _ := w.secrets.Current(secretName); after != before {
				t.Error("AWSCURRENT moved")
			}
		})
	}
}

func TestRotationWithVerificationOff(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		next := w.stage()
		w.revoke(next)
		token := w.pending()
		w.mustStep(token, steps...)
		if w.mustBeCurrent(token, next); len(w.tokens.Calls()) > 0 {
			t.Error("it was verified")
		}
	}, func(w *world) { w.config.VerifyCredential = false })
}
