package simulation

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"maps"
	nethttp "net/http"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"pgregory.net/rapid"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
)

// bug is planted in what the function reaches, or around it.
type bug struct {
	describes     func(*world, *invocation, *team, *sm.DescribeSecretOutput) // changes what DescribeSecret shows
	tags          func(*invocation, *team, record)                           // changes what is recorded
	datadog       func(*world, *nethttp.Request, exchange) (*nethttp.Response, error)
	tokens        func(*world, *nethttp.Request, exchange) (*nethttp.Response, error)
	handle        func(*world, context.Context, json.RawMessage, handle) (any, error)
	keepsLabels   bool // where one is to be taken off
	publishesNone bool
}

type exchange func() (*nethttp.Response, error)

type handle func(ctx context.Context, payload json.RawMessage) (any, error)

// The simulation must find each of these bugs within 2,000 schedules, or it would not find others either.
func TestPlantedBugs(t *testing.T) {
	losing := sharing
	losing.crowd, losing.marks, losing.kinds = 0, 60, []kind{full}
	losing.actions = rapid.SampledFrom([]action{loseAnswers, loseAnswers, reconcile})
	for _, c := range []struct {
		name  string
		bug   bug
		from  drawing
		finds string
	}{
		{"no second look", bug{describes: asFirst}, wide, "was not AWSCURRENT any more"},
		{"no settling", bug{tags: settledAtOnce}, narrow, ": Datadog holds"},
		{"settles too early", bug{tags: tenMinutesOld, describes: longUnchanged}, narrow, "came back|: Datadog holds"},
		{"settles though AWSCURRENT moved", bug{tags: settledThoughMoved}, narrow, "settles (too early|though)"},
		{"blind POST", bug{datadog: emptyList}, wide, ": Datadog holds|has no auth method"},
		{"creates again after a deletion", bug{describes: withoutDeleted}, wide, "creates though .* records"},
		{"a foreign 404 is a deletion", bug{describes: without404, datadog: hide404}, wide, "creates though .* records"},
		{"a lost POST counts as refused", bug{datadog: refusedPOST}, losing, "makes a second auth method"},
		{"an older listing counts", bug{datadog: firstList}, losing, "makes a second auth method"},
		{"skips what is recorded", bug{handle: skipByRecord}, wide, "which it did not push"},
		{"a rejection is final", bug{handle: finalRejection}, wide, "is not tried again"},
		{"rejections are ignored", bug{tokens: noVerdicts}, wide, "which the token endpoint refused"},
		{"silence is acceptance", bug{tokens: silence}, doubtful, "(creates|takes over) with .* did not accept"},
		{"a recorded version is not verified", bug{tokens: recordedOnes}, wide, "did not ask the token endpoint"},
		{"forgets what was refused", bug{tags: withoutRefused}, doubtful, "forgets what was refused"},
		{"writes what was refused", bug{describes: edited(notRefused)}, doubtful, "was refused and not accepted since"},
		{"publishes at every trigger", bug{describes: edited(withoutFailure)}, doubtful, "publishes what is no news"},
		{"a recovery is not published", bug{describes: edited(withoutFailure)}, doubtful, "does not say that .* works again"},
		{"what is held is guessed", bug{tokens: recordedOnes}, doubtful, "did not learn that"},
		{"what is held is not asked anew", bug{tokens: refusedOnes}, doubtful, "did not learn that"},
		{"what is lost is not recorded so", bug{tags: neverLost}, doubtful, "at risk, .* of"},
		{"obeys a pin", bug{describes: ownPin}, hostile, "which is not its own"},
		{"trusts an edited auth method", bug{describes: edited(idAlone)}, hostile, "(sends|leaves) .*" + attackerHost},
		{"NEXT stays behind", bug{keepsLabels: true}, rotating, "gets AWSCURRENT by rotation"},
		{"anybody's rotation", bug{describes: ownRotation}, rotating, "in a rotation of another function's"},
		{"promotes without asking", bug{tokens: notInFinishSecret}, rotating, "promotes .* did not accept"},
		{"publishes nothing", bug{publishesNone: true}, wide, "published nothing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			finds, schedules := regexp.MustCompile(c.finds), drawn(c.from)
			for seed := range 2000 {
				wrong, _ := play(t, schedules.Example(seed), c.bug, false)
				if i := slices.IndexFunc(wrong, finds.MatchString); i >= 0 {
					t.Logf("schedule %d: %s", seed, wrong[i])
					return
				}
			}
			t.Error("not found")
		})
	}
}

