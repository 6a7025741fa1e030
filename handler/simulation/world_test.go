package simulation

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
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
	"datadog-webhook-auth-sync/handler/tokencheck/tokentest"
)

const (
	functionARN      = "arn:aws:lambda:us-east-1:123456789012:function:"
	keysName         = "datadog/keys"
	apiHost          = "api.datadoghq.com"
	thiefHost        = "tokens.thief.example"
	recordTag        = "datadog-webhook-auth-sync"
	canary           = "canary+of/" // what every secret value begins with
	reconcilePayload = `{"action":"reconcile"}`
)

// providers are the honest identity providers.
var providers = []string{"idp.example.com", "login.example.net"}

func tokenURL(host string) string { return "https://" + host + "/oauth2/token" }

// world is the function among stand-ins, for one schedule.
type world struct {
	schedule
	bug      bug
	secrets  *secretstoretest.Server
	stacks   []*stack
	datadog  *datadogtest.Server
	tokens   map[string]*tokentest.Server // by host
	bus      *eventbustest.Bus
	started  time.Time
	under    sync.WaitGroup // what goes on besides the steps
	subjects []*subject
	edits    int // by hand so far
	keys     [2]string
	traced   bool

	mu       sync.Mutex
	called   int // invocations that the steps brought so far
	log      bytes.Buffer
	windows  []window
	healed   bool
	versions map[string]*pushable // by client secret
	methods  map[string][]was     // by id: every state of every auth method
	digests  map[string]bool      // what the function recorded of which access token URL: digest, space, URL
	commits  []commit
	invoked  []*invocation
	results  []result // as published
	wrong    []string // what violates an invariant
	trace    []string
}

// stack is one deployment of the function.
type stack struct {
	prefix, namePrefix, function string
	handlers                     []*handler.Handler // execution environments, which take turns
	last                         reconciliation
}

// bug is planted in what the function reaches, or around it.
type bug struct {
	outside func(*world, *handler.Outside)
	handle  func(w *world, ctx context.Context, payload json.RawMessage, next handle) (any, error)
}

type handle func(ctx context.Context, payload json.RawMessage) (any, error)

// play plays a schedule, and returns which invariants it violates, and the story of it if traced.
func play(t *testing.T, s schedule, b bug, traced bool) (wrong, story []string) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{schedule: s, bug: b, datadog: datadogtest.New("", ""), tokens: map[string]*tokentest.Server{}, bus: &eventbustest.Bus{},
			versions: map[string]*pushable{}, methods: map[string][]was{}, digests: map[string]bool{}, started: time.Now(), traced: traced}
		for _, host := range providers {
			w.tokens[host] = tokentest.New()
			w.tokens[host].AccessToken = canary + "token"
		}
		w.start()
		w.run()
		w.under.Wait()
		w.check()
		wrong, story = w.wrong, w.trace
	})
	return wrong, story
}

func (w *world) start() {
	w.keys = [2]string{canary + "api-key-0", canary + "app-key-0"}
	w.datadog.SetKeys(w.keys[0], w.keys[1])
	versions := 0
	w.secrets = &secretstoretest.Server{Stale: w.stale,
		NewID: func() string { versions++; return fmt.Sprintf("00000000-0000-4000-8000-%012d", versions) }}
	arn, _ := w.secrets.Create(keysName, w.keysValue())
	w.stacks = []*stack{{prefix: "datadog/webhooks/", function: functionARN + "sync"}}
	if slices.ContainsFunc(w.Secrets, func(s secret) bool { return s.Stack == 1 }) {
		second := &stack{prefix: "hooks/", function: functionARN + "second"}
		if w.Prefix {
			second.namePrefix = "second: "
		}
		w.stacks = append(w.stacks, second)
	}
	for _, k := range w.stacks {
		config := handler.Config{Site: "datadoghq.com", APIURL: "https://" + apiHost, APIKeySecretARN: arn, AppKeySecretARN: arn,
			Prefix: k.prefix, NamePrefix: k.namePrefix, EventBus: "default", VerifyCredential: true, Refresh: 24 * time.Hour, Region: "us-east-1", FunctionName: "sync"}
		for range 2 {
			outside := handler.Outside{Secrets: secretsManager{w.secrets, w}, Bus: eventBus{w.bus, w}, Datadog: datadogAndTokens{w},
				Tokens: datadogAndTokens{w}, Log: w}
			if w.bug.outside != nil {
				w.bug.outside(w, &outside)
			}
			k.handlers = append(k.handlers, handler.New(config, outside))
			time.Sleep(time.Second)
		}
	}
}

// Write takes the function's log.
func (w *world) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(line)
}

