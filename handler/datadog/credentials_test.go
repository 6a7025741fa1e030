package datadog_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/sensitive"
)

// headers returns what authenticates a call with credentials stored as these two values: name=value, sorted.
func headers(first, second string) (sent string, err error) {
	stored := datadog.Stored{APIKeySecret: first, AppKeySecret: second, // each secret's value stands for its name
		Read: func(_ context.Context, value string) (sensitive.Text, error) { return sensitive.New(value), nil }}
	transport := transportFunc(func(r *http.Request) (*http.Response, error) {
		for _, name := range []string{"Authorization", "DD-API-KEY", "DD-APPLICATION-KEY"} {
			if values := r.Header.Values(name); values != nil {
				sent += fmt.Sprintln(name, values)
			}
		}
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(`{"data":[]}`))}, nil
	})
	_, err = datadog.New("https://api.datadoghq.com", transport, stored).List(context.Background())
	return sent, err
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestStored(t *testing.T) {
	const keys, token = "DD-API-KEY [API]\nDD-APPLICATION-KEY [APP]\n", "Authorization [Bearer ddsat_T]\n"
	type values struct{ name, first, second, sent string } // sent is empty where they are refused
	var table []values
	for _, api := range []string{"api_key", "apiKey", "adminApiKey", "DD_API_KEY", "dd_api_key"} {
		for _, app := range []string{"app_key", "appKey", "application_key", "adminAppKey", "DD_APP_KEY", "dd_app_key"} {
			both := fmt.Sprintf(" {%q: \"API\", %q: \" APP\\n\", \"note\": {}}", api, app)
			table = append(table, values{api + " and " + app, both, both, keys})
		}
	}
	for _, name := range []string{"access_token", "DD_ACCESS_TOKEN"} {
		value := fmt.Sprintf(`{"api_key":"API","app_key":"APP",%q:"\ufeffddsat_T "}`, name)
		table = append(table, values{name, value, value, token})
	}
	table = append(table,
		values{"plain", "API\n", " APP", keys},
		values{"plain, after a byte order mark", "\ufeffAPI\r\n", "\ufeff APP \u00a0", keys},
		values{"plain and object", "API", `{"app_key":"APP"}`, keys},
		values{"objects", `{"api_key":"API"}`, `{"app_key":"APP","api_key":"x"}`, keys},
		values{"an object after a byte order mark", "\ufeff{\"api_key\":\"API\"}", "APP", keys},
		values{"an empty spelling before one that is not", `{"api_key":"","apiKey":" ","DD_API_KEY":"API"}`, `{"app_key":null,"appKey":"APP"}`, keys},
		values{"two spellings", `{"api_key":"API","dd_api_key":"x"}`, `{"dd_app_key":"x","app_key":"APP"}`, keys},
		values{"a plain token", "\ufeffddsat_T\n", "\ufeffddsat_T\n", token},
		values{"a plain token beside an application key", "ddsat_T", "APP", token},
		values{"a token beside what is wrong", `{"access_token":"ddsat_T"}`, "{", token},
		values{"an empty token before keys", `{"access_token":"","api_key":"API"}`, "APP", keys},
		values{"one plain key for both", "API", "API", ""},
		values{"empty", "", "", ""},
		values{"blank", " \n", "APP", ""},
		values{"a byte order mark", "\ufeff", "APP", ""},
		values{"no application key", "API", " ", ""},
		values{"object without one", `{"api_key":"API"}`, `{"api_key":"API"}`, ""},
		values{"object with a number", `{"api_key":17}`, "APP", ""},
		values{"a name in another case", `{"API_KEY":"API"}`, "APP", ""},
		values{"an open object", `{"api_key":"API"`, "APP", ""},
		values{"the same name twice", `{"api_key":"API","api_key":"API"}`, "APP", ""},
		values{"a line break inside", "API\nAPP", "APP", ""},
		values{"a line break inside an object", "API", `{"app_key":"APP\r\nX: y"}`, ""},
		values{"a line break inside a token", "ddsat_\nT", "APP", ""},
		values{"not ASCII", "API", "APP\u00e9", ""},
	)
	for _, tc := range table {
		t.Run(tc.name, func(t *testing.T) {
			sent, err := headers(tc.first, tc.second)
			if sent != tc.sent || (err == nil) != (sent != "") || err != nil && fault.From(err).Code != fault.DatadogUnauthorized {
				t.Errorf("sent %q, error %v", sent, err)
			}
		})
	}
}