// asFirst shows an invocation the labels that it saw first, for ever.
func asFirst(_ *world, inv *invocation, x *team, out *sm.DescribeSecretOutput) {
	if inv.firstLook = cmp.Or(inv.firstLook, out); inv.kind != "reconcile" && *inv.firstLook.ARN == *out.ARN {
		*out = *inv.firstLook
	}
}

func settledAtOnce(_ *invocation, _ *team, r record) {
	if r["state"] == "pushed" {
		r["state"] = "settled"
	}
}

func settledThoughMoved(inv *invocation, x *team, r record) {
	if all := inv.described[x]; inv.kind == "reconcile" && all[0].current != all[len(all)-1].current {
		settledAtOnce(inv, x, r)
	}
}

func tenMinutesOld(_ *invocation, _ *team, r record) {
	if at := r.time("at"); !at.IsZero() {
		r["at"] = at.Add(-10 * time.Minute).Format(time.RFC3339)
	}
}

func longUnchanged(_ *world, _ *invocation, _ *team, out *sm.DescribeSecretOutput) {
	out.LastChangedDate = aws.Time(out.LastChangedDate.Add(-10 * time.Minute))
}

func neverLost(_ *invocation, _ *team, r record) {
	if code := r["lost"]; code != "" {
		r["failing"] = code
		delete(r, "lost")
	}
}

func withoutRefused(_ *invocation, _ *team, r record) { delete(r, "refused") }

func ownRotation(_ *world, _ *invocation, x *team, out *sm.DescribeSecretOutput) {
	out.RotationLambdaARN = &x.stack.function
}

// ownPin records what the secret pins.
func ownPin(_ *world, _ *invocation, x *team, out *sm.DescribeSecretOutput) {
	if pin := x.versions[len(x.versions)-1].pin; pin != "" {
		out.Tags = []smtypes.Tag{{Key: aws.String(recordTag), Value: aws.String("id=" + pin)}}
	}
}

// edited shows another record than there is.
func edited(edit func(*world, record)) func(*world, *invocation, *team, *sm.DescribeSecretOutput) {
	return func(w *world, _ *invocation, _ *team, out *sm.DescribeSecretOutput) {
		if r := recordIn(out.Tags); len(r) > 0 {
			edit(w, r)
			out.Tags = []smtypes.Tag{{Key: aws.String(recordTag), Value: aws.String(r.String())}}
		}
	}
}

// String is the tag.
func (r record) String() string {
	text := ""
	for key := range strings.FieldsSeq("id version at digest site via state waiting failing lost since refused") {
		if r[key] != "" {
			text += key + "=" + r[key] + " "
		}
	}
	return strings.TrimSpace(text)
}

func notRefused(_ *world, r record) { delete(r, "refused") }

func withoutFailure(_ *world, r record) {
	if r.code() != "" {
		r["state"] = "pushed"
		for _, key := range []string{"waiting", "failing", "lost", "since"} {
			delete(r, key)
		}
	}
}

func idAlone(_ *world, r record) { maps.DeleteFunc(r, func(key, _ string) bool { return key != "id" }) }

var withoutDeleted = edited(func(w *world, r record) {
	if _, exists := w.datadog.Get(r["id"]); !exists {
		clear(r)
	}
})

// without404 and hide404 hide an auth method of which an answer was 404.
var without404 = edited(func(w *world, r record) {
	if w.hidden404[r["id"]] {
		clear(r)
	}
})