// run plays the steps while the schedule invokes reconcile, heals everything, and lets the dust settle.
func (w *world) run() {
	end, scheduled := make(chan struct{}), time.Now()
	w.under.Go(func() {
		for {
			select {
			case <-time.After(schedulePause):
				for i, k := range w.stacks {
					w.under.Go(func() {
						time.Sleep(time.Duration(i) * 1234 * time.Microsecond)
						w.lambda(k, "reconcile", reconcilePayload, true, delivery{})
					})
				}
			case <-end:
				return
			}
		}
	})
	for i, s := range w.Secrets {
		time.Sleep(time.Duration(i+1) * 1234567)
		w.create(i, s)
	}
	if w.Warm {
		time.Sleep(31 * time.Minute)
	}
	for i, s := range w.Steps {
		if s.Ahead > 0 {
			past := time.Since(scheduled) % schedulePause
			time.Sleep((2*schedulePause - past - s.Ahead) % schedulePause)
		}
		time.Sleep(s.After + time.Duration(i+1)*7654321)
		w.tell("step %d: %s of secret %d", i, s.Do, s.Secret)
		w.do(s, w.subjects[s.Secret])
	}
	time.Sleep(2 * time.Minute)
	w.heal()
	time.Sleep(10*time.Minute + 10*time.Minute + 3*schedulePause)
	if slices.ContainsFunc(w.subjects, w.hidden) {
		time.Sleep(25 * time.Hour)
	}
	close(end)
}

// hidden is a move of AWSCURRENT away and back right after a record that says settled: the record's own tag changes the
// secret as well, so nobody can see it. If both events get lost, and what the first wrote lands last, only the push for age
// repairs that.
func (w *world) hidden(x *subject) bool {
	record := w.record(x)
	at, _ := time.Parse(time.RFC3339, record["at"])
	moved := x.current[len(x.current)-1].since
	return record["state"] == "settled" && slices.Contains(x.now().ids, record["version"]) && moved.After(at) && moved.Before(at.Add(6*time.Second))
}

func (w *world) do(s step, x *subject) {
	switch s.Do {
	case put:
		v := x.next(w, s.Version)
		w.identified(v, w.secrets.Put(x.secretName(), v.value))
		w.moved(x, v, s.Deliveries)
	case promote:
		v := x.next(w, s.Version)
		w.identified(v, w.secrets.Stage(x.secretName(), v.value, "READY"))
		w.secrets.MoveCurrent(x.secretName(), v.ids[0])
		w.moved(x, v, s.Deliveries)
	case rollback:
		w.mu.Lock() // a rotation may promote meanwhile
		v, now := x.had(s.Back), x.now()
		id := v.ids[len(v.ids)-1]
		w.mu.Unlock()
		if v != now { // or else nothing moves, so there is no event
			w.secrets.MoveCurrent(x.secretName(), id)
			w.moved(x, v, s.Deliveries)
		}
	case untag:
		w.secrets.Untag(x.secretName(), recordTag)
		w.recorded(nil, x, "")
	case tag:
		w.operatorTags(x)
	case stage, rotate, foreign:
		w.rotation(s, x)
	case keys:
		w.rotateKeys(s.For)
	case edit, remove, rename, redirect:
		w.inUI(s.Do, x)
	case cloudTrail:
		w.call(x.stack, "event", fmt.Sprintf(`{"id":"trail","source":"aws.secretsmanager","detail-type":"AWS Service Event via CloudTrail","time":%q,"resources":[],"detail":{"eventName":"RotationSucceeded","additionalEventData":{"SecretId":%q}}}`,
			time.Now().UTC().Format(time.RFC3339), x.arn), true, s.Call)
	case direct:
		w.call(x.stack, "direct", fmt.Sprintf(`{"action":"sync","secretId":%q}`, x.secretName()), false, s.Call)
	case http:
		w.call(x.stack, "http", fmt.Sprintf(`{"version":"2.0","routeKey":"POST /sync","headers":{},"body":%q,"requestContext":{"requestId":"http","timeEpoch":%d,"authorizer":{"iam":{}},"http":{"method":"POST"}}}`,
			fmt.Sprintf(`{"secretId":%q}`, x.secretName()), time.Now().UnixMilli()), false, s.Call)
	case reconcile:
		w.call(x.stack, "reconcile", reconcilePayload, true, s.Call)
	default:
		w.mu.Lock()
		defer w.mu.Unlock()
		w.windows = append(w.windows, window{s, time.Now().Add(s.For)})
	}
}

