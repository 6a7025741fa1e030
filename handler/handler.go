// Package handler is the Lambda function: it turns a payload into the work that it asks for, and what comes of that into
// the answer that whoever sent it can use. No package below it knows a payload.
package handler

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"datadog-webhook-auth-sync/handler/authsync"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/fleet"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/sensitive"
)

type syncer interface {
	Sync(ctx context.Context, r authsync.Request) authsync.Result
	Prove(ctx context.Context, s secretstore.Secret, value sensitive.Text) error
}

type secrets interface {
	Reconcile(ctx context.Context, r authsync.Request, told func(authsync.Result)) (fleet.Reconciliation, error)
	Status(ctx context.Context, r fleet.StatusRequest) (fleet.Status, error)
}

// Handler serves every trigger. It is safe for concurrent use.
type Handler struct {
	syncer   syncer
	fleet    secrets
	versions versions
	scope    authsync.Scope
	log      *slog.Logger
	meter    meter
	now      func() time.Time
}

// Handle serves one payload. How a failure ends depends on who could do something about it:
//
//   - an EventBridge event, which nobody waits for: only what a retry may mend is an error, so that Lambda tries again and
//     then hands the event to the failure queue;
//   - a rotation step or a direct call: every failure is an error, whose text begins with its code;
//   - an HTTP request: every failure is an answer.
func (h *Handler) Handle(ctx context.Context, payload json.RawMessage) (any, error) {
	from := callerOf(ctx)
	switch t := recognise(payload).(type) {
	case ignored:
		h.log.DebugContext(ctx, "nothing to do", "why", t.why, "requestId", from.requestID)
		return nil, nil
	case unknown:
		h.log.WarnContext(ctx, "unsupported event", "why", t.why, "requestId", from.requestID)
		return nil, nil
	case *fault.Error:
		h.log.WarnContext(ctx, "refused", "error", t, "requestId", from.requestID)
		return nil, t
	case eventSync:
		return h.event(ctx, from.request(t.request))
	case directSync:
		return h.direct(ctx, from.request(t.request))
	case reconcile:
		return h.reconcile(ctx, from.request(t.request))
	case status:
		t.request.Home = from.home
		return h.status(ctx, t.request, from)
	case httpRequest:
		return h.serve(ctx, t, from), nil
	case rotationStep:
		return nil, h.rotate(ctx, t, from)
	default:
		panic(fmt.Sprintf("handler: no case for %T", t))
	}
}

func (h *Handler) event(ctx context.Context, r authsync.Request) (any, error) {
	res := h.sync(ctx, r)
	switch {
	case res.Error != nil && res.Error.Retryable:
		return nil, res.Error
	case res.Unpublished != nil:
		return nil, res.Unpublished
	}
	return res, nil
}

func (h *Handler) direct(ctx context.Context, r authsync.Request) (any, error) {
	r.Trigger.ID = r.RequestID
	res := h.sync(ctx, r)
	if res.Error != nil {
		return nil, res.Error
	}
	return res, nil
}

func (h *Handler) reconcile(ctx context.Context, r authsync.Request) (any, error) {
	answer, err := h.fleet.Reconcile(ctx, r, func(res authsync.Result) { h.tell(ctx, res) })
	if err != nil {
		return nil, h.failed(ctx, "reconcile", err, r.RequestID)
	}
	if !answer.DryRun {
		h.meter.reconcile(answer)
	}
	line := answer
	line.Failures, line.Plans = nil, nil // each has a line of its own
	h.log.InfoContext(ctx, "reconcile", "answer", line)
	return answer, nil
}

func (h *Handler) status(ctx context.Context, r fleet.StatusRequest, from caller) (any, error) {
	answer, err := h.fleet.Status(ctx, r)
	if err != nil {
		return nil, h.failed(ctx, "status", err, from.requestID)
	}
	return answer, nil
}

// failed writes a failure in the log and returns it as Lambda is to have it.
func (h *Handler) failed(ctx context.Context, what string, err error, requestID string, also ...any) error {
	e := fault.From(err)
	h.log.ErrorContext(ctx, what, append([]any{"requestId", requestID, "error", e}, also...)...)
	return e
}

func (h *Handler) sync(ctx context.Context, r authsync.Request, also ...any) authsync.Result {
	res := h.syncer.Sync(ctx, r)
	h.tell(ctx, res, also...)
	return res
}

// tell writes the line that a sync leaves in the log, with also, and its metrics. An event about a secret that is not
// ours is nobody's failure.
func (h *Handler) tell(ctx context.Context, res authsync.Result, also ...any) {
	line := append([]any{"outcome", res.Outcome, "secret", res.Secret, "trigger", res.Trigger, "requestId", res.RequestID,
		"durationMs", res.DurationMs, "stepsMs", res.StepsMs, "dryRun", res.DryRun}, also...)
	if res.AuthMethod != nil {
		line = append(line, "authMethod", res.AuthMethod, "verification", res.Verification)
	}
	if res.LagMs != nil {
		line = append(line, "lagMs", *res.LagMs)
	}
	if len(res.Warnings) > 0 {
		line = append(line, "warnings", res.Warnings)
	}
	level := slog.LevelInfo
	if res.Error != nil {
		level = slog.LevelError
		line = append(line, "error", res.Error)
		if res.Error.Code == fault.SecretOutOfScope && (res.Trigger.Type == "label" || res.Trigger.Type == "cloudtrail") {
			level = slog.LevelDebug
		}
	}
	h.log.Log(ctx, level, "sync", line...)
	h.meter.sync(res)
}

// caller is what Lambda says of an invocation.
type caller struct {
	requestID string
	home      string // see authsync.Request
}

func callerOf(ctx context.Context) caller {
	lc, ok := lambdacontext.FromContext(ctx)
	if !ok {
		return caller{}
	}
	c := caller{requestID: lc.AwsRequestID}
	// arn:partition:lambda:region:account:function:name
	if part := strings.SplitN(lc.InvokedFunctionArn, ":", 6); len(part) == 6 {
		c.home = fmt.Sprintf("arn:%s:secretsmanager:%s:%s:secret:", part[1], part[3], part[4])
	}
	return c
}

func (c caller) request(r authsync.Request) authsync.Request {
	r.RequestID, r.Home = c.requestID, c.home
	return r
}
