package simulation

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"datadog-webhook-auth-sync/handler"
	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/eventbus/eventbustest"
	"datadog-webhook-auth-sync/handler/secretstore/secretstoretest"
)

const (
	functionARN  = "arn:aws:lambda:us-east-1:123456789012:function:sync"
	prefix       = "datadog/webhooks/"
	apiKey       = canary + "api-key"
	appKey       = canary + "app-key"
	apiHost      = "api.datadoghq.com"
	attackerHost = "tokens.attacker.example"
	recordTag    = "datadog-webhook-auth-sync"
	canary       = "canary+of/" // what every secret value begins with
)

// hosts of the honest identity providers.
var hosts = []string{"idp.example.com", "login.example.net"}

func tokenURL(host string) string { return "https://" + host + "/oauth2/token" }

// world is the function among stand-ins, for one schedule. Everything but the function itself runs under its lock,
// which is given up only while time passes and while the function runs.
type world struct {
	schedule
	bug       bug
	secrets   *secretstoretest.Server
	handlers  []*handler.Handler // execution environments of the function, which alternate
	datadog   *datadogtest.Server
	providers map[string]*provider // by host
	bus       *eventbustest.Bus
	started   time.Time
	pending   sync.WaitGroup // what happens besides the steps

	mu       sync.Mutex
	teams    []*team
	edits    int // by hand so far
	called   int // invocations that the steps brought so far
	invoked  int // invocations that began so far
	faults   []activeFault
	healed   bool
	ended    time.Time
	versions map[string]*credential // by client secret
	methods  map[string][]state     // by id
	digests  map[string]bool        // what the function recorded of which access token URL: digest, space, URL
	commits  []*write               // that Datadog took
	results  []*publication         // on the bus
	log      bytes.Buffer
	last     reconciliation
	wrong    []string // what violates an invariant
	traced   bool
	trace    []string

	hidden404 map[string]bool // ids of auth methods, of a planted bug
}

// play plays a schedule, and returns which invariants it violates, and its trace where that is wanted.
func play(t *testing.T, s schedule, b bug, traced bool) (wrong, trace []string) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{schedule: s, bug: b, datadog: datadogtest.New(apiKey, appKey), providers: map[string]*provider{},
			bus: &eventbustest.Bus{}, started: time.Now(), versions: map[string]*credential{},
			methods: map[string][]state{}, digests: map[string]bool{}, hidden404: map[string]bool{}, traced: traced}
		for i, host := range hosts {
			w.providers[host] = &provider{s.Styles[i], map[[2]string]time.Time{}}
		}
		w.mu.Lock()
		w.start()
		w.run()
		w.mu.Unlock()
		w.pending.Wait()
		w.check()
		wrong, trace = w.wrong, w.trace
	})
	return wrong, trace
}

func (w *world) start() {
	versions := 0
	w.secrets = &secretstoretest.Server{Stale: w.stale, NewID: func() string {
		versions++
		return fmt.Sprintf("00000000-0000-4000-8000-%012d", versions)
	}}
	arn, _ := w.secrets.Create("datadog/keys", fmt.Sprintf(`{"api_key":%q,"app_key":%q}`, apiKey, appKey))
	config := handler.Config{Site: "datadoghq.com", APIURL: "https://" + apiHost, APIKeySecretARN: arn, AppKeySecretARN: arn,
		Prefix: prefix, EventBus: "default", VerifyCredential: true, Refresh: 24 * time.Hour, Region: "us-east-1",
		FunctionName: "sync"}
	for range 2 {
		w.handlers = append(w.handlers, handler.New(config, handler.Outside{Secrets: secretsManager{w.secrets, w},
			Bus: eventBus{w}, Datadog: network{w}, Tokens: network{w}, Log: w}))
		w.wait(time.Second)
	}
}

// Write takes the function's log.
func (w *world) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(line)
}

// wait lets time pass.
func (w *world) wait(d time.Duration) { w.sleep(context.Background(), d) }

// sleep reports whether d passed before the context ended.
func (w *world) sleep(ctx context.Context, d time.Duration) bool {
	if ctx.Err() != nil || d <= 0 {
		return ctx.Err() == nil
	}
	w.mu.Unlock()
	defer w.mu.Lock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// after has something happen besides the steps.
func (w *world) after(d time.Duration, do func()) {
	w.pending.Go(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.wait(d)
		do()
	})
}

