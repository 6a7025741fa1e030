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
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/secretstore/secretstoretest"
	"datadog-webhook-auth-sync/handler/tokencheck/tokentest"
)

const (
	prefix           = "datadog/webhooks/"
	keysName         = "datadog/keys"
	apiHost          = "api.datadoghq.com"
	tokenHost        = "idp.example.com"
	tokenURL         = "https://" + tokenHost + "/oauth2/token"
	canary           = "canary+of/" // what every secret value begins with
	reconcilePayload = `{"action":"reconcile"}`
)

// world is the function among stand-ins, for one schedule.
type world struct {
	schedule
	bug      bug
	secrets  *secretstoretest.Server
	datadog  *datadogtest.Server
	tokens   *tokentest.Server
	bus      *eventbustest.Bus
	handlers []*handler.Handler // execution environments, which take turns
	started  time.Time
	under    sync.WaitGroup // what goes on besides the steps
	subjects []*subject
	edits    int // by hand so far
	called   int // invocations that the steps brought so far
	keys     [2]string
	traced   bool

	mu       sync.Mutex
	log      bytes.Buffer
	windows  []window
	healed   bool
	versions map[string]*pushable // by client secret
	commits  []commit
	invoked  []*invocation
	wrong    []string // what violates an invariant
	trace    []string
}

// bug is planted in what the function reaches, or around it.
type bug struct {
	outside func(*world, *handler.Outside)
	handle  func(w *world, ctx context.Context, payload json.RawMessage, next handle) (any, error)
}

type handle func(ctx context.Context, payload json.RawMessage) (any, error)

// subject is a secret, and how it came to be what it is.
type subject struct {
	kind     kind
	name     string // of the secret, without the prefix
	arn      string
	method   string // id, of a partial secret's auth method
	clientID string
	scope    string
	versions []*pushable // in order of creation
	current  []turn      // AWSCURRENT, latest last; under the world's lock
}

// pushable is a version of a secret.
type pushable struct {
	*subject
	version
	id              string
	secret          string
	clientID, scope string
	accepted        bool // by the token endpoint, once
}

type turn struct {
	*pushable
	since time.Time
}

// commit is a write that Datadog took.
type commit struct {
	at     time.Time
	inv    *invocation
	method string // id
	*pushable
}

// play plays a schedule, and returns which invariants it violates, and the story of it if traced.
func play(t *testing.T, s schedule, b bug, traced bool) (wrong, story []string) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{schedule: s, bug: b, secrets: &secretstoretest.Server{}, datadog: datadogtest.New("", ""), tokens: tokentest.New(),
			bus: &eventbustest.Bus{}, versions: map[string]*pushable{}, started: time.Now(), traced: traced}
		versions := 0
		w.secrets.NewID = func() string { versions++; return fmt.Sprintf("00000000-0000-4000-8000-%012d", versions) }
		w.secrets.Stale = w.stale
		w.tokens.AccessToken = canary + "token"
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
	arn, _ := w.secrets.Create(keysName, w.keysValue())
	config := handler.Config{Site: "datadoghq.com", APIURL: "https://" + apiHost, APIKeySecretARN: arn, AppKeySecretARN: arn,
		Prefix: prefix, EventBus: "default", VerifyCredential: true, Region: "us-east-1"}
	for range 2 {
		outside := handler.Outside{Secrets: secretsManager{w.secrets, w}, Bus: eventBus{w.bus, w}, Datadog: datadogAndTokens{w},
			Tokens: datadogAndTokens{w}, Log: w}
		if w.bug.outside != nil {
			w.bug.outside(w, &outside)
		}
		w.handlers = append(w.handlers, handler.New(config, outside))
		time.Sleep(time.Second)
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
				w.under.Go(func() { w.lambda("reconcile", reconcilePayload, true, delivery{}) })
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
	record := secretstore.ParseRecord(w.secrets.Tags(prefix + x.name)[secretstore.RecordTag], "datadoghq.com", time.Now())
	moved := x.current[len(x.current)-1].since
	return record.Settled && record.VersionID == x.now().id && moved.After(record.At) && moved.Before(record.At.Add(6*time.Second))
}

