// Package eventbus puts events on an EventBridge bus.
package eventbus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/smithy-go"

	"datadog-webhook-auth-sync/handler/deadline"
	"datadog-webhook-auth-sync/handler/fault"
)

// Source of every event.
const Source = "datadog-webhook-auth-sync"

const (
	maxAttempts = 4
	firstWait   = 100 * time.Millisecond
)

// codes are those that an error repeats, and with them the words of a refused call. Any other may be anything, and the
// words beside it may quote the request with its session token.
// https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html
var codes = []string{"AccessDeniedException", "ExpiredTokenException", "InternalException", "InternalFailure",
	"InvalidAccountIdException", "InvalidArgument", "MalformedDetail", "NotAuthorizedForDetailTypeException",
	"NotAuthorizedForSourceException", "RedactionFailure", "ResourceNotFoundException", "ThrottlingException",
	"UnrecognizedClientException", "ValidationException"}

// API is what a Bus uses of the SDK's client.
type API interface {
	PutEvents(context.Context, *eventbridge.PutEventsInput, ...func(*eventbridge.Options)) (
		*eventbridge.PutEventsOutput, error)
}

// Event is one entry of PutEvents.
type Event struct {
	DetailType string
	Detail     []byte // JSON
	Resource   string // ARN; may be empty
	Time       time.Time
}

// Bus publishes to one event bus.
type Bus struct {
	API  API
	Name string // or ARN
}

// Publish puts e on the bus. An entry that EventBridge took the call for but refused, for throttling or a fault of its
// own, is sent again; any other failure is publish_failed.
// https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html
func (b *Bus) Publish(ctx context.Context, e Event) error {
	in := &eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{{
		Source: aws.String(Source), DetailType: &e.DetailType, Detail: aws.String(string(e.Detail)),
		Time: &e.Time, EventBusName: &b.Name,
	}}}
	if e.Resource != "" {
		in.Entries[0].Resources = []string{e.Resource}
	}
	for attempt := 1; ; attempt++ {
		out, err := b.API.PutEvents(ctx, in)
		if err != nil {
			if answer, ok := errors.AsType[smithy.APIError](err); ok && slices.Contains(codes, answer.ErrorCode()) {
				words := fmt.Errorf("%s: %s", answer.ErrorCode(), answer.ErrorMessage())
				return fault.New(fault.PublishFailed, "EventBridge: %s", answer.ErrorCode()).Because(words)
			}
			cause := fault.Unanswered(err)
			return fault.New(fault.PublishFailed, "EventBridge: %v", cause).Because(cause)
		}
		if out.FailedEntryCount == 0 {
			return nil
		}
		code := "an unknown code"
		for _, entry := range out.Entries {
			if slices.Contains(codes, aws.ToString(entry.ErrorCode)) {
				code = *entry.ErrorCode
			}
		}
		passing := code == "ThrottlingException" || code == "InternalFailure" || code == "InternalException"
		if !passing || attempt == maxAttempts || !deadline.Sleep(ctx, firstWait<<(attempt-1)) {
			return fault.New(fault.PublishFailed, "EventBridge refused the event: %s", code)
		}
	}
}
