package simulation

import (
	"context"
	"fmt"
	"time"

	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// rotations are those of one secret.
type rotations struct {
	staged     map[string]int             // how often each client secret was
	promoted   map[string]map[string]bool // client secret → ids of the versions that got AWSCURRENT by a rotation
	deliveries []delivery                 // of the event that follows
	running    bool
	foreign    time.Time // since when another function rotates the secret
}

func (w *world) rotation(s step, x *team) {
	r := &x.rotations
	switch s.Do {
	case stage:
		v := w.next(x, s.Version)
		v.ids = []string{w.secrets.Stage(x.secretName(), v.value, "NEXT")}
		r.staged[v.secret]++
	case foreign:
		r.foreign = time.Now()
		w.secrets.SetRotation(x.secretName(), functionARN+"-of-others")
		v := w.next(x, s.Version)
		v.ids = []string{w.token(x)}
		_, _ = w.secrets.PutSecretValue(context.Background(), &sm.PutSecretValueInput{SecretId: &x.arn,
			ClientRequestToken: &v.ids[0], SecretString: &v.value, VersionStages: []string{"AWSPENDING"}})
		w.invokeLater(rotationStep(x, "finishSecret", v.id()), s.Call)
	case rotate:
		if r.running || x.kind == attacker {
			return
		}
		r.running, r.deliveries = true, s.Deliveries
		w.called++
		w.after(time.Duration(w.called)*1357911, func() { w.rotate(x, w.token(x), s.Call) })
	}
}

// token is that of the rotation under way, or of a new one.
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_RotateSecret.html
func (w *world) token(x *team) string {
	labels := w.secrets.Labels(x.secretName())
	switch pending := labels["AWSPENDING"]; {
	case pending != "" && pending != labels["AWSCURRENT"]:
		return pending
	case !x.rotations.foreign.IsZero():
		return w.secrets.StartRotation(x.secretName(), functionARN+"-of-others")
	}
	return w.secrets.StartRotation(x.secretName(), functionARN)
}

// rotate plays the four steps, up to three times until all succeed.
func (w *world) rotate(x *team, token string, d delivery) {
	defer func() { x.rotations.running = false }()
	for attempt := range 3 {
		w.wait(time.Duration(attempt)*time.Minute + 13*time.Millisecond)
		ok := true
		for _, step := range []string{"createSecret", "setSecret", "testSecret", "finishSecret"} {
			ok = ok && w.invoke(rotationStep(x, step, token), d, attempt)
		}
		if ok {
			return
		}
	}
}

func rotationStep(x *team, step, token string) call {
	payload := fmt.Sprintf(`{"Step":%q,"SecretId":%q,"ClientRequestToken":%q}`, step, x.arn, token)
	return call{kind: "rotation", payload: payload, team: x}
}

// rotates: the versions of another function's rotation are none of ours, as soon as that can be seen.
func (w *world) rotates(inv *invocation, op string, x *team) {
	if x.isForeign(inv) {
		w.violated("%s calls %s in a rotation of another function's", inv.id, op)
	}
}

func (x *team) isForeign(inv *invocation) bool {
	since := x.rotations.foreign
	return !since.IsZero() && inv.started.After(since.Add(maxStale))
}

// promoted: a value gets AWSCURRENT by a rotation once for each time that it was staged, and only by an invocation
// that asked the token endpoint.
func (w *world) promoted(inv *invocation, x *team) {
	id, value := w.secrets.Current(x.secretName())
	v := w.versions[secretIn(value)]
	if v == nil || v.team != x {
		w.violated("%s promotes what nobody made: %s", inv.id, id)
		return
	}
	v.ids = append(v.ids, id)
	r := &x.rotations
	if r.promoted[v.secret] == nil {
		r.promoted[v.secret] = map[string]bool{}
	}
	r.promoted[v.secret][id] = true
	times, staged := len(r.promoted[v.secret]), r.staged[v.secret]
	if times > staged && (r.foreign.IsZero() || x.isForeign(inv)) {
		w.violated("%s gets AWSCURRENT by rotation %d times, and was staged %d times", v.secret, times, staged)
	}
	if !inv.accepted(v.secret) {
		w.violated("%s promotes %s, which the token endpoint did not accept", inv.id, v.secret)
	}
	w.moved(v, r.deliveries)
}