// run plays the steps while the schedule invokes reconcile, ends every fault, and waits until all should be well.
func (w *world) run() {
	first := time.Now().Add(schedulePause)
	var tick func()
	tick = func() {
		if !w.ended.IsZero() {
			return
		}
		w.after(schedulePause, tick)
		w.lambda(reconcileCall, delivery{})
	}
	w.after(schedulePause, tick)
	for i, s := range w.Secrets {
		w.wait(time.Duration(i+1) * 1234567)
		w.create(i, s)
	}
	if w.Warm {
		w.wait(31 * time.Minute)
	}
	for i, s := range w.Steps {
		if s.Ahead > 0 {
			w.wait((time.Until(first)%schedulePause + 2*schedulePause - s.Ahead) % schedulePause)
		}
		w.wait(s.After + time.Duration(i+1)*7654321)
		w.tracef("step %d: %s of secret %d", i, s.Do, s.Secret)
		w.do(s, w.teams[s.Secret])
	}
	w.wait(2 * time.Minute)
	w.heal()
	w.wait(10 * time.Minute)
	if slices.ContainsFunc(w.Steps, func(s step) bool { return s.Do == remove }) {
		w.wait(20 * time.Minute) // for two reconciles
		w.remake()
	}
	w.wait(10*time.Minute + 3*schedulePause)
	if slices.ContainsFunc(w.teams, w.hidden) {
		w.wait(25 * time.Hour)
	}
	w.ended = time.Now()
}

// hidden is a move of AWSCURRENT away and back right after a record: the record's own tag changes the secret as
// well, so no one can see it. If both events get lost, and what the first wrote lands last, only the refresh
// repairs that.
func (w *world) hidden(x *team) bool {
	r, moved := w.record(x), x.current[len(x.current)-1].since
	recorded := r["state"] != "pushed" && r["version"] == x.now().id()
	return recorded && moved.After(r.time("at")) && moved.Before(r.time("at").Add(6*time.Second))
}

func (w *world) do(s step, x *team) {
	now := time.Now().UTC().Truncate(time.Second)
	switch s.Do {
	case put:
		v := w.next(x, s.Version)
		v.ids = []string{w.secrets.Put(x.secretName(), v.value)}
		w.moved(v, s.Deliveries)
	case promote:
		v := w.next(x, s.Version)
		v.ids = []string{w.secrets.Stage(x.secretName(), v.value, "READY")}
		w.secrets.MoveCurrent(x.secretName(), v.id())
		w.moved(v, s.Deliveries)
	case rollback:
		// Or else nothing moves, so there is no event.
		if v := x.current[max(0, len(x.current)-1-s.Back)].credential; v != x.now() {
			w.secrets.MoveCurrent(x.secretName(), v.id())
			w.moved(v, s.Deliveries)
		}
	case untag:
		w.secrets.Untag(x.secretName(), recordTag)
		w.tagged(nil, x, "")
	case tag:
		w.operatorTags(x)
	case revoke:
		for _, v := range x.versions[:len(x.versions)-1] {
			v.Never = true
			for _, p := range w.providers {
				maps.DeleteFunc(p.honoured, func(client [2]string, _ time.Time) bool { return client[1] == v.secret })
			}
		}
	case stage, rotate, foreign:
		w.rotation(s, x)
	case edit, remove, rename, redirect:
		w.inUI(s.Do, x)
	case cloudTrail:
		w.invokeLater(call{"event", fmt.Sprintf(`{"id":"trail","source":"aws.secretsmanager",
			"detail-type":"AWS Service Event via CloudTrail","time":%q,"resources":[],"detail":{
			"eventName":"RotationSucceeded","additionalEventData":{"SecretId":%q}}}`,
			now.Format(time.RFC3339), x.arn), x, now}, s.Call)
	case direct:
		payload := fmt.Sprintf(`{"action":"sync","secretId":%q}`, x.secretName())
		w.invokeLater(call{kind: "direct", payload: payload, team: x}, s.Call)
	case reconcile:
		w.invokeLater(reconcileCall, s.Call)
	default:
		w.faults = append(w.faults, activeFault{s, time.Now().Add(s.For)})
	}
}

