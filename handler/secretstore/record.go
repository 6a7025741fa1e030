package secretstore

import (
	"strings"
	"time"
)

// RecordTag is the one tag key that this program writes on a secret.
const RecordTag = "datadog-webhook-auth-sync"

// maxClockSkew is how far ahead of our clock a record may be dated before it is disbelieved.
const maxClockSkew = 5 * time.Minute

// Record is what we remember on a secret of its last push. A record with an ID alone is valid: that is how somebody
// brings an existing auth method under management.
type Record struct {
	ID        string // of the auth method, a UUID
	VersionID string // of the secret, as pushed
	At        time.Time
	Digest    string // of the auth method's readable attributes, as Datadog returned them
	Site      string
	Verified  bool // the token endpoint accepted the credential
	Settled   bool // pushed once more when no older invocation could still be alive
}

// String is the tag's value, of at most 255 characters that tags allow.
func (r Record) String() string {
	verified, state := "no", "pushed"
	if r.Verified {
		verified = "yes"
	}
	if r.Settled {
		state = "settled"
	}
	return strings.Join([]string{"id=" + r.ID, "version=" + r.VersionID, "at=" + r.At.UTC().Format(time.RFC3339),
		"digest=" + r.Digest, "site=" + r.Site, "verified=" + verified, "state=" + state}, " ")
}

// ParseRecord reads a tag's value. No usable id, another site, or a date more than 5 minutes ahead of now makes it no
// record at all; an id without a version, date, digest or site is a record of that id alone.
func ParseRecord(tag, site string, now time.Time) Record {
	part := map[string]string{}
	repeated := false
	for _, pair := range strings.Fields(tag) {
		key, value, _ := strings.Cut(pair, "=")
		_, seen := part[key]
		repeated = repeated || seen
		part[key] = value
	}
	if other, stated := part["site"]; repeated || !IsUUID(part["id"]) || stated && other != site {
		return Record{}
	}
	at, err := time.Parse(time.RFC3339, part["at"])
	if err == nil && at.After(now.Add(maxClockSkew)) {
		return Record{}
	}
	r := Record{ID: strings.ToLower(part["id"]), VersionID: part["version"], At: at.UTC(), Digest: part["digest"], Site: part["site"],
		Verified: part["verified"] == "yes", Settled: part["state"] == "settled"}
	if err != nil || r.VersionID == "" || r.Digest == "" || r.Site == "" {
		return Record{ID: r.ID}
	}
	return r
}
