// Package report is what the function tells of one sync: the detail of its event, the body of its HTTP answer, the answer to
// a direct invocation, and the line in its log.
package report

import (
	"fmt"
	"slices"
	"time"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

// Action is what is to be done about a secret at Datadog.
type Action string

const (
	Create Action = "create"
	Update Action = "update"
	Adopt  Action = "adopt" // take over, or update what a POST made whose answer was lost
)

// Outcome of a sync.
type Outcome string

const (
	Created Outcome = "created"
	Updated Outcome = "updated"
	Adopted Outcome = "adopted" // taken over, or made by a POST whose answer was lost
	Settled Outcome = "settled" // pushed once more: from now on no older version can come back
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

// Result tells what came of one sync.
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
	Held                       *Held          `json:"held,omitempty"`      // of a failure
	Recovered                  *Failure       `json:"recovered,omitempty"` // of the first success after a failure
	Summary                    string         `json:"summary"`

	DryRun bool `json:"-"`
	// Retry: it is a failure within its grace, which the same event may mend in a minute.
	Retry bool `json:"-"`
	// Told: it was published.
	Told bool `json:"-"`
	// Unpublished is why the result did not reach the event bus, where it should have.
	Unpublished *fault.Error `json:"-"`
	// Record is what is recorded on the secret now; RecordFailed: it is not what should be.
	Record       secretstore.Record `json:"-"`
	RecordFailed bool               `json:"-"`
	// FirstPush: the version was not pushed before, and another was.
	FirstPush bool `json:"-"`
	// Repaired: a Reconcile found what no event told, or what somebody else wrote.
	Repaired bool `json:"-"`
	// StepsMs are how long the steps took, in milliseconds: read, plan, verify, apply, look, and finish.
	StepsMs map[string]int64 `json:"-"`
}

// Held tells whether the credential that Datadog holds, as far as is recorded, still works.
type Held struct {
	VersionID    string             `json:"versionId"`
	Verification tokencheck.Outcome `json:"verification"`
}

// Failure is one that was recorded.
type Failure struct {
	Code  fault.Code `json:"code"`
	Since time.Time  `json:"since"`
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

func (r *Result) Warn(text string) {
	if !slices.Contains(r.Warnings, text) {
		r.Warnings = append(r.Warnings, text)
	}
}

// Counts reports whether err, which may be nil, is about a secret that exists and is in scope: others are nobody's success
// or failure.
func Counts(err error) bool {
	if err == nil {
		return true
	}
	code := fault.From(err).Code
	return code != fault.BadRequest && code != fault.SecretOutOfScope && code != fault.SecretNotFound
}

// DetailType is that of the event that tells of a sync which wrote or failed.
func (r *Result) DetailType() string {
	switch r.Outcome {
	case Settled:
		return "Datadog Auth Method Settled"
	case Failed:
		return "Datadog Auth Method Sync Failed"
	}
	return "Datadog Auth Method Synced"
}

// Changes lists the attributes in which after differs from before, and the client secret, which is always written.
func Changes(before, after datadog.AuthMethod) []Change {
	var all []Change
	for _, a := range []struct{ name, from, to string }{
		{"name", before.Name, after.Name},
		{"access_token_url", before.AccessTokenURL, after.AccessTokenURL},
		{"client_id", before.ClientID, after.ClientID},
		{"audience", before.Audience, after.Audience},
		{"scope", before.Scope, after.Scope},
	} {
		if a.from != a.to {
			all = append(all, Change{a.name, stated(a.from), stated(a.to)})
		}
	}
	return append(all, Change{Attribute: "client_secret"})
}

func stated(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

const maxSummary = 300 // characters

// Summarise sets Summary: in our own words, the secret's name and the code, what happened, whether alerts are being lost, and what to
// do, so that any channel can carry it unescaped. It has at most 300 characters; a long name is shortened in the middle.
func (r *Result) Summarise() {
	text := r.tell()
	name := r.Secret.Name
	if name == "" {
		name = "datadog-webhook-auth-sync"
	}
	if most := maxSummary - len(text); len(name) > most {
		half := (most - len("...")) / 2
		name = name[:half] + "..." + name[len(name)-half:]
	}
	r.Summary = name + text
}

func (r *Result) tell() string {
	switch {
	case r.Error != nil:
		hint := r.Error.Hint
		if r.Error.Code == fault.CredentialRejected && r.isLosing() {
			hint = "Store a client secret that works, or go back to one that does."
		}
		return fmt.Sprintf(": %s (%s). %s %s", fault.Means(r.Error.Code), r.Error.Code, r.TellHeld(), hint)
	case r.Outcome == Skipped:
		return ": " + r.Warnings[0] + ", so there is nothing to do."
	case r.Outcome == Planned:
		return fmt.Sprintf(": a sync would %s the auth method. Nothing was written.", r.Plan.Action)
	case r.Recovered != nil:
		text := fmt.Sprintf(": recovered from %s, failing since %s", r.Recovered.Code, r.Recovered.Since.UTC().Format(time.DateTime+" UTC"))
		if r.Outcome == Created {
			return text + ", in a new auth method: ALERTS ARE LOST until you attach it to your webhooks in Datadog."
		}
		return fmt.Sprintf("%s. Datadog holds the current client secret%s.", text, r.tellVerified())
	case r.Outcome == Created:
		return fmt.Sprintf(": created an auth method at Datadog with the current client secret%s. Attach it to your webhooks there.", r.tellVerified())
	case r.PreviousSecretSafeToRevoke:
		return ": settled. Datadog holds the current client secret permanently; as far as Datadog goes, the one before may be revoked."
	}
	return fmt.Sprintf(": %s. Datadog holds the current client secret%s.", r.Outcome, r.tellVerified())
}

// TellHeld says, of a failure, whether alerts are being lost.
func (r *Result) TellHeld() string {
	switch {
	case !Counts(r.Error) || r.DryRun:
		return "Nothing changed at Datadog."
	case r.Held == nil || r.Held.Verification == tokencheck.Inconclusive:
		return "Whether alerts are being lost is not known."
	case r.isLosing():
		return "What Datadog holds does not work either: ALERTS ARE BEING LOST NOW."
	}
	return "What Datadog holds still works: no alert is lost yet."
}

func (r *Result) isLosing() bool {
	return r.Held != nil && r.Held.Verification == tokencheck.Rejected
}

func (r *Result) tellVerified() string {
	if r.Verification == string(tokencheck.Accepted) {
		return ", and its token endpoint accepts it"
	}
	return "; whether its token endpoint accepts it is not known"
}
