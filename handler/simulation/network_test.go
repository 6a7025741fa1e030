package simulation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/eventbus/eventbustest"
	"datadog-webhook-auth-sync/handler/secretstore/secretstoretest"
)

// wire is the way of every call of the function to the outside. On it the call is delayed, hit by faults, or the last that
// its invocation makes. What is on the wire takes effect even when the caller is gone.
func (w *world) wire(ctx context.Context, op, target string, effect func() error) error {
	inv := invocationOf(ctx)
	if !sleep(ctx, time.Duration(w.hash("apart"+inv.id, op, target)%1e6)) { // calls made at once are kept apart
		return context.Cause(ctx)
	}
	sent, took := time.Now(), w.latency(op, target)
	killed := inv.called(op)
	fate := w.fate(op, target)
	switch {
	case killed != nil:
		w.tell("%s vanishes at %s (unsent %v, late by %v)", inv.id, op, killed.Unsent, killed.Late)
		if !killed.Unsent {
			w.later(took/2+killed.Late, op, effect)
		}
		inv.vanish()
		return context.Canceled
	case fate.late > 0:
		w.tell("%s: %s %s is given up, and takes effect in %v", inv.id, op, target, fate.late)
		w.later(fate.late, op, effect)
		return errGivenUp
	}
	if !sleep(ctx, took/2) {
		w.later(took/2-time.Since(sent), op, effect)
		return context.Cause(ctx)
	}
	err := fate.err
	if err == nil || fate.lost {
		if done := effect(); err == nil {
			err = done
		}
	}
	if !sleep(ctx, took/2) {
		return context.Cause(ctx)
	}
	if err != nil {
		w.tell("%s: %s %s: %v", inv.id, op, target, err)
	} else {
		w.tell("%s: %s %s", inv.id, op, target)
	}
	return err
}

func (w *world) later(d time.Duration, op string, effect func() error) {
	time.AfterFunc(d, func() {
		w.tell("%s takes effect late: %v", op, effect())
	})
}

func (w *world) latency(op, target string) time.Duration {
	h := w.hash("latency", op, target)
	slow := h%20 == 0
	base, most := 10*time.Millisecond, 100*time.Millisecond
	switch op {
	case "list", "GET", "POST", "PATCH":
		base, most = 100*time.Millisecond, 2*time.Second
	case "token":
		base, most = 50*time.Millisecond, 3*time.Second
	}
	if !slow {
		most = 4 * base
	}
	return base + time.Duration(h>>8%uint64(most))
}

// errGivenUp stands for no answer in the time of a caller's patience, which is the first time somewhat less than the
// function's own, and then none.
var errGivenUp = errors.New("no answer")

const patience = 4 * time.Second

// window is a fault in force.
type window struct {
	step
	until time.Time
}

func (w *world) inForce() (all []window) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.windows {
		if time.Now().Before(f.until) {
			all = append(all, f)
		}
	}
	return all
}

// fate of a call: an error, with the effect or without it, or an effect long after the caller gave up.
type fate struct {
	err  error
	lost bool
	late time.Duration
}

func (w *world) fate(op, target string) fate {
	for _, f := range w.inForce() {
		h := w.hash(string(f.Do), op, target)
		if int(h%100) >= f.Rate {
			continue
		}
		h >>= 8
		writes := op == "PATCH" || op == "POST"
		ofDatadog := writes || op == "list" || op == "GET"
		ofSecrets := strings.HasSuffix(op, "Secret") || strings.HasSuffix(op, "Value") || strings.HasSuffix(op, "Stage") || op == "TagResource" || op == "ListSecrets"
		switch {
		case f.Do == throttle429 && ofDatadog:
			return fate{err: answer{status: 429, reset: fmt.Sprint(1 + h%40)}}
		case f.Do == fail500 && ofDatadog:
			return fate{err: answer{status: 500, echo: h%2 == 0}}
		case f.Do == loseAnswers && writes:
			lost := []error{io.ErrUnexpectedEOF, answer{status: 500}, answer{status: 200}, answer{status: 201}}
			return fate{err: lost[h%4], lost: true}
		case f.Do == landLate && writes:
			return fate{late: f.Late + patience}
		case f.Do == failTags && op == "TagResource":
			return fate{err: secretstoretest.AccessDenied, lost: h%2 == 0}
		case f.Do == throttleSM && ofSecrets:
			return fate{err: secretstoretest.Throttled}
		case f.Do == failTokens && op == "token":
			return fate{err: []error{io.ErrUnexpectedEOF, answer{status: 503}, answer{status: 400}}[h%3]}
		case f.Do == failBus && op == "PutEvents":
			if h%3 == 0 {
				return fate{err: errEntryThrottled}
			}
			return fate{err: &smithy.GenericAPIError{Code: "InternalFailure"}, lost: h%3 == 1}
		}
	}
	return fate{}
}

