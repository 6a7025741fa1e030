package handler_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
)

type answer struct {
	StatusCode int
	Headers    map[string]string
	Body       string
}

// problem is RFC 9457's problem details as a client reads them.
type problem struct {
	Type, Title, Detail, Code, RequestID string
	Status                               int
	Retryable                            bool
	Result                               *report.Result
}

type object = map[string]any

const syncBody = `{"secretId":"` + secretName + `"}`

// request20 and request10 are a POST /sync in both payload formats of API Gateway, authenticated by IAM.
func request20(body string) object {
	return object{
		"version": "2.0", "routeKey": "POST /sync", "rawPath": "/sync", "headers": headers(), "body": body,
		"requestContext": object{
			"requestId": "r", "timeEpoch": time.Now().UnixMilli(), "stage": "$default", "http": object{"method": "POST"},
			"authorizer": object{"iam": object{"userArn": "arn:aws:iam::123456789012:user/alex"}},
		},
	}
}

func request10(body string) object {
	return object{
		"resource": "/sync", "path": "/sync", "httpMethod": "POST", "headers": headers(), "body": body,
		"requestContext": object{
			"requestId": "r", "requestTimeEpoch": time.Now().UnixMilli(), "stage": "prod", "path": "/prod/sync",
			"identity": object{"userArn": "arn:aws:iam::123456789012:user/alex"},
		},
	}
}

func headers() object {
	return object{"Authorization": "AWS4-HMAC-SHA256 Signature=" + signature, "X-Amz-Security-Token": sessionToken,
		"cOnTeNt-TyPe": "application/json"}
}

func contextOf(request object) object { return request["requestContext"].(object) }

// http invokes the function with a request, which is JSON or encodes to it.
func (w *world) http(request any) (a answer) {
	w.t.Helper()
	payload, isText := request.(string)
	if !isText {
		encoded, _ := json.Marshal(request)
		payload = string(encoded)
	}
	text, err := w.invoke(payload)
	if err != nil || json.Unmarshal([]byte(text), &a) != nil {
		w.t.Fatalf("no HTTP answer: %s, %v", text, err)
	}
	return a
}

func (a answer) problem(t *testing.T) (p problem) {
	t.Helper()
	if a.Headers["Content-Type"] != "application/problem+json" || json.Unmarshal([]byte(a.Body), &p) != nil {
		t.Fatalf("no problem details: %+v", a)
	}
	return p
}

func TestAProblemGivesAdviceOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.createSettled()
		time.Sleep(20 * time.Minute)
		w.deleteMethods(secretName)
		p := w.http(w.sample("http-api-sync.json")).problem(t)
		if n := strings.Count(strings.ToLower(p.Detail), "remove the tag"); n != 1 {
			t.Errorf("%d times: %s", n, p.Detail)
		}
	})
}

