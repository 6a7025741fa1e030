package handler

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"mime"
	"net/http"
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

// httpRequest is what both payload formats of API Gateway say of a request.
type httpRequest struct {
	id            string
	came          time.Time
	method, path  string
	contentType   string
	query         map[string]string
	body          string
	base64        bool
	authenticated bool
	caller        string // ARN, where IAM authorised it
}

// httpResponse is what both payload formats take for an answer.
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

// recogniseHTTP reads a request in payload format 2.0 (HTTP API) or 1.0 (REST API).
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
func recogniseHTTP(payload []byte, v2 bool) any {
	var p struct {
		RouteKey   string            `json:"routeKey"` // 2.0, also in 1.0 from an HTTP API
		RawPath    string            `json:"rawPath"`  // 2.0
		Resource   string            `json:"resource"` // 1.0
		Path       string            `json:"path"`     // 1.0
		HTTPMethod string            `json:"httpMethod"`
		Headers    map[string]string `json:"headers"`
		Query      map[string]string `json:"queryStringParameters"`
		Body       string            `json:"body"`
		Base64     bool              `json:"isBase64Encoded"`
		Context    struct {
			ID         string          `json:"requestId"`
			Epoch      int64           `json:"timeEpoch"`        // 2.0, milliseconds
			Epoch1     int64           `json:"requestTimeEpoch"` // 1.0, milliseconds
			Authorizer json.RawMessage `json:"authorizer"`
			Identity   struct {
				UserARN string `json:"userArn"`
			} `json:"identity"`
			HTTP struct {
				Method string `json:"method"`
			} `json:"http"`
		} `json:"requestContext"`
	}
	if json.Unmarshal(payload, &p) != nil {
		return fault.New(fault.UnsupportedEvent, "the payload of API Gateway is malformed")
	}
	authorizer, _ := strictjson.Object(p.Context.Authorizer)
	var iam struct {
		UserARN string `json:"userArn"`
	}
	_ = json.Unmarshal(authorizer["iam"], &iam)
	r := httpRequest{id: p.Context.ID, query: p.Query, body: p.Body, base64: p.Base64, authenticated: len(authorizer) > 0,
		caller: cmp.Or(iam.UserARN, p.Context.Identity.UserARN)}
	if v2 {
		r.method, r.came = p.Context.HTTP.Method, time.UnixMilli(p.Context.Epoch)
		_, route, _ := strings.Cut(p.RouteKey, " ")
		r.path = lastSegment(route, p.RawPath)
	} else {
		r.method, r.came = p.HTTPMethod, time.UnixMilli(p.Context.Epoch1)
		r.path = lastSegment(p.Resource, p.Path)
		r.authenticated = r.authenticated || p.Context.Identity.UserARN != ""
	}
	for name, value := range p.Headers {
		if strings.EqualFold(name, "Content-Type") {
			r.contentType = value
		}
	}
	return r
}

// lastSegment is the end of the route that API Gateway matched or, where that leaves it open ($default, {proxy+}), of the
// path as it came, so that neither a stage nor a base path matters.
func lastSegment(route, path string) string {
	if route == "" || strings.Contains(route, "{") {
		route = path
	}
	return route[strings.LastIndex(route, "/")+1:]
}

func (h *Handler) serve(ctx context.Context, r httpRequest, from caller) httpResponse {
	came := r.came
	if now := h.now(); came.After(now) || came.Before(now.Add(-httpTimeout)) {
		came = now // it says nothing credible
	}
	ctx, cancel := context.WithDeadline(ctx, came.Add(httpTimeout))
	defer cancel()
	if err := r.admit(); err != nil {
		return h.refuse(ctx, err, r, from)
	}
	if r.path == "sync" {
		return h.serveSync(ctx, r, from)
	}
	return h.serveStatus(ctx, r, from)
}

// allowed is the one method of each path.
var allowed = map[string]string{"sync": http.MethodPost, "status": http.MethodGet}