// stale is how old the state is that a read sees.
func (w *world) stale(op, name string) time.Duration {
	for _, f := range w.inForce() {
		h := w.hash("stale", op, name)
		if int(h%100) >= f.Rate {
			continue
		}
		switch {
		case f.Do == staleValues && op == "GetSecretValue", f.Do == staleLabels && op == "DescribeSecret":
			return time.Duration(h >> 8 % uint64(maxStale))
		case f.Do == staleLists && op == "ListSecrets":
			return time.Duration(h >> 8 % uint64(maxStaleLists))
		}
	}
	return 0
}

// answer is one of HTTP with a status that is not the stand-in's.
type answer struct {
	status int
	reset  string
	echo   bool // of what was sent
}

func (a answer) Error() string { return fmt.Sprint("answered ", a.status) }

func (a answer) response(r *nethttp.Request, sent []byte) *nethttp.Response {
	body := []byte(`{"errors":["no"]}`)
	if a.echo {
		body, _ = json.Marshal(map[string][]string{"errors": {string(sent)}})
	}
	return &nethttp.Response{StatusCode: a.status, Header: nethttp.Header{"X-Ratelimit-Reset": {a.reset}},
		Body: io.NopCloser(bytes.NewReader(body)), Request: r}
}

// datadogAndTokens is both, as a transport.
type datadogAndTokens struct{ w *world }

func (n datadogAndTokens) RoundTrip(r *nethttp.Request) (*nethttp.Response, error) {
	w, inv := n.w, invocationOf(r.Context())
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		r.Body.Close()
	}
	if r.URL.Host != apiHost {
		return w.tokenRequest(inv, r, body)
	}
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
	call := op + r.URL.Path
	again := inv.repeats(call)
	if !sleep(r.Context(), time.Until(again)) {
		return nil, context.Cause(r.Context())
	}
	var sent *written
	if len(body) > 0 {
		sent = w.writing(inv, op, id, body)
	}
	var rec *httptest.ResponseRecorder
	var at time.Time
	err := w.wire(r.Context(), op, target, func() error {
		rec, at = serve(w.datadog, r, body), time.Now()
		if sent != nil && rec.Code < 300 {
			w.committed(sent, rec.Body.Bytes())
		}
		return nil
	})
	if err == errGivenUp && again.IsZero() {
		sleep(r.Context(), patience)
	}
	inv.answered(call, err != nil || rec.Code >= 300)
	if a, ok := errors.AsType[answer](err); ok {
		return a.response(r, body), nil
	}
	if err != nil {
		return nil, err
	}
	switch {
	case rec.Code >= 300:
	case sent != nil:
		inv.took(sent.secret)
		inv.looked(sent.id, at)
	default:
		inv.looked(id, at)
	}
	return response(rec, r), nil
}

// tokenRequest asks the server of the request's host. The thief's accepts anything.
func (w *world) tokenRequest(inv *invocation, r *nethttp.Request, body []byte) (*nethttp.Response, error) {
	var server nethttp.Handler = nethttp.HandlerFunc(func(rw nethttp.ResponseWriter, _ *nethttp.Request) {
		rw.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(rw, `{"access_token":"of the thief","token_type":"Bearer"}`)
	})
	if r.URL.Host != thiefHost {
		server = w.tokens[r.URL.Host]
	}
	secret := secretInToken(r, body)
	w.asking(inv, secret, r.URL.String())
	var rec *httptest.ResponseRecorder
	err := w.wire(r.Context(), "token", "", func() error {
		rec = serve(server, r, body)
		if w.Plain {
			rec.Header().Set("Content-Type", "text/plain; charset=utf-8")
		}
		return nil
	})
	status := 0
	if err == nil && (rec.Code == 200 || strings.Contains(rec.Body.String(), "invalid_client")) {
		status = rec.Code
	}
	inv.asked(secret, status)
	if a, ok := errors.AsType[answer](err); ok {
		return a.response(r, body), nil
	}
	if err != nil {
		return nil, err
	}
	return response(rec, r), nil
}

func serve(server nethttp.Handler, r *nethttp.Request, body []byte) *httptest.ResponseRecorder {
	rec, at := httptest.NewRecorder(), r.Clone(context.Background())
	at.Body = io.NopCloser(bytes.NewReader(body))
	server.ServeHTTP(rec, at)
	return rec
}

func response(rec *httptest.ResponseRecorder, r *nethttp.Request) *nethttp.Response {
	resp := rec.Result()
	resp.Request = r
	return resp
}

func secretInToken(r *nethttp.Request, body []byte) string {
	if _, basic, ok := r.BasicAuth(); ok {
		value, _ := url.QueryUnescape(basic)
		return value
	}
	form, _ := url.ParseQuery(string(body))
	return form.Get("client_secret")
}

// secretsManager is the stand-in behind the wire.
type secretsManager struct {
	*secretstoretest.Server
	w *world
}