func TestHTTP(t *testing.T) {
	const body = syncBody
	padded := func(n int) string { return body + strings.Repeat(" ", n-len(body)) }
	contentType := func(value any) func(object) {
		return func(r object) { r["headers"].(object)["cOnTeNt-TyPe"] = value }
	}
	for _, c := range []struct {
		name, body string
		edit       func(object)
		code       fault.Code
	}{
		{"a sync", body, nil, ""},
		{"a dry run", `{"secretId":"` + secretName + `","dryRun":true}`, nil, ""},
		{"base64", base64.StdEncoding.EncodeToString([]byte(body)), func(r object) { r["isBase64Encoded"] = true }, ""},
		{"no base64", body, func(r object) { r["isBase64Encoded"] = true }, fault.BadRequest},
		{"no content type", body, func(r object) { delete(r, "headers") }, ""},
		{"a charset", body, contentType("application/json; charset=utf-8"), ""},
		{"a form", body, contentType("application/x-www-form-urlencoded"), fault.UnsupportedMediaType},
		{"a malformed content type", body, contentType("/;;"), fault.UnsupportedMediaType},
		{"64 KiB", padded(64 << 10), nil, ""},
		{"64 KiB and a byte", padded(64<<10 + 1), nil, fault.PayloadTooLarge},
		{"no body", "", func(r object) { r["body"] = nil }, fault.BadRequest},
		{"malformed", `{"secretId":`, nil, fault.BadRequest},
		{"a field in another case", `{"secretid":"` + secretName + `"}`, nil, fault.BadRequest},
		{"secretId that is no name", `{"secretId":"datadog/webhooks/支払い"}`, nil, fault.BadRequest},
		{"a secret out of scope", `{"secretId":"elsewhere/payments"}`, nil, fault.SecretOutOfScope},
		{"another account's secret", `{"secretId":"arn:aws:secretsmanager:us-east-1:210987654321:secret:` + secretName + `"}`,
			nil, fault.SecretOutOfScope},
		{"an unknown secret", `{"secretId":"datadog/webhooks/nobody"}`, nil, fault.SecretNotFound},
	} {
		for version, request := range map[string]func(string) object{"2.0": request20, "1.0": request10} {
			subtest(t, c.name+", payload "+version, func(t *testing.T, w *world) {
				w.create()
				r := request(c.body)
				if c.edit != nil {
					c.edit(r)
				}
				got := w.http(r)
				if c.code != "" {
					got.mustRefuse(t, c.code)
					if len(w.datadog.AuthMethods()) > 0 {
						t.Error("it was written to Datadog")
					}
					return
				}
				var res report.Result
				if got.StatusCode != 200 || json.Unmarshal([]byte(got.Body), &res) != nil || res.Secret.Name != secretName ||
					res.Trigger != (report.Trigger{Type: "http", ID: "r"}) || got.Headers["Content-Type"] != "application/json" {
					t.Errorf("answer: %+v", got)
				}
			})
		}
	}
}

func (a answer) mustRefuse(t *testing.T, code fault.Code) {
	t.Helper()
	p, status := a.problem(t), fault.New(code, "").Status()
	if a.StatusCode != status || p.Status != status || p.Code != string(code) || p.RequestID != "request-1" ||
		p.Type != "about:blank" || p.Title == "" || p.Detail == "" {
		t.Errorf("answer: %+v; want %s", a, code)
	}
}

func TestRoutes(t *testing.T) {
	for _, c := range []struct {
		name, method, stage string
		route, path         string // routeKey and rawPath, or resource and path
		contextPath         string // of 1.0
		status              int
	}{
		{"2.0", "POST", "$default", "POST /sync", "/sync", "", 200},
		{"2.0, stage and base path", "POST", "dev", "POST /sync", "/dev/base/sync", "", 200},
		{"2.0, a longer route", "POST", "$default", "POST /status/x/sync", "/status/x/sync", "", 404},
		{"$default", "POST", "$default", "$default", "/sync", "", 200},
		{"$default, slash at the end", "GET", "$default", "$default", "/status/", "", 200},
		{"$default, a longer path", "POST", "$default", "$default", "/status/x/sync", "", 404},
		{"$default, no path", "POST", "$default", "$default", "/", "", 404},
		{"$default, two slashes", "POST", "", "$default", "//sync", "", 404},
		{"$default, wrong method", "GET", "$default", "$default", "/sync", "", 405},
		// https://github.com/logandk/serverless-wsgi/issues/191
		{"{proxy+}, stage", "POST", "dev", "ANY /{proxy+}", "/dev/sync", "", 200},
		{"{proxy+}, a stage that begins alike", "POST", "de", "ANY /{proxy+}", "/dev/sync", "", 404},
		{"{proxy+}, a stage called sync", "POST", "sync", "ANY /{proxy+}", "/sync/sync", "", 200},
		{"{proxy+}, custom domain", "POST", "dev", "ANY /{proxy+}", "/sync", "", 200},
		{"{proxy+} below a route", "POST", "dev", "ANY /status/{proxy+}", "/dev/status/sync", "", 404},
		{"1.0", "POST", "prod", "/sync", "/sync", "/prod/sync", 200},
		{"1.0 {proxy+}", "POST", "prod", "/{proxy+}", "/sync", "/prod/sync", 200},
		{"1.0 {proxy+}, a longer path", "POST", "prod", "/{proxy+}", "/status/x/sync", "/prod/status/x/sync", 404},
		{"1.0 {proxy+}, a stage called status", "POST", "status", "/{proxy+}", "/status/sync", "/status/status/sync", 404},
		// https://github.com/localstack/localstack/pull/12296
		{"1.0 {proxy+}, custom domain", "POST", "prod", "/{proxy+}", "/prod/sync", "/prod/sync", 200},
		{"1.0 of an HTTP API", "GET", "dev", "$default", "/dev/status", "/dev/status", 200},
		{"1.0 of an HTTP API, wrong method", "GET", "dev", "$default", "/dev/sync", "/dev/sync", 405},
	} {
		subtest(t, c.name, func(t *testing.T, w *world) {
			w.create()
			r := request20(syncBody)
			r["routeKey"], r["rawPath"], contextOf(r)["http"] = c.route, c.path, object{"method": c.method}
			if c.contextPath != "" {
				r = request10(syncBody)
				r["resource"], r["path"], r["httpMethod"], contextOf(r)["path"] = c.route, c.path, c.method, c.contextPath
			}
			contextOf(r)["stage"] = c.stage
			got := w.http(r)
			if got.StatusCode != c.status {
				t.Errorf("status %d; want %d", got.StatusCode, c.status)
			}
			want := map[bool]string{true: "GET", false: "POST"}[strings.Contains(c.path, "status")]
			if allow := got.Headers["Allow"]; (allow == want) != (c.status == 405) {
				t.Errorf("Allow: %q", allow)
			}
		})
	}
}