// admit refuses requests before their content is looked at.
func (r httpRequest) admit() *fault.Error {
	switch {
	case !r.authenticated:
		return fault.New(fault.Forbidden, "API Gateway did not authenticate the request")
	case allowed[r.path] == "":
		return fault.New(fault.NotFound, "no such path")
	case allowed[r.path] != r.method:
		return fault.New(fault.MethodNotAllowed, "the path takes only %s", allowed[r.path])
	}
	return nil
}

func (h *Handler) serveSync(ctx context.Context, r httpRequest, from caller) httpResponse {
	request, err := r.syncRequest()
	if err != nil {
		return h.refuse(ctx, err, r, from)
	}
	res := h.sync(ctx, from.request(request), "caller", r.caller)
	switch {
	case res.Error == nil:
		return respond(http.StatusOK, "application/json", res)
	case res.Secret == (report.SecretRef{}):
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

// statusRequest reads secretId, nextToken and state, and refuses whatever else is there.
func statusRequest(query map[string]string) (fleet.StatusRequest, *fault.Error) {
	for name, value := range query {
		if name != "secretId" && name != "nextToken" && name != "state" || value == "" {
			return fleet.StatusRequest{}, fault.New(fault.BadRequest, "status takes only secretId, nextToken and state, which are strings and not empty")
		}
	}
	return fleet.StatusRequest{SecretID: query["secretId"], NextToken: query["nextToken"], State: fleet.State(query["state"])}, nil
}

func (h *Handler) refuse(ctx context.Context, e *fault.Error, r httpRequest, from caller) httpResponse {
	h.log.InfoContext(ctx, "refused", "error", e, "caller", r.caller, "requestId", from.requestID)
	return problemOf(e, r, from, nil)
}

func (r httpRequest) syncRequest() (authsync.Request, *fault.Error) {
	none := authsync.Request{}
	if kind, _, err := mime.ParseMediaType(r.contentType); r.contentType != "" && (err != nil || kind != "application/json") {
		return none, fault.New(fault.UnsupportedMediaType, "the content type is not application/json")
	}
	body := []byte(r.body)
	if r.base64 {
		var err error
		if body, err = base64.StdEncoding.DecodeString(r.body); err != nil {
			return none, fault.New(fault.BadRequest, "the body is not the base64 that it is said to be")
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

// syncRequest reads secretId and dryRun, and refuses whatever else is there.
func syncRequest(members map[string]json.RawMessage) (r authsync.Request, refused *fault.Error) {
	var faults []string
	for name := range members {
		if name != "secretId" && name != "dryRun" {
			faults = append(faults, "only secretId and dryRun are known")
			break
		}
	}
	var ok bool
	if r.SecretID, ok = strictjson.String(members["secretId"]); !ok || r.SecretID == "" {
		faults = append(faults, "secretId must be the name or the ARN of a secret")
	}
	if r.DryRun, ok = boolean(members["dryRun"]); !ok {
		faults = append(faults, "dryRun must be true or false")
	}
	if len(faults) > 0 {
		return r, fault.New(fault.BadRequest, "%s", strings.Join(faults, "; "))
	}
	return r, nil
}

// boolean is false where raw is absent.
func boolean(raw json.RawMessage) (value, ok bool) {
	return string(raw) == "true", raw == nil || string(raw) == "true" || string(raw) == "false"
}

func problemOf(e *fault.Error, r httpRequest, from caller, result *report.Result) httpResponse {
	a := respond(e.Status(), "application/problem+json", problem{
		Type: "about:blank", Title: http.StatusText(e.Status()), Status: e.Status(), Detail: e.Message + ". " + e.Hint,
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
	body, err := json.Marshal(document)
	if err != nil {
		panic(err) // our own documents always encode
	}
	return httpResponse{status, map[string]string{"Content-Type": contentType, "Cache-Control": "no-store"}, string(body)}
}