func overWire[In, Out any](ctx context.Context, w *world, op string, id *string, in *In, do func(context.Context, *In, ...func(*sm.Options)) (*Out, error)) (*Out, error) {
	var got *Out
	err := w.wire(ctx, op, aws.ToString(id), func() (err error) {
		got, err = do(context.Background(), in)
		return err
	})
	if err != nil {
		invocationOf(ctx).sawNothing()
		return nil, err
	}
	return got, nil
}

func (s secretsManager) GetSecretValue(ctx context.Context, in *sm.GetSecretValueInput, _ ...func(*sm.Options)) (*sm.GetSecretValueOutput, error) {
	return overWire(ctx, s.w, "GetSecretValue", in.SecretId, in, s.Server.GetSecretValue)
}

func (s secretsManager) DescribeSecret(ctx context.Context, in *sm.DescribeSecretInput, _ ...func(*sm.Options)) (*sm.DescribeSecretOutput, error) {
	return overWire(ctx, s.w, "DescribeSecret", in.SecretId, in, s.Server.DescribeSecret)
}

func (s secretsManager) ListSecrets(ctx context.Context, in *sm.ListSecretsInput, _ ...func(*sm.Options)) (*sm.ListSecretsOutput, error) {
	return overWire(ctx, s.w, "ListSecrets", nil, in, s.Server.ListSecrets)
}

func (s secretsManager) TagResource(ctx context.Context, in *sm.TagResourceInput, _ ...func(*sm.Options)) (*sm.TagResourceOutput, error) {
	return overWire(ctx, s.w, "TagResource", in.SecretId, in, func(c context.Context, in *sm.TagResourceInput, _ ...func(*sm.Options)) (*sm.TagResourceOutput, error) {
		out, err := s.Server.TagResource(c, in)
		if err == nil {
			s.w.recorded(invocationOf(ctx), s.subject(in.SecretId), aws.ToString(in.Tags[0].Value))
		}
		return out, err
	})
}

func (s secretsManager) PutSecretValue(ctx context.Context, in *sm.PutSecretValueInput, _ ...func(*sm.Options)) (*sm.PutSecretValueOutput, error) {
	return overWire(ctx, s.w, "PutSecretValue", in.SecretId, in, func(c context.Context, in *sm.PutSecretValueInput, _ ...func(*sm.Options)) (*sm.PutSecretValueOutput, error) {
		s.w.mayRotate(invocationOf(ctx), "PutSecretValue", s.subject(in.SecretId))
		return s.Server.PutSecretValue(c, in)
	})
}

func (s secretsManager) UpdateSecretVersionStage(ctx context.Context, in *sm.UpdateSecretVersionStageInput, _ ...func(*sm.Options)) (*sm.UpdateSecretVersionStageOutput, error) {
	x, inv := s.subject(in.SecretId), invocationOf(ctx)
	return overWire(ctx, s.w, "UpdateSecretVersionStage", in.SecretId, in, func(c context.Context, in *sm.UpdateSecretVersionStageInput, _ ...func(*sm.Options)) (*sm.UpdateSecretVersionStageOutput, error) {
		s.w.mayRotate(inv, "UpdateSecretVersionStage", x)
		was := s.Labels(x.secretName())["AWSCURRENT"]
		out, err := s.Server.UpdateSecretVersionStage(c, in)
		if err == nil && was != s.Labels(x.secretName())["AWSCURRENT"] {
			s.w.promoted(inv, x)
		}
		return out, err
	})
}

// subject is the secret with that name or ARN.
func (s secretsManager) subject(id *string) *subject {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	for _, x := range s.w.subjects {
		if x.arn == *id || x.secretName() == *id {
			return x
		}
	}
	return nil
}

// eventBus is the stand-in behind the wire.
type eventBus struct {
	*eventbustest.Bus
	w *world
}

var errEntryThrottled = errors.New("the entry is throttled")

func (b eventBus) PutEvents(ctx context.Context, in *eventbridge.PutEventsInput, _ ...func(*eventbridge.Options)) (*eventbridge.PutEventsOutput, error) {
	var got *eventbridge.PutEventsOutput
	invocationOf(ctx).tells(in.Entries[0])
	err := b.w.wire(ctx, "PutEvents", strings.Join(in.Entries[0].Resources, "")+*in.Entries[0].DetailType, func() (err error) {
		if got, err = b.Bus.PutEvents(context.Background(), in); err == nil {
			b.w.published(*in.Entries[0].Detail, *in.Entries[0].Time)
		}
		return err
	})
	if err == errEntryThrottled {
		return &eventbridge.PutEventsOutput{FailedEntryCount: 1, Entries: []types.PutEventsResultEntry{{ErrorCode: aws.String("ThrottlingException")}}}, nil
	}
	if err != nil {
		return nil, err
	}
	return got, nil
}

// sleep reports whether d passed before the context ended.
func sleep(ctx context.Context, d time.Duration) bool {
	if ctx.Err() != nil || d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
