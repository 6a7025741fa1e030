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

const site = "us2.ddog-gov.com"

var (
	at     = time.Date(2026, 7, 1, 12, 30, 15, 0, time.UTC)
	record = secretstore.Record{ID: id, VersionID: other, At: at, Digest: "0123456789abcdef", Site: site, State: secretstore.Settled}
	// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_Tag.html
	tagValue = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]{0,255}$`)
)

const pushed = "id=" + id + " version=" + other + " at=2026-07-01T12:30:15Z digest=0123456789abcdef site=" + site

// failing is r from the moment when that was first seen.
func failing(r secretstore.Record, code fault.Code, lost bool) secretstore.Record {
	r.State, r.Failing, r.Lost, r.Since = "", code, lost, at
	return r
}

func TestRecordString(t *testing.T) {
	with := func(change func(*secretstore.Record)) secretstore.Record {
		r := record
		change(&r)
		return r
	}
	for name, tc := range map[string]struct {
		record secretstore.Record
		want   string
	}{
		"none":             {secretstore.Record{}, ""},
		"pushed":           {with(func(r *secretstore.Record) { r.State = secretstore.Pushed }), pushed + " state=pushed"},
		"unproven":         {with(func(r *secretstore.Record) { r.State = secretstore.Unproven }), pushed + " state=unproven"},
		"settled":          {record, pushed + " state=settled"},
		"UTC, in seconds":  {with(func(r *secretstore.Record) { r.At = at.Add(999 * time.Millisecond).In(time.FixedZone("", 7200)) }), pushed + " state=settled"},
		"failing":          {failing(record, fault.SecretInvalid, false), pushed + " failing=secret_invalid since=2026-07-01T12:30:15Z"},
		"lost":             {failing(record, fault.SecretInvalid, true), pushed + " lost=secret_invalid since=2026-07-01T12:30:15Z"},
		"the state is not": {with(func(r *secretstore.Record) { r.Failing, r.Since = fault.Deadline, at }), pushed + " failing=deadline since=2026-07-01T12:30:15Z"},
		"an operator's id": {secretstore.Record{ID: id}, "id=" + id},
		"and failing":      {failing(secretstore.Record{ID: id}, fault.Deadline, false), "id=" + id + " failing=deadline since=2026-07-01T12:30:15Z"},
		"failing only":     {failing(secretstore.Record{Site: site}, fault.Deadline, false), "site=" + site + " failing=deadline since=2026-07-01T12:30:15Z"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, tc.record.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheLongestRecordFitsATag(t *testing.T) {
	r := failing(record, "", false)
	r.VersionID = strings.Repeat("v", 64) // the most that a ClientRequestToken may have
	r.Site = "us3.datadoghq.com"
	for _, row := range fault.Table {
		if len(row.Code) > len(r.Failing) {
			r.Failing = row.Code
		}
	}
	for _, code := range []fault.Code{r.Failing, fault.Code(strings.Repeat("x", 32))} {
		r.Failing = code
		if tag := r.String(); !tagValue.MatchString(tag) {
			t.Errorf("%d characters: %s", len(tag), tag)
		} else if diff := cmp.Diff(r, secretstore.ParseRecord(tag, r.Site, at)); diff != "" {
			t.Errorf("it reads otherwise (-want +got):\n%s", diff)
		}
	}
}

func TestParseRecord(t *testing.T) {
	const whole, since = pushed + " state=settled", " since=2026-07-01T12:30:15Z"
	none, alone, here := secretstore.Record{}, secretstore.Record{ID: id}, secretstore.Record{ID: id, Site: site}
	inState := func(s secretstore.State) secretstore.Record { r := record; r.State = s; return r }
	without := func(part string) string { return regexp.MustCompile(part+`=\S+ ?`).ReplaceAllString(whole, "") }
	seen := func(r secretstore.Record, since time.Time) secretstore.Record { r.Since = since; return r }
	for name, tc := range map[string]struct {
		tag  string
		want secretstore.Record
	}{
		"settled":                    {whole, record},
		"unproven":                   {pushed + " state=unproven", inState(secretstore.Unproven)},
		"pushed":                     {pushed + " state=pushed", inState(secretstore.Pushed)},
		"a state that is unknown":    {pushed + " state=Settled", inState(secretstore.Pushed)},
		"no state":                   {pushed, inState(secretstore.Pushed)},
		"in another order":           {"state=settled site=" + site + "  digest=0123456789abcdef at=2026-07-01T14:30:15+02:00 version=" + other + " id=" + id, record},
		"in capitals":                {strings.Replace(whole, id, strings.ToUpper(id), 1), record},
		"with a part unknown":        {whole + " more=1", record},
		"id alone":                   {"  id=" + id + " ", alone},
		"id and this site":           {"id=" + id + " site=" + site, here},
		"id and another site":        {"id=" + id + " site=datadoghq.com", none},
		"another site":               {strings.Replace(whole, site, "datadoghq.com", 1), none},
		"a site that begins so":      {pushed + "m", none},
		"empty site":                 {"id=" + id + " site=", none},
		"no site":                    {without("site"), alone},
		"no version":                 {without("version"), here},
		"a version that is too long": {strings.Replace(whole, other, strings.Repeat("v", 65), 1), here},
		"no digest":                  {without("digest"), here},
		"a digest that is none":      {strings.Replace(whole, "abcdef", "abcdeg", 1), here},
		"no date":                    {without("at"), here},
		"a date that is none":        {strings.Replace(whole, "2026-07-01T", "2026-13-41T", 1), here},
		"a date in seconds":          {strings.Replace(whole, "2026-07-01T12:30:15Z", "1782909015", 1), here},
		"a date before all":          {strings.Replace(whole, "2026-07-01T", "0000-01-01T", 1), here},
		"nothing":                    {"", none},
		"text":                       {"hands off", none},
		"no id":                      {without("id"), none},
		"site alone":                 {"site=" + site, none},
		"an id that is none":         {"id=payments", none},
		"an empty id":                {"id= failing=deadline" + since, none},
		"an id with more":            {"id=" + id + "/..", none},
		"an id without dashes":       {"id=" + strings.ReplaceAll(id, "-", ""), none},
		"the id alone without a key": {id, none},
		"a key in another case":      {"ID=" + id, none},
		"two ids":                    {"id=" + id + " id=" + other, none},
		"two sites":                  {whole + " site=" + site, none},

		"failing":                        {pushed + " failing=secret_invalid" + since, failing(record, fault.SecretInvalid, false)},
		"lost":                           {pushed + " lost=secret_invalid" + since, failing(record, fault.SecretInvalid, true)},
		"failing beside a state":         {whole + " failing=secret_invalid" + since, failing(record, fault.SecretInvalid, false)},
		"failing and lost":               {pushed + " lost=secret_invalid failing=deadline" + since, failing(record, fault.SecretInvalid, true)},
		"failing twice":                  {pushed + " failing=deadline failing=deadline" + since, none},
		"a code of a later version":      {pushed + " failing=of_tomorrow" + since, failing(record, "of_tomorrow", false)},
		"a code that is none":            {whole + " failing=<b>" + since, record},
		"a code that is too long":        {whole + " failing=" + strings.Repeat("x", 33) + since, record},
		"failing, id alone":              {"id=" + id + " failing=deadline" + since, failing(alone, fault.Deadline, false)},
		"failing, half of a push":        {without("digest") + " failing=deadline" + since, failing(here, fault.Deadline, false)},
		"failing only":                   {"site=" + site + " failing=deadline" + since, failing(secretstore.Record{Site: site}, fault.Deadline, false)},
		"failing only, with no id":       {without("id") + " failing=deadline" + since, failing(secretstore.Record{Site: site}, fault.Deadline, false)},
		"failing only, at another site":  {"site=datadoghq.com failing=deadline" + since, none},
		"failing only, at no site":       {"failing=deadline" + since, failing(none, fault.Deadline, false)},
		"since when is not said":         {"id=" + id + " failing=deadline", failing(alone, fault.Deadline, false)},
		"since when is not to be read":   {"id=" + id + " failing=deadline since=Monday", failing(alone, fault.Deadline, false)},
		"since a time long ago":          {"id=" + id + " failing=deadline since=2026-01-01T00:00:00Z", seen(failing(alone, fault.Deadline, false), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))},
		"since 5 min ahead":              {"id=" + id + " failing=deadline since=2026-07-01T12:35:15Z", seen(failing(alone, fault.Deadline, false), at.Add(5*time.Minute))},
		"since 5 min and a second ahead": {"id=" + id + " failing=deadline since=2026-07-01T12:35:16Z", failing(alone, fault.Deadline, false)},
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
		"long ago":                         {at.AddDate(10, 0, 0), record},
		"5 min ahead less a nanosecond":    {at.Add(-5*time.Minute + 1), record},
		"5 min ahead":                      {at.Add(-5 * time.Minute), record},
		"5 min ahead, and a nanosecond":    {at.Add(-5*time.Minute - 1), none},
		"5 min ahead, in another location": {at.Add(-5 * time.Minute).In(time.FixedZone("", -3600)), record},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, secretstore.ParseRecord(whole, site, tc.now)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzParseRecord: whatever a tag says, what was read of it and is written again fits a tag and reads the same; it is not
// from the future, and has an id of this site or a failure, or it is none.
func FuzzParseRecord(f *testing.F) {
	for _, seed := range []string{"", record.String(), "id=" + id, "id=" + id + " site=x", pushed + " state=unproven",
		strings.Replace(pushed, "15Z", "15.5+14:00", 1) + " lost=deadline since=2026-07-01T12:30:15.9+00:30",
		"site=" + site + " failing=deadline", strings.Replace(pushed, other, strings.Repeat("=", 64), 1),
		"id=" + id + " failing=" + strings.Repeat("_", 32) + " since=9999-12-31T23:59:59-23:59"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, tag string) { checkParse(t, tag) })
}

func TestParseRecordOfAnything(t *testing.T) {
	part := rapid.Custom(func(t *rapid.T) string {
		key := rapid.SampledFrom([]string{"id", "version", "at", "digest", "site", "state", "failing", "lost", "since"}).Draw(t, "key")
		value := rapid.OneOf(rapid.SampledFrom([]string{id, other, "2026-07-01T12:30:15Z", "2026-07-01T12:40:15.25+00:10", "2027-01-01T00:00:00Z",
			"0123456789abcdef", site, "datadoghq.com", "settled", "unproven", "deadline", "of_tomorrow"}), rapid.StringMatching(`[\w=:+-]{0,70}`)).Draw(t, "value")
		return key + "=" + value
	})
	rapid.Check(t, func(t *rapid.T) {
		parts := append(strings.Fields(rapid.SampledFrom([]string{"", "id=" + id, pushed, "site=" + site}).Draw(t, "begin")),
			rapid.SliceOfNDistinct(part, 0, 9, func(p string) string { key, _, _ := strings.Cut(p, "="); return key }).Draw(t, "parts")...)
		checkParse(t, strings.Join(parts, " "))
	})
}

func checkParse(t interface{ Fatalf(string, ...any) }, tag string) {
	r := secretstore.ParseRecord(tag, site, at)
	latest := at.Add(5 * time.Minute)
	switch {
	case r == secretstore.Record{}:
		return
	case r.ID == "" && r.Failing == "", r.ID != "" && !secretstore.IsUUID(r.ID), r.Site != "" && r.Site != site, r.At.After(latest),
		r.Since.After(latest), (r.Failing == "") != r.Since.IsZero(), (r.State != "") != (r.VersionID != "" && r.Failing == ""):
		t.Fatalf("%q is %+v", tag, r)
	}
	again := r.String()
	if tagValue.MatchString(tag) && !tagValue.MatchString(again) {
		t.Fatalf("%q does not fit a tag", again)
	}
	if diff := cmp.Diff(r, secretstore.ParseRecord(again, site, at)); diff != "" {
		t.Fatalf("%q reads otherwise than %q (-was +is):\n%s", again, tag, diff)
	}
}