func hide404(w *world, r *nethttp.Request, next exchange) (*nethttp.Response, error) {
	resp, err := next()
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == 404 {
		w.hidden404[path.Base(r.URL.Path)] = true
	}
	body, _ := io.ReadAll(resp.Body)
	for id := range w.hidden404 {
		body = clientAndName.ReplaceAll(body, []byte(`"client_id":"hidden","name":"hidden"`))
		body = bytes.ReplaceAll(body, []byte(id), []byte("00000000-0000-4000-8000-000000000000"))
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

var clientAndName = regexp.MustCompile(`"client_id":"[^"]*","name":"[^"]*"`)

// emptyList never shows what is there.
func emptyList(_ *world, r *nethttp.Request, next exchange) (*nethttp.Response, error) {
	resp, err := next()
	if err == nil && r.URL.Path == datadogtest.ListPath && resp.StatusCode == 200 {
		resp.Body = io.NopCloser(strings.NewReader(`{"data":[],"included":[]}`))
	}
	return resp, err
}

// refusedPOST turns no answer to a POST into a refusal.
func refusedPOST(_ *world, r *nethttp.Request, next exchange) (*nethttp.Response, error) {
	resp, err := next()
	if r.Method == "POST" && (err != nil || resp.StatusCode >= 500) {
		return answer{status: 400}.response(r, nil), nil
	}
	return resp, err
}

// firstList shows an invocation what it was listed first, for ever.
func firstList(_ *world, r *nethttp.Request, next exchange) (*nethttp.Response, error) {
	resp, err := next()
	if err == nil && r.URL.Path == datadogtest.ListPath && resp.StatusCode == 200 {
		inv := invocationOf(r.Context())
		if inv.firstList == nil {
			inv.firstList, _ = io.ReadAll(resp.Body)
		}
		resp.Body = io.NopCloser(bytes.NewReader(inv.firstList))
	}
	return resp, err
}

// noVerdicts turns every refusal of the token endpoint into no verdict.
func noVerdicts(_ *world, r *nethttp.Request, next exchange) (*nethttp.Response, error) {
	resp, err := next()
	if err == nil && resp.StatusCode >= 400 {
		return answer{status: 503}.response(r, nil), nil
	}
	return resp, err
}

// silence turns no verdict into a token.
func silence(_ *world, r *nethttp.Request, next exchange) (*nethttp.Response, error) {
	resp, err := next()
	if r.Context().Err() == nil && (err != nil || resp.StatusCode >= 500) {
		return forgedToken.response(r, nil), nil
	}
	return resp, err
}

var forgedToken = answer{status: 200, body: `{"access_token":"forged","token_type":"Bearer"}`}

// recordedOnes are not asked about.
func recordedOnes(w *world, r *nethttp.Request, next exchange) (*nethttp.Response, error) {
	if v := w.versionIn(r); v != nil && w.record(v.team)["version"] == versionKey(v.id()) {
		return forgedToken.response(r, nil), nil
	}
	return next()
}

// refusedOnes are refused again without asking, as they were to another invocation.
func refusedOnes(w *world, r *nethttp.Request, next exchange) (*nethttp.Response, error) {
	v, inv := w.versionIn(r), invocationOf(r.Context())
	if v == nil || inv.team == nil {
		return next()
	}
	if v.refusedBefore {
		return answer{status: 401, body: invalidClient}.response(r, nil), nil
	}
	resp, err := next()
	v.refusedBefore = inv.refused(v.secret)
	return resp, err
}

// notInFinishSecret is the token endpoint asked.
func notInFinishSecret(_ *world, r *nethttp.Request, next exchange) (*nethttp.Response, error) {
	if strings.Contains(invocationOf(r.Context()).payload, "finishSecret") {
		return forgedToken.response(r, nil), nil
	}
	return next()
}

// versionIn is that whose client secret a token request holds.
func (w *world) versionIn(r *nethttp.Request) *credential {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	_, secret, _ := w.clientOf(r, body)
	return w.versions[secret]
}

// skipByRecord answers a label event whose version is recorded as if it had pushed it.
func skipByRecord(w *world, ctx context.Context, payload json.RawMessage, next handle) (any, error) {
	inv := invocationOf(ctx)
	if x := inv.team; x != nil && inv.kind == "event" {
		w.mu.Lock()
		defer w.mu.Unlock()
		if v := x.now(); w.record(x)["version"] == versionKey(v.id()) {
			res := map[string]any{"outcome": "updated", "requestId": inv.id,
				"secret": map[string]string{"arn": x.arn, "name": x.secretName(), "versionId": v.id()}}
			detail, _ := json.Marshal(res)
			w.publishing(inv, string(detail), time.Now())
			return res, nil
		}
		w.mu.Unlock()
		defer w.mu.Lock()
	}
	return next(ctx, payload)
}

// finalRejection makes a success of an event whose credential was rejected.
func finalRejection(_ *world, ctx context.Context, payload json.RawMessage, next handle) (any, error) {
	got, err := next(ctx, payload)
	if err != nil && strings.HasPrefix(err.Error(), "credential_rejected") {
		return map[string]any{"error": map[string]any{"code": "credential_rejected", "retryable": true}}, nil
	}
	return got, err
}
