package handler

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"datadog-webhook-auth-sync/handler/authsync"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/fleet"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/strictjson"
)

const (
	maxBody     = 64 << 10         // 64 KiB
	httpTimeout = 28 * time.Second // from the request's arrival; API Gateway gives up at 30
	retryAfter  = "30"             // seconds
)

// httpRequest is a request in either payload format of API Gateway.
type httpRequest struct {
	id            string
	came          time.Time
	method, path  string // path: see routed
	contentType   string
	query         map[string]string
	body          string
	base64        bool
	authenticated bool
	caller        string // ARN, where IAM authorised it
}

// httpResponse is an answer in either payload format.
type httpResponse struct {
	StatusCode int               `json:"statusCode"`
	Headers    map[string]string `json:"headers"`
	Body       string            `json:"body"`
}

// problem is RFC 9457's problem details.
type problem struct {
	Type      string         `json:"type"`
	Title     string         `json:"title"`
	Status    int            `json:"status"`
	Detail    string         `json:"detail"`
	Code      fault.Code     `json:"code"`
	Retryable bool           `json:"retryable"`
	RequestID string         `json:"requestId"`
	Result    *report.Result `json:"result,omitempty"`
}

// recogniseHTTP reads a request in payload format 2.0 (HTTP API) or 1.0 (REST API, or HTTP API).
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
func recogniseHTTP(payload []byte) any {
	var p struct {
		RouteKey   string            `json:"routeKey"` // 2.0
		RawPath    string            `json:"rawPath"`  // 2.0
		Resource   string            `json:"resource"` // 1.0
		Path       string            `json:"path"`     // 1.0
		HTTPMethod string            `json:"httpMethod"`
		Headers    map[string]string `json:"headers"`
		Query      map[string]string `json:"queryStringParameters"`
		Body       string            `json:"body"`
		Base64     bool              `json:"isBase64Encoded"`
		Context    struct {
			ID         string `json:"requestId"`
			Stage      string `json:"stage"`
			Path       string `json:"path"`             // 1.0
			Epoch      int64  `json:"timeEpoch"`        // 2.0, milliseconds
			Epoch1     int64  `json:"requestTimeEpoch"` // 1.0, milliseconds
			Authorizer any    `json:"authorizer"`
			Identity   struct {
				UserARN string `json:"userArn"` // 1.0
			} `json:"identity"`
			HTTP struct {
				Method string `json:"method"`
			} `json:"http"`
		} `json:"requestContext"`
	}
	if json.Unmarshal(payload, &p) != nil {
		return fault.New(fault.UnsupportedEvent, "the payload of API Gateway is malformed")
	}
	authorizer, _ := p.Context.Authorizer.(map[string]any)
	iam, _ := authorizer["iam"].(map[string]any)
	caller, _ := iam["userArn"].(string)
	caller = cmp.Or(caller, p.Context.Identity.UserARN)
	stage := p.Context.Stage
	if p.Context.Path != "" && p.Context.Path != p.Path {
		stage = "" // API Gateway took it off path
	}
	_, route, _ := strings.Cut(p.RouteKey, " ")
	r := httpRequest{
		id: p.Context.ID, came: time.UnixMilli(cmp.Or(p.Context.Epoch, p.Context.Epoch1)),
		method: cmp.Or(p.Context.HTTP.Method, p.HTTPMethod),
		path:   routed(cmp.Or(route, p.Resource), cmp.Or(p.RawPath, p.Path), stage),
		query:  p.Query, body: p.Body, base64: p.Base64,
		caller: caller, authenticated: caller != "" || identifies(authorizer),
	}
	for name, value := range p.Headers {
		if strings.EqualFold(name, "Content-Type") {
			r.contentType = value
		}
	}
	return r
}

// routed returns the route that API Gateway matched, which has neither stage nor base path. Where the route leaves the
// path open ($default, {proxy+}), it returns the path after the stage. A slash at the end is dropped.
func routed(route, path, stage string) string {
	if !strings.HasPrefix(route, "/") || strings.Contains(route, "{") {
		route = path
		if stage != "" && stage != "$default" && strings.HasPrefix(path, "/"+stage+"/") {
			route = path[len("/"+stage):]
		}
	}
	return strings.TrimSuffix(route, "/")
}

// identifies reports whether an authorizer's context names a caller. Where nobody was authenticated, API Gateway may
// still send claims and scopes of null, and its own integrationLatency.
func identifies(authorizer map[string]any) bool {
	for name, value := range authorizer {
		if value != nil && name != "scopes" && name != "integrationLatency" {
			return true
		}
	}
	return false
}

func (h *Handler) serve(ctx context.Context, r httpRequest, from caller) httpResponse {
	came := r.came
	if now := time.Now(); came.After(now) || came.Before(now.Add(-httpTimeout)) {
		came = now // not credible
	}
	ctx, cancel := context.WithDeadline(ctx, came.Add(httpTimeout))
	defer cancel()
	switch {
	case !r.authenticated:
		return h.refuse(ctx, fault.New(fault.Forbidden, "API Gateway did not authenticate the request"), r, from)
	case allowed[r.path] == "":
		return h.refuse(ctx, fault.New(fault.NotFound, "no such path"), r, from)
	case allowed[r.path] != r.method:
		return h.refuse(ctx, fault.New(fault.MethodNotAllowed, "the path takes only %s", allowed[r.path]), r, from)
	case r.path == "/sync":
		return h.serveSync(ctx, r, from)
	}
	return h.serveStatus(ctx, r, from)
}

