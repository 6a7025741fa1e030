package report

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"time"

	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/tokencheck"
)

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
	case r.DryRun || !fault.Counts(r.Error):
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
