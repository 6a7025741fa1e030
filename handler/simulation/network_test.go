package simulation

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/secretstore/secretstoretest"
)

// overNetwork plays one call of the function: it is delayed, hit by faults, or the last that its invocation makes.
// What was sent takes effect even when the caller is gone.
func (w *world) overNetwork(ctx context.Context, op, target string, effect func() error) error {
	inv := invocationOf(ctx)
	if !w.sleep(ctx, time.Until(inv.resume)) || // and calls made at once are kept apart
		!w.sleep(ctx, time.Duration(w.hash("apart"+inv.id, op, target)%1e6)) {
		return context.Cause(ctx)
	}
	sent, latency, hit, k := time.Now(), w.latency(op, target), w.injected(op, target), inv.kill
	late := func(d time.Duration) {
		w.after(d, func() { w.tracef("%s takes effect late: %v", op, effect()) })
	}
	inv.calls[op]++
	switch {
	case k != nil && k.Op == op && k.Nth == inv.calls[op]-1:
		w.tracef("%s vanishes at %s (unsent %v, late by %v)", inv.id, op, k.Unsent, k.Late)
		if !k.Unsent {
			late(latency/2 + k.Late)
		}
		inv.vanish()
		return context.Canceled
	case hit.late > 0:
		w.tracef("%s: %s %s is given up, and takes effect in %v", inv.id, op, target, hit.late)
		late(hit.late)
		return errGivenUp
	}
	if !w.sleep(ctx, latency/2) {
		late(latency/2 - time.Since(sent))
		return context.Cause(ctx)
	}
	err := hit.err
	if err == nil || hit.lost {
		err = cmp.Or(err, effect())
	}
	if !w.sleep(ctx, latency/2) {
		return context.Cause(ctx)
	}
	w.tracef("%s: %s %s: %v", inv.id, op, target, err)
	return err
}

func (w *world) latency(op, target string) time.Duration {
	h := w.hash("latency", op, target)
	base, most := 10*time.Millisecond, 100*time.Millisecond
	switch {
	case ofDatadog(op):
		base, most = 100*time.Millisecond, 2*time.Second
	case op == "token":
		base, most = 50*time.Millisecond, 3*time.Second
	}
	if h%20 > 0 {
		most = 4 * base
	}
	return base + time.Duration(h>>8%uint64(most))
}

func ofDatadog(op string) bool { return slices.Contains([]string{"list", "GET", "POST", "PATCH"}, op) }

// errGivenUp stands for no answer in the time of a caller's patience, which is the first time somewhat less than the
// function's own, and then none.
var errGivenUp = errors.New("no answer")

const patience = 4 * time.Second

// activeFault is one in force.
type activeFault struct {
	step
	until time.Time
}

// injected is what a fault does to a call: an error, with the effect or without it, or an effect long after the caller
// gave up.
type injected struct {
	err  error
	lost bool
	late time.Duration
}

// hits calls each with every fault in force that hits this call, until it returns true.
func (w *world) hits(what, op, target string, each func(f activeFault, random uint64) bool) {
	for _, f := range w.faults {
		h := w.hash(what+string(f.Do), op, target)
		if time.Now().Before(f.until) && int(h%100) < f.Rate && each(f, h>>8) {
			return
		}
	}
}

func (w *world) injected(op, target string) (hit injected) {
	writes := op == "PATCH" || op == "POST"
	w.hits("", op, target, func(f activeFault, h uint64) bool {
		switch {
		case f.Do == throttle429 && ofDatadog(op):
			hit.err = answer{status: 429, reset: fmt.Sprint(1 + h%40)}
		case f.Do == fail500 && ofDatadog(op):
			hit.err = answer{status: 500, echo: h%2 == 0}
		case f.Do == proxy404 && ofDatadog(op):
			hit.err = answer{status: 404}
		case f.Do == forbidWrites && writes:
			hit.err = answer{status: 403}
		case f.Do == loseAnswers && writes:
			hit.lost = true
			hit.err = []error{io.ErrUnexpectedEOF, answer{status: 500}, answer{status: 200}, answer{status: 201}}[h%4]
		case f.Do == landLate && writes:
			hit.late = f.Late + patience
		case f.Do == failTags && op == "TagResource":
			hit = injected{err: secretstoretest.AccessDenied, lost: h%2 == 0}
		case f.Do == throttleSM && !ofDatadog(op) && op != "token" && op != "PutEvents":
			hit.err = secretstoretest.Throttled
		case f.Do == refuseTokens && op == "token":
			hit.err = answer{status: 401, body: invalidClient}
		case f.Do == failTokens && op == "token":
			hit.err = []error{io.ErrUnexpectedEOF, answer{status: 503}, answer{status: 429}, answer{status: 403},
				answer{status: 200, body: "<html>"}, answer{status: 400, body: `{"error":"too many requests"}`}}[h%6]
		case f.Do == failBus && op == "PutEvents":
			hit = []injected{{err: errEntryThrottled}, {err: errBus, lost: true}, {err: errBus}}[h%3]
		}
		return hit != injected{}
	})
	return hit
}

