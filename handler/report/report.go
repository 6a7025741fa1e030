// Package report is the result document of one sync: the detail of its event, the body of its HTTP answer, and the
// answer to a direct invocation.
package report

import (
	"cmp"
	"time"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

// Outcome of a sync.
type Outcome string

const (
	Created Outcome = "created"
	Updated Outcome = "updated"
	Adopted Outcome = "adopted" // taken over, or made by a POST whose answer was lost
	Settled Outcome = "settled" // written once more: from now on no older version can come back
	Failed  Outcome = "failed"
	Planned Outcome = "planned" // a dry run
	Skipped Outcome = "skipped" // nothing to do; a warning says why
)

// Trigger is what asked for a sync.
type Trigger struct {
	Type string `json:"type"` // label, cloudtrail, http, direct or reconcile
	ID   string `json:"id"`   // of the event or request
}

// TriggerReconcile is the type of a Reconcile's trigger.
const TriggerReconcile = "reconcile"

// Result says what one sync did.
type Result struct {
	SchemaVersion              string         `json:"schemaVersion"`
	Outcome                    Outcome        `json:"outcome"`
	Secret                     SecretRef      `json:"secret"`
	AuthMethod                 *AuthMethodRef `json:"authMethod,omitempty"`
	Verification               string         `json:"verification,omitempty"` // a tokencheck.Outcome, or off
	Trigger                    Trigger        `json:"trigger"`
	RequestID                  string         `json:"requestId"`
	PreviousSecretSafeToRevoke bool           `json:"previousSecretSafeToRevoke"`
	LagMs                      *int64         `json:"lagMs,omitempty"` // event time to Datadog's 2xx, ±1 s
	DurationMs                 int64          `json:"durationMs"`
	Plan                       *Plan          `json:"plan,omitempty"`
	Warnings                   []string       `json:"warnings,omitempty"`
	Error                      *fault.Error   `json:"error,omitempty"`
	Held                       Held           `json:"held,omitzero"`       // of a failure; zero: nothing was written
	Recovered                  *Failure       `json:"recovered,omitempty"` // after a failure that was told
	Summary                    string         `json:"summary"`

	// For the log, the metrics and the caller only.
	DryRun       bool                `json:"-"`
	NoAuthMethod bool                `json:"-"` // of a failure: Datadog has no auth method for the secret
	FirstPush    bool                `json:"-"` // the version was written for the first time, and another was recorded
	Retry        bool                `json:"-"` // the event that asked is to be delivered again
	Told         bool                `json:"-"` // the result was published
	Unpublished  *fault.Error        `json:"-"` // why it was not, where it should have been
	Record       *secretstore.Record `json:"-"` // the secret's record now; nil: it could not be read
	RecordFailed bool                `json:"-"` // Record is not what it should be
	Repaired     bool                `json:"-"` // a Reconcile found a missed event, or what somebody else wrote
}

// Held says whether the credential that Datadog holds, as far as is recorded, still works.
type Held struct {
	VersionID    string             `json:"versionId"`
	Verification tokencheck.Outcome `json:"verification"`
}

// Losing reports whether what Datadog holds was rejected: alerts are being lost.
func (r Result) Losing() bool { return r.Held.Verification == tokencheck.Rejected }

// Failure is one that was recorded.
type Failure struct {
	Code  fault.Code `json:"code"`
	Since time.Time  `json:"since"`
}

// SecretRef identifies a secret and the version that was written, or would be.
type SecretRef struct {
	ARN       string `json:"arn,omitempty"`
	Name      string `json:"name,omitempty"`
	VersionID string `json:"versionId,omitempty"`
	Owner     string `json:"owner,omitempty"`
}

// AuthMethodRef identifies an auth method at Datadog.
type AuthMethodRef struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
	Site string `json:"site"`
}

// Plan is what a dry run found that a sync would do.
type Plan struct {
	Action  string   `json:"action"` // create, update or adopt
	Changes []Change `json:"changes"`
}

// Change is one attribute that a write would change; client_secret comes without its values.
type Change struct {
	Attribute string `json:"attribute"`
	From      string `json:"from,omitempty"`
	To        string `json:"to,omitempty"`
}

// DetailType returns the detail-type of the event that publishes r.
func (r Result) DetailType() string {
	what := map[Outcome]string{Settled: "Settled", Failed: "Sync Failed"}[r.Outcome]
	return "Datadog Auth Method " + cmp.Or(what, "Synced")
}

// PlanOf returns the plan of a sync that would have outcome o: the attributes that would change, and the client secret,
// which is always written.
func PlanOf(o Outcome, before, after datadog.AuthMethod) *Plan {
	p := &Plan{Action: map[Outcome]string{Created: "create", Updated: "update", Adopted: "adopt"}[o]}
	for _, a := range []Change{
		{"name", before.Name, after.Name},
		{"access_token_url", before.AccessTokenURL, after.AccessTokenURL},
		{"client_id", before.ClientID, after.ClientID},
		{"audience", before.Audience, after.Audience},
		{"scope", before.Scope, after.Scope},
	} {
		if a.From != a.To {
			p.Changes = append(p.Changes, a)
		}
	}
	p.Changes = append(p.Changes, Change{Attribute: "client_secret"})
	return p
}