// moved is AWSCURRENT, to v. What EventBridge delivers of it, and when, is in the schedule.
func (w *world) moved(x *subject, v *pushable, deliveries []delivery) {
	w.mu.Lock()
	x.current = append(x.current, turn{v, time.Now()})
	id := v.ids[len(v.ids)-1]
	w.mu.Unlock()
	w.tell("AWSCURRENT of %s is %s", x.secretName(), v.secret)
	event := fmt.Sprintf(`{"id":"label","source":"aws.secretsmanager","detail-type":"Secret Label Updated","time":%q,"resources":[%q],"detail":{"name":%q,"labelUpdated":"AWSCURRENT","versionId":%q}}`,
		time.Now().UTC().Format(time.RFC3339), x.arn, x.secretName(), id)
	for _, d := range deliveries {
		w.call(x.stack, "event", event, true, d)
	}
}

func (w *world) keysValue() string {
	return fmt.Sprintf(`{"api_key":%q,"app_key":%q}`, w.keys[0], w.keys[1])
}

// rotateKeys: Datadog and the secrets change at times that differ by gap.
func (w *world) rotateKeys(gap time.Duration) {
	w.edits++
	w.keys = [2]string{fmt.Sprintf("%sapi-key-%d", canary, w.edits), fmt.Sprintf("%sapp-key-%d", canary, w.edits)}
	keys, value := w.keys, w.keysValue()
	first, then := func() { w.datadog.SetKeys(keys[0], keys[1]) }, func() { w.secrets.Put(keysName, value) }
	if w.edits%2 == 0 {
		first, then = then, first
	}
	first()
	time.AfterFunc(gap, func() {
		w.mu.Lock()
		healed := w.healed
		w.mu.Unlock()
		if !healed {
			then()
		}
	})
}

// heal ends every fault, and has the operator do what the function's errors ask for.
func (w *world) heal() {
	w.mu.Lock()
	w.windows, w.healed = nil, true
	w.mu.Unlock()
	w.datadog.SetKeys(w.keys[0], w.keys[1])
	w.secrets.Put(keysName, w.keysValue())
	for _, x := range w.subjects {
		if x.kind.partial() && x.edited {
			w.restoreURL(x)
			w.operatorTags(x)
		}
	}
	w.tell("healed")
}

// call invokes the function in a while.
func (w *world) call(k *stack, kind, payload string, async bool, d delivery) {
	apart := w.apart()
	w.under.Go(func() {
		time.Sleep(d.After + apart)
		w.lambda(k, kind, payload, async, d)
	})
}

// apart is another time for each call, so that no two begin at once.
func (w *world) apart() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.called++
	return time.Duration(w.called) * 1357911
}

// lambda invokes the function and, if nobody waits for the answer, again after 1 and 2 minutes.
// https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
func (w *world) lambda(k *stack, kind, payload string, async bool, d delivery) {
	began := time.Now().Add(-d.After).Truncate(time.Second)
	for attempt := 0; ; attempt++ {
		time.Sleep(time.Duration(attempt) * time.Minute)
		inv := w.invocation(k, kind, attempt, d)
		inv.since = began
		if w.invoke(inv, payload) || !async {
			return
		}
		if attempt == 2 || d.NoRetry {
			w.tell("%s: the event goes to the failure queue", inv.id)
			return
		}
	}
}

func (w *world) invocation(k *stack, kind string, attempt int, d delivery) *invocation {
	w.mu.Lock()
	defer w.mu.Unlock()
	inv := newInvocation(fmt.Sprintf("%s-%d", kind, len(w.invoked)))
	inv.stack, inv.kind, inv.nth = k, kind, len(w.invoked)
	if d.Kill != nil && d.Kill.Attempt == attempt {
		inv.kill = d.Kill
	}
	w.invoked = append(w.invoked, inv)
	return inv
}

// invoke reports whether the invocation succeeded.
func (w *world) invoke(inv *invocation, payload string) bool {
	ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), invocationKey{}, inv), 120*time.Second)
	defer cancel()
	inv.vanish = func() { inv.dead.Store(true); cancel() }
	ctx = lambdacontext.NewContext(ctx, &lambdacontext.LambdaContext{AwsRequestID: inv.id, InvokedFunctionArn: inv.stack.function})
	w.tell("%s starts", inv.id)
	h := handle(inv.stack.handlers[inv.nth%2].Handle)
	if next := h; w.bug.handle != nil {
		h = func(ctx context.Context, payload json.RawMessage) (any, error) {
			return w.bug.handle(w, ctx, payload, next)
		}
	}
	got, err := h(ctx, json.RawMessage(payload))
	if inv.dead.Load() {
		return false
	}
	text, _ := json.Marshal(got)
	fmt.Fprintf(w, "%s %v\n", text, err)
	w.tell("%s ends: %v", inv.id, err)
	w.judge(inv, text, err)
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

func (w *world) tell(format string, args ...any) {
	if w.traced {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.trace = append(w.trace, fmt.Sprintf("%12v ", time.Since(w.started).Round(time.Microsecond))+fmt.Sprintf(format, args...))
	}
}