var reconcileCall = call{kind: "reconcile", payload: `{"action":"reconcile"}`}

// moved is AWSCURRENT, to v. What EventBridge delivers of it, and when, is in the schedule.
func (w *world) moved(v *credential, deliveries []delivery) {
	x, now := v.team, time.Now()
	x.current = append(x.current, labelMove{v, now})
	w.tracef("AWSCURRENT of %s is %s", x.secretName(), v.secret)
	at := now.UTC().Truncate(time.Second)
	event := fmt.Sprintf(`{"id":"label","source":"aws.secretsmanager","detail-type":"Secret Label Updated","time":%q,
		"resources":[%q],"detail":{"name":%q,"labelUpdated":"AWSCURRENT","versionId":%q}}`,
		at.Format(time.RFC3339), x.arn, x.secretName(), v.id())
	for _, d := range deliveries {
		w.invokeLater(call{"event", event, x, at}, d)
	}
}

// heal ends every fault, and has the operator do what the function's errors ask for.
func (w *world) heal() {
	w.faults, w.healed = nil, true
	for _, x := range w.teams {
		if m, ok := w.datadog.Get(x.method); ok && x.kind.partial() && x.edited {
			m.AccessTokenURL = tokenURL(x.provider)
			w.inDatadog(m)
			w.operatorTags(x)
		}
	}
	w.tracef("healed")
}

// invokeLater invokes the function after a while, and no two at once.
func (w *world) invokeLater(c call, d delivery) {
	w.called++
	w.after(d.After+time.Duration(w.called)*1357911, func() { w.lambda(c, d) })
}

// lambda invokes the function and, if no caller waits for the answer, again after 1 and 2 minutes.
// https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
func (w *world) lambda(c call, d delivery) {
	async := c.kind == "event" || c.kind == "reconcile"
	for attempt := range 3 {
		w.wait(time.Duration(attempt) * time.Minute)
		if w.invoke(c, d, attempt) || !async || d.NoRetry {
			return
		}
	}
}

// invoke reports whether the invocation succeeded.
func (w *world) invoke(c call, d delivery, attempt int) bool {
	w.invoked++
	inv := newInvocation(fmt.Sprintf("%s-%d", c.kind, w.invoked), &c)
	if d.Kill != nil && d.Kill.Attempt == attempt {
		inv.kill = d.Kill
	}
	ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), invocationKey{}, inv), 120*time.Second)
	defer cancel()
	inv.vanish = func() { inv.dead = true; cancel() }
	ctx = lambdacontext.NewContext(ctx, &lambdacontext.LambdaContext{AwsRequestID: inv.id, InvokedFunctionArn: functionARN})
	w.tracef("%s starts", inv.id)
	h := handle(w.handlers[w.invoked%2].Handle)
	if next := h; w.bug.handle != nil {
		h = func(ctx context.Context, payload json.RawMessage) (any, error) {
			return w.bug.handle(w, ctx, payload, next)
		}
	}
	w.mu.Unlock()
	got, err := h(ctx, json.RawMessage(c.payload))
	w.mu.Lock()
	if inv.dead {
		return false
	}
	text, _ := json.Marshal(got)
	fmt.Fprintf(&w.log, "%s %v\n", text, err)
	w.tracef("%s ends: %s %v", inv.id, text, err)
	w.checkEnd(inv, text, err)
	return err == nil
}

// hash is the source of all that is random in a world: it depends on the schedule, on what asks, and on the time.
func (w *world) hash(what, op, target string) uint64 {
	h := w.Seed ^ uint64(time.Since(w.started))
	for _, s := range []string{what, op, target} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
		h = (h ^ h>>29) * 0x9e3779b97f4a7c15
	}
	return h ^ h>>32
}

func (w *world) tracef(format string, args ...any) {
	if w.traced {
		at := fmt.Sprintf("%12v ", time.Since(w.started).Round(time.Microsecond))
		w.trace = append(w.trace, at+fmt.Sprintf(format, args...))
	}
}

func (w *world) violated(format string, args ...any) {
	w.tracef("VIOLATED: "+format, args...)
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}
