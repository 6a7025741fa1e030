package handler_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"datadog-webhook-auth-sync/handler"
	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/eventbus"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/sensitive"
	"datadog-webhook-auth-sync/handler/standin"
)

// Datadog and the identity provider may send back what they were sent. inWorld looks for it in all that the function
// says.
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
			subtest(t, fmt.Sprintf("%s answers %d %s", who, answer.Status, answer.Body), func(t *testing.T, w *world) {
				w.create()
				fail(w)
				_, _ = w.sync(secretName)
				w.http(w.sample("http-api-sync.json"))
				if answer := w.reconcile(); answer.Outcomes[report.Created] > 0 {
					t.Errorf("answer: %+v", answer)
				}
			})
		}
	}
}

// Datadog's refusal of a PATCH quotes a value that this PATCH did not send.
func TestWhatDatadogQuotesIsNotRepeated(t *testing.T) {
	quotes := func(r *http.Request, value string) *http.Response {
		return response(r, 400, fmt.Sprintf(`{"errors":["not %s"]}`, value))
	}
	subtest(t, "the client secret held before", func(t *testing.T, w *world) {
		first := secretIn(w.createSettled())
		w.put("second")
		w.interceptPatch(func(_ int, r *http.Request) *http.Response { return quotes(r, first) })
		w.mustInvoke(directSync, fault.DatadogRejected)
	})
	subtest(t, "that of an earlier round", func(t *testing.T, w *world) {
		w.config.VerifyCredential = false // so that nobody asks for what is held, which is the same
		w.start()
		w.createSettled()
		second := secretIn(w.put("second"))
		w.interceptPatch(func(n int, r *http.Request) *http.Response {
			if n > 1 {
				return quotes(r, second)
			}
			w.put("third")
			return nil
		})
		w.mustInvoke(directSync, fault.DatadogRejected)
	})
	subtest(t, "a key that was renewed", func(t *testing.T, w *world) {
		w.createSettled()
		w.interceptPatch(func(_ int, r *http.Request) *http.Response {
			if r.Header.Get("DD-API-KEY") != apiKey {
				return quotes(r, apiKey)
			}
			w.secrets.Put("datadog/keys", `{"api_key":"oystercatcher","app_key":"`+appKey+`"}`)
			return response(r, 401, "")
		})
		w.mustInvoke(directSync, fault.DatadogRejected)
	})
}

// An auth method that somebody named after a secret value fails no run, and its name is said nowhere.
func TestAnAnswerThatRepeatsASecretValue(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.datadogHolds("copy of "+apiKey, "another-client")
		copied := w.datadogHolds("copy of "+secretIn(w.create()), "another-client")
		if answer := w.reconcile(); answer.Error != nil || answer.Outcomes[report.Created] != 1 {
			t.Errorf("answer: %+v", answer)
		}
		w.datadog.Delete(copied.ID)
		w.dryReconcile() // lists what no secret manages
		w.put("second")
		w.interceptDatadog(func(r *http.Request, sent []byte) *http.Response {
			if r.Method != "PATCH" {
				return nil
			}
			return response(r, 200, fmt.Sprintf(`{"data":{"id":%q,"attributes":{"name":%q},`+
				`"type":"webhooks-auth-method-oauth2-client-credentials"}}`, path.Base(r.URL.Path), sent))
		})
		if res := w.mustSync(); res.Outcome != report.Updated {
			t.Errorf("%s", res.Outcome)
		}
	})
}

// onAWS wires the function as in Lambda, with an endpoint of AWS that answers as told, and returns what goes to the
// standard logger and to the standard error.
func onAWS(t *testing.T, aws http.Handler) (handler.Outside, func() string) {
	server := httptest.NewServer(aws)
	t.Cleanup(server.Close)
	for name, value := range map[string]string{"AWS_ENDPOINT_URL": server.URL, "AWS_ACCESS_KEY_ID": "id",
		"AWS_SECRET_ACCESS_KEY": "key", "AWS_SESSION_TOKEN": sessionToken, "AWS_MAX_ATTEMPTS": "1"} {
		t.Setenv(name, value)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	stderr, logger := os.Stderr, log.Writer()
	os.Stderr = file
	log.SetOutput(file)
	t.Cleanup(func() {
		os.Stderr = stderr
		log.SetOutput(logger)
		file.Close()
	})
	outside, err := handler.OnAWS(context.Background(), handler.Config{Region: "us-east-1"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return outside, func() string {
		text, err := os.ReadFile(file.Name())
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}
}

// The AWS SDK quotes an answer that it cannot read, and AWS itself quotes the request whose signature is wrong. One
// text is the client secret, the rotation token and the session token.
func TestNothingThatAWSAnswersIsQuoted(t *testing.T) {
	ctx, text := context.Background(), sensitive.New(sessionToken)
	for place, answer := range standin.Garbled(sessionToken) {
		t.Run(place, func(t *testing.T) {
			outside, stderr := onAWS(t, standin.Raw(answer))
			output := &buffer{}
			store := &secretstore.Store{API: outside.Secrets, Region: "us-east-1", Site: "datadoghq.com", Now: time.Now}
			_, read := store.Current(ctx, secretName)
			put := store.PutPending(ctx, secretName, "0f5e4d3c-2b1a-4c9d-8e7f-6a5b4c3d2e1f", text, text)
			event := eventbus.Event{DetailType: "x", Detail: []byte("{}"), Time: time.Now()}
			bus := &eventbus.Bus{API: outside.Bus, Name: "default"}
			publish := bus.Publish(ctx, event)
			for _, err := range []error{read, put, publish} {
				if err != nil {
					slog.New(slog.NewJSONHandler(output, nil)).Error("failed", "error", err)
				}
				for ; err != nil; err = errors.Unwrap(err) {
					fmt.Fprintf(output, "%v %+v %#v\n", err, err, err)
				}
			}
			if all := output.String() + stderr(); text.In(all) {
				t.Errorf("output:\n%s", strings.ReplaceAll(all, sessionToken, "***"))
			}
		})
	}
}

func TestTheStandardLoggerTellsNoBytes(t *testing.T) {
	const key = "canary-of-the-api-key"
	outside, stderr := onAWS(t, http.NotFoundHandler())
	server := httptest.NewServer(standin.Raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}" + key))
	defer server.Close()
	r, _ := http.NewRequest("GET", server.URL, nil)
	resp, err := outside.Datadog.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	for stderr() == "" {
		time.Sleep(time.Millisecond)
	}
	log.Print(`another line, with "quotes"`)
	lines := strings.Split(strings.TrimSpace(stderr()), "\n")
	if len(lines) != 2 || !strings.HasSuffix(lines[0], "Unsolicited response received on idle HTTP channel") ||
		!strings.HasSuffix(lines[1], `another line, with "quotes"`) {
		t.Errorf("the log says %q", lines)
	}
}
