package datadog_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/sensitive"
)

func TestParseKeys(t *testing.T) {
	type keys struct {
		name, api, app string
		ok             bool
	}
	var table []keys
	for _, api := range []string{"api_key", "apiKey", "adminApiKey", "DD_API_KEY"} {
		for _, app := range []string{"app_key", "appKey", "application_key", "adminAppKey", "DD_APP_KEY"} {
			both := fmt.Sprintf(` {%q: "API", %q: " APP\n", "note": {}}`, api, app)
			table = append(table, keys{api + " and " + app, both, both, true})
		}
	}
	table = append(table,
		keys{"plain", "API\n", " APP", true},
		keys{"plain and object", "API", `{"app_key":"APP"}`, true},
		keys{"objects", `{"api_key":"API"}`, `{"app_key":"APP","api_key":"x"}`, true},
		keys{"one plain key for both", "API", "API", false},
		keys{"one plain key for both, in space", " API\n", " API\n", false},
		keys{"empty", "", "", false},
		keys{"blank", " \n", "APP", false},
		keys{"no application key", "API", " ", false},
		keys{"object without one", `{"api_key":"API"}`, `{"api_key":"API"}`, false},
		keys{"object with an empty one", `{"api_key":""}`, "APP", false},
		keys{"object with a number", `{"api_key":17}`, "APP", false},
		keys{"object with null", `{"api_key":null}`, "APP", false},
		keys{"a name in another case", `{"API_KEY":"API"}`, "APP", false},
		keys{"an open object", `{"api_key":"API"`, "APP", false},
		keys{"the same name twice", `{"api_key":"API","api_key":"API"}`, "APP", false},
		keys{"a line break inside", "API\nAPP", "APP", false},
		keys{"a line break inside an object", "API", `{"app_key":"APP\r\nX: y"}`, false},
		keys{"not ASCII", "API", "APP\u00e9", false},
	)
	for _, tc := range table {
		t.Run(tc.name, func(t *testing.T) {
			got, err := datadog.ParseKeys(sensitive.New(tc.api), sensitive.New(tc.app))
			if (err == nil) != tc.ok || tc.ok && (got.API.Reveal() != "API" || got.App.Reveal() != "APP") || !tc.ok && got != (datadog.Keys{}) {
				t.Errorf("%q, %q: %v", got.API.Reveal(), got.App.Reveal(), err)
			}
			if err != nil && fault.From(err).Code != fault.DatadogUnauthorized {
				t.Error(err)
			}
		})
	}
}

// FuzzParseKeys: keys are whole and fit for a header, or there are none; no error tells them.
func FuzzParseKeys(f *testing.F) {
	f.Add("CANARY-1", "CANARY-2")
	f.Add(`{"api_key":"CANARY-1"}`, `{"appKey":"CANARY-2","api_key":["CANARY-1"]}`)
	f.Add(`{"CANARY-1":1}`, "\xff")
	f.Add("CANARY-1", "CANARY-1")
	f.Fuzz(func(t *testing.T, api, app string) {
		keys, err := datadog.ParseKeys(sensitive.New(api), sensitive.New(app))
		if err != nil {
			if sensitive.New("CANARY").In(err.Error()) || keys != (datadog.Keys{}) {
				t.Fatal(err)
			}
			return
		}
		for _, key := range []string{keys.API.Reveal(), keys.App.Reveal()} {
			if !regexp.MustCompile(`^[!-~]+$`).MatchString(key) {
				t.Fatalf("%q", key)
			}
		}
	})
}

func TestKeysAreReadAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		held           []string // what each fetch finds; the last for good; "" fails
		calls, fetches int
		err            string
	}{
		"right at once":                     {[]string{"right"}, 1, 1, ""},
		"rotated":                           {[]string{"old", "right"}, 2, 2, ""},
		"wrong, and the same again":         {[]string{"old"}, 1, 2, "Datadog answered 403: Forbidden"},
		"wrong, and another wrong":          {[]string{"old", "older", "right"}, 2, 2, "Datadog answered 403: Forbidden"},
		"wrong, and not to be had":          {[]string{"old", ""}, 1, 2, "no keys"},
		"not to be had":                     {[]string{""}, 0, 1, "no keys"},
		"not to be had when warmed":         {[]string{"warm", "", "right"}, 1, 2, ""},
		"rotated after they were warmed":    {[]string{"warm", "old", "right"}, 2, 2, ""},
		"not to be had twice, first warmed": {[]string{"warm", "", ""}, 0, 2, "no keys"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			warm := tc.held[0] == "warm"
			if warm {
				tc.held = tc.held[1:]
			}
			b.fetch = func(n int) (string, error) {
				if key := tc.held[min(n, len(tc.held))-1]; key != "" {
					return key, nil
				}
				return "", errors.New("no keys")
			}
			if warm {
				b.Client.Warm(context.Background())
			}
			_, err := b.List(context.Background())
			if fmt.Sprint(err) != tc.err && (err != nil || tc.err != "") || len(b.Calls()) != tc.calls || b.fetches != tc.fetches {
				t.Errorf("error %v; %d calls, %d fetches; want %q, %d, %d", err, len(b.Calls()), b.fetches, tc.err, tc.calls, tc.fetches)
			}
		})
	}
	t.Run("a POST that was refused is sent again", func(t *testing.T) {
		b := newBench(t)
		b.fetch = func(n int) (string, error) { return []string{"old", "right"}[n-1], nil }
		if _, err := b.Create(context.Background(), whole); err != nil || len(b.AuthMethods()) != 2 {
			t.Errorf("error %v; %d auth methods", err, len(b.AuthMethods()))
		}
	})
	t.Run("once for all who were refused", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			b.Latency = 200 * time.Millisecond
			b.fetch = func(n int) (string, error) { time.Sleep(time.Second); return []string{"old", "right"}[n-1], nil }
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					if _, err := b.List(context.Background()); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if b.fetches != 2 {
				t.Errorf("%d fetches", b.fetches)
			}
		})
	})
	t.Run("the wait for another's fetch ends with the deadline", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			b.fetch = func(int) (string, error) { time.Sleep(time.Minute); return "right", nil }
			go b.Client.Warm(context.Background())
			synctest.Wait()
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			began := time.Now()
			if _, err := b.List(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 3*time.Second || len(b.Calls()) != 0 {
				t.Errorf("error %v after %v", err, time.Since(began))
			}
			time.Sleep(time.Hour) // until the fetch is done, too
		})
	})
}
