package handler_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler"
	"datadog-webhook-auth-sync/handler/contract"
	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/eventbus/eventbustest"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/fleet"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/secretstore/secretstoretest"
	"datadog-webhook-auth-sync/handler/sensitive"
	"datadog-webhook-auth-sync/handler/standin"
	"datadog-webhook-auth-sync/handler/tokencheck/tokentest"
)

const (
	secretName = "datadog/webhooks/payments"
	tokenURL   = "https://idp.example.com/oauth2/token"
	apiKey     = "nightingale-key"
	appKey     = "woodpecker"
)

// world is the whole function, wired as in Lambda, among stand-ins for all that it calls, in virtual time.
type world struct {
	t       testing.TB
	secrets *secretstoretest.Server
	datadog *datadogtest.Server
	tokens  *tokentest.Server
	bus     *eventbustest.Bus
	log     *buffer
	config  handler.Config
	outside handler.Outside // what the function reaches; wire makes a change of both take effect
	handler *handler.Handler
	secret  []string // values that no output may hold

	function string // the ARN by which it is invoked

	mu       sync.Mutex
	invoked  int
	outputs  []string // answers and errors
	read     int      // published results that newResults returned
	busCalls int      // until resetCalls
}

func subtest(t *testing.T, name string, test func(t *testing.T, w *world), options ...func(*world)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { inWorld(t, test, options...) })
}

// inWorld runs a test in a world of its own. In the end no output of the function may break the contract or hold a
// secret value.
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
		synctest.Wait()
		w.mustBehave()
	})
}

const (
	accessToken  = "goldfinch-access-token"
	signature    = "wagtail-signature"
	sessionToken = "kingfisher-session"
)

func newWorld(t testing.TB) *world {
	w := &world{t: t, secrets: &secretstoretest.Server{}, datadog: datadogtest.New(apiKey, appKey),
		tokens: tokentest.New(), bus: &eventbustest.Bus{}, log: &buffer{}, function: function + ":live",
		secret: []string{apiKey, appKey, accessToken, signature, sessionToken}}
	w.tokens.AccessToken = accessToken
	keys, _ := w.secrets.Create("datadog/keys", fmt.Sprintf(`{"api_key":%q,"app_key":%q}`, apiKey, appKey))
	w.config = handler.Config{Site: "datadoghq.com", APIURL: "https://api.datadoghq.com", APIKeySecretARN: keys,
		AppKeySecretARN: keys, Prefix: "datadog/webhooks/", EventBus: "default", VerifyCredential: true,
		Refresh: 24 * time.Hour, OwnerTagKey: "team", Region: "us-east-1", FunctionName: "sync"}
	w.outside = handler.Outside{Secrets: w.secrets, Bus: w.bus, Log: w.log,
		Datadog: standin.Hosts{"api.datadoghq.com": w.datadog},
		Tokens:  standin.Hosts{"idp.example.com": w.tokens, "thief.example.com": w.tokens}}
	return w
}

// start starts the function and lets it read the keys.
func (w *world) start() {
	w.wire()
	synctest.Wait()
	w.secrets.ResetCalls()
}

func (w *world) wire() { w.handler = handler.New(w.config, w.outside) }

// interceptDatadog has before see each request to Datadog; a response that it returns takes the place of Datadog's.
func (w *world) interceptDatadog(before func(r *http.Request, body []byte) *http.Response) {
	w.outside.Datadog = interceptor{standin.Hosts{"api.datadoghq.com": w.datadog}, before}
	w.wire()
}

// interceptPatch is interceptDatadog for PATCH alone, counted from 1.
func (w *world) interceptPatch(before func(n int, r *http.Request) *http.Response) {
	patches := 0
	w.interceptDatadog(func(r *http.Request, _ []byte) *http.Response {
		if r.Method != "PATCH" {
			return nil
		}
		patches++
		return before(patches, r)
	})
}

// beforePatch has do run before each PATCH, counted from 1.
func (w *world) beforePatch(do func(n int)) {
	w.interceptPatch(func(n int, _ *http.Request) *http.Response {
		do(n)
		return nil
	})
}

// failDescribe has Secrets Manager throttle DescribeSecret while when is true.
func (w *world) failDescribe(when func() bool) {
	w.secrets.Hook = func(op, _ string) error {
		if op == "DescribeSecret" && when() {
			return throttled
		}
		return nil
	}
}

type interceptor struct {
	next   http.RoundTripper
	before func(r *http.Request, body []byte) *http.Response
}

func (i interceptor) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	if answer := i.before(r, body); answer != nil {
		return answer, nil
	}
	return i.next.RoundTrip(r)
}

