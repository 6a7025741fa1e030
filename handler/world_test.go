package handler_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"

	"datadog-webhook-auth-sync/handler"
	"datadog-webhook-auth-sync/handler/contract"
	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/eventbus/eventbustest"
	"datadog-webhook-auth-sync/handler/fleet"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore/secretstoretest"
	"datadog-webhook-auth-sync/handler/sensitive"
	"datadog-webhook-auth-sync/handler/standin"
	"datadog-webhook-auth-sync/handler/tokencheck/tokentest"
)

const (
	secretName = "datadog/webhooks/payments"
	tokenURL   = "https://idp.example.com/oauth2/token"
	apiKey     = "canary-of-the-api-key"
	appKey     = "canary-of-the-app-key"
)

// world is the whole function, wired as in Lambda, among stand-ins for all that it reaches, in virtual time.
type world struct {
	t       testing.TB
	secrets *secretstoretest.Server
	datadog *datadogtest.Server
	tokens  *tokentest.Server
	bus     *eventbustest.Bus
	log     *buffer
	handler *handler.Handler
	config  handler.Config
	invoked int
	said    []string // answers and errors
	answers []answered
	heard   int      // results, by told
	secret  []string // values that must be nowhere in them
}

// inWorld runs a test in a world of its own, and then looks whether all that the function said follows the contract and
// holds no secret value.
func inWorld(t *testing.T, test func(t *testing.T, w *world), options ...func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, option := range options {
			option(w)
		}
		w.start()
		test(t, w)
		time.Sleep(time.Minute) // for what comes late
		w.mustHoldNoSecret()
		w.mustFollowContract()
	})
}

const (
	tokenOf      = "canary-of-the-access-token"
	signature    = "canary-of-the-signature"
	sessionToken = "canary-of-the-session-token"
)

func newWorld(t testing.TB) *world {
	w := &world{t: t, secrets: &secretstoretest.Server{}, datadog: datadogtest.New(apiKey, appKey), tokens: tokentest.New(),
		bus: &eventbustest.Bus{}, log: &buffer{}, secret: []string{apiKey, appKey, tokenOf, signature, sessionToken}}
	w.tokens.AccessToken = tokenOf
	keys, _ := w.secrets.Create("datadog/keys", fmt.Sprintf(`{"api_key":%q,"app_key":%q}`, apiKey, appKey))
	w.config = handler.Config{Site: "datadoghq.com", APIURL: "https://api.datadoghq.com", APIKeySecretARN: keys,
		AppKeySecretARN: keys, Prefix: "datadog/webhooks/", EventBus: "default", VerifyCredential: true, Refresh: 24 * time.Hour, Region: "us-east-1", FunctionName: "sync"}
	return w
}

// start starts the function and lets it read the keys.
func (w *world) start() {
	w.wire()
	synctest.Wait()
	w.secrets.ResetCalls()
}

func (w *world) wire() {
	w.handler = handler.New(w.config, handler.Outside{Secrets: w.secrets, Bus: w.bus, Datadog: standin.Hosts{"api.datadoghq.com": w.datadog},
		Tokens: standin.Hosts{"idp.example.com": w.tokens}, Log: w.log})
}

// value is a secret's value that states everything, with a client secret of that name, which the identity provider honours.
func (w *world) value(clientSecret string, fields ...string) string {
	clientSecret = "canary+of/the&" + clientSecret
	w.secret = append(w.secret, clientSecret)
	w.tokens.Allow("payments-client", clientSecret)
	return w.valueOf(clientSecret, fields...)
}