// allowed is the one method of each path.
var allowed = map[string]string{"/sync": http.MethodPost, "/status": http.MethodGet}

func (h *Handler) serveSync(ctx context.Context, r httpRequest, from caller) httpResponse {
	request, err := r.syncRequest()
	if err != nil {
		return h.refuse(ctx, err, r, from)
	}
	res := h.sync(ctx, from.request(request), "caller", r.caller)
	switch {
	case res.Error == nil:
		return respond(http.StatusOK, "application/json", res)
	case res.Secret == report.SecretRef{}:
		return problemOf(res.Error, r, from, nil)
	}
	return problemOf(res.Error, r, from, &res)
}

func (h *Handler) serveStatus(ctx context.Context, r httpRequest, from caller) httpResponse {
	request, refused := statusRequest(r.query)
	if refused != nil {
		return h.refuse(ctx, refused, r, from)
	}
	request.ARNPrefix = from.arnPrefix
	status, err := h.fleet.Status(ctx, request)
	if err != nil {
		return h.refuse(ctx, fault.From(err), r, from)
	}
	return respond(http.StatusOK, "application/json", status)
}

// statusRequest reads secretId, nextToken and state, and refuses any other parameter.
func statusRequest(query map[string]string) (fleet.StatusRequest, *fault.Error) {
	for name, value := range query {
		if !slices.Contains([]string{"secretId", "nextToken", "state"}, name) || value == "" {
			return fleet.StatusRequest{}, fault.New(fault.BadRequest,
				"status takes only secretId, nextToken and state, which are strings and not empty")
		}
	}
	return fleet.StatusRequest{
		SecretID: query["secretId"], NextToken: query["nextToken"], State: fleet.State(query["state"]),
	}, nil
}

func (h *Handler) refuse(ctx context.Context, e *fault.Error, r httpRequest, from caller) httpResponse {
	h.log.InfoContext(ctx, "refused", "error", e, "caller", r.caller, "requestId", from.requestID)
	return problemOf(e, r, from, nil)
}

func (r httpRequest) syncRequest() (authsync.Request, *fault.Error) {
	none := authsync.Request{}
	mediaType, _, err := mime.ParseMediaType(r.contentType)
	if r.contentType != "" && (err != nil || mediaType != "application/json") {
		return none, fault.New(fault.UnsupportedMediaType, "the content type is not application/json")
	}
	body := []byte(r.body)
	if r.base64 {
		if body, err = base64.StdEncoding.DecodeString(r.body); err != nil {
			return none, fault.New(fault.BadRequest, "the body is not valid base64")
		}
	}
	if len(body) > maxBody {
		return none, fault.New(fault.PayloadTooLarge, "the body is over 64 KiB")
	}
	members, err := strictjson.Object(body)
	if err != nil {
		return none, fault.New(fault.BadRequest, "the body: %v", err)
	}
	request, refused := syncRequest(members)
	request.Trigger = report.Trigger{Type: "http", ID: r.id}
	return request, refused
}

// syncRequest reads secretId and dryRun, and refuses any other member.
func syncRequest(members map[string]json.RawMessage) (authsync.Request, *fault.Error) {
	secretID, _ := strictjson.String(members["secretId"])
	dryRun, isBoolean := boolean(members["dryRun"])
	delete(members, "secretId")
	delete(members, "dryRun")
	if secretID == "" || !isBoolean || len(members) > 0 {
		return authsync.Request{}, fault.New(fault.BadRequest,
			"a sync takes only secretId, the name or the ARN of a secret, and dryRun, true or false")
	}
	return authsync.Request{SecretID: secretID, DryRun: dryRun}, nil
}

// boolean is false where raw is absent.
func boolean(raw json.RawMessage) (value, ok bool) {
	return string(raw) == "true", raw == nil || string(raw) == "true" || string(raw) == "false"
}

func problemOf(e *fault.Error, r httpRequest, from caller, result *report.Result) httpResponse {
	detail, advice := e.Message+".", strings.TrimSuffix(e.Hint, ".")
	if !strings.Contains(strings.ToLower(e.Message), strings.ToLower(advice)) {
		detail += " " + e.Hint
	}
	a := respond(e.Status(), "application/problem+json", problem{
		Type: "about:blank", Title: http.StatusText(e.Status()), Status: e.Status(), Detail: detail,
		Code: e.Code, Retryable: e.Retryable, RequestID: from.requestID, Result: result,
	})
	switch e.Status() {
	case http.StatusMethodNotAllowed:
		a.Headers["Allow"] = allowed[r.path]
	case http.StatusServiceUnavailable:
		a.Headers["Retry-After"] = retryAfter
	}
	return a
}

func respond(status int, contentType string, document any) httpResponse {
	body, _ := json.Marshal(document) // our own always encode
	headers := map[string]string{"Content-Type": contentType, "Cache-Control": "no-store"}
	return httpResponse{status, headers, string(body)}
}
