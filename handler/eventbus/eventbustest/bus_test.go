package eventbustest_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	eb "github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"datadog-webhook-auth-sync/handler/eventbus/eventbustest"
)

func entry(detail string) types.PutEventsRequestEntry {
	return types.PutEventsRequestEntry{Source: aws.String("app"), DetailType: aws.String("Thing Done"), Detail: &detail}
}

func TestEntries(t *testing.T) {
	reserved := entry("{}")
	reserved.Source = aws.String("aws.s3")
	for _, tt := range []struct {
		name    string
		entries []types.PutEventsRequestEntry
		want    string
	}{
		{"ten", slicesOf(10, "{}"), ";;;;;;;;;;"},
		{"eleven", slicesOf(11, "{}"), "refused"},
		{"none", nil, "refused"},
		{"256 KiB", slicesOf(1, pad(256<<10-13)), ";"},
		{"one byte more", slicesOf(1, pad(256<<10-12)), "refused"},
		{"no JSON", slicesOf(1, "{"), "MalformedDetail;"},
		{"no object", slicesOf(1, "[]"), "MalformedDetail;"},
		{"no detail type", []types.PutEventsRequestEntry{{Source: aws.String("app"), Detail: aws.String("{}")}}, "InvalidArgument;"},
		{"reserved source beside a good one", []types.PutEventsRequestEntry{reserved, entry("{}")}, "NotAuthorizedForSourceException;;"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b eventbustest.Bus
			var got string
			out, err := b.PutEvents(t.Context(), &eb.PutEventsInput{Entries: tt.entries})
			if err != nil {
				got = "refused"
			} else {
				for _, e := range out.Entries {
					got += aws.ToString(e.ErrorCode) + ";"
				}
			}
			if got != tt.want {
				t.Errorf("codes %q (%v), want %q", got, err, tt.want)
			}
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
