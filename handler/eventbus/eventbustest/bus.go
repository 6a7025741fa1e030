// Package eventbustest is a stateful stand-in for EventBridge's PutEvents, with the signature of the AWS SDK's client.
// Unlike that client it does not retry: one call is one request.
package eventbustest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	eb "github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/smithy-go"

	"datadog-webhook-auth-sync/handler/standin"
)

// Answer is what one call meets. The zero value is success.
type Answer struct {
	Err  error  // of the whole call
	Lost bool   // the events arrive though the caller gets Err
	Code string // ErrorCode of the entry, such as ThrottlingException
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

// Events returns the entries that the bus took, in order.
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
		time.AfterFunc(half-time.Since(sent), func() { b.put(call, in.Entries) })
		return nil, failed(ctx.Err())
	}
	a := b.put(call, in.Entries)
	if !standin.Wait(ctx, half) {
		a.Err = ctx.Err()
	}
	switch {
	case a.Err != nil:
		return nil, failed(a.Err)
	case a.Code == "":
		return &eb.PutEventsOutput{}, nil
	}
	entry := types.PutEventsResultEntry{ErrorCode: &a.Code, ErrorMessage: aws.String("canary of EventBridge's words")}
	return &eb.PutEventsOutput{FailedEntryCount: 1, Entries: []types.PutEventsResultEntry{entry}}, nil
}

func (b *Bus) put(call int, entries []types.PutEventsRequestEntry) (a Answer) {
	if b.Hook != nil {
		a = b.Hook(call, entries)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.Code == "" && (a.Err == nil || a.Lost) {
		b.events = append(b.events, entries...)
	}
	return a
}

func failed(err error) error {
	return &smithy.OperationError{ServiceID: eb.ServiceID, OperationName: "PutEvents", Err: err}
}
