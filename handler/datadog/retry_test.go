package datadog

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestRetry(t *testing.T) {
	const hour = time.Hour
	get, post, patch := []string{"GET"}, []string{"POST"}, []string{"PATCH"}
	any := []string{"GET", "POST", "PATCH"}
	reads := []string{"GET", "PATCH"}
	status := func(code int) *Error { return &Error{Status: code} }
	throttled := func(reset time.Duration) *Error { return &Error{Status: 429, Reset: reset} }
	for name, tc := range map[string]struct {
		methods     []string
		err         *Error
		attempt     int
		tried, left time.Duration
		again       bool
		least, most time.Duration // of the wait
	}{
		"429 waits for its reset":                  {any, throttled(7 * time.Second), 1, 0, hour, true, 7 * time.Second, 7 * time.Second},
		"429 with the longest reset":               {any, throttled(30 * time.Second), 4, 0, hour, true, 30 * time.Second, 30 * time.Second},
		"429 with a reset a nanosecond longer":     {any, throttled(30*time.Second + 1), 1, 0, hour, false, 0, 30*time.Second + 1},
		"429 whose reset fits by a nanosecond":     {any, throttled(9 * time.Second), 1, 0, 9*time.Second + 1, true, 9 * time.Second, 9 * time.Second},
		"429 whose reset ends with the deadline":   {any, throttled(9 * time.Second), 1, 0, 9 * time.Second, false, 0, 9 * time.Second},
		"429 without a reset":                      {any, throttled(0), 1, 0, hour, true, 100 * time.Millisecond, 200 * time.Millisecond},
		"429 of the fifth attempt":                 {any, throttled(0), 5, 0, hour, false, 0, 0},
		"500, first":                               {reads, status(500), 1, 0, hour, true, 100 * time.Millisecond, 200 * time.Millisecond},
		"503, fourth":                              {reads, status(503), 4, 0, hour, true, 800 * time.Millisecond, 1600 * time.Millisecond},
		"599 of the fifth attempt":                 {reads, status(599), 5, 0, hour, false, 0, 0},
		"no answer":                                {reads, &Error{Cause: errors.New("cut")}, 2, 0, hour, true, 200 * time.Millisecond, 400 * time.Millisecond},
		"500 with 10 s all but spent":              {reads, status(500), 1, 9800 * time.Millisecond, hour, true, 0, 200 * time.Millisecond},
		"500 with 10 s spent after the least wait": {reads, status(500), 1, 9900 * time.Millisecond, hour, false, 0, 200 * time.Millisecond},
		"500 with time for the longest wait":       {reads, status(500), 1, 0, 200 * time.Millisecond, true, 0, 200*time.Millisecond - 1},
		"500 with time for no wait":                {reads, status(500), 1, 0, 100 * time.Millisecond, false, 0, 200 * time.Millisecond},
		"a POST on 500":                            {post, status(500), 1, 0, hour, false, 0, 0},
		"a POST on 503":                            {post, status(503), 1, 0, hour, false, 0, 0},
		"a POST without an answer":                 {post, status(0), 1, 0, hour, false, 0, 0},
		"400":                                      {any, status(400), 1, 0, hour, false, 0, 0},
		"401":                                      {any, status(401), 1, 0, hour, false, 0, 0},
		"403":                                      {any, status(403), 1, 0, hour, false, 0, 0},
		"404":                                      {get, status(404), 1, 0, hour, false, 0, 0},
		"409":                                      {any, status(409), 1, 0, hour, false, 0, 0},
		"302":                                      {any, status(302), 1, 0, hour, false, 0, 0},
		"another success":                          {patch, status(204), 1, 0, hour, false, 0, 0},
	} {
		for _, method := range tc.methods {
			t.Run(name+" "+method, func(t *testing.T) {
				for range 50 { // the waits are jittered
					wait, again := retry(tc.err, method, tc.attempt, tc.tried, tc.left)
					if again != tc.again || wait < tc.least || wait > tc.most {
						t.Fatalf("again %v after %v; want %v after %v to %v", again, wait, tc.again, tc.least, tc.most)
					}
				}
			})
		}
	}
}

func TestAmbiguous(t *testing.T) {
	for status, want := range map[int]bool{0: true, 200: true, 201: true, 302: true, 399: true, 500: true, 503: true, 599: true,
		400: false, 403: false, 404: false, 409: false, 429: false, 499: false} {
		if got := (&Error{Status: status}).Ambiguous(); got != want {
			t.Errorf("%d: %v", status, got)
		}
	}
}

func TestReset(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for value, want := range map[string]time.Duration{
		"0": 0, "30": 30 * time.Second, "1000000": 1e6 * time.Second, // the last that is taken for seconds
		"1000001": 0, "1800000030": 30 * time.Second, "1800000000": 0, "1799999999": 0, // Unix times
		"": 0, "-1": 0, "-1800000030": 0, "soon": 0, "1.5": 0, "0x10": 0, " 5": 0, "99999999999999999999999": 0,
	} {
		if got := reset(http.Header{"X-Ratelimit-Reset": {value}}, now); got != want {
			t.Errorf("%q: %v; want %v", value, got, want)
		}
	}
	for _, huge := range []string{"9223372036854775807", "1099511627776"} {
		if got := reset(http.Header{"X-Ratelimit-Reset": {huge}}, now); got < 100*365*24*time.Hour {
			t.Errorf("%s: %v", huge, got)
		}
	}
	if got := reset(http.Header{}, now); got != 0 {
		t.Errorf("no header: %v", got)
	}
}

func FuzzReset(f *testing.F) {
	for _, seed := range []string{"30", "1800000030", "-1", "9223372036854775807", "x"} {
		f.Add(seed, int64(1_800_000_000))
	}
	f.Fuzz(func(t *testing.T, value string, now int64) {
		if got := reset(http.Header{"X-Ratelimit-Reset": {value}}, time.Unix(now, 0)); got < 0 {
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
		check := func(err error, methods ...AuthMethod) {
			if err != nil {
				if e, ok := errors.AsType[*Error](err); !ok || !e.Ambiguous() || e.Words != "" || strings.Contains(err.Error(), "CANARY") {
					t.Fatal(err)
				}
				return
			}
			for _, m := range methods {
				if len(m.ID) != 36 || uuid.Validate(m.ID) != nil || m.Name == "" || url.PathEscape(m.ID) != m.ID {
					t.Fatalf("%+v", m)
				}
			}
		}
		methods, err := decodeList(body)
		if check(err, methods...); (methods == nil) != (err != nil) {
			t.Fatal("an error and a list, or neither")
		}
		m, err := decodeOne(body, id, 200, nil)
		if check(err, m); err != nil && m != (AuthMethod{}) || err == nil && id != "" && m.ID != id {
			t.Fatalf("%+v", m)
		}
	})
}
