package secretstore_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
)

const (
	site   = "us3.datadoghq.com" // the longest
	pushed = "id=" + id + " version=" + other + " at=2026-07-01T12:30:15Z digest=3q2-7wABAgME_QYH site=" + site
	since  = " since=2026-07-01T12:00:00Z"
)

var (
	at     = time.Date(2026, 7, 1, 12, 30, 15, 0, time.UTC)
	record = secretstore.Record{ID: id, Version: other, At: at, Digest: "3q2-7wABAgME_QYH", Site: site,
		State: secretstore.Pushed}
	states = []secretstore.State{secretstore.Pushed, secretstore.Unproven, secretstore.Settled,
		secretstore.Waiting, secretstore.Failing, secretstore.Lost}
	// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_Tag.html
	tagValue = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]{0,255}$`)
)

// written is record as the token endpoint took its credential.
func written(state secretstore.State, via, refused string) secretstore.Record {
	r := record
	r.State, r.Via, r.Refused = state, via, refused
	return r
}

// failing is r, which fails since half an hour before at.
func failing(r secretstore.Record, s secretstore.State, code fault.Code) secretstore.Record {
	r.State, r.Code, r.Since = s, code, at.Truncate(time.Hour)
	return r
}

func TestRecordIsStored(t *testing.T) {
	alone := secretstore.Record{ID: id}
	const refused = " refused=Zk3v_0aQx1"
	lost := failing(written(secretstore.Lost, "plain", "Zk3v_0aQx1"), secretstore.Lost, fault.SecretInvalid)
	for tag, want := range map[string]secretstore.Record{
		"":                                   {},
		pushed + " state=pushed":             record,
		pushed + " state=unproven":           written(secretstore.Unproven, "", ""),
		pushed + " via=header state=settled": written(secretstore.Settled, "header", ""),
		pushed + " via=body state=pushed" + refused:                 written(secretstore.Pushed, "body", "Zk3v_0aQx1"),
		pushed + " waiting=deadline" + since:                        failing(record, secretstore.Waiting, fault.Deadline),
		pushed + " failing=of_tomorrow" + since:                     failing(record, secretstore.Failing, "of_tomorrow"),
		pushed + " via=plain lost=secret_invalid" + since + refused: lost,
		"id=" + id:                                   alone,
		"id=" + id + " waiting=deadline" + since:     failing(alone, secretstore.Waiting, fault.Deadline),
		"site=" + site + " failing=deadline" + since: failing(secretstore.Record{Site: site}, secretstore.Failing, fault.Deadline),
		"site=" + site + refused:                     {Site: site, Refused: "Zk3v_0aQx1"},
	} {
		t.Run(tag, func(t *testing.T) {
			if diff := cmp.Diff(tag, want.String()); diff != "" {
				t.Errorf("stored (-want +got):\n%s", diff)
			}
			got := secretstore.ParseRecord(tag, site, at)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("read (-want +got):\n%s", diff)
			}
			if got.Fails() != (want.Code != "") {
				t.Errorf("fails: %t", got.Fails())
			}
		})
	}
	odd := record
	odd.At = at.Add(999 * time.Millisecond).In(time.FixedZone("", 7200))
	if odd.String() != record.String() {
		t.Errorf("not UTC, in whole seconds: %s", odd)
	}
}

func TestTheLongestRecordFitsATag(t *testing.T) {
	r := failing(written(secretstore.Failing, "header", "Zk3v_0aQx1"), secretstore.Failing, "")
	for code, want := range map[fault.Code]int{
		fault.AuthMethodNotFound:            242, // the longest that a sync fails with
		fault.Code(strings.Repeat("x", 24)): 245,
	} {
		r.Code = code
		if tag := r.String(); len(tag) != want || !tagValue.MatchString(tag) || secretstore.ParseRecord(tag, site, at) != r {
			t.Errorf("%d characters, want %d: %s", len(tag), want, tag)
		}
	}
}

func TestParseRecord(t *testing.T) {
	none, alone, here := secretstore.Record{}, secretstore.Record{ID: id}, secretstore.Record{ID: id, Site: site}
	unpublished := record
	unpublished.Version, unpublished.State = "", ""
	without := func(field string) string { return regexp.MustCompile(field+`=\S+ ?`).ReplaceAllString(pushed, "") }
	with := func(field, value string) string { return without(field) + " " + field + "=" + value }
	aloneSince := func(since time.Time) secretstore.Record {
		return secretstore.Record{ID: id, State: secretstore.Failing, Code: fault.Deadline, Since: since}
	}
	for name, tc := range map[string]struct {
		tag  string
		want secretstore.Record
	}{
		"no state":               {pushed, record},
		"an unknown state":       {pushed + " state=Settled", record},
		"unknown fields":         {pushed + " more=1 failing=<b>", record},
		"id in capitals":         {with("id", strings.ToUpper(id)), record},
		"unknown via":            {pushed + " via=headers", record},
		"refused too short":      {pushed + " refused=Zk3v_0aQx", record},
		"refused too long":       {pushed + " refused=Zk3v_0aQx12", record},
		"order, spaces and zone": {" site=" + site + "  digest=3q2-7wABAgME_QYH at=2026-07-01T14:30:15+02:00 version=" + other + " id=" + id + " ", record},

		"without site":           {without("site"), alone},
		"without version":        {without("version") + " state=settled", unpublished},
		"without digest":         {without("digest"), here},
		"without at":             {without("at"), here},
		"half a write with via":  {without("at") + " via=header state=settled", here},
		"version in other words": {with("version", strings.Repeat("v", 37)), here},
		"version too short":      {with("version", strings.Repeat("v", 31)), here},
		"version's short hash":   {with("version", "v-"+strings.Repeat("_", 21)), here},
		"version's long hash":    {with("version", "v-"+strings.Repeat("_", 23)), here},
		"digest too short":       {with("digest", strings.Repeat("0", 15)), here},
		"digest too long":        {with("digest", strings.Repeat("0", 17)), here},
		"no such date":           {with("at", "2026-13-41T12:30:15Z"), here},
		"date before 1970":       {with("at", "0000-01-01T00:00:00Z"), here},

		"words":                   {"hands off", none},
		"without id":              {without("id"), none},
		"site only":               {"site=" + site, none},
		"another site":            {with("site", "datadoghq.com"), none},
		"a site that begins so":   {pushed + "m", none},
		"empty site":              {"id=" + id + " site=", none},
		"id at another site":      {"id=" + id + " site=datadoghq.com", none},
		"failing at another":      {"site=datadoghq.com failing=deadline" + since, none},
		"id is no UUID":           {"id=payments", none},
		"id is empty":             {"id= failing=deadline" + since, none},
		"id and more":             {"id=" + id + "/..", none},
		"id without hyphens":      {"id=" + strings.ReplaceAll(id, "-", ""), none},
		"two ids":                 {"id=" + id + " id=" + id, none},
		"failing twice":           {pushed + " failing=deadline failing=deadline", none},
		"a key in capitals":       {"ID=" + id, none},
		"a code that is too long": {"failing=" + strings.Repeat("x", 25), none},

		"failing beside a state":   {pushed + " state=settled failing=secret_invalid" + since, failing(record, secretstore.Failing, fault.SecretInvalid)},
		"failing and lost":         {pushed + " lost=secret_invalid failing=deadline" + since, failing(record, secretstore.Lost, fault.SecretInvalid)},
		"failing, half of a write": {without("digest") + " failing=deadline" + since, failing(here, secretstore.Failing, fault.Deadline)},
		"failing, without id":      {without("id") + " failing=deadline" + since, failing(secretstore.Record{Site: site}, secretstore.Failing, fault.Deadline)},
		"failing, nothing else":    {"failing=deadline" + since, failing(none, secretstore.Failing, fault.Deadline)},
		"since nothing":            {"id=" + id + " failing=deadline", aloneSince(at)},
		"since Monday":             {"id=" + id + " failing=deadline since=Monday", aloneSince(at)},
		"since a second ahead":     {"id=" + id + " failing=deadline since=2026-07-01T12:30:16Z", aloneSince(at)},
		"since long ago":           {"id=" + id + " failing=deadline since=2020-01-01T00:00:00Z", aloneSince(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC))},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, secretstore.ParseRecord(tc.tag, site, at)); diff != "" {
				t.Errorf("%q (-want +got):\n%s", tc.tag, diff)
			}
		})
	}
	for name, tc := range map[string]struct {
		now  time.Time
		want secretstore.Record
	}{
		"written long ago":       {at.AddDate(10, 0, 0), record},
		"written 5 min ahead":    {at.Add(-5 * time.Minute), record},
		"and a nanosecond":       {at.Add(-5*time.Minute - 1), none},
		"ahead, in another zone": {at.Add(-5 * time.Minute).In(time.FixedZone("", -3600)), record},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, secretstore.ParseRecord(pushed, site, tc.now)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestVersionKey(t *testing.T) {
	for version, want := range map[string]string{
		other:                         other,
		strings.Repeat("v", 32):       strings.Repeat("v", 32),
		strings.Repeat("v", 36):       strings.Repeat("v", 36),
		strings.Repeat("v", 31):       "v-9RKZD0j3R5bfMnxAqGwVYN",
		strings.Repeat("v", 37):       "v-",
		strings.Repeat("v", 31) + "_": "v-",
		other + "\n":                  "v-",
		"":                            "v-47DEQpj8HBSa-_TImW-5JC",
		strings.Repeat("v ", 16) + " lost=deadline": "v-",
	} {
		t.Run(version, func(t *testing.T) {
			key := secretstore.VersionKey(version)
			if !strings.HasPrefix(key, want) || key != version && len(key) != 24 {
				t.Errorf("got %s, want %s", key, want)
			}
		})
	}
	if got := secretstore.RefusedKey(""); got != "47DEQpj8HB" {
		t.Errorf("RefusedKey: %s", got)
	}
}

// FuzzParseRecord: whatever a tag says, what was read of it, and is written again, fits a tag and reads the same; and it
// is well formed.
func FuzzParseRecord(f *testing.F) {
	for _, seed := range []string{"", "id=" + id, "id=" + id + " site=x", pushed + " via=body state=unproven refused=Zk3v_0aQx1",
		strings.Replace(pushed, "15Z", "15.5+14:00", 1) + " lost=deadline since=2026-07-01T12:30:15.9+00:30",
		"site=" + site + " waiting=deadline", "id=" + id + " failing=" + strings.Repeat("_", 24) + " since=9999-12-31T23:59:59-23:59"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, tag string) {
		r := secretstore.ParseRecord(tag, site, at)
		whole, published := !r.At.IsZero(), r.Version != ""
		switch {
		case r == secretstore.Record{}:
			return
		case r.ID == "" && !r.Fails() && r.Refused == "", r.ID != "" && !secretstore.IsUUID(r.ID), r.Site != "" && r.Site != site,
			whole != (r.Digest != ""), whole && (r.ID == "" || r.Site == ""), !whole && (published || r.Via != ""),
			published && r.State == "", !published && r.State != "" && !r.Fails(),
			r.At.After(at.Add(5 * time.Minute)), r.Since.After(at), r.Fails() != (r.Code != ""), r.Fails() == r.Since.IsZero():
			t.Fatalf("%q is %+v", tag, r)
		}
		again := r.String()
		if !tagValue.MatchString(again) {
			t.Fatalf("%q does not fit a tag", again)
		}
		if diff := cmp.Diff(r, secretstore.ParseRecord(again, site, at)); diff != "" {
			t.Fatalf("%q reads otherwise than %q (-was +is):\n%s", again, tag, diff)
		}
	})
}

// A team chooses the ids of its versions: 32 to 64 characters, any. They are told apart, and none forges a field.
func TestAnyVersionIDIsRecorded(t *testing.T) {
	versionID := rapid.OneOf(rapid.StringN(32, 64, -1), rapid.StringMatching(`[A-Za-z0-9-]{32,64}`),
		rapid.SampledFrom([]string{other, other + " lost=deadline", "v-47DEQpj8HBSa-_TImW-5JC", strings.Repeat("=", 64), pushed[:64],
			"x id=" + id, "x state=settled refused=Zk3v_0aQx1 x"}))
	rapid.Check(t, func(t *rapid.T) {
		is, not := versionID.Draw(t, "version"), versionID.Draw(t, "other version")
		want := record
		want.State = rapid.SampledFrom(states).Draw(t, "state")
		if want.Fails() {
			want = failing(record, want.State, fault.Deadline)
		}
		want.Version, want.Refused = secretstore.VersionKey(is), secretstore.RefusedKey(is)
		tag := want.String()
		got := secretstore.ParseRecord(tag, site, at)
		if diff := cmp.Diff(want, got); diff != "" || !tagValue.MatchString(tag) {
			t.Fatalf("%q (-want +got):\n%s", tag, diff)
		}
		if !got.IsOf(is) || !got.Refuses(is) || is != not && (got.IsOf(not) || got.Refuses(not)) {
			t.Fatalf("%q does not tell %q from %q", tag, is, not)
		}
		labels := map[string][]string{not: {"NEXT"}, is: {"AWSCURRENT"}}
		if s := (secretstore.Secret{Labels: labels}); s.VersionOf(got) != is {
			t.Fatalf("%q is %q, not %q", tag, s.VersionOf(got), is)
		}
		delete(labels, is)
		alone := got.Version // a hash says nothing where its version is not labelled
		if alone != is {
			alone = ""
		}
		if s := (secretstore.Secret{Labels: labels}); is != not && s.VersionOf(got) != alone {
			t.Fatalf("%q is %q, though not labelled", tag, s.VersionOf(got))
		}
	})
}