func (w *world) valueOf(clientSecret string, fields ...string) string {
	members := map[string]any{"client_id": "payments-client", "client_secret": clientSecret, "access_token_url": tokenURL,
		"audience": "https://hooks.example.com", "scope": "read:webhooks"}
	for _, field := range fields {
		name, value, stated := strings.Cut(field, "=")
		if members[name] = value; !stated {
			delete(members, name)
		}
	}
	text, err := json.Marshal(members)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

func secretIn(value string) string {
	var v struct {
		ClientSecret string `json:"client_secret"`
	}
	_ = json.Unmarshal([]byte(value), &v)
	return v.ClientSecret
}

// invoke calls the function as Lambda does.
func (w *world) invoke(payload string) (string, error) { return w.invokeIn(120*time.Second, payload) }

func (w *world) invokeIn(timeout time.Duration, payload string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return w.invokeWith(ctx, payload)
}

var one sync.Mutex

func (w *world) invokeWith(ctx context.Context, payload string) (string, error) {
	one.Lock()
	w.invoked++
	id := fmt.Sprintf("request-%d", w.invoked)
	one.Unlock()
	answer, err := w.handler.Handle(lambdacontext.NewContext(ctx, &lambdacontext.LambdaContext{AwsRequestID: id,
		InvokedFunctionArn: "arn:aws:lambda:us-east-1:123456789012:function:sync"}), json.RawMessage(payload))
	text, encoding := json.Marshal(answer)
	if encoding != nil {
		w.t.Error(encoding)
	}
	one.Lock()
	defer one.Unlock()
	w.said = append(w.said, string(text), fmt.Sprintf("%+v %v", answer, err))
	w.answers = append(w.answers, answered{payload, answer})
	return string(text), err
}

// sync asks for a sync directly.
func (w *world) sync(name string) (report.Result, error) {
	w.t.Helper()
	text, err := w.invoke(fmt.Sprintf(`{"action":"sync","secretId":%q}`, name))
	var res report.Result
	if json.Unmarshal([]byte(text), &res) != nil {
		w.t.Fatalf("the answer is no result: %s", text)
	}
	return res, err
}

// label is the event that Secrets Manager sends.
func label(e secretstoretest.Event) string {
	return fmt.Sprintf(`{"id":"event-of-%s","source":"aws.secretsmanager","detail-type":"Secret Label Updated","time":%q,"resources":[%q],"detail":{"name":%q,"labelUpdated":%q,"versionId":%q}}`,
		e.VersionID, e.Time.Format(time.RFC3339), e.ARN, e.Name, e.Label, e.VersionID)
}

// published are the results on the bus.
func (w *world) published() (results []report.Result) {
	for _, e := range w.bus.Events() {
		var res report.Result
		if err := json.Unmarshal([]byte(*e.Detail), &res); err != nil {
			w.t.Fatal(err)
		}
		results = append(results, res)
	}
	return results
}

func (w *world) outcomes() (all []string) {
	for _, r := range w.published() {
		all = append(all, string(r.Outcome))
	}
	return all
}

// holds is the client secret that Datadog holds in the one auth method that there is.
func (w *world) holds() string {
	w.t.Helper()
	methods := w.datadog.AuthMethods()
	if len(methods) != 1 {
		w.t.Fatalf("Datadog holds %d auth methods; want 1", len(methods))
	}
	return methods[0].ClientSecret
}

func (w *world) mustHoldNoSecret() {
	w.t.Helper()
	said := append(w.said, strings.Split(w.log.String(), "\n")...)
	for _, e := range w.bus.Events() {
		said = append(said, *e.Detail)
	}
	all := strings.Join(said, "\n")
	for _, value := range w.secret[:min(50, len(w.secret))] {
		if !sensitive.New(value).In(all) {
			continue
		}
		for _, s := range said {
			if sensitive.New(value).In(s) {
				w.t.Errorf("a secret value is in %s", strings.ReplaceAll(s, value, "***"))
			}
		}
	}
	if unknown := w.datadog.Unknown(); len(unknown) > 0 {
		w.t.Errorf("calls that Datadog does not know: %v", unknown)
	}
}

// answered is an answer, and what it is to.
type answered struct {
	payload string
	answer  any
}

// mustFollowContract compares every answer and every event with the published schemas.
func (w *world) mustFollowContract() {
	w.t.Helper()
	must := func(err error) {
		if err != nil {
			w.t.Error(err)
		}
	}
	for _, a := range w.answers {
		text, _ := json.Marshal(a.answer)
		switch a.answer.(type) {
		case nil:
		case report.Result:
			must(contract.Validate("result", text))
		case fleet.Reconciliation:
			must(contract.Validate("reconciliation", text))
		case fleet.Status:
			must(contract.Validate("status", text))
		default:
			path, header := "/sync", http.Header{}
			if strings.Contains(a.payload, "/status") {
				path = "/status"
			}
			var got answer
			must(json.Unmarshal(text, &got))
			for name, value := range got.Headers {
				header.Set(name, value)
			}
			must(contract.ValidateHTTP(path, got.StatusCode, header, []byte(got.Body)))
		}
	}
	for _, e := range w.bus.Events() {
		text, _ := json.Marshal(map[string]any{"source": e.Source, "detail-type": e.DetailType, "time": e.Time,
			"resources": append([]string{}, e.Resources...), "detail": json.RawMessage(*e.Detail)})
		must(contract.Validate("event", text))
	}
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

var (
	throttled    = secretstoretest.Throttled
	kmsDenied    = secretstoretest.KMSAccessDenied
	secretDenied = secretstoretest.AccessDenied
)

func denied(int, []types.PutEventsRequestEntry) eventbustest.Answer {
	return eventbustest.Answer{Err: &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "no"}}
}

func refusing(method string, status int) datadogtest.Fault {
	return datadogtest.Fault{Method: method, Status: status, Echo: true}
}

func saying(status int, body string) datadogtest.Fault {
	return datadogtest.Fault{Status: status, Body: body, Echo: true}
}

// datadogHolds makes an auth method in Datadog's UI.
func (w *world) datadogHolds(name, clientID string) datadogtest.AuthMethod {
	return w.datadog.Put(datadogtest.AuthMethod{Name: name, ClientID: clientID, ClientSecret: "unknown", AccessTokenURL: tokenURL})
}

// purge removes a secret at once.
func (w *world) purge(name string) {
	_, err := w.secrets.DeleteSecret(context.Background(), &secretsmanager.DeleteSecretInput{SecretId: &name, ForceDeleteWithoutRecovery: aws.Bool(true)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.secrets.ResetCalls()
}
