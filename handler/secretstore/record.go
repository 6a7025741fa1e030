package secretstore

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"strings"
	"time"

	"datadog-webhook-auth-sync/handler/fault"
)

// RecordTag is the only tag key that this program writes on a secret.
const RecordTag = "datadog-webhook-auth-sync"

// State says how far the last write can be trusted or, while the secret fails, whether that was told.
type State string

const (
	Pushed   State = "pushed"   // written once: an older invocation may still overwrite it
	Unproven State = "unproven" // written again, 10 minutes later, without a verdict of the token endpoint
	Settled  State = "settled"  // written again, 10 minutes later, and accepted

	Waiting State = "waiting" // fails, not told yet
	Failing State = "failing" // fails, told
	Lost    State = "lost"    // fails, told, and the held credential was rejected: alerts are being lost
)

// Record is what is remembered on a secret. Stored as the value of RecordTag, it is one of
//
//	id=0f5e… version=1f5e… at=2026-07-01T12:30:15Z digest=3q2-7wABAgME_QYH site=datadoghq.eu via=body state=settled
//	id=0f5e… version=v-47DE… at=… digest=… site=… via=… failing=secret_invalid since=… refused=Zk3v_0aQx1
//	id=0f5e…
//	site=datadoghq.eu waiting=secret_invalid since=2026-07-02T08:00:00Z
//
// With the third an operator brings an auth method under management. Of a write all is there or nothing, except via,
// and the version of a create or take-over that could not be published. Any record may have a failure, refused, or
// both. The zero Record is none.
type Record struct {
	ID      string     // of the auth method, a UUID
	Version string     // of the secret, as written: its VersionKey
	At      time.Time  // of the write
	Digest  string     // of the auth method's readable attributes as Datadog returned them: 16 characters
	Site    string     // of Datadog; where an operator's tag states none, it counts for any
	Via     string     // the way in which the token endpoint took the credential: header, body, plain; empty if unknown
	State   State      // empty if nothing was written and nothing fails
	Code    fault.Code // why the secret fails; empty if it does not
	Since   time.Time  // when it began to fail; zero if it does not
	Refused string     // RefusedKey of the version that a token request refused last; empty if none
}

// Fails reports whether a failure stands.
func (r Record) Fails() bool { return r.State == Waiting || r.State == Failing || r.State == Lost }

// WithFailure returns r with a failure, told or not. One that is not told leaves the failure that stands.
func (r Record) WithFailure(code fault.Code, told, lost bool, now time.Time, site string) Record {
	if r.Fails() && !told {
		return r
	}
	if !r.Fails() {
		r.Since = now.UTC().Truncate(time.Second)
	}
	r.State, r.Code, r.Site = Waiting, code, site
	if told && lost {
		r.State = Lost
	} else if told {
		r.State = Failing
	}
	return r
}

// WithFailureOf returns r, a write, with the failure of old, which is not lost any more.
func (r Record) WithFailureOf(old Record) Record {
	if !old.Fails() {
		return r
	}
	if r.State, r.Code, r.Since = old.State, old.Code, old.Since; r.State == Lost {
		r.State = Failing
	}
	return r
}

// IsOf reports whether r records a write of that version.
func (r Record) IsOf(versionID string) bool { return r.Version == VersionKey(versionID) }

// Refuses reports whether that version is the one that a token request refused last.
func (r Record) Refuses(versionID string) bool { return r.Refused == RefusedKey(versionID) }

// VersionKey returns what stands for a version in Record.Version: its id or, where that has not the form of the ids
// that Secrets Manager makes, "v-" and 22 characters of its hash. So no text of a team's stands in a record.
func VersionKey(versionID string) string {
	if madeID.MatchString(versionID) {
		return versionID
	}
	return "v-" + hash(versionID)[:22]
}

// RefusedKey returns what stands for a version in Record.Refused: 10 characters of its id's hash.
func RefusedKey(versionID string) string { return hash(versionID)[:10] }

