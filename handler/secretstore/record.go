package secretstore

import (
	"regexp"
	"strings"
	"time"

	"datadog-webhook-auth-sync/handler/fault"
)

// RecordTag is the one tag key that this program writes on a secret.
const RecordTag = "datadog-webhook-auth-sync"

// maxClockSkew is how far ahead of our clock a date in a record may be before it is disbelieved.
const maxClockSkew = 5 * time.Minute

// State says how far the last push of a version that does not fail can be trusted.
type State string

const (
	Pushed   State = "pushed"   // once: an older invocation may still overwrite it
	Unproven State = "unproven" // again, 10 minutes later, but the token endpoint gave no verdict
	Settled  State = "settled"  // again, 10 minutes later, and accepted
)

// Record is what we remember on a secret of its last push, and of the failure since. It has only an ID, as an operator
// sets it to bring an auth method under management; or all of ID, VersionID, At, Digest and Site. Either of them may
// fail, and so may a record with no ID. The zero Record is none.
type Record struct {
	ID        string // of the auth method, a UUID
	VersionID string // of the secret, as pushed
	At        time.Time
	Digest    string // of the auth method's readable attributes, as Datadog returned them: 16 hex digits
	Site      string // of Datadog; where an operator's tag states none it counts for any
	State     State  // of a push; empty while the record fails

	Failing fault.Code // why the secret cannot be synced; empty if it can
	Lost    bool       // and what Datadog holds was rejected: alerts are being lost
	Since   time.Time  // when the failure was first told; zero if there is none
}

// String returns the tag's value: at most 255 characters, of those that tags may have.
func (r Record) String() string {
	var parts []string
	add := func(key, value string) {
		if value != "" {
			parts = append(parts, key+"="+value)
		}
	}
	add("id", r.ID)
	add("version", r.VersionID)
	add("at", date(r.At))
	add("digest", r.Digest)
	add("site", r.Site)
	switch {
	case r.Failing == "":
		add("state", string(r.State))
		return strings.Join(parts, " ")
	case r.Lost:
		add("lost", string(r.Failing))
	default:
		add("failing", string(r.Failing))
	}
	add("since", date(r.Since))
	return strings.Join(parts, " ")
}

func date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

var (
	digestText = regexp.MustCompile(`^[0-9a-f]{16}$`)
	codeText   = regexp.MustCompile(`^[a-z_]{1,32}$`) // a later version's codes too
)

// ParseRecord reads a tag's value, which anybody who may tag the secret can have written. In this order:
//
//  1. a repeated key, an id that is no UUID, another site, a date of the push more than 5 minutes ahead of now, or
//     neither an id nor a failure: the zero Record;
//  2. a failure counts if its code may be one, the worse where both spellings are there; where its date is missing,
//     unreadable or more than 5 minutes ahead, it is since now;
//  3. a push counts if all of it is there; an unknown state is Pushed.
func ParseRecord(tag, site string, now time.Time) Record {
	part := map[string]string{}
	for _, pair := range strings.Fields(tag) {
		key, value, _ := strings.Cut(pair, "=")
		if _, repeated := part[key]; repeated {
			return Record{} // 1
		}
		part[key] = value
	}
	id, identified := part["id"]
	stated, sited := part["site"]
	at, dated := parseDate(part["at"])
	if identified && !IsUUID(id) || sited && stated != site || dated && at.After(now.Add(maxClockSkew)) {
		return Record{} // 1
	}
	r := Record{ID: strings.ToLower(id), Site: stated}
	for _, key := range []string{"failing", "lost"} { // 2
		if codeText.MatchString(part[key]) {
			r.Failing, r.Lost = fault.Code(part[key]), key == "lost"
		}
	}
	if r.Failing != "" {
		since, known := parseDate(part["since"])
		if !known || since.After(now.Add(maxClockSkew)) {
			since = now.UTC().Truncate(time.Second)
		}
		r.Since = since
	}
	version, digest := part["version"], part["digest"]
	if identified && sited && dated && version != "" && len(version) <= 64 && digestText.MatchString(digest) { // 3
		r.VersionID, r.At, r.Digest = version, at, digest
		switch state := State(part["state"]); {
		case r.Failing != "":
		case state == Unproven || state == Settled:
			r.State = state
		default:
			r.State = Pushed
		}
	}
	if !identified && r.Failing == "" {
		return Record{} // 1
	}
	return r
}

// parseDate reads a date after 1970, in whole seconds.
func parseDate(s string) (t time.Time, ok bool) {
	t, err := time.Parse(time.RFC3339, s)
	return t.UTC().Truncate(time.Second), err == nil && t.Unix() > 0
}
