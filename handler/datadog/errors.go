package datadog

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"datadog-webhook-auth-sync/handler/fault"
)

// Error is a call that did not succeed.
type Error struct {
	Status    int           // HTTP; 0 where no answer came
	Reset     time.Duration // after which a 429 asks to be called again; 0 where it does not say
	Words     string        // Datadog's own, capped, and free of secret values
	Malformed string        // what the answer to a call that seemed to succeed is, or lacks
	Cause     error         // why no answer came that could be read, in our own words: see fault.Unanswered
}

func (e *Error) Error() string {
	switch {
	case e.Malformed != "":
		return fmt.Sprintf("Datadog answered %d with %s", e.Status, e.Malformed)
	case e.Status == 0:
		return fmt.Sprintf("Datadog could not be reached: %v", e.Cause)
	case e.Words != "":
		return fmt.Sprintf("Datadog answered %d: %s", e.Status, e.Words)
	}
	return fmt.Sprintf("Datadog answered %d", e.Status)
}

func (e *Error) Unwrap() error { return e.Cause }

// IsNotFound reports whether err is Datadog's answer 404.
func IsNotFound(err error) bool { return status(err) == http.StatusNotFound }

// IsConflict reports whether err is Datadog's answer 409.
func IsConflict(err error) bool { return status(err) == http.StatusConflict }

// IsLost reports whether err is that of a Create that may have taken effect all the same: there was no answer, a 5xx,
// or a success without a usable auth method.
func IsLost(err error) bool {
	s := status(err)
	return s >= 0 && s < 400 || s >= 500
}

// status is that of Datadog's answer; 0 where none came, -1 where Datadog was not called.
func status(err error) int {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Status
	}
	return -1
}

// coded gives e its code: deadline if ctx ended, or one of the datadog codes.
func coded(ctx context.Context, e *Error) error {
	if ctx.Err() != nil {
		return fault.New(fault.Deadline, "the time ran out while Datadog was called").Because(e)
	}
	code := fault.DatadogUnavailable
	switch {
	case e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden:
		code = fault.DatadogUnauthorized
	case e.Status == http.StatusTooManyRequests:
		code = fault.DatadogThrottled
	case e.Status == http.StatusRequestTimeout, e.Status == http.StatusNotFound: // of a list or a create, a proxy's
	case e.Status >= 400 && e.Status < 500:
		code = fault.DatadogRejected
	}
	ours := *e
	ours.Words = ""
	return fault.New(code, "%s", e.Error()).WithBrief(ours.Error()).Because(e)
}
