// Package handler is the Lambda function: it decodes each payload, does the work, and encodes the result. No package
// below it knows a payload.
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
	"datadog-webhook-auth-sync/handler/deadline"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/fleet"
	"datadog-webhook-auth-sync/handler/report"
)

// Handler serves every trigger. It is safe for concurrent use.
type Handler struct {
	syncer *authsync.Syncer
	fleet  *fleet.Fleet
	log    *slog.Logger
	meter  meter
}

// answerReserve is kept back before the deadline for the answer, its line in the log, and the metrics.
const answerReserve = time.Second

// Handle serves one payload. How a failure ends depends on who can act on it:
//
//   - an EventBridge event, which nobody waits for: an error, so that Lambda tries again and then hands the event to
//     the failure queue, only while that may help (see Result.Retry) and where a result could not be published. Every
//     reconcile tries the rest again;
//   - a rotation step or a direct call: every failure is an error, whose text begins with its code;
//   - a reconcile: every failure is in its answer;
//   - an HTTP request: every failure is an answer.
func (h *Handler) Handle(ctx context.Context, payload json.RawMessage) (any, error) {
	from := callerOf(ctx)
	ctx, cancel := deadline.Before(ctx, answerReserve)
	defer cancel()
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
		return h.reconcile(ctx, from.request(t.request)), nil
	case status:
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
	case res.Unpublished != nil:
		return nil, res.Unpublished
	case res.Retry:
		return nil, res.Error
	}
	return res, nil
}

func (h *Handler) direct(ctx context.Context, r authsync.Request) (any, error) {
	r.Trigger.ID = r.RequestID
	res := h.sync(ctx, r)
	if res.Error != nil {
		e := *res.Error
		e.Message += ". " + res.Loss()
		return nil, &e
	}
	return res, nil
}

func (h *Handler) reconcile(ctx context.Context, r authsync.Request) fleet.Reconciliation {
	answer := h.fleet.Reconcile(ctx, r, func(res report.Result) { h.note(ctx, res) })
	what := "dry run"
	if !answer.DryRun {
		what = "reconcile"
		h.meter.reconcile(answer)
	}
	level := slog.LevelInfo
	if answer.Error != nil {
		level = slog.LevelError
	}
	line := answer
	line.Failures, line.Plans, line.Unmanaged = nil, nil, nil // the first two have lines of their own
	h.log.Log(ctx, level, what, "answer", line)
	return answer
}

func (h *Handler) status(ctx context.Context, r fleet.StatusRequest, from caller) (any, error) {
	r.ARNPrefix = from.arnPrefix
	answer, err := h.fleet.Status(ctx, r)
	if err != nil {
		e := fault.From(err)
		h.log.ErrorContext(ctx, "status", "requestId", from.requestID, "error", e)
		return nil, e
	}
	return answer, nil
}

func (h *Handler) sync(ctx context.Context, r authsync.Request, also ...any) report.Result {
	res := h.syncer.Sync(ctx, r)
	h.note(ctx, res, also...)
	return res
}

// note writes the line that a sync leaves in the log, with also, and its metrics.
func (h *Handler) note(ctx context.Context, res report.Result, also ...any) {
	line := append([]any{"outcome", res.Outcome, "secret", res.Secret, "trigger", res.Trigger, "requestId", res.RequestID,
		"durationMs", res.DurationMs, "summary", res.Summary}, also...)
	add := func(is bool, name string, value any) {
		if is {
			line = append(line, name, value)
		}
	}
	add(res.AuthMethod != nil, "authMethod", res.AuthMethod)
	add(res.Verification != "", "verification", res.Verification)
	add(res.LagMs != nil, "lagMs", res.LagMs)
	add(len(res.Warnings) > 0, "warnings", res.Warnings)
	add(res.Held != report.Held{}, "held", res.Held)
	add(res.Recovered != nil, "recovered", res.Recovered)
	if r := res.Record; r != nil && r.Fails() {
		line = append(line, "failing", report.Failure{Code: r.Code, Since: r.Since})
	}
	add(res.Repaired, "repaired", true)
	add(res.Error != nil, "error", res.Error)
	level := slog.LevelInfo
	ofEvent := res.Trigger.Type == "label" || res.Trigger.Type == "cloudtrail"
	switch {
	case res.Error == nil:
	case ofEvent && res.Error.Code == fault.SecretOutOfScope: // not ours
		level = slog.LevelDebug
	case res.Retry || res.DryRun:
		level = slog.LevelWarn
	default:
		level = slog.LevelError
	}
	if res.DryRun {
		h.log.Log(ctx, level, "dry run", line...)
		return
	}
	h.log.Log(ctx, level, "sync", line...)
	h.meter.sync(res)
}

// caller is what Lambda says of an invocation.
type caller struct {
	requestID string
	arnPrefix string // see authsync.Request
	function  string // its ARN, unqualified
}

func callerOf(ctx context.Context) caller {
	lc, ok := lambdacontext.FromContext(ctx)
	if !ok {
		return caller{}
	}
	c := caller{requestID: lc.AwsRequestID, function: unqualified(lc.InvokedFunctionArn)}
	// arn:partition:lambda:region:account:function:name
	if part := strings.SplitN(lc.InvokedFunctionArn, ":", 6); len(part) == 6 {
		c.arnPrefix = fmt.Sprintf("arn:%s:secretsmanager:%s:%s:secret:", part[1], part[3], part[4])
	}
	return c
}

func (c caller) request(r authsync.Request) authsync.Request {
	r.RequestID, r.ARNPrefix = c.requestID, c.arnPrefix
	return r
}
