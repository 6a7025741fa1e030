// Package secretstoretest is a stateful stand-in for AWS Secrets Manager, with the methods of the AWS SDK's client. Unlike
// that client it does not retry: one call is one request.
package secretstoretest

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/uuid"
)

const (
	current  = "AWSCURRENT"
	previous = "AWSPREVIOUS"
	pending  = "AWSPENDING"
)

// Server holds secrets in memory. Its zero value is empty and ready; its clock is time.Now, which testing/synctest may
// move. It is safe for concurrent use, but its fields must not be set while calls are under way.
type Server struct {
	// NewID makes the ids of versions; uuid.NewString if nil. It must not use the server.
	NewID func() string
	// Latency is how long a call takes: half of it passes before the effect, half after. A caller that gives up in the
	// first half does not stop the effect, which takes place at its time all the same.
	Latency func(op, secret string) time.Duration
	// Hook is called before each call takes effect, with the secret's name, or "" for ListSecrets. Its error is the
	// call's answer, and then there is no effect. It may use the server.
	Hook func(op, secret string) error
	// Stale is how old the state is that a read answers with: of GetSecretValue for values, of DescribeSecret for
	// labels and tags, of ListSecrets, asked for each secret, for lists. It must not use the server.
	Stale func(op, secret string) time.Duration
	// OnLabel is called for each label that was put on a version or moved, save AWSPENDING and AWSPREVIOUS, after the
	// effect and before the answer. It may use the server.
	OnLabel func(Event)

	mu      sync.Mutex
	secrets []*secret          // in order of creation, with the purged ones
	calls   map[string]int     // by operation
	faults  map[string][]fault // by operation
	moved   []Event            // by the effect under way
}

// Event is what Secrets Manager sends to EventBridge as "Secret Label Updated".
type Event struct {
	Name, ARN, Label, VersionID string
	Time                        time.Time // whole seconds, UTC
}

// secret is one secret in every state that it has been in, oldest first.
type secret struct {
	name, arn string
	states    []state
}

// state is a secret from one change to the next. Once committed it does not change.
type state struct {
	at       time.Time // when it began
	changed  time.Time // LastChangedDate: at, in whole milliseconds
	deleted  time.Time // when it was marked for deletion; zero if it is not
	purged   bool
	rotation string              // ARN of the rotation function; empty: disabled
	primary  string              // region of a replica's primary
	versions []version           // shared by the states, of which each is made from the one before: append or clone
	labels   map[string][]string // label → the versions that have it, the one that it moved to last
	tags     map[string]string
}

type version struct {
	id     string
	value  *string // nil of a version that RotateSecret made and no function has filled yet
	binary bool
}

func newVersion(id string, text *string, binary []byte) version {
	if binary != nil {
		return version{id, aws.String(string(binary)), true}
	}
	return version{id, text, false}
}

func (st *state) version(id string) *version {
	if i := slices.IndexFunc(st.versions, func(v version) bool { return v.id == id }); i >= 0 {
		return &st.versions[i]
	}
	return nil
}

// stages returns the labels, sorted, of each version that has any.
func (st *state) stages() map[string][]string {
	stages := map[string][]string{}
	for _, label := range slices.Sorted(maps.Keys(st.labels)) {
		for _, id := range st.labels[label] {
			stages[id] = append(stages[id], label)
		}
	}
	return stages
}

// holder is the version that label moved to last.
func (st *state) holder(label string) string {
	if ids := st.labels[label]; len(ids) > 0 {
		return ids[len(ids)-1]
	}
	return ""
}

// move puts label on a version. AWSPREVIOUS goes where AWSCURRENT comes from.
func (st *state) move(label, id string) {
	if from := st.holder(label); label == current && from != "" && from != id {
		st.labels[previous] = []string{from}
	}
	st.labels[label] = []string{id}
}

// remove takes label off a version.
func (st *state) remove(label, id string) {
	left := slices.DeleteFunc(slices.Clone(st.labels[label]), func(holder string) bool { return holder == id })
	if st.labels[label] = left; len(left) == 0 {
		delete(st.labels, label)
	}
}

func (st state) clone() state {
	st.labels, st.tags = maps.Clone(st.labels), maps.Clone(st.tags)
	return st
}

// answersTo its name, its ARN, and its ARN without the hyphen and six characters at the end.
func (x *secret) answersTo(id string) bool {
	return id == x.name || id == x.arn || id == x.arn[:len(x.arn)-7]
}

// as is the state at t; nil when the secret was not there.
func (x *secret) as(t time.Time) *state {
	for i := len(x.states) - 1; i >= 0; i-- {
		if st := &x.states[i]; !st.at.After(t) {
			if st.purged {
				return nil
			}
			return st
		}
	}
	return nil
}

// find returns the secret that id names and its state at t.
func (s *Server) find(id string, t time.Time) (*secret, *state, error) {
	for _, x := range s.secrets {
		if x.answersTo(id) {
			if st := x.as(t); st != nil {
				return x, st, nil
			}
		}
	}
	return nil, nil, notFound("Secrets Manager can't find the specified secret.")
}

// nameOf is the name of the secret that id names, or else id.
func (s *Server) nameOf(id string) string {
	for _, x := range s.secrets {
		if x.answersTo(id) {
			return x.name
		}
	}
	return id
}

// commit makes next the secret's state from now on.
func (s *Server) commit(x *secret, next state) {
	before := &state{}
	if n := len(x.states); n > 0 {
		before = &x.states[n-1]
	}
	next.at, next.changed = time.Now(), now()
	for _, label := range slices.Sorted(maps.Keys(next.labels)) {
		if id := next.holder(label); id != before.holder(label) && label != pending && label != previous {
			s.moved = append(s.moved, Event{x.name, x.arn, label, id, next.at.UTC().Truncate(time.Second)})
		}
	}
	x.states = append(x.states, next)
}

// now is the time in the resolution of Secrets Manager's time stamps.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// versionID is the id of a new version: the caller's token, if there is one.
func (s *Server) versionID(token *string) string {
	if id := aws.ToString(token); id != "" {
		return id
	}
	if s.NewID != nil {
		return s.NewID()
	}
	return uuid.NewString()
}