// stale is how old the state is that a read sees.
func (w *world) stale(op, name string) (age time.Duration) {
	w.hits("stale", op, name, func(f activeFault, h uint64) bool {
		switch {
		case f.Do == staleValues && op == "GetSecretValue", f.Do == staleLabels && op == "DescribeSecret":
			age = time.Duration(h % uint64(maxStale))
		case f.Do == staleLists && op == "ListSecrets":
			age = time.Duration(h % uint64(maxStaleLists))
		}
		return age > 0
	})
	return age
}

// answer is one of HTTP that is not the stand-in's.
type answer struct {
	status      int
	body, reset string
	echo        bool // of what was sent
}

func (a answer) Error() string { return fmt.Sprint("answered ", a.status) }

func (a answer) response(r *http.Request, sent []byte) *http.Response {
	body := []byte(cmp.Or(a.body, `{"errors":["no"]}`))
	if a.echo {
		body, _ = json.Marshal(map[string][]string{"errors": {string(sent)}})
	}
	return &http.Response{StatusCode: a.status, Header: http.Header{"X-Ratelimit-Reset": {a.reset}},
		Body: io.NopCloser(bytes.NewReader(body)), Request: r}
}

// network reaches Datadog and the token endpoints.
type network struct{ w *world }

func (n network) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		r.Body.Close()
	}
	w, inv := n.w, invocationOf(r.Context())
	w.mu.Lock()
	defer w.mu.Unlock()
	do, bugged := w.tokenRequest, w.bug.tokens
	if r.URL.Host == apiHost {
		do, bugged = w.datadogRequest, w.bug.datadog
	}
	if bugged == nil {
		return do(inv, r, body)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return bugged(w, r, func() (*http.Response, error) { return do(inv, r, body) })
}

func (w *world) datadogRequest(inv *invocation, r *http.Request, body []byte) (*http.Response, error) {
	op, target, id := r.Method, "", path.Base(r.URL.Path)
	switch {
	case r.URL.Path == datadogtest.ListPath:
		op, id = "list", ""
	case op == "POST":
		id = ""
	default:
		m, _ := w.datadog.Get(id)
		target = m.Name // ids differ from run to run
	}
	var sent *write
	if len(body) > 0 {
		sent = w.writing(inv, op, id, body)
	}
	rec, at := httptest.NewRecorder(), time.Time{}
	err := w.overNetwork(r.Context(), op, target, func() error {
		again := r.Clone(context.Background())
		again.Body = io.NopCloser(bytes.NewReader(body))
		w.datadog.ServeHTTP(rec, again)
		if at = time.Now(); sent != nil && rec.Code < 300 {
			w.committed(sent, rec.Body.Bytes())
		}
		return nil
	})
	if err == errGivenUp && inv.failures == 0 {
		w.sleep(r.Context(), patience)
	}
	inv.answered(err != nil || rec.Code >= 300)
	a, ok := errors.AsType[answer](err)
	if err == nil {
		a.status = rec.Code
	}
	lost := op == "POST" && (err != nil && a.status < 400 || a.status >= 500)
	if sent != nil && (lost || op == "PATCH" && a.status == 404 || a.status == 409) {
		inv.surprised[sent.team] = time.Now()
	}
	if op == "POST" {
		inv.posting--
	}
	if ok {
		return a.response(r, body), nil
	}
	if err != nil {
		return nil, err
	}
	if rec.Code < 300 {
		if sent != nil {
			inv.wrote[sent.secret], id = time.Now(), sent.method
		}
		inv.shown = append(inv.shown, shown{id, at})
	}
	resp := rec.Result()
	resp.Request = r
	return resp, nil
}

