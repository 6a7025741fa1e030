package simulation

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
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
	records, reads editRecord                                         // what is recorded, and what is read of it
	describes      func(*invocation, *team, *sm.DescribeSecretOutput) // changes what DescribeSecret shows besides
	datadog        func(*world, *http.Request, exchange) (*http.Response, error)
	tokens         func(*world, *http.Request, exchange) (*http.Response, error)
	handle         func(*world, context.Context, json.RawMessage, handle) (any, error)
	keepsLabels    bool // where one is to be taken off
	publishesNone  bool
}

type editRecord func(*world, *invocation, *team, record)

type exchange func() (*http.Response, error)

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
		{"no settling", bug{records: settledAtOnce}, narrow, ": Datadog holds"},
		{"settles too early", bug{records: tenMinutesOld, describes: longUnchanged}, narrow, "came back|: Datadog holds"},
		{"settles though AWSCURRENT moved", bug{records: settledThoughMoved}, narrow, "settles (too early|though)"},
		{"blind POST", bug{datadog: emptyList}, wide, ": Datadog holds|has no auth method"},
		{"creates again after a deletion", bug{reads: noneDeleted}, wide, "creates though .* records"},
		{"a foreign 404 is a deletion", bug{reads: none404, datadog: hide404}, wide, "creates though .* records"},
		{"a lost POST counts as refused", bug{datadog: refusedPOST}, losing, "makes a second auth method"},
		{"an older listing counts", bug{datadog: firstList}, losing, "makes a second auth method"},
		{"skips what is recorded", bug{handle: skipByRecord}, wide, "which it did not push"},
		{"a rejection is final", bug{handle: finalRejection}, wide, "is not tried again"},
		{"rejections are ignored", bug{tokens: noVerdicts}, wide, "which the token endpoint refused"},
		{"silence is acceptance", bug{tokens: silence}, doubtful, "(creates|takes over) with .* did not accept"},
		{"a recorded version is not verified", bug{tokens: recordedOnes}, wide, "did not ask the token endpoint"},
		{"forgets what was refused", bug{records: noRefused}, doubtful, "forgets what was refused"},
		{"writes what was refused", bug{reads: noRefused}, doubtful, "was refused and not accepted since"},
		{"publishes at every trigger", bug{reads: noFailure}, doubtful, "publishes what is no news"},
		{"a recovery is not published", bug{reads: noFailure}, doubtful, "does not say that .* works again"},
		{"what is held is guessed", bug{tokens: recordedOnes}, doubtful, "did not learn that"},
		{"what is held is not asked anew", bug{tokens: refusedOnes}, doubtful, "did not learn that"},
		{"what is lost is not recorded so", bug{records: neverLost}, doubtful, "at risk, .* of"},
		{"obeys a pin", bug{reads: ownPin}, hostile, "which is not its own"},
		{"trusts an edited auth method", bug{reads: idAlone}, hostile, "(sends|leaves) .*" + attackerHost},
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

// described is an answer of DescribeSecret.
func (b bug) described(w *world, inv *invocation, x *team, out *sm.DescribeSecretOutput) {
	if b.describes != nil {
		b.describes(inv, x, out)
	}
	if b.reads != nil {
		r := recordIn(out.Tags)
		b.reads(w, inv, x, r)
		out.Tags = []smtypes.Tag{{Key: aws.String(recordTag), Value: aws.String(r.String())}}
	}
}

// String is the tag.
func (r record) String() string {
	var fields []string
	for key := range strings.FieldsSeq("id version at digest site via state waiting failing lost since refused") {
		if r[key] != "" {
			fields = append(fields, key+"="+r[key])
		}
	}
	return strings.Join(fields, " ")
}

// asFirst shows an invocation the labels that it saw first, for ever.
func asFirst(inv *invocation, _ *team, out *sm.DescribeSecretOutput) {
	if inv.firstLook = cmp.Or(inv.firstLook, out); inv.kind != "reconcile" && *inv.firstLook.ARN == *out.ARN {
		*out = *inv.firstLook
	}
}

func longUnchanged(_ *invocation, _ *team, out *sm.DescribeSecretOutput) {
	out.LastChangedDate = aws.Time(out.LastChangedDate.Add(-10 * time.Minute))
}

func ownRotation(_ *invocation, _ *team, out *sm.DescribeSecretOutput) {
	out.RotationLambdaARN = aws.String(functionARN)
}

func settledAtOnce(_ *world, _ *invocation, _ *team, r record) {
	if r["state"] == "pushed" {
		r["state"] = "settled"
	}
}

func settledThoughMoved(w *world, inv *invocation, x *team, r record) {
	if all := inv.described[x]; inv.kind == "reconcile" && all[0].current != all[len(all)-1].current {
		settledAtOnce(w, inv, x, r)
	}
}

func tenMinutesOld(_ *world, _ *invocation, _ *team, r record) {
	if at := r.time("at"); !at.IsZero() {
		r["at"] = at.Add(-10 * time.Minute).Format(time.RFC3339)
	}
}

