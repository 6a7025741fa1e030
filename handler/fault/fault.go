// Package fault is the one table of error codes, and the error that carries one of them.
package fault

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"datadog-webhook-auth-sync/handler/sensitive"
)

// Code names what went wrong. Consumers match on it; it never changes its meaning.
type Code string

const (
	BadRequest           Code = "bad_request"
	UnsupportedEvent     Code = "unsupported_event"
	Forbidden            Code = "forbidden"
	NotFound             Code = "not_found"
	MethodNotAllowed     Code = "method_not_allowed"
	PayloadTooLarge      Code = "payload_too_large"
	UnsupportedMediaType Code = "unsupported_media_type"
	RotationRefused      Code = "rotation_refused"
	SecretOutOfScope     Code = "secret_out_of_scope"
	SecretAccessDenied   Code = "secret_access_denied"
	SecretNotFound       Code = "secret_not_found"
	SecretInvalid        Code = "secret_invalid"
	CredentialRejected   Code = "credential_rejected"
	SecretsUnavailable   Code = "secrets_unavailable"
	AuthMethodNotFound   Code = "auth_method_not_found"
	AuthMethodMismatch   Code = "auth_method_mismatch"
	DatadogRejected      Code = "datadog_rejected"
	DatadogUnauthorized  Code = "datadog_unauthorized"
	DatadogThrottled     Code = "datadog_throttled"
	DatadogUnavailable   Code = "datadog_unavailable"
	PublishFailed        Code = "publish_failed"
	Deadline             Code = "deadline"
	Internal             Code = "internal"
)

// Row says what a code means to a caller. Retryable: the same call may succeed later without anybody's doing.
type Row struct {
	Code      Code
	Status    int // HTTP
	Retryable bool
	Means     string
	Hint      string // what to do about it
}

// Table holds every code once; the table in the documents is made from it.
var Table = []Row{
	{BadRequest, http.StatusBadRequest, false, "the request is malformed", "Correct the request as the message says."},
	{UnsupportedEvent, http.StatusBadRequest, false, "the payload is none that this function knows",
		"Compare it with the samples in events/."},
	{Forbidden, http.StatusForbidden, false, "API Gateway did not authenticate the request",
		"Use IAM authorisation on the route and sign the request (SigV4)."},
	{NotFound, http.StatusNotFound, false, "no such path", "Use POST /sync or GET /status."},
	{MethodNotAllowed, http.StatusMethodNotAllowed, false, "the path has no such method",
		"Use the method in the Allow header."},
	{PayloadTooLarge, http.StatusRequestEntityTooLarge, false, "the body is over 64 KiB",
		"Send only secretId and dryRun."},
	{UnsupportedMediaType, http.StatusUnsupportedMediaType, false, "the body is not JSON",
		"Send Content-Type: application/json."},
	{RotationRefused, http.StatusConflict, false, "the rotation step does not fit the secret",
		"Stage a credential, then rotate, as the message shows."},
	{SecretOutOfScope, http.StatusForbidden, false, "not under the prefix, of another account or region, or a key secret",
		"Use a secret under SecretNamePrefix, in the function's account and region."},
	{SecretAccessDenied, http.StatusForbidden, true, "IAM or KMS refused the secret",
		"Check its resource policy, and that its KMS key is in KmsKeyArns and admits the role."},
	{SecretNotFound, http.StatusNotFound, false, "there is no such secret", "Check the name."},
	{SecretInvalid, http.StatusUnprocessableEntity, false, "the secret's value does not follow the format",
		"Read the message in the log, correct the fields it names, store a new version."},
	{CredentialRejected, http.StatusUnprocessableEntity, true, "the token endpoint did not accept the client secret",
		"Check that the identity provider knows the new client secret."},
	{SecretsUnavailable, http.StatusServiceUnavailable, true, "Secrets Manager fails or is not yet consistent",
		"Wait: it is tried again."},
	{AuthMethodNotFound, http.StatusNotFound, false, "the auth method that is pinned or recorded does not exist",
		"Correct or remove auth_method_id in the secret; or take the tag off, and attach the new auth method."},
	{AuthMethodMismatch, http.StatusConflict, false, "an auth method was found that may not be this secret's",
		"Follow the message in the log: it says what would show that it is."},
	{DatadogRejected, http.StatusBadGateway, false, "Datadog refused the write",
		"Read Datadog's words in the log and correct the secret."},
	{DatadogUnauthorized, http.StatusBadGateway, true,
		"Datadog refused the function's credentials, or they cannot be read",
		"Check Datadog's keys, token or mapped role, DdSite, and both permissions."},
	{DatadogThrottled, http.StatusServiceUnavailable, true, "Datadog's rate limit left no room",
		"Wait: it is tried again."},
	{DatadogUnavailable, http.StatusServiceUnavailable, true, "Datadog failed or was not reached",
		"Wait: it is tried again. See Datadog's status page."},
	{PublishFailed, http.StatusBadGateway, true, "the result could not be published",
		"Check EventBusName, the bus's policy, and events:PutEvents in the role."},
	{Deadline, http.StatusGatewayTimeout, true, "the time ran out",
		"Wait: it is tried again. If it recurs, look at the durations in the log."},
	{Internal, http.StatusInternalServerError, true, "a fault of this program",
		"Read the log of this request, and report it."},
}

