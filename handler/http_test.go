package handler_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
)

type answer struct {
	StatusCode int
	Headers    map[string]string
	Body       string
}

// problem is what a client reads of an error, by its documented names.
type problem struct {
	Type, Title, Detail, Code, RequestID string
	Status                               int
	Retryable                            bool
	Result                               *report.Result
}

// request is one HTTP request in both payload formats.
type request struct {
	method, path, route, body, contentType string
	base64, anonymous                      bool
}

func (r request) v2() string {
	authorizer := `{"iam":{"userArn":"arn:aws:iam::123456789012:user/alex"}}`
	if r.anonymous {
		authorizer = "null"
	}
	return fmt.Sprintf(`{"version":"2.0","routeKey":%q,"rawPath":%q,"headers":%s,"body":%s,"isBase64Encoded":%v,"requestContext":{"requestId":"r","timeEpoch":%d,"authorizer":%s,"http":{"method":%q}}}`,
		r.route, r.path, r.headers(), quoted(r.body), r.base64, time.Now().UnixMilli(), authorizer, r.method)
}

func (r request) v1() string {
	identity := `{"userArn":"arn:aws:iam::123456789012:user/alex"}`
	if r.anonymous {
		identity = `{"userArn":null}`
	}
	_, resource, _ := strings.Cut(r.route, " ")
	if resource == "" {
		resource = "/{proxy+}"
	}
	return fmt.Sprintf(`{"version":"1.0","resource":%q,"path":%q,"httpMethod":%q,"headers":%s,"body":%s,"isBase64Encoded":%v,"requestContext":{"requestId":"r","requestTimeEpoch":%d,"identity":%s}}`,
		resource, r.path, r.method, r.headers(), quoted(r.body), r.base64, time.Now().UnixMilli(), identity)
}

func (r request) headers() string {
	headers := map[string]string{"Authorization": "AWS4-HMAC-SHA256 Signature=" + signature, "X-Amz-Security-Token": sessionToken}
	if r.contentType != "" {
		headers["cOnTeNt-TyPe"] = r.contentType
	}
	text, _ := json.Marshal(headers)
	return string(text)
}

func quoted(s string) string {
	if s == "" {
		return "null"
	}
	text, _ := json.Marshal(s)
	return string(text)
}

func TestHTTP(t *testing.T) {
	sync := request{method: "POST", path: "/sync", route: "POST /sync", body: `{"secretId":"` + secretName + `"}`, contentType: "application/json"}
	but := func(edit func(*request)) request { r := sync; edit(&r); return r }
	body := func(s string) request { return but(func(r *request) { r.body = s }) }
	padded := func(n int) string { return sync.body + strings.Repeat(" ", n-len(sync.body)) }

	for _, c := range []struct {
		name    string
		request request
		status  int
		code    fault.Code
	}{
		{"sync", sync, 200, ""},
		{"by $default", but(func(r *request) { r.route = "$default" }), 200, ""},
		{"behind a stage and a base path", but(func(r *request) { r.route, r.path = "$default", "/prod/auth/sync" }), 200, ""},
		{"base64", but(func(r *request) { r.body, r.base64 = base64.StdEncoding.EncodeToString([]byte(r.body)), true }), 200, ""},
		{"no content type", but(func(r *request) { r.contentType = "" }), 200, ""},
		{"content type with a charset", but(func(r *request) { r.contentType = "application/json; charset=utf-8" }), 200, ""},
		{"a body of 64 KiB", body(padded(64 << 10)), 200, ""},
		{"dryRun", body(`{"secretId":"` + secretName + `","dryRun":true}`), 200, ""},
		{"anonymous", but(func(r *request) { r.anonymous = true }), 403, fault.Forbidden},
		{"anonymous, wrong path", but(func(r *request) { r.anonymous, r.route, r.path = true, "$default", "/nowhere" }), 403, fault.Forbidden},
		{"wrong path", but(func(r *request) { r.route, r.path = "$default", "/nowhere" }), 404, fault.NotFound},
		{"no path", but(func(r *request) { r.route, r.path = "$default", "/" }), 404, fault.NotFound},
		{"wrong method", but(func(r *request) { r.route, r.method = "$default", "GET" }), 405, fault.MethodNotAllowed},
		{"any other method", but(func(r *request) { r.route, r.method = "$default", "BREW" }), 405, fault.MethodNotAllowed},
		{"form", but(func(r *request) { r.contentType = "application/x-www-form-urlencoded" }), 415, fault.UnsupportedMediaType},
		{"broken content type", but(func(r *request) { r.contentType = "/;;" }), 415, fault.UnsupportedMediaType},
		{"a body of 64 KiB and a byte", body(padded(64<<10 + 1)), 413, fault.PayloadTooLarge},
		{"no body", body(""), 400, fault.BadRequest},
		{"malformed", body(`{"secretId":`), 400, fault.BadRequest},
		{"more than an object", body(sync.body + `{}`), 400, fault.BadRequest},
		{"an array", body(`["` + secretName + `"]`), 400, fault.BadRequest},
		{"unknown field", body(`{"secretId":"` + secretName + `","force":true}`), 400, fault.BadRequest},
		{"a field in another case", body(`{"secretid":"` + secretName + `"}`), 400, fault.BadRequest},
		{"a field twice", body(`{"secretId":"a","secretId":"` + secretName + `"}`), 400, fault.BadRequest},
		{"secretId of a wrong type", body(`{"secretId":["` + secretName + `"]}`), 400, fault.BadRequest},
		{"secretId empty", body(`{"secretId":""}`), 400, fault.BadRequest},
		{"dryRun of a wrong type", body(`{"secretId":"` + secretName + `","dryRun":"true"}`), 400, fault.BadRequest},
		{"dryRun null", body(`{"secretId":"` + secretName + `","dryRun":null}`), 400, fault.BadRequest},
		{"no base64", but(func(r *request) { r.base64 = true }), 400, fault.BadRequest},
		{"Unicode name", body(`{"secretId":"datadog/webhooks/支払い"}`), 400, fault.BadRequest},
		{"another secret", body(`{"secretId":"elsewhere/payments"}`), 403, fault.SecretOutOfScope},
		{"a foreign ARN", body(`{"secretId":"arn:aws:secretsmanager:us-east-1:210987654321:secret:datadog/webhooks/payments-AbCdEf"}`), 403, fault.SecretOutOfScope},
		{"unknown secret", body(`{"secretId":"datadog/webhooks/nobody"}`), 404, fault.SecretNotFound},
	} {
		for version, payload := range map[string]func() string{"2.0": c.request.v2, "1.0": c.request.v1} {
			t.Run(c.name+", payload "+version, func(t *testing.T) {
				inWorld(t, func(t *testing.T, w *world) {
					w.secrets.Create(secretName, w.value("first"))
					got := w.http(payload())
					if got.StatusCode != c.status {
						t.Fatalf("status %d; want %d: %s", got.StatusCode, c.status, got.Body)
					}
					if c.status == 200 {
						var res report.Result
						if json.Unmarshal([]byte(got.Body), &res) != nil || res.Secret.Name != secretName || res.Trigger != (report.Trigger{Type: "http", ID: "r"}) || got.Headers["Content-Type"] != "application/json" {
							t.Errorf("answer: %+v", got)
						}
						return
					}
					p := got.problem(t)
					if p.Code != string(c.code) || p.Status != c.status || p.RequestID != "request-1" || p.Title == "" || p.Detail == "" || p.Type != "about:blank" {
						t.Errorf("problem: %+v", p)
					}
					if allow := got.Headers["Allow"]; (allow == "POST") != (c.status == 405) {
						t.Errorf("Allow: %q", allow)
					}
					if len(w.datadog.Calls()) > 0 {
						t.Error("Datadog was called")
					}
				})
			})
		}
	}
}