func response(r *http.Request, status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Request: r}
}

// clientSecret makes a client secret that the identity provider honours. No two secret values have 8 bytes in common:
// the function would withhold what repeats one for the sake of another.
func (w *world) clientSecret(name string) string {
	secret := fmt.Sprintf("+/&%.12x", sha256.Sum256([]byte(name)))
	w.secret = append(w.secret, secret)
	w.tokens.Allow("payments-client", secret)
	return secret
}

// value is a secret's value with a client secret that the identity provider honours. It states everything, as edited by
// fields.
func (w *world) value(clientSecret string, fields ...string) string {
	return w.valueOf(w.clientSecret(clientSecret), fields...)
}

func (w *world) valueOf(clientSecret string, fields ...string) string {
	members := map[string]any{"client_id": "payments-client", "client_secret": clientSecret,
		"access_token_url": tokenURL, "audience": "https://hooks.example.com", "scope": "read:webhooks"}
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

// secretIn is the client secret in a value, which may be one alone.
func secretIn(value string) string {
	var v struct {
		ClientSecret string `json:"client_secret"`
	}
	if json.Unmarshal([]byte(value), &v) != nil {
		return value
	}
	return v.ClientSecret
}

// invoke calls the function as Lambda does.
func (w *world) invoke(payload string) (string, error) { return w.invokeIn(120*time.Second, payload) }

func (w *world) invokeIn(timeout time.Duration, payload string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	w.mu.Lock()
	w.invoked++
	n := w.invoked
	w.mu.Unlock()
	answer, err := w.handler.Handle(lambdacontext.NewContext(ctx, &lambdacontext.LambdaContext{
		AwsRequestID: fmt.Sprintf("request-%d", n), InvokedFunctionArn: w.function}), json.RawMessage(payload))
	text, encoding := json.Marshal(answer)
	if encoding != nil {
		w.t.Error(encoding)
	}
	if err := follows(payload, answer, text); err != nil {
		w.t.Error(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.outputs = append(w.outputs, string(text), fmt.Sprintf("%+v %v", answer, err))
	return string(text), err
}

// Payloads of direct calls.
const (
	directSync = `{"action":"sync","secretId":"` + secretName + `"}`
	dryRun     = `{"action":"sync","secretId":"` + secretName + `","dryRun":true}`
	dryRunAll  = `{"action":"reconcile","dryRun":true}`
)

// mustInvoke fails the test unless the invocation ends with an error of this code; empty: with none.
func (w *world) mustInvoke(payload string, code fault.Code) (answer string) {
	w.t.Helper()
	answer, err := w.invoke(payload)
	if code == "" && err != nil || code != "" && !fault.Is(err, code) {
		w.t.Errorf("error: %v; want %q", err, code)
	}
	return answer
}

func (w *world) mustSync() report.Result {
	w.t.Helper()
	res, err := w.sync(secretName)
	if err != nil {
		w.t.Error(err)
	}
	return res
}

func (w *world) sync(name string) (report.Result, error) {
	w.t.Helper()
	text, err := w.invoke(fmt.Sprintf(`{"action":"sync","secretId":%q}`, name))
	var res report.Result
	if json.Unmarshal([]byte(text), &res) != nil {
		w.t.Fatalf("the answer is no result: %s", text)
	}
	return res, err
}

func (w *world) reconcile() fleet.Reconciliation    { return w.reconcileBy(`{"action":"reconcile"}`) }
func (w *world) dryReconcile() fleet.Reconciliation { return w.reconcileBy(dryRunAll) }

func (w *world) reconcileBy(payload string) (answer fleet.Reconciliation) {
	w.t.Helper()
	text := w.mustInvoke(payload, "")
	if json.Unmarshal([]byte(text), &answer) != nil {
		w.t.Fatalf("the answer is no reconciliation: %s", text)
	}
	return answer
}

// reconcileFor reconciles every 15 minutes until d has passed.
func (w *world) reconcileFor(d time.Duration) {
	w.t.Helper()
	for ; d > 0; d -= 15 * time.Minute {
		time.Sleep(15 * time.Minute)
		w.reconcile()
	}
}

// label is the event that Secrets Manager sends.
func label(e secretstoretest.Event) string {
	return fmt.Sprintf(`{"id":"event-of-%s","source":"aws.secretsmanager","detail-type":"Secret Label Updated",`+
		`"time":%q,"resources":[%q],"detail":{"name":%q,"labelUpdated":%q,"versionId":%q}}`,
		e.VersionID, e.Time.Format(time.RFC3339), e.ARN, e.Name, e.Label, e.VersionID)
}

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

func (w *world) lastResult() report.Result {
	w.t.Helper()
	results := w.published()
	if len(results) == 0 {
		w.t.Fatal("nothing was published")
	}
	return results[len(results)-1]
}

// newResults are the results published since the last call: outcome, code, held and recovered.
func (w *world) newResults() (all []string) {
	results := w.published()
	for _, r := range results[w.read:] {
		text := string(r.Outcome)
		if r.Error != nil {
			text += " " + string(r.Error.Code)
		}
		if r.Held.Verification != "" {
			text += " held " + string(r.Held.Verification)
		}
		if r.Recovered != nil {
			text += " recovered " + string(r.Recovered.Code)
		}
		all = append(all, text)
	}
	w.read = len(results)
	return all
}

func (w *world) wantResults(when string, want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.newResults()); diff != "" {
		w.t.Errorf("%s: published (-want +got):\n%s", when, diff)
	}
}

// calls counts the function's calls since the last resetCalls.
func (w *world) calls() map[string]int {
	all := w.secrets.Calls()
	for _, c := range w.datadog.Calls() {
		what := c.Method
		if c.Path == datadogtest.ListPath {
			what = "list"
		}
		all[what]++
	}
	for what, n := range map[string]int{"token": len(w.tokens.Calls()), "PutEvents": w.bus.Calls() - w.busCalls} {
		if n > 0 {
			all[what] = n
		}
	}
	return all
}

func (w *world) resetCalls() {
	w.secrets.ResetCalls()
	w.datadog.ResetCalls()
	w.tokens.ResetCalls()
	w.busCalls = w.bus.Calls()
}

func (w *world) wantCalls(when string, want map[string]int) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.calls()); diff != "" {
		w.t.Errorf("%s: calls (-want +got):\n%s", when, diff)
	}
}