func TestWhoIsAuthenticated(t *testing.T) {
	for _, c := range []struct {
		name, authorizer string
		authenticated    bool
	}{
		{"no authorizer", `null`, false},
		{"an empty one", `{}`, false},
		{"no object", `"alex"`, false},
		// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
		{"none, as payload 1.0 says it", `{"claims": null, "scopes": null}`, false},
		{"none but its latency", `{"integrationLatency": 7}`, false},
		{"scopes of nobody", `{"claims": null, "scopes": ["read"]}`, false},
		{"no caller of IAM", `{"iam": null}`, false},
		{"IAM", `{"iam": {"userArn": "arn:aws:iam::123456789012:user/alex"}}`, true},
		{"JWT", `{"jwt": {"claims": {"sub": "alex"}, "scopes": null}}`, true},
		// https://github.com/awsdocs/amazon-api-gateway-developer-guide/issues/113
		{"JWT, flat", `{"claims": {"sub": "alex"}, "scopes": null}`, true},
		{"a Lambda authorizer", `{"principalId": "alex", "integrationLatency": 7}`, true},
	} {
		for version, request := range map[string]func(string) object{"2.0": request20, "1.0": request10} {
			subtest(t, c.name+", payload "+version, func(t *testing.T, w *world) {
				w.create()
				r := request(syncBody)
				contextOf(r)["authorizer"] = json.RawMessage(c.authorizer)
				contextOf(r)["identity"] = object{"userArn": nil, "sourceIp": "198.51.100.7"}
				got := w.http(r)
				if !c.authenticated {
					got.mustRefuse(t, fault.Forbidden)
				} else if got.StatusCode != 200 {
					t.Errorf("answer: %+v", got)
				}
			})
		}
	}
}

// API Gateway gives up after 30 s.
func TestHTTPDeadline(t *testing.T) {
	for _, c := range []struct {
		timeout, age, within time.Duration
	}{
		{120 * time.Second, 0, 28 * time.Second},
		{120 * time.Second, 20 * time.Second, 8 * time.Second},
		{10 * time.Second, 0, 10 * time.Second},
		{120 * time.Second, -time.Hour, 28 * time.Second}, // which is not credible
		{120 * time.Second, time.Hour, 28 * time.Second},
	} {
		subtest(t, fmt.Sprintf("%v left, %v old", c.timeout, c.age), func(t *testing.T, w *world) {
			w.create()
			w.secrets.Latency = func(op, _ string) time.Duration { return time.Minute }
			r := request20(syncBody)
			contextOf(r)["timeEpoch"] = time.Now().Add(-c.age).UnixMilli()
			payload, _ := json.Marshal(r)
			started := time.Now()
			text, err := w.invokeIn(c.timeout, string(payload))
			if took := time.Since(started); took > c.within || took < c.within-5*time.Second {
				t.Errorf("it took %v; want at most %v, and nearly that", took, c.within)
			}
			if err != nil || !strings.Contains(text, `"statusCode":504`) {
				t.Errorf("answer: %s, %v", text, err)
			}
		})
	}
}
