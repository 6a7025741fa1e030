package datadog

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestReset(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	date := func(d time.Duration) string { return now.Add(d).UTC().Format(http.TimeFormat) }
	for value, want := range map[string]time.Duration{
		"0": 0, "30": 30 * time.Second, "1.5": 1500 * time.Millisecond, "0.25": 250 * time.Millisecond, "1000000": 1e6 * time.Second, // the last that is taken for seconds
		"1000001": 0, "1800000030": 30 * time.Second, "1800000000": 0, "1799999999": 0, "1800000030.5": 30 * time.Second, // Unix times
		date(30 * time.Second): 30 * time.Second, date(-time.Second): 0,
		"": 0, "-1": 0, "-1800000030": 0, "soon": 0, "0x10": 0, " 5": 0, "NaN": 0, "-Inf": 0,
	} {
		for _, name := range []string{"X-Ratelimit-Reset", "Retry-After"} {
			if got := reset(http.Header{name: {value}}, now); got != want {
				t.Errorf("%s %q: %v; want %v", name, value, got, want)
			}
		}
	}
	for _, huge := range []string{"9223372036854775807", "1e300", "Inf", "99999999999999999999999"} {
		if got := reset(http.Header{"Retry-After": {huge}}, now); got < 100*365*24*time.Hour {
			t.Errorf("%s: %v", huge, got)
		}
	}
	for _, both := range [][]string{{"7", "2"}, {"2", "7"}, {"7", "soon"}, {"", date(7 * time.Second)}} {
		if got := reset(http.Header{"X-Ratelimit-Reset": {both[0]}, "Retry-After": {both[1]}}, now); got != 7*time.Second {
			t.Errorf("%q: %v", both, got)
		}
	}
}

func FuzzReset(f *testing.F) {
	for _, seed := range []string{"30", "1.5", "1800000030", "-1", "9223372036854775807", "Fri, 27 Nov 2026 13:00:00 GMT"} {
		f.Add(seed, int64(1_800_000_000))
	}
	f.Fuzz(func(t *testing.T, value string, now int64) {
		if got := reset(http.Header{"Retry-After": {value}}, time.Unix(now, 0)); got < 0 {
			t.Errorf("%v", got)
		}
	})
}

// FuzzDecode: an auth method that is returned has a UUID and a name, the one that was asked for; a failure returns none
// and repeats nothing of the body.
func FuzzDecode(f *testing.F) {
	const id = "0f5e4d3c-2b1a-4c9d-8e7f-6a5b4c3d2e1f"
	one := fmt.Sprintf(`{"id":%q,"type":%q,"attributes":{"name":"n","scope":null}}`, id, resourceType)
	listed := fmt.Sprintf(`{"id":%q,"attributes":{"protocol":%q}}`, id, protocol)
	for _, seed := range []string{`{"data":` + one + `}`, `{"data":[` + listed + `],"included":[` + one + `,{"type":"x"}]}`, `{"data":[],"included":[` + one + `]}`,
		`{"data":[` + listed + `]}`, `{}`, `null`, `{"data":null}`, `<html>CANARY`, `{"data":[{}],"included":[null]}`, strings.ReplaceAll(one, id, "CANARY")} {
		f.Add([]byte(seed), id)
	}
	f.Fuzz(func(t *testing.T, body []byte, id string) {
		check := func(methods []AuthMethod, failed *Error) {
			if (methods == nil) != (failed != nil) {
				t.Fatal("an error and auth methods, or neither")
			}
			if failed != nil && (!IsLost(failed) || failed.Words != "" || strings.Contains(failed.Error(), "CANARY")) {
				t.Fatal(failed)
			}
			for _, m := range methods {
				if len(m.ID) != 36 || uuid.Validate(m.ID) != nil || m.Name == "" || url.PathEscape(m.ID) != m.ID {
					t.Fatalf("%+v", m)
				}
			}
		}
		check(decodeList(body))
		one, failed := decodeOne(body, id, 200)
		if check(one, failed); failed == nil && id != "" && one[0].ID != id {
			t.Fatalf("%+v", one)
		}
	})
}