// tag is the record as it stands on a secret.
func (w *world) tag(name string) string { return w.secrets.Tags(name)[secretstore.RecordTag] }

// record is the record on a secret, by key.
func (w *world) record(name string) map[string]string {
	record := map[string]string{}
	for field := range strings.FieldsSeq(w.tag(name)) {
		key, value, _ := strings.Cut(field, "=")
		record[key] = value
	}
	return record
}

// isSynced reports whether AWSCURRENT is what is recorded.
func (w *world) isSynced(name string) bool {
	version, _ := w.secrets.Current(name)
	return w.record(name)["version"] == version
}

// mustBehave looks for secret values in all that the function said, and compares every event with its schema.
func (w *world) mustBehave() {
	w.t.Helper()
	outputs := append(w.outputs, strings.Split(w.log.String(), "\n")...)
	for _, e := range w.bus.Events() {
		outputs = append(outputs, *e.Detail)
		text, _ := json.Marshal(map[string]any{"source": e.Source, "detail-type": e.DetailType, "time": e.Time,
			"resources": append([]string{}, e.Resources...), "detail": json.RawMessage(*e.Detail)})
		if err := contract.Validate("event", text); err != nil {
			w.t.Error(err)
		}
	}
	all := strings.Join(outputs, "\n")
	for _, value := range w.secret {
		if !sensitive.New(value).In(all) {
			continue
		}
		for _, output := range outputs {
			if sensitive.New(value).In(output) {
				w.t.Errorf("a secret value is in %s", strings.ReplaceAll(output, value, "***"))
			}
		}
	}
	if unknown := w.datadog.Unknown(); len(unknown) > 0 {
		w.t.Errorf("calls that Datadog does not know: %v", unknown)
	}
}

// follows compares an answer with the published schemas.
func follows(payload string, answered any, text []byte) error {
	switch answered.(type) {
	case nil:
		return nil
	case report.Result:
		return contract.Validate("result", text)
	case fleet.Reconciliation:
		return contract.Validate("reconciliation", text)
	case fleet.Status:
		return contract.Validate("status", text)
	}
	var got answer
	if err := json.Unmarshal(text, &got); err != nil {
		return err
	}
	path, header := "/sync", http.Header{}
	if strings.Contains(payload, "/status") {
		path = "/status"
	}
	for name, value := range got.Headers {
		header.Set(name, value)
	}
	return contract.ValidateHTTP(path, got.StatusCode, header, []byte(got.Body))
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

var unavailable = tokentest.Fault{Status: 503, Echo: true} // no verdict

func denied(int, []types.PutEventsRequestEntry) eventbustest.Answer {
	return eventbustest.Answer{Err: &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "no"}}
}

func refusing(method string, status int) datadogtest.Fault {
	return datadogtest.Fault{Method: method, Status: status, Echo: true}
}
