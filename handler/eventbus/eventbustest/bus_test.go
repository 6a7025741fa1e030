package eventbustest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	eb "github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"datadog-webhook-auth-sync/handler/eventbus/eventbustest"
)

var _ interface {
	PutEvents(context.Context, *eb.PutEventsInput, ...func(*eb.Options)) (*eb.PutEventsOutput, error)
} = (*eb.Client)(nil) // the signature is the SDK's

func entry(detail string) types.PutEventsRequestEntry {
	return types.PutEventsRequestEntry{Source: aws.String("app"), DetailType: aws.String("Thing Done"), Detail: &detail}
}

func put(ctx context.Context, b *eventbustest.Bus, entries ...types.PutEventsRequestEntry) (codes string, err error) {
	out, err := b.PutEvents(ctx, &eb.PutEventsInput{Entries: entries})
	if err != nil {
		return "", err
	}
	failed := int32(0)
	for _, e := range out.Entries {
		codes += aws.ToString(e.ErrorCode) + ";"
		if e.ErrorCode != nil {
			failed++
		}
		if (e.ErrorCode == nil) != (e.EventId != nil) {
			return "", errors.New("an entry has an EventId or an ErrorCode")
		}
	}
	if failed != out.FailedEntryCount || len(out.Entries) != len(entries) {
		return "", fmt.Errorf("%d of %d entries failed, FailedEntryCount %d", failed, len(out.Entries), out.FailedEntryCount)
	}
	return codes, nil
}

func TestEntries(t *testing.T) {
	aws1, partner := entry("{}"), entry("{}")
	aws1.Source, partner.EventBusName, partner.Time = aws.String("aws.s3"), aws.String("bus"), aws.Time(time.Unix(1, 0))
	partner.Resources = []string{"arn"}
	for _, tt := range []struct {
		name    string
		entries []types.PutEventsRequestEntry
		want    string
	}{
		{"taken", []types.PutEventsRequestEntry{partner}, ";"},
		{"ten", slicesOf(10, "{}"), ";;;;;;;;;;"},
		{"eleven", slicesOf(11, "{}"), "refused"},
		{"none", nil, "refused"},
		{"256 KiB", slicesOf(1, pad(256<<10-13)), ";"},
		{"one byte more", slicesOf(1, pad(256<<10-12)), "refused"},
		{"no JSON", slicesOf(1, "{"), "MalformedDetail;"},
		{"no object", slicesOf(1, "[]"), "MalformedDetail;"},
		{"no detail type", []types.PutEventsRequestEntry{{Source: aws.String("app"), Detail: aws.String("{}")}}, "InvalidArgument;"},
		{"reserved source beside a good one", []types.PutEventsRequestEntry{aws1, partner}, "NotAuthorizedForSourceException;;"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b eventbustest.Bus
			got, err := put(t.Context(), &b, tt.entries...)
			if err != nil {
				got = "refused"
			}
			if got != tt.want {
				t.Errorf("codes %q (%v), want %q", got, err, tt.want)
			}
			taken := strings.Count(got, ";") - len(strings.Fields(strings.ReplaceAll(got, ";", " ")))
			if len(b.Events()) != taken && got != "refused" || got == "refused" && len(b.Events()) > 0 {
				t.Errorf("%d events, codes %q", len(b.Events()), got)
			}
		})
	}
	t.Run("recorded as put", func(t *testing.T) {
		var b eventbustest.Bus
		if _, err := put(t.Context(), &b, partner); err != nil {
			t.Fatal(err)
		}
		ignore := cmpopts.IgnoreUnexported(types.PutEventsRequestEntry{})
		if d := cmp.Diff([]types.PutEventsRequestEntry{partner}, b.Events(), ignore); d != "" {
			t.Error(d)
		}
	})
}

func TestFaults(t *testing.T) {
	boom := errors.New("boom")
	for _, tt := range []struct {
		name   string
		answer eventbustest.Answer
		err    error
		codes  string
		events int
	}{
		{"call fails", eventbustest.Answer{Err: boom}, boom, "", 0},
		{"answer is lost", eventbustest.Answer{Err: boom, Lost: true}, boom, "", 2},
		{"one entry fails", eventbustest.Answer{Codes: []string{"", "ThrottlingException"}}, nil, ";ThrottlingException;", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := eventbustest.Bus{Hook: func(call int, _ []types.PutEventsRequestEntry) eventbustest.Answer {
				if call == 1 {
					return tt.answer
				}
				return eventbustest.Answer{}
			}}
			codes, err := put(t.Context(), &b, entry("{}"), entry("{}"))
			if !errors.Is(err, tt.err) || codes != tt.codes || len(b.Events()) != tt.events {
				t.Errorf("%q, %v, %d events; want %q, %v, %d", codes, err, len(b.Events()), tt.codes, tt.err, tt.events)
			}
			if codes, err := put(t.Context(), &b, entry("{}")); err != nil || codes != ";" || b.Calls() != 2 {
				t.Errorf("the next call: %q, %v, call %d", codes, err, b.Calls())
			}
		})
	}
}

func TestGivingUp(t *testing.T) {
	for _, tt := range []struct {
		name             string
		patience         time.Duration
		at, later, calls int // events when the caller gives up, and in the end
	}{
		{"before the call", 0, 0, 0, 0},
		{"before the effect", 400 * time.Millisecond, 0, 1, 1},
		{"after the effect", 600 * time.Millisecond, 1, 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := eventbustest.Bus{Latency: time.Second}
				ctx, cancel := context.WithTimeout(t.Context(), tt.patience)
				defer cancel()
				if _, err := put(ctx, &b, entry("{}")); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				if got := len(b.Events()); got != tt.at {
					t.Errorf("%d events at once, want %d", got, tt.at)
				}
				time.Sleep(100 * time.Millisecond)
				synctest.Wait()
				if got := len(b.Events()); got != tt.later || b.Calls() != tt.calls {
					t.Errorf("%d events, %d calls; want %d, %d", got, b.Calls(), tt.later, tt.calls)
				}
			})
		})
	}
}

func slicesOf(n int, detail string) (entries []types.PutEventsRequestEntry) {
	for range n {
		entries = append(entries, entry(detail))
	}
	return entries
}

// pad makes a JSON object of n bytes.
func pad(n int) string { return `{"a":"` + strings.Repeat("x", n-8) + `"}` }