func hash(versionID string) string {
	sum := sha256.Sum256([]byte(versionID))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// String returns the tag's value: at most 255 characters, of those that tags may have.
func (r Record) String() string {
	state, value := "state", string(r.State)
	if r.Fails() {
		state, value = string(r.State), string(r.Code)
	}
	var stated []string
	for _, field := range [][2]string{
		{"id", r.ID}, {"version", r.Version}, {"at", date(r.At)}, {"digest", r.Digest}, {"site", r.Site},
		{"via", r.Via}, {state, value}, {"since", date(r.Since)}, {"refused", r.Refused},
	} {
		if field[1] != "" {
			stated = append(stated, field[0]+"="+field[1])
		}
	}
	return strings.Join(stated, " ")
}

func date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// maxClockSkew is how far ahead of our clock a record's At may be.
const maxClockSkew = 5 * time.Minute

var (
	madeID = regexp.MustCompile(`^[A-Za-z0-9-]{32,36}$`)
	code   = regexp.MustCompile(`^[a-z_]{1,24}$`) // a later version's codes too

	// forms of the fields that are read as they stand. A value of another form counts as empty.
	forms = map[string]*regexp.Regexp{
		"version": regexp.MustCompile(`^(v-[A-Za-z0-9_-]{22}|[A-Za-z0-9-]{32,36})$`),
		"digest":  regexp.MustCompile(`^[A-Za-z0-9_-]{16}$`),
		"via":     regexp.MustCompile(`^(header|body|plain)$`),
		"state":   regexp.MustCompile(`^(unproven|settled)$`), // all else is Pushed
		"refused": regexp.MustCompile(`^[A-Za-z0-9_-]{10}$`),
		"waiting": code, "failing": code, "lost": code,
	}
)

// ParseRecord reads a tag's value, which anybody who may tag the secret can have written:
//
//  1. A repeated key, an id that is no UUID, another site, or a write over 5 minutes ahead of now: the zero Record.
//  2. A write counts if id, at, digest and site are there and well formed; without a version it was not published. An
//     unknown state is Pushed.
//  3. A failure counts if its code is well formed; of several, the worst. It is since now where its date is missing,
//     unreadable or ahead of now.
//  4. Neither id nor failure nor refused: the zero Record.
func ParseRecord(tag, site string, now time.Time) Record {
	field := map[string]string{}
	for pair := range strings.FieldsSeq(tag) {
		key, value, _ := strings.Cut(pair, "=")
		if _, repeated := field[key]; repeated {
			return Record{} // 1
		}
		if form := forms[key]; form != nil && !form.MatchString(value) {
			value = ""
		}
		field[key] = value
	}
	id, identified := field["id"]
	stated, sited := field["site"]
	at, dated := parseDate(field["at"])
	if identified && !IsUUID(id) || sited && stated != site || dated && at.After(now.Add(maxClockSkew)) {
		return Record{} // 1
	}
	r := Record{ID: strings.ToLower(id), Site: stated, Refused: field["refused"]}
	version, versioned := field["version"]
	whole := identified && sited && dated && field["digest"] != "" && (version != "" || !versioned)
	if whole { // 2
		r.Version, r.At, r.Digest, r.Via = version, at, field["digest"], field["via"]
	}
	if whole && versioned {
		r.State = cmp.Or(State(field["state"]), Pushed)
	}
	for _, state := range []State{Waiting, Failing, Lost} { // 3
		if code := field[string(state)]; code != "" {
			r.State, r.Code = state, fault.Code(code)
		}
	}
	if r.Fails() {
		since, known := parseDate(field["since"])
		if !known || since.After(now) {
			since = now.UTC().Truncate(time.Second)
		}
		r.Since = since
	}
	if !identified && !r.Fails() && r.Refused == "" {
		return Record{} // 4
	}
	return r
}

// parseDate reads a date after 1970, in whole seconds.
func parseDate(s string) (t time.Time, ok bool) {
	t, err := time.Parse(time.RFC3339, s)
	return t.UTC().Truncate(time.Second), err == nil && t.Unix() > 0
}