func (w *world) create(i int, s secret) {
	x := &subject{kind: s.Kind, name: fmt.Sprintf("team-%d", i), clientID: fmt.Sprintf("client-%d", i), scope: "all"}
	w.subjects = append(w.subjects, x)
	if s.Kind.partial() {
		x.method = w.datadog.Put(datadogtest.AuthMethod{Name: x.name, ClientID: x.clientID, ClientSecret: canary + "before", AccessTokenURL: tokenURL}).ID
	}
	v := x.next(w, version{})
	x.arn, v.id = w.secrets.Create(prefix+x.name, v.value())
	if s.Kind == recorded {
		w.secrets.Tag(prefix+x.name, secretstore.RecordTag, "id="+x.method)
	}
	w.moved(x, v, s.Deliveries)
}

func (w *world) do(s step, x *subject) {
	name := prefix + x.name
	switch s.Do {
	case put:
		v := x.next(w, s.Version)
		v.id = w.secrets.Put(name, v.value())
		w.moved(x, v, s.Deliveries)
	case promote:
		v := x.next(w, s.Version)
		v.id = w.secrets.Stage(name, v.value(), "NEXT")
		w.secrets.MoveCurrent(name, v.id)
		w.moved(x, v, s.Deliveries)
	case rollback:
		v := x.versions[max(0, len(x.versions)-1-s.Back)]
		if v != x.now() { // or else nothing moves, so there is no event
			w.secrets.MoveCurrent(name, v.id)
			w.moved(x, v, s.Deliveries)
		}
	case untag:
		w.secrets.Untag(name, secretstore.RecordTag)
	case keys:
		w.rotateKeys(s.For)
	case edit, remove:
		w.inUI(s.Do, x)
	case cloudTrail:
		w.call("event", fmt.Sprintf(`{"id":"trail","source":"aws.secretsmanager","detail-type":"AWS Service Event via CloudTrail","time":%q,"resources":[],"detail":{"eventName":"RotationSucceeded","additionalEventData":{"SecretId":%q}}}`,
			time.Now().UTC().Format(time.RFC3339), x.arn), true, s.Call)
	case direct:
		w.call("direct", fmt.Sprintf(`{"action":"sync","secretId":%q}`, name), false, s.Call)
	case http:
		w.call("http", fmt.Sprintf(`{"version":"2.0","routeKey":"POST /sync","headers":{},"body":%q,"requestContext":{"requestId":"http","timeEpoch":%d,"authorizer":{"iam":{}},"http":{"method":"POST"}}}`,
			fmt.Sprintf(`{"secretId":%q}`, name), time.Now().UnixMilli()), false, s.Call)
	case reconcile:
		w.call("reconcile", reconcilePayload, true, s.Call)
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
	w.mu.Unlock()
	w.tell("AWSCURRENT of %s is %s", x.name, v.secret)
	event := fmt.Sprintf(`{"id":"label","source":"aws.secretsmanager","detail-type":"Secret Label Updated","time":%q,"resources":[%q],"detail":{"name":%q,"labelUpdated":"AWSCURRENT","versionId":%q}}`,
		time.Now().UTC().Format(time.RFC3339), x.arn, prefix+x.name, v.id)
	for _, d := range deliveries {
		w.call("event", event, true, d)
	}
}

func (x *subject) now() *pushable { return x.current[len(x.current)-1].pushable }

// next makes a version, whose client secret the token endpoint honours when it is said to.
func (x *subject) next(w *world, special version) *pushable {
	n := len(x.versions) + 1
	if !x.kind.partial() && special.ClientID {
		x.clientID = fmt.Sprintf("client-of-%s-%d", x.name, n)
	}
	if special.Scope {
		x.scope = fmt.Sprintf("scope-%d", n)
	}
	v := &pushable{subject: x, version: special, clientID: x.clientID, scope: x.scope, secret: fmt.Sprintf("%s%s-%d!", canary, x.name, n)}
	if special.Never {
		special.Honoured = 100 * time.Hour
	}
	w.tokens.HonourAfter(v.clientID, v.secret, special.Honoured)
	x.versions = append(x.versions, v)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.versions[v.secret] = v
	return v
}

func (v *pushable) value() string {
	members := map[string]string{"client_secret": v.secret}
	switch {
	case v.Malformed:
		return "{" + v.secret
	case v.kind == recorded:
		return v.secret
	case v.kind == pinned:
		members["auth_method_id"] = v.method
	default:
		members["client_id"], members["access_token_url"], members["scope"], members["audience"] = v.clientID, tokenURL, v.scope, ""
	}
	if v.kind == named {
		members["name"] = v.methodName()
	}
	text, _ := json.Marshal(members)
	return string(text)
}

// methodName is the name of the subject's auth method.
func (x *subject) methodName() string {
	if x.kind == named {
		return "named-" + x.name
	}
	return x.name
}

func (w *world) keysValue() string {
	return fmt.Sprintf(`{"api_key":%q,"app_key":%q}`, w.keys[0], w.keys[1])
}

// rotateKeys: Datadog and the secret change at times that differ by gap.
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

// inUI does what people do in Datadog. An edit of the client secret alone nobody can see, so another attribute changes too.
func (w *world) inUI(do action, x *subject) {
	for _, m := range w.datadog.AuthMethods() {
		switch {
		case m.Name != x.methodName():
		case do == edit:
			w.edits++
			m.ClientSecret = canary + "typed"
			m.Scope = new(fmt.Sprintf("typed-%d", w.edits))
			w.datadog.Put(m)
		case !x.kind.partial():
			w.datadog.Delete(m.ID)
		}
	}
}

// heal ends every fault.
func (w *world) heal() {
	w.mu.Lock()
	w.windows, w.healed = nil, true
	w.mu.Unlock()
	w.datadog.SetKeys(w.keys[0], w.keys[1])
	w.secrets.Put(keysName, w.keysValue())
	w.tell("healed")
}

// call invokes the function in a while.
func (w *world) call(kind, payload string, async bool, d delivery) {
	w.called++
	apart := time.Duration(w.called) * 1357911
	w.under.Go(func() {
		time.Sleep(d.After + apart)
		w.lambda(kind, payload, async, d)
	})
}

// lambda invokes the function and, if nobody waits for the answer, again after 1 and 2 minutes.
// https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
func (w *world) lambda(kind, payload string, async bool, d delivery) {
	for attempt := 0; ; attempt++ {
		time.Sleep(time.Duration(attempt) * time.Minute)
		inv := w.invocation(kind, attempt, d)
		if w.invoke(inv, payload) || !async {
			return
		}
		if attempt == 2 || d.NoRetry {
			w.tell("%s: the event goes to the failure queue", inv.id)
			return
		}
	}
}

func (w *world) invocation(kind string, attempt int, d delivery) *invocation {
	w.mu.Lock()
	defer w.mu.Unlock()
	inv := &invocation{id: fmt.Sprintf("%s-%d", kind, len(w.invoked)), kind: kind, nth: len(w.invoked), started: time.Now()}
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
	ctx = lambdacontext.NewContext(ctx, &lambdacontext.LambdaContext{AwsRequestID: inv.id,
		InvokedFunctionArn: "arn:aws:lambda:us-east-1:123456789012:function:sync"})
	w.tell("%s starts", inv.id)
	h := handle(w.handlers[inv.nth%len(w.handlers)].Handle)
	if next := h; w.bug.handle != nil {
		h = func(ctx context.Context, payload json.RawMessage) (any, error) {
			return w.bug.handle(w, ctx, payload, next)
		}
	}
	got, err := h(ctx, json.RawMessage(payload))
	if inv.dead.Load() {
		return false
	}
	w.tell("%s ends: %v", inv.id, err)
	w.judge(inv, got, err)
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
