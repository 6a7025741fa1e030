// Package report is the result document of one sync: the detail of its event, the body of its HTTP answer, and the
// answer to a direct invocation.
package report

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
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

// PlanOf returns the plan of a sync of outcome o: the attributes that would change, and the client secret.
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

// The most characters of a summary and of its parts; minName is what a name has at least.
const (
	maxSummary = 300
	maxOwner   = 30
	minName    = 30
	maxHint    = 100
)

// Summary says for a person at 3 a.m. what happened to which secret and why, whether alerts are being lost, and what to
// do. It has at most 300 characters, all of which print, and none that a channel would have to escape. A long name is
// shortened in the middle.
func Summary(r Result) string {
	name := printable(cmp.Or(r.Secret.Name, "datadog-webhook-auth-sync"))
	owner := linkable.ReplaceAllString(printable(r.Secret.Owner), "-")
	if owner != "" {
		owner = " (" + shortened(owner, maxOwner) + ")"
	}
	cause, rest := r.sentences()
	cause, rest = printable(cause), printable(rest)
	room := maxSummary - len([]rune(owner+": "+rest))
	cause = shortened(cause, room-min(len([]rune(name)), minName))
	return shortened(name, room-len([]rune(cause))) + owner + ": " + cause + rest
}

// sentences returns what happened, and what follows of it.
func (r Result) sentences() (cause, rest string) {
	switch {
	case r.Error != nil:
		hint := r.Error.Hint
		if r.Losing() && r.Error.Code == fault.CredentialRejected {
			hint = "Store a client secret that works, or go back to one that does."
		}
		return r.Error.Brief(), fmt.Sprintf(" (%s). %s %s", r.Error.Code, r.Loss(), shortened(hint, maxHint))
	case r.Outcome == Skipped:
		return r.Warnings[0], ": nothing to do."
	case r.Outcome == Planned:
		return fmt.Sprintf("a sync would %s the auth method", r.Plan.Action), ". Nothing was written."
	case r.Recovered != nil:
		since := r.Recovered.Since.UTC().Format(time.DateTime + " UTC")
		return fmt.Sprintf("recovered from %s, failing since %s", r.Recovered.Code, since), ". " + r.holds()
	case r.Outcome == Created:
		return "created an auth method at Datadog", ". " + r.holds()
	case r.PreviousSecretSafeToRevoke:
		return "settled", ". Datadog holds the current client secret permanently; " +
			"as far as Datadog goes, the one before may be revoked."
	}
	return string(r.Outcome), ". " + r.holds()
}

// Loss says of a failure whether alerts are being lost.
func (r Result) Loss() string {
	switch {
	case r.DryRun || !fault.Counts(r.Error) && r.AuthMethod == nil:
		return "Nothing changed at Datadog."
	case r.Losing() && r.Error.Code == fault.AuthMethodNotFound:
		return "ALERTS ARE BEING LOST NOW."
	case r.Losing():
		return "What Datadog holds does not work: ALERTS ARE BEING LOST NOW."
	case r.Held.Verification == tokencheck.Accepted && r.Held.VersionID != r.Secret.VersionID:
		return "Datadog holds the one before, which still works: no alert is lost yet."
	case r.Held.Verification == tokencheck.Accepted:
		return "What Datadog holds still works: no alert is lost yet."
	case r.NoAuthMethod:
		return "Datadog has no auth method for it."
	}
	return "Whether alerts are being lost is not known."
}

func (r Result) holds() string {
	text := "Datadog holds the current client secret; whether its token endpoint accepts it is not known."
	if r.Verification == string(tokencheck.Accepted) {
		text = "Datadog holds the current client secret, and its token endpoint accepts it."
	}
	if r.Outcome == Created {
		text += " Attach it to your webhooks there."
	}
	return text
}

var (
	unprintable = regexp.MustCompile(`[^\pL\pM\pN\pP\pS ]`)
	linkable    = regexp.MustCompile(`[^\pL\pN _()-]`) // what a channel would make a link of
	unescaped   = strings.NewReplacer("@", "(at)", `"`, "'", `\`, "/", "<", "(", ">", ")", "`", "'")
)

// printable returns text without what does not print or some channel would have to escape.
func printable(text string) string {
	return unescaped.Replace(unprintable.ReplaceAllString(text, ""))
}

// shortened returns text, cut in the middle to most characters.
func shortened(text string, most int) string {
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	half := max(0, most-len("...")) / 2
	return string(runes[:half]) + "..." + string(runes[len(runes)-half:])
}