// tokenRequest asks the provider of the request's host. The attacker's accepts anything.
func (w *world) tokenRequest(inv *invocation, r *http.Request, body []byte) (*http.Response, error) {
	clientID, secret, style := w.clientOf(r, body)
	w.checkURL(inv, secret, r.URL.String())
	err := w.overNetwork(r.Context(), "token", style, func() error {
		if p := w.providers[r.URL.Host]; p != nil {
			return p.answer(clientID, secret, style)
		}
		return answer{status: 200, body: issued}
	})
	got, answered := errors.AsType[answer](err)
	says := cmp.Or(map[string]string{issued: aToken, invalidClient: refusal}[got.body], noVerdict)
	inv.attempts[secret] = append(inv.attempts[secret], attempt{style, says})
	if !answered {
		return nil, err
	}
	return got.response(r, body), nil
}

// clientOf is how a token request authenticates: in the header with or without the encoding of RFC 6749, or in the
// body.
func (w *world) clientOf(r *http.Request, body []byte) (id, secret, style string) {
	id, secret, basic := r.BasicAuth()
	switch form, _ := url.ParseQuery(string(body)); {
	case !basic:
		return form.Get("client_id"), form.Get("client_secret"), "body"
	case w.versions[secret] != nil:
		return id, secret, "plain"
	}
	id, _ = url.QueryUnescape(id)
	secret, _ = url.QueryUnescape(secret)
	return id, secret, "header"
}

// provider is an honest identity provider.
type provider struct {
	style
	honoured map[[2]string]time.Time // by client id and secret: since when
}

const (
	issued        = `{"access_token":"` + canary + `token","token_type":"Bearer"}`
	invalidClient = `{"error":"invalid_client"}`
)

func (p *provider) answer(clientID, secret, style string) answer {
	from, known := p.honoured[[2]string{clientID, secret}]
	switch {
	case p.Only != style && (p.Only != "" || style == "plain"):
		if p.Otherwise == 500 {
			return answer{status: 500}
		}
		return answer{status: cmp.Or(p.Otherwise, 401), body: invalidClient}
	case known && !time.Now().Before(from):
		return answer{status: 200, body: issued}
	}
	return answer{status: 401, body: invalidClient}
}

// secretsManager is the stand-in behind the network.
type secretsManager struct {
	*secretstoretest.Server
	w *world
}

type option = func(*sm.Options)

// request makes a call about the secret id. What it shows, and when it was read, is for seen.
func request[In, Out any](ctx context.Context, w *world, op string, id *string, in *In,
	do func(context.Context, *In, ...option) (*Out, error), seen func(*invocation, *team, *Out, time.Time)) (*Out, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out *Out
	var at time.Time
	inv := invocationOf(ctx)
	err := w.overNetwork(ctx, op, aws.ToString(id), func() (err error) {
		at = time.Now()
		out, err = do(context.Background(), in)
		return err
	})
	x := w.teamOf(aws.ToString(id))
	if err != nil {
		inv.blind = true
		return nil, err
	}
	if seen != nil && x != nil {
		seen(inv, x, out, at)
	}
	return out, nil
}

func (s secretsManager) GetSecretValue(ctx context.Context, in *sm.GetSecretValueInput, _ ...option) (
	*sm.GetSecretValueOutput, error) {
	return request(ctx, s.w, "GetSecretValue", in.SecretId, in, s.Server.GetSecretValue, nil)
}

func (s secretsManager) DescribeSecret(ctx context.Context, in *sm.DescribeSecretInput, _ ...option) (
	*sm.DescribeSecretOutput, error) {
	return request(ctx, s.w, "DescribeSecret", in.SecretId, in, s.Server.DescribeSecret,
		func(inv *invocation, x *team, out *sm.DescribeSecretOutput, at time.Time) {
			d := description{record: recordIn(out.Tags), changed: *out.LastChangedDate, at: at, asOf: at}
			if slices.ContainsFunc(s.w.Steps, func(s step) bool { return s.Do == staleLabels }) {
				d.asOf = at.Add(-maxStale)
			}
			for id, labels := range out.VersionIdsToStages {
				if slices.Contains(labels, "AWSCURRENT") {
					d.current = id
				}
			}
			inv.described[x] = append(inv.described[x], d)
			s.w.bug.described(s.w, inv, x, out)
		})
}

