package datadog

import (
	"context"
	"errors"
	"net/http"

	"datadog-webhook-auth-sync/handler/fault"
)

// IsGone reports whether err is Datadog's answer that there is no such auth method.
func IsGone(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Status == http.StatusNotFound
}

// Fault gives an error of the client its code: deadline, if ctx ended, or one of the datadog codes.
func Fault(ctx context.Context, err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	code := fault.DatadogUnavailable
	switch {
	case ctx.Err() != nil:
		return fault.New(fault.Deadline, "the time ran out while Datadog was called").Because(err)
	case e.Malformed != "" || e.Status == http.StatusRequestTimeout || e.Status == http.StatusNotFound: // of a list or a create
	case e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden:
		code = fault.DatadogUnauthorized
	case e.Status == http.StatusTooManyRequests:
		code = fault.DatadogThrottled
	case e.Status >= 400 && e.Status < 500:
		code = fault.DatadogRejected
	}
	return fault.New(code, "%s", e.Error()).Because(err)
}
