package simulation

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	nethttp "net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"datadog-webhook-auth-sync/handler"
	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/secretstore"
)

// The simulation must find each of these bugs, or it would not find others either.
func TestPlantedBugs(t *testing.T) {
	secrets := func(bugged func(secretsManager) secretstore.API) bug {
		return bug{outside: func(_ *world, o *handler.Outside) { o.Secrets = bugged(o.Secrets.(secretsManager)) }}
	}
	tokens := func(bugged func(*world, *nethttp.Request, nethttp.RoundTripper) (*nethttp.Response, error)) bug {
		return bug{outside: func(w *world, o *handler.Outside) { o.Tokens = transport{w, o.Tokens, bugged} }}
	}
	datadog := func(bugged func(*world, *nethttp.Request, nethttp.RoundTripper) (*nethttp.Response, error)) bug {
		return bug{outside: func(w *world, o *handler.Outside) { o.Datadog = transport{w, o.Datadog, bugged} }}
	}
	described := func(edit func(*world, *subject, *sm.DescribeSecretOutput)) bug {
		return secrets(func(s secretsManager) secretstore.API { return redescribed{s, edit} })
	}
	tagged := func(edit func(tag string) string) bug {
		return secrets(func(s secretsManager) secretstore.API { return retagged{s, edit} })
	}
	for _, c := range []struct {
		name   string
		bug    bug
		from   drawing
		within int // schedules
		finds  string
	}{
		{"no second look", secrets(func(s secretsManager) secretstore.API { return &firstLook{secretsManager: s} }), wide,
			2000, "was not AWSCURRENT any more"},
		{"no settling", tagged(func(tag string) string { return strings.Replace(tag, "state=pushed", "state=settled", 1) }), narrow,
			2000, "Datadog holds"},
		{"settles too early", secrets(func(s secretsManager) secretstore.API { return datedBack{s} }), narrow,
			2000, "came back"},
		{"blind POST", datadog(emptyList), wide, 2000, "Datadog holds|has no auth method"},
		{"skip by record", bug{handle: skipByRecord}, wide, 2000, "which it did not push"},
		{"a rejection is final", bug{handle: finalRejection}, wide, 2000, "is not tried again|published nothing"},
		{"rejections are ignored", tokens(noVerdict), wide, 2000, "which the token endpoint rejected"},
		{"silence is acceptance", tokens(silence), doubtful, 2000, "(creates|takes over) with .* did not accept"},
		{"a recorded version is not verified", tokens(recordedOnes), wide, 2000, "did not ask the token endpoint"},
		{"a failing record is not heeded", described(withoutFailing), doubtful, 2000, "which failed and was not accepted since"},
		{"a recovery is not told", described(withoutFailing), doubtful, 2000, "does not say that .* works again"},
		{"what is held is guessed", tokens(recordedOnes), doubtful, 2000, "did not learn that"},
		{"what is lost is not recorded so", tagged(func(tag string) string { return strings.Replace(tag, "lost=", "failing=", 1) }), doubtful,
			2000, "at risk, of"},
		{"an obeyed pin", described(ownPin), hostile, 2000, "which is not its own"},
		{"an edited auth method is trusted", described(currentDigest), hostile, 2000, "(sends|leaves) .* " + tokenURL(thiefHost)},
		{"a lost POST counts as refused", datadog(refusedPOST), sharing, 2000, "makes a second auth method"},
		{"NEXT stays behind", secrets(func(s secretsManager) secretstore.API { return keptLabels{s} }), rotating, 2000, "gets AWSCURRENT by rotation"},
		{"anybody's rotation", described(ownRotation), rotating, 2000, "in a rotation of another function's"},
		{"nobody is told", bug{outside: func(_ *world, o *handler.Outside) { o.Bus = mute{} }}, wide, 2000, "published nothing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			finds, schedules := regexp.MustCompile(c.finds), drawn(c.from)
			for seed := range c.within {
				wrong, _ := play(t, schedules.Example(seed), c.bug, false)
				if i := slices.IndexFunc(wrong, finds.MatchString); i >= 0 {
					t.Logf("schedule %d: %s", seed, wrong[i])
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

// retagged writes another tag than the function does.
type retagged struct {
	secretsManager
	edit func(tag string) string
}

func (r retagged) TagResource(ctx context.Context, in *sm.TagResourceInput, _ ...func(*sm.Options)) (*sm.TagResourceOutput, error) {
	in.Tags[0].Value = aws.String(r.edit(*in.Tags[0].Value))
	return r.secretsManager.TagResource(ctx, in)
}

// redescribed shows the function another description of a secret than there is.
type redescribed struct {
	secretsManager
	edit func(*world, *subject, *sm.DescribeSecretOutput)
}

func (r redescribed) DescribeSecret(ctx context.Context, in *sm.DescribeSecretInput, _ ...func(*sm.Options)) (*sm.DescribeSecretOutput, error) {
	out, err := r.secretsManager.DescribeSecret(ctx, in)
	if x := r.subject(in.SecretId); err == nil && x != nil {
		r.edit(r.w, x, out)
	}
	return out, err
}

func ownRotation(_ *world, x *subject, out *sm.DescribeSecretOutput) {
	out.RotationLambdaARN = &x.stack.function
}

// ownPin records what the secret pins.
func ownPin(_ *world, x *subject, out *sm.DescribeSecretOutput) {
	if pin := x.versions[len(x.versions)-1].pin; pin != "" {
		out.Tags = []smtypes.Tag{{Key: aws.String(recordTag), Value: aws.String("id=" + pin)}}
	}
}

func withoutFailing(_ *world, _ *subject, out *sm.DescribeSecretOutput) {
	editTag(out, func(field map[string]string) {
		if field["failing"]+field["lost"] != "" {
			delete(field, "failing")
			delete(field, "lost")
			delete(field, "since")
			field["state"] = "pushed"
		}
	})
}

// currentDigest is an id alone in place of a record.
func currentDigest(_ *world, _ *subject, out *sm.DescribeSecretOutput) {
	editTag(out, func(field map[string]string) {
		for key := range field {
			if key != "id" {
				delete(field, key)
			}
		}
	})
}

func editTag(out *sm.DescribeSecretOutput, edit func(field map[string]string)) {
	for i, t := range out.Tags {
		if *t.Key != recordTag {
			continue
		}
		field, text := fieldsOf(*t.Value), ""
		edit(field)
		for _, key := range slices.Sorted(maps.Keys(field)) {
			text += key + "=" + field[key] + " "
		}
		out.Tags[i].Value = aws.String(strings.TrimSpace(text))
	}
}

// keptLabels takes no label off.
type keptLabels struct{ secretsManager }

func (k keptLabels) UpdateSecretVersionStage(ctx context.Context, in *sm.UpdateSecretVersionStageInput, _ ...func(*sm.Options)) (*sm.UpdateSecretVersionStageOutput, error) {
	if in.MoveToVersionId == nil {
		return &sm.UpdateSecretVersionStageOutput{}, nil
	}
	return k.secretsManager.UpdateSecretVersionStage(ctx, in)
}

// mute takes events and forgets them.
type mute struct{}

func (mute) PutEvents(_ context.Context, in *eventbridge.PutEventsInput, _ ...func(*eventbridge.Options)) (*eventbridge.PutEventsOutput, error) {
	return &eventbridge.PutEventsOutput{Entries: make([]types.PutEventsResultEntry, len(in.Entries))}, nil
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
	field := fieldsOf(*in.Tags[0].Value)
	if at, err := time.Parse(time.RFC3339, field["at"]); err == nil {
		in.Tags[0].Value = aws.String(strings.Replace(*in.Tags[0].Value, field["at"], at.Add(-10*time.Minute).Format(time.RFC3339), 1))
	}
	return d.secretsManager.TagResource(ctx, in)
}

// transport carries requests to Datadog or to token endpoints, with a bug.
type transport struct {
	w      *world
	next   nethttp.RoundTripper
	bugged func(*world, *nethttp.Request, nethttp.RoundTripper) (*nethttp.Response, error)
}

func (t transport) RoundTrip(r *nethttp.Request) (*nethttp.Response, error) {
	return t.bugged(t.w, r, t.next)
}

// emptyList never shows what is there.
func emptyList(_ *world, r *nethttp.Request, next nethttp.RoundTripper) (*nethttp.Response, error) {
	resp, err := next.RoundTrip(r)
	if err == nil && r.URL.Path == datadogtest.ListPath && resp.StatusCode == 200 {
		resp.Body = io.NopCloser(strings.NewReader(`{"data":[],"included":[]}`))
	}
	return resp, err
}

// refusedPOST turns no answer to a POST into a refusal.
func refusedPOST(_ *world, r *nethttp.Request, next nethttp.RoundTripper) (*nethttp.Response, error) {
	resp, err := next.RoundTrip(r)
	if r.Method == "POST" && (err != nil || resp.StatusCode >= 500) {
		return answer{status: 400}.response(r, nil), nil
	}
	return resp, err
}

// noVerdict turns every refusal of the token endpoint into nothing that can be relied on.
func noVerdict(_ *world, r *nethttp.Request, next nethttp.RoundTripper) (*nethttp.Response, error) {
	resp, err := next.RoundTrip(r)
	if err == nil && resp.StatusCode >= 400 {
		resp.StatusCode, resp.Body = 503, io.NopCloser(strings.NewReader(""))
	}
	return resp, err
}

// silence turns what cannot be relied on into a token.
func silence(_ *world, r *nethttp.Request, next nethttp.RoundTripper) (*nethttp.Response, error) {
	resp, err := next.RoundTrip(r)
	if r.Context().Err() == nil && (err != nil || resp.StatusCode >= 500) {
		return aToken(r), nil
	}
	return resp, err
}

// recordedOnes are not asked about.
func recordedOnes(w *world, r *nethttp.Request, next nethttp.RoundTripper) (*nethttp.Response, error) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	if v := w.version(secretInToken(r, body)); v != nil && slices.Contains(v.ids, w.record(v.subject)["version"]) {
		return aToken(r), nil
	}
	return next.RoundTrip(r)
}

func aToken(r *nethttp.Request) *nethttp.Response {
	return &nethttp.Response{StatusCode: 200, Header: nethttp.Header{"Content-Type": {"application/json"}}, Request: r,
		Body: io.NopCloser(strings.NewReader(`{"access_token":"forged","token_type":"Bearer"}`))}
}

// skipByRecord answers a label event whose version is recorded as pushed as if it had pushed it.
func skipByRecord(w *world, ctx context.Context, payload json.RawMessage, next handle) (any, error) {
	var event struct {
		ID        string
		Resources []string
		Detail    struct{ Name, VersionID string }
	}
	_ = json.Unmarshal(payload, &event)
	if name := event.Detail.Name; event.ID == "label" {
		inv := invocationOf(ctx)
		if fieldsOf(w.secrets.Tags(name)[recordTag])["version"] == event.Detail.VersionID {
			res := map[string]any{"outcome": "updated", "requestId": inv.id, "secret": map[string]string{"arn": event.Resources[0], "name": name, "versionId": event.Detail.VersionID}}
			detail, _ := json.Marshal(res)
			w.published(string(detail), time.Now())
			return res, nil
		}
	}
	return next(ctx, payload)
}

// finalRejection makes a success of an event whose credential was rejected.
func finalRejection(_ *world, ctx context.Context, payload json.RawMessage, next handle) (any, error) {
	got, err := next(ctx, payload)
	if err != nil && strings.HasPrefix(err.Error(), "credential_rejected") {
		return map[string]any{"outcome": "failed", "error": map[string]any{"code": "credential_rejected", "retryable": true}}, nil
	}
	return got, err
}
