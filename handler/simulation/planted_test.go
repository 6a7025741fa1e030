package simulation

import (
	"context"
	"encoding/json"
	"io"
	nethttp "net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"datadog-webhook-auth-sync/handler"
	"datadog-webhook-auth-sync/handler/authsync"
	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
)

const rare = 5000 // schedules, in which a bug that takes several mishaps shows

// The simulation must find each of these bugs, or it would not find others either.
func TestPlantedBugs(t *testing.T) {
	for _, c := range []struct {
		name   string
		bug    bug
		within int // schedules
		finds  string
	}{
		{"no second look", bug{outside: func(w *world, o *handler.Outside) {
			o.Secrets = &firstLook{secretsManager: secretsManager{w.secrets, w}}
		}},
			500, "was not AWSCURRENT any more"},
		{"no settling", bug{outside: func(w *world, o *handler.Outside) { o.Secrets = settledAtOnce{secretsManager{w.secrets, w}} }},
			rare, "Datadog holds"},
		{"settles too early", bug{outside: func(w *world, o *handler.Outside) { o.Secrets = datedBack{secretsManager{w.secrets, w}} }},
			rare, "came back"},
		{"blind POST", bug{outside: func(w *world, o *handler.Outside) { o.Datadog = emptyList{o.Datadog} }}, 500, "Datadog holds"},
		{"skip by record", bug{handle: skipByRecord}, 500, "which it did not push"},
		{"a rejection is final", bug{handle: finalRejection}, 500, "is not tried again"},
		{"rejections are ignored", bug{outside: func(w *world, o *handler.Outside) { o.Tokens = noVerdict{o.Tokens} }}, 500, "which the token endpoint rejected"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range c.within {
				from := schedules
				if c.within == rare {
					from = narrowSchedules
				}
				wrong, _ := play(t, from.Example(seed), c.bug, false)
				if slices.ContainsFunc(wrong, func(s string) bool { return strings.Contains(s, c.finds) }) {
					t.Logf("schedule %d: %s", seed, wrong)
					return
				}
			}
			t.Errorf("not found in %d schedules", c.within)
		})
	}
}

// firstLook shows an invocation the labels that it saw first, for ever.
type firstLook struct {
	secretsManager
	seen map[*invocation]*sm.DescribeSecretOutput
}

func (f *firstLook) DescribeSecret(ctx context.Context, in *sm.DescribeSecretInput, _ ...func(*sm.Options)) (*sm.DescribeSecretOutput, error) {
	out, err := f.secretsManager.DescribeSecret(ctx, in)
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	if f.seen == nil {
		f.seen = map[*invocation]*sm.DescribeSecretOutput{}
	}
	inv := invocationOf(ctx)
	switch first := f.seen[inv]; {
	case err != nil || inv.kind == "reconcile":
	case first != nil:
		return first, nil
	default:
		f.seen[inv] = out
	}
	return out, err
}

// settledAtOnce turns every record into a settled one.
type settledAtOnce struct{ secretsManager }

func (s settledAtOnce) TagResource(ctx context.Context, in *sm.TagResourceInput, _ ...func(*sm.Options)) (*sm.TagResourceOutput, error) {
	in.Tags[0].Value = aws.String(strings.Replace(*in.Tags[0].Value, "state=pushed", "state=settled", 1))
	return s.secretsManager.TagResource(ctx, in)
}

// datedBack makes every record, and every change of a secret, 10 minutes older than it is.
type datedBack struct{ secretsManager }

func (d datedBack) DescribeSecret(ctx context.Context, in *sm.DescribeSecretInput, _ ...func(*sm.Options)) (*sm.DescribeSecretOutput, error) {
	out, err := d.secretsManager.DescribeSecret(ctx, in)
	if err == nil {
		out.LastChangedDate = aws.Time(out.LastChangedDate.Add(-10 * time.Minute))
	}
	return out, err
}

func (d datedBack) TagResource(ctx context.Context, in *sm.TagResourceInput, _ ...func(*sm.Options)) (*sm.TagResourceOutput, error) {
	record := secretstore.ParseRecord(*in.Tags[0].Value, "datadoghq.com", time.Now())
	record.At = record.At.Add(-10 * time.Minute)
	in.Tags[0].Value = aws.String(record.String())
	return d.secretsManager.TagResource(ctx, in)
}

// emptyList never shows what is there.
type emptyList struct{ nethttp.RoundTripper }

func (e emptyList) RoundTrip(r *nethttp.Request) (*nethttp.Response, error) {
	resp, err := e.RoundTripper.RoundTrip(r)
	if err == nil && r.URL.Path == datadogtest.ListPath && resp.StatusCode == 200 {
		resp.Body = io.NopCloser(strings.NewReader(`{"data":[],"included":[]}`))
	}
	return resp, err
}

// noVerdict turns every refusal of the token endpoint into nothing that can be relied on.
type noVerdict struct{ nethttp.RoundTripper }

func (n noVerdict) RoundTrip(r *nethttp.Request) (*nethttp.Response, error) {
	resp, err := n.RoundTripper.RoundTrip(r)
	if err == nil && resp.StatusCode == 401 {
		resp.StatusCode, resp.Body = 400, io.NopCloser(strings.NewReader(""))
	}
	return resp, err
}

// skipByRecord answers a label event whose version is recorded as pushed as if it had pushed it.
func skipByRecord(w *world, ctx context.Context, payload json.RawMessage, next handle) (any, error) {
	var event struct {
		ID     string `json:"id"`
		Detail struct {
			Name, VersionID string
		} `json:"detail"`
	}
	_ = json.Unmarshal(payload, &event)
	if name := event.Detail.Name; event.ID == "label" {
		tag := w.secrets.Tags(name)[secretstore.RecordTag]
		if record := secretstore.ParseRecord(tag, "datadoghq.com", time.Now()); record.VersionID == event.Detail.VersionID {
			res := authsync.Result{Outcome: authsync.Updated, RequestID: invocationOf(ctx).id, Secret: authsync.SecretRef{Name: name, VersionID: record.VersionID}}
			detail, _ := json.Marshal(res)
			_, err := w.bus.PutEvents(ctx, &eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{{
				Source: aws.String("simulation"), DetailType: aws.String("skipped"), Detail: aws.String(string(detail))}}})
			return res, err
		}
	}
	return next(ctx, payload)
}

// finalRejection makes a success of an event whose credential was rejected.
func finalRejection(_ *world, ctx context.Context, payload json.RawMessage, next handle) (any, error) {
	got, err := next(ctx, payload)
	if err != nil && fault.From(err).Code == fault.CredentialRejected {
		return authsync.Result{Outcome: authsync.Failed, Error: fault.From(err)}, nil
	}
	return got, err
}
