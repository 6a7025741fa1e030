package secretstore_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/secretstore"
)

const site = "us2.ddog-gov.com"

var (
	at     = time.Date(2026, 7, 1, 12, 30, 15, 0, time.UTC)
	record = secretstore.Record{ID: id, VersionID: other, At: at, Digest: "0123456789abcdef", Site: site, Verified: true, Settled: true}
	// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_Tag.html
	tagValue = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]{0,255}$`)
)

func TestRecordString(t *testing.T) {
	const want = "id=" + id + " version=" + other + " at=2026-07-01T12:30:15Z digest=0123456789abcdef site=us2.ddog-gov.com verified=yes state=settled"
	pushed, longest := record, record
	pushed.Verified, pushed.Settled = false, false
	pushed.At = at.Add(999 * time.Millisecond).In(time.FixedZone("", 7200))
	longest.VersionID = strings.Repeat("v", 64) // the most that a ClientRequestToken may have
	for got, want := range map[string]string{
		record.String():  want,
		pushed.String():  strings.NewReplacer("yes", "no", "settled", "pushed").Replace(want),
		longest.String(): strings.ReplaceAll(want, other, longest.VersionID),
	} {
		if got != want || !tagValue.MatchString(got) {
			t.Errorf("%d characters (-want +got):\n%s", len(got), cmp.Diff(want, got))
		}
	}
}

func TestParseRecord(t *testing.T) {
	whole := record.String()
	alone, none := secretstore.Record{ID: id}, secretstore.Record{}
	with := func(change func(*secretstore.Record)) secretstore.Record {
		r := record
		change(&r)
		return r
	}
	without := func(part string) string { return regexp.MustCompile(part+`=\S+ ?`).ReplaceAllString(whole, "") }
	for name, tc := range map[string]struct {
		tag  string
		want secretstore.Record
	}{
		"whole":                      {whole, record},
		"pushed, not verified":       {strings.NewReplacer("yes", "no", "settled", "pushed").Replace(whole), with(func(r *secretstore.Record) { r.Verified, r.Settled = false, false })},
		"in another order":           {"state=settled verified=yes site=" + site + "  digest=0123456789abcdef at=2026-07-01T14:30:15+02:00 version=" + other + " id=" + id, record},
		"with a part unknown":        {whole + " more=1", record},
		"id alone":                   {"id=" + id, alone},
		"id alone, with space":       {"  id=" + id + " ", alone},
		"id and this site":           {"id=" + id + " site=" + site, alone},
		"id and another site":        {"id=" + id + " site=datadoghq.com", none},
		"another site":               {strings.Replace(whole, site, "datadoghq.com", 1), none},
		"a site that begins so":      {whole[:len(whole)-len(" verified=yes state=settled")] + "m", none},
		"empty site":                 {"id=" + id + " site=", none},
		"no site":                    {without("site"), alone},
		"no version":                 {without("version"), alone},
		"no digest":                  {without("digest"), alone},
		"no date":                    {without("at"), alone},
		"a date that is none":        {strings.Replace(whole, "2026-07-01T", "2026-13-41 ", 1), alone},
		"a date in seconds":          {strings.Replace(whole, "2026-07-01T12:30:15Z", "1782909015", 1), alone},
		"verified is not yes":        {strings.Replace(whole, "yes", "YES", 1), with(func(r *secretstore.Record) { r.Verified = false })},
		"state is unknown":           {strings.Replace(whole, "settled", "Settled", 1), with(func(r *secretstore.Record) { r.Settled = false })},
		"nothing":                    {"", none},
		"text":                       {"hands off", none},
		"no id":                      {without("id"), none},
		"an id that is none":         {"id=payments", none},
		"an id with more":            {"id=" + id + "/..", none},
		"an id without dashes":       {"id=" + strings.ReplaceAll(id, "-", ""), none},
		"an id in braces":            {"id={" + id + "}", none},
		"the id alone without a key": {id, none},
		"a key in another case":      {"ID=" + id, none},
		"two ids":                    {"id=" + id + " id=" + other + " site=" + site, none},
		"two sites":                  {whole + " site=" + site, none},
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

// FuzzParseRecord: any tag is no record at all, or has a valid id of this site that is not from the future; a whole
// record that is written again reads the same.
func FuzzParseRecord(f *testing.F) {
	for _, seed := range []string{record.String(), "id=" + id, "id=" + id + " site=x", "", "id=" + id + " at=0000-01-01T00:00:00+01:00 version=a=b digest=c site=" + site,
		strings.Replace(record.String(), "15Z", "15.5+14:00", 1)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, tag string) {
		r := secretstore.ParseRecord(tag, site, at)
		switch alone := (secretstore.Record{ID: r.ID}); {
		case r == secretstore.Record{}:
			return
		case !secretstore.IsUUID(r.ID) || r.At.After(at.Add(5*time.Minute)) || r.Site != site && r != alone:
			t.Fatalf("%+v", r)
		case r == alone || r.At.Year() < 1:
			return
		}
		r.At = r.At.Truncate(time.Second)
		if diff := cmp.Diff(r, secretstore.ParseRecord(r.String(), site, at)); diff != "" {
			t.Fatal(diff)
		}
	})
}
