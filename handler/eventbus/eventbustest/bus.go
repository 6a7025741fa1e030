// Package eventbustest is a stateful stand-in for EventBridge's PutEvents, with the signature of the AWS SDK's client.
// Unlike that client it does not retry: one call is one request.
package eventbustest

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	eb "github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/smithy-go"
	"github.com/google/uuid"

	"datadog-webhook-auth-sync/handler/standin"
)

// Of one call. https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html
const (
	maxEntries = 10
	maxBytes   = 256 << 10 // 256 KiB
)

// Answer is what one call meets. The zero value is success.
type Answer struct {
	Err   error    // of the whole call
	Lost  bool     // the events arrive though the caller gets Err
	Codes []string // ErrorCode of each entry, such as ThrottlingException; "" or missing for success
}

// Bus remembers what was put. Its zero value is empty and ready. It is safe for concurrent use, but its fields must not
// be set while calls are under way.
type Bus struct {
	Latency time.Duration                                                // of a call: half before the effect, which a caller that gives up does not stop, half after
	Hook    func(call int, entries []types.PutEventsRequestEntry) Answer // before the effect; call counts from 1

	mu     sync.Mutex
	calls  int
	events []types.PutEventsRequestEntry
}

// Events returns the entries that the bus took, in order; Time and EventBusName are always set.
func (b *Bus) Events() []types.PutEventsRequestEntry {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.events)
}

// Calls counts the calls so far.
func (b *Bus) Calls() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls
}

// PutEvents is the SDK's.
func (b *Bus) PutEvents(ctx context.Context, in *eb.PutEventsInput, _ ...func(*eb.Options)) (*eb.PutEventsOutput, error) {
	if ctx.Err() != nil {
		return nil, failed(ctx.Err()) // nothing was sent
	}
	b.mu.Lock()
	b.calls++
	call, sent, half := b.calls, time.Now(), b.Latency/2
	b.mu.Unlock()
	if !standin.Wait(ctx, half) {
		time.AfterFunc(half-time.Since(sent), func() { b.serve(call, in.Entries) })
		return nil, failed(ctx.Err())
	}
	out, err := b.serve(call, in.Entries)
	if !standin.Wait(ctx, half) {
		err = ctx.Err()
	}
	if err != nil {
		return nil, failed(err)
	}
	return out, nil
}

func (b *Bus) serve(call int, entries []types.PutEventsRequestEntry) (*eb.PutEventsOutput, error) {
	var a Answer
	if b.Hook != nil {
		a = b.Hook(call, entries)
	}
	if a.Err != nil && !a.Lost {
		return nil, a.Err
	}
	out, err := b.put(entries, a.Codes)
	return out, cmp.Or(a.Err, err)
}

// put refuses a call over the limits; entries fail one by one.
func (b *Bus) put(entries []types.PutEventsRequestEntry, codes []string) (*eb.PutEventsOutput, error) {
	total := 0
	for _, e := range entries {
		total += size(e)
	}
	if len(entries) < 1 || len(entries) > maxEntries || total > maxBytes {
		return nil, &smithy.GenericAPIError{Code: "ValidationException", Message: "1 to 10 entries, 256 KiB in all"}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	out := &eb.PutEventsOutput{}
	for i, e := range entries {
		code := refusal(e)
		if i < len(codes) {
			code = cmp.Or(codes[i], code)
		}
		if code != "" {
			out.FailedEntryCount++
			out.Entries = append(out.Entries, types.PutEventsResultEntry{ErrorCode: &code, ErrorMessage: &code})
			continue
		}
		out.Entries = append(out.Entries, types.PutEventsResultEntry{EventId: aws.String(uuid.NewString())})
		e.Resources = slices.Clone(e.Resources)
		e.Time = cmp.Or(e.Time, aws.Time(time.Now().UTC()))
		e.EventBusName = cmp.Or(e.EventBusName, aws.String("default"))
		b.events = append(b.events, e)
	}
	return out, nil
}

// refusal is the ErrorCode of an entry that EventBridge does not take.
// https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html
func refusal(e types.PutEventsRequestEntry) string {
	var object map[string]any
	switch {
	case aws.ToString(e.Source) == "" || aws.ToString(e.DetailType) == "" || e.Detail == nil:
		return "InvalidArgument"
	case strings.HasPrefix(*e.Source, "aws."):
		return "NotAuthorizedForSourceException"
	case json.Unmarshal([]byte(*e.Detail), &object) != nil:
		return "MalformedDetail"
	}
	return ""
}

// size is an entry's size in bytes as EventBridge counts it.
func size(e types.PutEventsRequestEntry) int {
	n := len(aws.ToString(e.Source) + aws.ToString(e.DetailType) + aws.ToString(e.Detail) + strings.Join(e.Resources, ""))
	if e.Time != nil {
		n += 14
	}
	return n
}

func failed(err error) error {
	return &smithy.OperationError{ServiceID: eb.ServiceID, OperationName: "PutEvents", Err: err}
}