func (s secretsManager) ListSecrets(ctx context.Context, in *sm.ListSecretsInput, _ ...option) (
	*sm.ListSecretsOutput, error) {
	return request(ctx, s.w, "ListSecrets", nil, in, s.Server.ListSecrets, nil)
}

func recordIn(tags []smtypes.Tag) record {
	for _, t := range tags {
		if *t.Key == recordTag {
			return recordOf(*t.Value)
		}
	}
	return record{}
}

func (s secretsManager) TagResource(ctx context.Context, in *sm.TagResourceInput, _ ...option) (
	*sm.TagResourceOutput, error) {
	return request(ctx, s.w, "TagResource", in.SecretId, in,
		func(c context.Context, in *sm.TagResourceInput, _ ...option) (*sm.TagResourceOutput, error) {
			inv, x, tag := invocationOf(ctx), s.w.teamOf(*in.SecretId), in.Tags[0].Value
			if r := recordOf(*tag); s.w.bug.records != nil {
				s.w.bug.records(s.w, inv, x, r)
				*tag = r.String()
			}
			s.w.tagged(inv, x, *tag)
			return s.Server.TagResource(c, in)
		}, nil)
}

func (s secretsManager) PutSecretValue(ctx context.Context, in *sm.PutSecretValueInput, _ ...option) (
	*sm.PutSecretValueOutput, error) {
	return request(ctx, s.w, "PutSecretValue", in.SecretId, in,
		func(c context.Context, in *sm.PutSecretValueInput, _ ...option) (*sm.PutSecretValueOutput, error) {
			s.w.rotates(invocationOf(ctx), "PutSecretValue", s.w.teamOf(*in.SecretId))
			return s.Server.PutSecretValue(c, in)
		}, nil)
}

func (s secretsManager) UpdateSecretVersionStage(ctx context.Context, in *sm.UpdateSecretVersionStageInput, _ ...option) (
	*sm.UpdateSecretVersionStageOutput, error) {
	return request(ctx, s.w, "UpdateSecretVersionStage", in.SecretId, in,
		func(c context.Context, in *sm.UpdateSecretVersionStageInput, _ ...option) (*sm.UpdateSecretVersionStageOutput, error) {
			x, inv := s.w.teamOf(*in.SecretId), invocationOf(ctx)
			s.w.rotates(inv, "UpdateSecretVersionStage", x)
			if in.MoveToVersionId == nil && s.w.bug.keepsLabels {
				return &sm.UpdateSecretVersionStageOutput{}, nil
			}
			was, _ := s.Current(x.secretName())
			out, err := s.Server.UpdateSecretVersionStage(c, in)
			if is, _ := s.Current(x.secretName()); err == nil && is != was {
				s.w.promoted(inv, x)
			}
			return out, err
		}, nil)
}

// eventBus is the stand-in behind the network.
type eventBus struct{ w *world }

var (
	errEntryThrottled       = errors.New("the entry is throttled")
	errBus            error = &smithy.GenericAPIError{Code: "InternalFailure"}
)

func (b eventBus) PutEvents(ctx context.Context, in *eventbridge.PutEventsInput, _ ...func(*eventbridge.Options)) (
	got *eventbridge.PutEventsOutput, err error) {
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	e := in.Entries[0]
	if b.w.bug.publishesNone {
		return &eventbridge.PutEventsOutput{Entries: make([]types.PutEventsResultEntry, 1)}, nil
	}
	p := b.w.publishing(invocationOf(ctx), *e.Detail, *e.Time)
	err = b.w.overNetwork(ctx, "PutEvents", e.Resources[0]+*e.DetailType, func() (err error) {
		if got, err = b.w.bus.PutEvents(context.Background(), in); err == nil {
			b.w.results = append(b.w.results, p)
		}
		return err
	})
	if err == errEntryThrottled {
		entry := types.PutEventsResultEntry{ErrorCode: aws.String("ThrottlingException")}
		return &eventbridge.PutEventsOutput{FailedEntryCount: 1, Entries: []types.PutEventsResultEntry{entry}}, nil
	}
	p.answered = err == nil
	return got, err
}
