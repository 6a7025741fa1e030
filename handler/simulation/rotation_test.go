package simulation

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// rotated is what came of the rotations of a secret.
type rotated struct {
	staged     map[string]int             // how often each client secret was
	promoted   map[string]map[string]bool // client secret → ids of the versions that got AWSCURRENT by a rotation
	deliveries []delivery                 // of the event that follows
	running    bool
}

func (w *world) rotation(s step, x *subject) {
	name := x.secretName()
	if x.rotated.staged == nil {
		x.rotated.staged, x.rotated.promoted = map[string]int{}, map[string]map[string]bool{}
	}
	switch s.Do {
	case stage:
		v := x.next(w, s.Version)
		w.identified(v, w.secrets.Stage(name, v.value, "NEXT"))
		w.mu.Lock()
		x.rotated.staged[v.secret]++
		w.mu.Unlock()
	case foreign:
		w.mu.Lock()
		x.foreignAt = time.Now()
		w.mu.Unlock()
		w.secrets.SetRotation(name, functionARN+"another")
		v := x.next(w, s.Version)
		token := w.token(x)
		w.identified(v, token)
		_, _ = w.secrets.PutSecretValue(context.Background(), &sm.PutSecretValueInput{SecretId: &name, ClientRequestToken: &token,
			SecretString: &v.value, VersionStages: []string{"AWSPENDING"}})
		w.call(x.stack, "rotation", rotationPayload("finishSecret", x.arn, token), false, s.Call)
	case rotate:
		w.mu.Lock()
		busy := x.rotated.running
		x.rotated.running = true
		w.mu.Unlock()
		if busy || x.kind == thief {
			return
		}
		apart := w.apart()
		x.rotated.deliveries = s.Deliveries
		token := w.token(x)
		w.under.Go(func() {
			time.Sleep(apart)
			w.steps(x, token, s.Call)
			w.mu.Lock()
			defer w.mu.Unlock()
			x.rotated.running = false
		})
	}
}

// token is that of the rotation under way, or of a new one.
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_RotateSecret.html
func (w *world) token(x *subject) string {
	labels := w.secrets.Labels(x.secretName())
	if pending := labels["AWSPENDING"]; pending != "" && pending != labels["AWSCURRENT"] {
		return pending
	}
	if !x.foreignAt.IsZero() {
		return w.secrets.StartRotation(x.secretName(), functionARN+"another")
	}
	return w.secrets.StartRotation(x.secretName(), x.stack.function)
}

// steps are played up to three times, until all succeed.
func (w *world) steps(x *subject, token string, d delivery) {
	for attempt := range 3 {
		time.Sleep(time.Duration(attempt)*time.Minute + 13*time.Millisecond)
		done := true
		for _, name := range []string{"createSecret", "setSecret", "testSecret", "finishSecret"} {
			inv := w.invocation(x.stack, "rotation", attempt, d)
			if done = w.invoke(inv, rotationPayload(name, x.arn, token)); !done {
				break
			}
		}
		if done {
			return
		}
	}
	w.tell("the rotation of %s fails", x.secretName())
}

func rotationPayload(step, arn, token string) string {
	return fmt.Sprintf(`{"Step":%q,"SecretId":%q,"ClientRequestToken":%q}`, step, arn, token)
}

// mayRotate: the versions of another function's rotation are none of ours, as soon as that can be seen.
func (w *world) mayRotate(inv *invocation, op string, x *subject) {
	if w.isForeign(inv, x) {
		w.violated("%s calls %s in a rotation of another function's", inv.id, op)
	}
}

func (w *world) isForeign(inv *invocation, x *subject) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !x.foreignAt.IsZero() && inv.started.After(x.foreignAt.Add(w.staleness()))
}

// promoted: a value gets AWSCURRENT by a rotation once for each time that it was staged.
func (w *world) promoted(inv *invocation, x *subject) {
	id, value := w.secrets.Current(x.secretName())
	w.mu.Lock()
	v := w.versions[secretIn(value)]
	if v == nil || v.subject != x {
		w.mu.Unlock()
		w.violated("%s promotes what nobody made: %s", inv.id, id)
		return
	}
	v.ids = append(v.ids, id)
	if x.rotated.promoted[v.secret] == nil {
		x.rotated.promoted[v.secret] = map[string]bool{}
	}
	x.rotated.promoted[v.secret][id] = true
	times, staged := len(x.rotated.promoted[v.secret]), x.rotated.staged[v.secret]
	deliveries := x.rotated.deliveries
	w.mu.Unlock()
	if times > staged && (x.foreignAt.IsZero() || w.isForeign(inv, x)) {
		w.violated("%s gets AWSCURRENT by rotation %d times, and was staged %d times", v.secret, times, staged)
	}
	w.moved(x, v, deliveries)
}

// secretIn is the client secret in a value.
func secretIn(value string) string {
	var members struct {
		Secret string `json:"client_secret"`
	}
	if json.Unmarshal([]byte(value), &members) == nil && members.Secret != "" {
		return members.Secret
	}
	if len(value) > 0 && value[0] == '{' { // malformed
		return value[1:]
	}
	return value
}
