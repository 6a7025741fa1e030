package contract_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"datadog-webhook-auth-sync/handler"
	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/eventbus/eventbustest"
	"datadog-webhook-auth-sync/handler/secretstore/secretstoretest"
	"datadog-webhook-auth-sync/handler/standin"
	"datadog-webhook-auth-sync/handler/tokencheck/tokentest"
)

const (
	secretName = "datadog/webhooks/payments"
	toBeSigned = "to be signed" // schemathesis.toml's Authorization
)

// function is the whole function among stand-ins, with one secret, which states everything, and more than a page of others.
type function struct {
	*handler.Handler
	invoked atomic.Int64
}

func newFunction() *function {
	secrets, datadog, tokens, bus := &secretstoretest.Server{}, datadogtest.New("api", "app"), tokentest.New(), &eventbustest.Bus{}
	keys, _ := secrets.Create("datadog/keys", `{"api_key":"api","app_key":"app"}`)
	tokens.Allow("payments-client", "first")
	secrets.Create(secretName, `{"client_id":"payments-client","client_secret":"first","access_token_url":"https://idp.example.com/oauth2/token",`+
		`"audience":"https://hooks.example.com","scope":"read:webhooks"}`)
	for i := range 100 {
		secrets.Create(fmt.Sprintf("datadog/webhooks/other-%d", i), "[]")
	}
	return &function{Handler: handler.New(
		handler.Config{Site: "datadoghq.com", APIURL: "https://api.datadoghq.com", APIKeySecretARN: keys, AppKeySecretARN: keys,
			Prefix: "datadog/webhooks/", EventBus: "default", VerifyCredential: true, Refresh: 24 * time.Hour, Region: "us-east-1", FunctionName: "sync"},
		handler.Outside{Secrets: secrets, Bus: bus, Datadog: standin.Hosts{"api.datadoghq.com": datadog},
			Tokens: standin.Hosts{"idp.example.com": tokens}, Log: io.Discard})}
}

func (f *function) invoke(ctx context.Context, payload string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	answer, err := f.Handle(lambdacontext.NewContext(ctx, &lambdacontext.LambdaContext{
		AwsRequestID:       fmt.Sprintf("request-%d", f.invoked.Add(1)),
		InvokedFunctionArn: "arn:aws:lambda:us-east-1:123456789012:function:sync",
	}), json.RawMessage(payload))
	if err != nil {
		return nil, err
	}
	return json.Marshal(answer)
}

// ServeHTTP is API Gateway's HTTP API in front of the function, with payload format 2.0. Whoever sends toBeSigned
// is authenticated.
func (f *function) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	route := "$default"
	if known := r.Method + " " + r.URL.Path; known == "POST /sync" || known == "GET /status" {
		route = known
	}
	var authorizer any
	if r.Header.Get("Authorization") == toBeSigned {
		authorizer = map[string]any{"iam": map[string]string{"userArn": "arn:aws:iam::123456789012:user/alex"}}
	}
	p := map[string]any{
		"version": "2.0", "routeKey": route, "rawPath": r.URL.Path, "rawQueryString": r.URL.RawQuery,
		"headers": joined(r.Header, strings.ToLower), "queryStringParameters": joined(r.URL.Query(), strings.Clone),
		"body": string(body), "isBase64Encoded": false,
		"requestContext": map[string]any{"requestId": "r", "timeEpoch": time.Now().UnixMilli(), "authorizer": authorizer,
			"http": map[string]string{"method": r.Method}},
	}
	if !utf8.Valid(body) {
		p["body"], p["isBase64Encoded"] = base64.StdEncoding.EncodeToString(body), true
	}
	payload, err := json.Marshal(p)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	var answer struct {
		StatusCode int
		Headers    map[string]string
		Body       string
	}
	text, err := f.invoke(r.Context(), string(payload))
	if err != nil || json.Unmarshal(text, &answer) != nil {
		http.Error(w, fmt.Sprintf("no HTTP answer: %s, %v", text, err), http.StatusInternalServerError)
		return
	}
	for name, value := range answer.Headers {
		w.Header().Set(name, value)
	}
	w.WriteHeader(answer.StatusCode)
	_, _ = io.WriteString(w, answer.Body)
}

func joined(values map[string][]string, spell func(string) string) map[string]string {
	all := map[string]string{}
	for name, v := range values {
		all[spell(name)] = strings.Join(v, ",")
	}
	return all
}