func (w *world) http(payload string) (a answer) {
	w.t.Helper()
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

func TestHTTPOfAFailedSync(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		code   fault.Code
		broken func(w *world)
	}{
		{"rejected", 422, fault.CredentialRejected, func(w *world) { w.tokens.Revoke("payments-client", w.secret[len(w.secret)-1]) }},
		{"invalid", 422, fault.SecretInvalid, func(w *world) { w.secrets.Put(secretName, "[]") }},
		{"mismatch", 409, fault.AuthMethodMismatch, func(w *world) { w.datadogHolds("payments", "another client") }},
		{"access denied", 403, fault.SecretAccessDenied, func(w *world) { w.secrets.Fail("GetSecretValue", 1, kmsDenied) }},
		{"Datadog refuses", 502, fault.DatadogRejected, func(w *world) { w.datadog.Fail(refusing("POST", 400)) }},
		{"refused keys", 502, fault.DatadogUnauthorized, func(w *world) { w.datadog.SetKeys("another", "another") }},
		{"Datadog is down", 503, fault.DatadogUnavailable, func(w *world) { w.datadog.Fail(refusing("", 503)) }},
		{"Datadog throttles", 503, fault.DatadogThrottled, func(w *world) { w.datadog.Fail(refusing("", 429)) }},
		{"Secrets Manager fails", 503, fault.SecretsUnavailable, func(w *world) { w.secrets.Fail("DescribeSecret", 1, throttled) }},
		{"the time runs out", 504, fault.Deadline, func(w *world) {
			w.secrets.Latency = func(op, _ string) time.Duration { return time.Minute }
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.secrets.Create(secretName, w.value("first"))
				payload := w.sample("http-api-sync.json")
				c.broken(w)
				started := time.Now()
				got := w.http(payload)
				p := got.problem(t)
				if got.StatusCode != c.status || p.Code != string(c.code) || p.Result == nil || p.Result.Outcome != report.Failed || p.Result.Secret.Name != secretName {
					t.Errorf("answer %d: %+v", got.StatusCode, p)
				}
				if after := got.Headers["Retry-After"]; (after != "") != (c.status == 503) {
					t.Errorf("Retry-After: %q", after)
				}
				if took := time.Since(started); took > 28*time.Second {
					t.Errorf("it took %v", took)
				}
				if diff := cmp.Diff([]string{"failed"}, w.outcomes()); diff != "" {
					t.Errorf("published (-want +got):\n%s", diff)
				}
			})
		})
	}
}