func neverLost(_ *world, _ *invocation, _ *team, r record) {
	if code := r["lost"]; code != "" {
		r["failing"] = code
		delete(r, "lost")
	}
}

func noRefused(_ *world, _ *invocation, _ *team, r record) { delete(r, "refused") }

func noFailure(_ *world, _ *invocation, _ *team, r record) {
	if r.code() != "" {
		r["state"] = "pushed"
		maps.DeleteFunc(r, func(key, _ string) bool {
			return slices.Contains([]string{"waiting", "failing", "lost", "since"}, key)
		})
	}
}

// ownPin records what the secret pins.
func ownPin(_ *world, _ *invocation, x *team, r record) {
	if pin := x.versions[len(x.versions)-1].pin; pin != "" {
		clear(r)
		r["id"] = pin
	}
}

func idAlone(_ *world, _ *invocation, _ *team, r record) {
	maps.DeleteFunc(r, func(key, _ string) bool { return key != "id" })
}

func noneDeleted(w *world, _ *invocation, _ *team, r record) {
	if _, exists := w.datadog.Get(r["id"]); !exists {
		clear(r)
	}
}

// none404 and hide404 hide an auth method of which an answer was 404.
func none404(w *world, _ *invocation, _ *team, r record) {
	if w.hidden404[r["id"]] {
		clear(r)
	}
}

func hide404(w *world, r *http.Request, next exchange) (*http.Response, error) {
	resp, err := next()
	if err == nil && resp.StatusCode == 404 {
		w.hidden404[path.Base(r.URL.Path)] = true
	}
	return edited(resp, err, func(body []byte) []byte {
		for id := range w.hidden404 {
			body = clientAndName.ReplaceAll(body, []byte(`"client_id":"hidden","name":"hidden"`))
			body = bytes.ReplaceAll(body, []byte(id), []byte("00000000-0000-4000-8000-000000000000"))
		}
		return body
	})
}

var clientAndName = regexp.MustCompile(`"client_id":"[^"]*","name":"[^"]*"`)

func edited(resp *http.Response, err error, edit func(body []byte) []byte) (*http.Response, error) {
	if err != nil {
		return nil, err
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(edit(body)))
	return resp, nil
}

// editedList is edited of a list of auth methods alone.
func editedList(r *http.Request, next exchange, edit func(body []byte) []byte) (*http.Response, error) {
	resp, err := next()
	if err != nil || r.URL.Path != datadogtest.ListPath || resp.StatusCode != 200 {
		return resp, err
	}
	return edited(resp, nil, edit)
}

// emptyList never shows what is there.
func emptyList(_ *world, r *http.Request, next exchange) (*http.Response, error) {
	return editedList(r, next, func([]byte) []byte { return []byte(`{"data":[],"included":[]}`) })
}

// firstList shows an invocation what it was listed first, for ever.
func firstList(_ *world, r *http.Request, next exchange) (*http.Response, error) {
	return editedList(r, next, func(body []byte) []byte {
		inv := invocationOf(r.Context())
		if inv.firstList == nil {
			inv.firstList = body
		}
		return inv.firstList
	})
}

// refusedPOST turns no answer to a POST into a refusal.
func refusedPOST(_ *world, r *http.Request, next exchange) (*http.Response, error) {
	resp, err := next()
	if r.Method == "POST" && (err != nil || resp.StatusCode >= 500) {
		return answer{status: 400}.response(r, nil), nil
	}
	return resp, err
}

// noVerdicts turns every refusal of the token endpoint into no verdict.
func noVerdicts(_ *world, r *http.Request, next exchange) (*http.Response, error) {
	resp, err := next()
	if err == nil && resp.StatusCode >= 400 {
		return answer{status: 503}.response(r, nil), nil
	}
	return resp, err
}

// silence turns no verdict into a token.
func silence(_ *world, r *http.Request, next exchange) (*http.Response, error) {
	resp, err := next()
	if r.Context().Err() == nil && (err != nil || resp.StatusCode >= 500) {
		return forgedToken.response(r, nil), nil
	}
	return resp, err
}

var forgedToken = answer{status: 200, body: `{"access_token":"forged","token_type":"Bearer"}`}

// recordedOnes are not asked about.
func recordedOnes(w *world, r *http.Request, next exchange) (*http.Response, error) {
	if v := w.versionIn(r); v != nil && w.record(v.team)["version"] == v.id() {
		return forgedToken.response(r, nil), nil
	}
	return next()
}

// refusedOnes are refused again without asking, as they were to another invocation.
func refusedOnes(w *world, r *http.Request, next exchange) (*http.Response, error) {
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
func notInFinishSecret(_ *world, r *http.Request, next exchange) (*http.Response, error) {
	if strings.Contains(invocationOf(r.Context()).payload, "finishSecret") {
		return forgedToken.response(r, nil), nil
	}
	return next()
}

// versionIn is that whose client secret a token request holds.
func (w *world) versionIn(r *http.Request) *credential {
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
		if v := x.now(); w.record(x)["version"] == v.id() {
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
