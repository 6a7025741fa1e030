package authsync

import (
	"time"

	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
)

// Outcome of a sync.
type Outcome string

const (
	Created Outcome = "created"
	Updated Outcome = "updated"
	Adopted Outcome = "adopted" // an auth method that was there, and is now this secret's
	Settled Outcome = "settled" // pushed once more: from now on no older version can come back
	Failed  Outcome = "failed"
	Planned Outcome = "planned" // a dry run
	Skipped Outcome = "skipped" // nothing to do; a warning says why
)

// Request names the secret to sync and what asked for it.
type Request struct {
	SecretID  string // name or ARN
	Home      string // what the ARN of every secret of the function's own account and region begins with
	Trigger   Trigger
	Event     Event
	RequestID string // Lambda's
	DryRun    bool
}

// Trigger is what asked for a sync.
type Trigger struct {
	Type string `json:"type"` // label, cloudtrail, http, direct or reconcile
	ID   string `json:"id"`   // of the event or request
}

// Event is what an event told of its cause. It is zero for a trigger that is none.
type Event struct {
	Time      time.Time // in whole seconds
	VersionID string    // that got AWSCURRENT, where the event tells
}

// Result tells what came of one sync. It is the detail of the published event, the body of the HTTP answer, the answer to
// a direct invocation and the line in the log.
type Result struct {
	SchemaVersion              string         `json:"schemaVersion"`
	Outcome                    Outcome        `json:"outcome"`
	Secret                     SecretRef      `json:"secret"`
	AuthMethod                 *AuthMethodRef `json:"authMethod,omitempty"`
	Verification               string         `json:"verification,omitempty"`
	Trigger                    Trigger        `json:"trigger"`
	RequestID                  string         `json:"requestId"`
	PreviousSecretSafeToRevoke bool           `json:"previousSecretSafeToRevoke"`
	LagMs                      *int64         `json:"lagMs,omitempty"` // event time to Datadog's 2xx, ±1 s
	DurationMs                 int64          `json:"durationMs"`
	Plan                       *Plan          `json:"plan,omitempty"`
	Warnings                   []string       `json:"warnings,omitempty"`
	Error                      *fault.Error   `json:"error,omitempty"`

	// Unpublished is why the result did not reach the event bus, where it should have.
	Unpublished *fault.Error `json:"-"`
	// StepsMs are how long the steps took, in milliseconds: read, push (of which verify), look, and finish.
	StepsMs map[string]int64 `json:"-"`
	DryRun  bool             `json:"-"`
}

// SecretRef identifies a secret and the version that was pushed, or would be.
type SecretRef struct {
	ARN       string `json:"arn,omitempty"`
	Name      string `json:"name,omitempty"`
	VersionID string `json:"versionId,omitempty"`
}

// AuthMethodRef identifies an auth method at Datadog.
type AuthMethodRef struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
	Site string `json:"site"`
}

// Plan is what a dry run found that a sync would do.
type Plan struct {
	Action  Action   `json:"action"`
	Changes []Change `json:"changes"`
}

// Change is one attribute that a write would change; client_secret comes without its values.
type Change struct {
	Attribute string  `json:"attribute"`
	From      *string `json:"from,omitempty"`
	To        *string `json:"to,omitempty"`
}

func (r *Result) step(name string, took time.Duration) {
	if r.StepsMs == nil {
		r.StepsMs = map[string]int64{}
	}
	r.StepsMs[name] += took.Milliseconds()
}

func (r *Result) warn(text string) { r.Warnings = append(r.Warnings, text) }

func (r *Result) fail(err error) {
	r.Outcome, r.Error = Failed, fault.From(err)
}

// settle makes r the result of a push that settled what was recorded as pushed. One that was settled before stays what it
// was: an update.
func (r *Result) settle(recorded secretstore.Record, done *written) {
	if !recorded.Settled {
		r.Outcome = Settled
	}
	r.PreviousSecretSafeToRevoke = r.Outcome == Settled && done.verified
}

// Counts reports whether r is about a secret that there is, and that is in scope: others are nobody's success or failure.
func (r *Result) Counts() bool {
	return r.Error == nil || r.Error.Code != fault.SecretNotFound && r.Error.Code != fault.SecretOutOfScope && r.Error.Code != fault.BadRequest
}

// detailType is the event's, or nothing where the result is not to be published: it is a dry run, nothing was done, or it
// does not count.
func (r *Result) detailType() string {
	switch {
	case !r.Counts():
		return ""
	case r.Outcome == Created || r.Outcome == Updated || r.Outcome == Adopted:
		return "Datadog Auth Method Synced"
	case r.Outcome == Settled:
		return "Datadog Auth Method Settled"
	case r.Outcome == Failed:
		return "Datadog Auth Method Sync Failed"
	}
	return ""
}