// FuzzStored: credentials are whole and fit for a header, or there are none; no error tells them.
func FuzzStored(f *testing.F) {
	f.Add("CANARY-1", "CANARY-2")
	f.Add(`{"api_key":"CANARY-1"}`, `{"appKey":"CANARY-2","api_key":["CANARY-1"]}`)
	f.Add(`{"CANARY-1":1}`, "\xff")
	f.Add("CANARY-1", "CANARY-1")
	f.Add("ddsat_CANARY", `{"access_token":"CANARY"}`)
	f.Fuzz(func(t *testing.T, first, second string) {
		sent, err := headers(first, second)
		if whole := regexp.MustCompile(`^(Authorization \[Bearer [!-~]+\]\n|DD-API-KEY \[[!-~]+\]\nDD-APPLICATION-KEY \[[!-~]+\]\n)$`); err == nil && !whole.MatchString(sent) {
			t.Fatalf("%q", sent)
		}
		if err != nil && (sent != "" || sensitive.New("CANARY").In(err.Error())) {
			t.Fatal(err)
		}
	})
}

// A key that was rotated may work for a while yet. It is remembered, however often the one after it is refused.
func TestAFormerKeyIsNotRepeated(t *testing.T) {
	const former, current = "nightingale", "woodpecker"
	reads, refusals := 0, 0
	stored := datadog.Stored{APIKeySecret: "api", AppKeySecret: "app",
		Read: func(_ context.Context, name string) (sensitive.Text, error) {
			if reads++; name == "api" && reads < 3 {
				return sensitive.New(former), nil
			}
			return sensitive.New(map[string]string{"api": current, "app": "the-app-key"}[name]), nil
		}}
	transport := transportFunc(func(r *http.Request) (*http.Response, error) {
		answer := &http.Response{StatusCode: 400, Body: io.NopCloser(strings.NewReader(`{"errors":["not ` + former + `"]}`))}
		if refusals++; refusals < 50 || r.Header.Get("DD-API-KEY") == former {
			answer.StatusCode = 403
		}
		return answer, nil
	})
	c := datadog.New("https://api.datadoghq.com", transport, stored)
	for range 60 {
		if _, err := c.Update(t.Context(), id, whole); strings.Contains(err.Error(), former) {
			t.Fatal("the former key is repeated")
		}
	}
	if refusals < 50 {
		t.Errorf("%d calls", refusals)
	}
}

func TestKeysAreReadAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		held           []string // what each fetch finds; the last for good; "" fails
		calls, fetches int
		err            string
	}{
		"right at once":                     {[]string{"right"}, 1, 1, ""},
		"rotated":                           {[]string{"old", "right"}, 2, 2, ""},
		"wrong, and the same again":         {[]string{"old"}, 1, 2, "datadog_unauthorized: Datadog answered 403"},
		"wrong, and another wrong":          {[]string{"old", "older", "right"}, 2, 2, "datadog_unauthorized: Datadog answered 403"},
		"wrong, and not to be had":          {[]string{"old", ""}, 1, 2, "datadog_unauthorized: the secret of Datadog's keys: no keys"},
		"not to be had":                     {[]string{""}, 0, 1, "datadog_unauthorized: the secret of Datadog's keys: no keys"},
		"not to be had when warmed":         {[]string{"warm", "", "right"}, 1, 2, ""},
		"rotated after they were warmed":    {[]string{"warm", "old", "right"}, 2, 2, ""},
		"not to be had twice, first warmed": {[]string{"warm", "", ""}, 0, 2, "datadog_unauthorized: the secret of Datadog's keys: no keys"},
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
				return "", fault.New(fault.SecretNotFound, "no keys")
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
	t.Run("out of time", func(t *testing.T) {
		b := newBench(t)
		b.fetch = func(int) (string, error) { return "", fault.New(fault.Deadline, "no time") }
		if _, err := b.List(context.Background()); !fault.Is(err, fault.Deadline) {
			t.Errorf("error %v", err)
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
