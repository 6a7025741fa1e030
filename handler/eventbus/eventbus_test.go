package eventbus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"datadog-webhook-auth-sync/handler/eventbus"
	"datadog-webhook-auth-sync/handler/eventbus/eventbustest"
	"datadog-webhook-auth-sync/handler/fault"
)

const bus = "arn:aws:events:us-east-1:123456789012:event-bus/alerts"

var event = eventbus.Event{DetailType: "Datadog Auth Method Synced", Detail: []byte(`{"schemaVersion":"1"}`),
	Resource: "arn:aws:secretsmanager:us-east-1:123456789012:secret:x-abcdef", Time: time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)}

func TestPublish(t *testing.T) {
	answers := func(list ...eventbustest.Answer) []eventbustest.Answer { return list }
	entry := func(code string) eventbustest.Answer { return eventbustest.Answer{Code: code} }
	throttled := entry("ThrottlingException")
	lost := fmt.Errorf("canary of a third party: %w", syscall.ECONNREFUSED)
	denied := &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "canary"}
	for name, tc := range map[string]struct {
		answers []eventbustest.Answer // one a call, the last for good
		limit   time.Duration         // 0 = none
		calls   int
		events  int
		err     string // "" = none
		took    time.Duration
	}{
		"at once":                        {nil, 0, 1, 1, "", 0},
		"a throttled entry":              {answers(throttled, entry("")), 0, 2, 1, "", 100 * time.Millisecond},
		"a fault of EventBridge's own":   {answers(entry("InternalFailure"), entry("InternalException"), throttled, entry("")), 0, 4, 1, "", 700 * time.Millisecond},
		"throttled for good":             {answers(throttled), 0, 4, 0, "publish_failed: EventBridge refused the event: ThrottlingException", 700 * time.Millisecond},
		"an entry refused for good":      {answers(entry("NotAuthorizedForSourceException"), entry("")), 0, 1, 0, "publish_failed: EventBridge refused the event: NotAuthorizedForSourceException", 0},
		"throttled, then refused":        {answers(throttled, entry("MalformedDetail")), 0, 2, 0, "publish_failed: EventBridge refused the event: MalformedDetail", 100 * time.Millisecond},
		"the call refused":               {answers(eventbustest.Answer{Err: denied}), 0, 1, 0, "publish_failed: EventBridge: AccessDeniedException", 0},
		"no answer":                      {answers(eventbustest.Answer{Err: lost}), 0, 1, 0, "publish_failed: EventBridge: it refused the connection", 0},
		"a code of nobody's":             {answers(eventbustest.Answer{Err: &smithy.GenericAPIError{Code: "canary"}}), 0, 1, 0, "publish_failed: EventBridge: it answered what is not HTTP", 0},
		"an entry's code of nobody's":    {answers(entry("canary")), 0, 1, 0, "publish_failed: EventBridge refused the event: an unknown code", 0},
		"a lost answer":                  {answers(eventbustest.Answer{Err: lost, Lost: true}), 0, 1, 1, "publish_failed: EventBridge: it refused the connection", 0},
		"the deadline between two calls": {answers(throttled), 300*time.Millisecond - 1, 2, 0, "publish_failed: EventBridge refused the event: ThrottlingException", 300*time.Millisecond - 1},
		"a call just before it":          {answers(throttled, throttled, entry("")), 300*time.Millisecond + 1, 3, 1, "", 300 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := context.Background()
				if tc.limit > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tc.limit)
					defer cancel()
				}
				server := &eventbustest.Bus{Hook: func(call int, _ []types.PutEventsRequestEntry) eventbustest.Answer {
					if len(tc.answers) == 0 {
						return eventbustest.Answer{}
					}
					return tc.answers[min(call, len(tc.answers))-1]
				}}
				began := time.Now()
				err := (&eventbus.Bus{API: server, Name: bus}).Publish(ctx, event)
				if took := time.Since(began); server.Calls() != tc.calls || took != tc.took {
					t.Errorf("%d calls in %v; want %d in %v", server.Calls(), took, tc.calls, tc.took)
				}
				if (err == nil) != (tc.err == "") || err != nil && (err.Error() != tc.err || fault.From(err).Code != fault.PublishFailed || !fault.From(err).Retryable) {
					t.Errorf("error %v; want %s", err, tc.err)
				}
				if strings.Contains(fmt.Sprint(err), "canary") {
					t.Errorf("a third party's words are in %v", err)
				}
				want := []types.PutEventsRequestEntry{{Source: aws.String("datadog-webhook-auth-sync"), DetailType: &event.DetailType, EventBusName: aws.String(bus),
					Detail: aws.String(string(event.Detail)), Resources: []string{event.Resource}, Time: &event.Time}}[:tc.events]
				if diff := cmp.Diff(want, server.Events(), cmpopts.IgnoreUnexported(types.PutEventsRequestEntry{}), cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("events (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestPublishKeepsTheDeadlineInACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &eventbustest.Bus{Latency: 2 * time.Second}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second+1)
		defer cancel()
		began := time.Now()
		err := (&eventbus.Bus{API: server, Name: bus}).Publish(ctx, event)
		if !errors.Is(err, context.DeadlineExceeded) || fault.From(err).Code != fault.PublishFailed || time.Since(began) != time.Second+1 || server.Calls() != 1 {
			t.Errorf("error %v after %v", err, time.Since(began))
		}
	})
}