// Means says what code means.
func Means(code Code) string { return row(code).Means }

func row(code Code) Row {
	for _, r := range Table {
		if r.Code == code {
			return r
		}
	}
	panic("fault: no row for code " + string(code))
}

// Error is a failure with a code. Its message is safe to show to anyone; Unwrap leads to the cause, which is not.
type Error struct {
	Code      Code   `json:"code"`
	Message   string `json:"message"`
	Retryable bool   `json:"retryable"`
	Hint      string `json:"hint,omitempty"`
	brief     string
	cause     error
}

// New makes an error of code; format and args must be words of our own, never a third party's.
func New(code Code, format string, args ...any) *Error {
	r := row(code)
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Retryable: r.Retryable, Hint: r.Hint}
}

// Because returns e with the cause that stays inside.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// WithRetry returns e, retryable or not whatever the table says of its code.
func (e *Error) WithRetry(retryable bool) *Error {
	c := *e
	c.Retryable = retryable
	return &c
}

// WithHint returns e with another hint; an empty one changes nothing.
func (e *Error) WithHint(hint string) *Error {
	c := *e
	c.Hint = cmp.Or(hint, e.Hint)
	return &c
}

// Advise returns e with what to do about it, in its message and as its hint; Brief stays as the message was. Where the
// advice takes a protection away, WithHint keeps it out of notices.
func (e *Error) Advise(format string, args ...any) *Error {
	advice := fmt.Sprintf(format, args...)
	c := e.WithBrief(e.Message).WithHint(strings.ToUpper(advice[:1]) + advice[1:] + ".")
	c.Message += "; " + advice
	return c
}

// WithBrief returns e with a shorter message, which quotes nobody.
func (e *Error) WithBrief(brief string) *Error {
	c := *e
	c.brief = brief
	return &c
}

// Brief returns the message in short, in our own words only.
func (e *Error) Brief() string { return cmp.Or(e.brief, e.Message) }

// Withhold returns e without its cause and what it quotes, if either repeats a part of one of these secrets.
func (e *Error) Withhold(secrets ...sensitive.Text) *Error {
	repeats := func(s sensitive.Text) bool { return s.PartlyIn(e.Message) || s.PartlyIn(fmt.Sprint(e.cause)) }
	if !slices.ContainsFunc(secrets, repeats) {
		return e
	}
	c := *e
	c.Message, c.cause = e.Brief(), nil
	return &c
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }
func (e *Error) Unwrap() error { return e.cause }

// LogValue is the error in the log: what anyone may see, and the cause from its outermost to its innermost words.
func (e *Error) LogValue() slog.Value {
	attributes := []slog.Attr{slog.String("code", string(e.Code)), slog.String("message", e.Message),
		slog.Bool("retryable", e.Retryable), slog.String("hint", e.Hint)}
	if e.cause != nil {
		first, last := e.cause, e.cause
		for inner := errors.Unwrap(last); inner != nil; inner = errors.Unwrap(last) {
			last = inner
		}
		attributes = append(attributes, slog.String("cause", first.Error()))
		if last != first {
			attributes = append(attributes, slog.String("origin", last.Error()))
		}
	}
	return slog.GroupValue(attributes...)
}
func (e *Error) Status() int { return row(e.Code).Status }

// Counts reports whether err, which may be nil, is about a secret that exists and is in scope. Other errors are neither
// published nor recorded.
func Counts(err error) bool {
	return !Is(err, BadRequest) && !Is(err, SecretOutOfScope) && !Is(err, SecretNotFound)
}

// Is reports whether err has code.
func Is(err error, code Code) bool { return err != nil && From(err).Code == code }

// From returns err as an *Error: itself if it is one, Deadline if the time ran out, Internal for what nobody named.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return New(Deadline, "the time ran out").Because(err)
	}
	return New(Internal, "an unforeseen error; its cause is in the log").Because(err)
}
