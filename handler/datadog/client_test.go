package datadog_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/sensitive"
	"datadog-webhook-auth-sync/handler/standin"
)

const (
	id      = "0f5e4d3c-2b1a-4c9d-8e7f-6a5b4c3d2e1f"
	another = "1f5e4d3c-2b1a-4c9d-8e7f-6a5b4c3d2e1f"
	canary  = `canary/of+the client"secret`
	appKey  = "canary-of-the-app-key"
)

var (
	scope = "read:webhooks"
	whole = datadog.Write{Name: "orders", AccessTokenURL: "https://idp.example.com/token", ClientID: "c", ClientSecret: sensitive.New(canary), Scope: &scope}
	held  = datadog.AuthMethod{ID: id, Name: "payments", AccessTokenURL: "https://idp.example.com/token", ClientID: "c", Scope: scope}
)

// bench is a client of a server that holds one auth method and accepts the API key "right".
type bench struct {
	*datadogtest.Server
	*datadog.Client
	ring    *datadog.Keyring
	fetch   func(n int) (apiKey string, err error)
	fetches int
}

func newBench(t *testing.T) *bench {
	b := &bench{Server: datadogtest.New("right", appKey), fetch: func(int) (string, error) { return "right", nil }}
	b.Put(datadogtest.AuthMethod{ID: id, Name: "payments", AccessTokenURL: held.AccessTokenURL, ClientID: "c", ClientSecret: "old", Scope: &scope})
	b.ring = datadog.NewKeyring(func(context.Context) (datadog.Keys, error) {
		b.fetches++ // the keyring lets one fetch at a time
		key, err := b.fetch(b.fetches)
		return datadog.Keys{API: sensitive.New(key), App: sensitive.New(appKey)}, err
	})
	stranger := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("called %s with %v", r.Host, r.Header) })
	b.Client = datadog.New("https://api.datadoghq.com/", standin.Hosts{"api.datadoghq.com": b.Server, "elsewhere.example.com": stranger}, b.ring)
	t.Cleanup(func() {
		if unknown := b.Unknown(); len(unknown) > 0 {
			t.Errorf("no part of the API: %+v", unknown)
		}
	})
	return b
}

// The methods of Server that hide those of Client, and the other way round.
func (b *bench) Get(ctx context.Context, id string) (datadog.AuthMethod, error) {
	return b.Client.Get(ctx, id)
}

// operations are the four, each on what the server holds; created is what a create returns beside an id.
func (b *bench) operations() map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"list":   func(ctx context.Context) error { _, err := b.List(ctx); return err },
		"get":    func(ctx context.Context) error { _, err := b.Get(ctx, id); return err },
		"create": func(ctx context.Context) error { _, err := b.Create(ctx, whole); return err },
		"update": func(ctx context.Context) error {
			_, err := b.Update(ctx, id, datadog.Write{ClientSecret: sensitive.New(canary)})
			return err
		},
	}
}

func TestOperations(t *testing.T) {
	ctx, b, empty, audience := context.Background(), newBench(t), "", "hooks"
	must := func(what string, want, got any, err error) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: error %v (-want +got):\n%s", what, err, diff)
		}
	}
	list, err := b.List(ctx)
	must("list", []datadog.AuthMethod{held}, list, err)
	one, err := b.Get(ctx, id)
	must("get", held, one, err)
	created, err := b.Create(ctx, whole)
	must("create", datadog.AuthMethod{ID: created.ID, Name: "orders", AccessTokenURL: held.AccessTokenURL, ClientID: "c", Scope: scope}, created, err)
	updated, err := b.Update(ctx, id, datadog.Write{ClientSecret: sensitive.New(canary), Audience: &audience, Scope: &empty})
	must("update", datadog.AuthMethod{ID: id, Name: "payments", AccessTokenURL: held.AccessTokenURL, ClientID: "c", Audience: "hooks"}, updated, err)

	kept, _ := b.Server.Get(id)
	must("what the server keeps", datadogtest.AuthMethod{ID: id, Name: "payments", AccessTokenURL: held.AccessTokenURL, ClientID: "c", ClientSecret: canary, Audience: &audience}, kept, nil)
	var sent [][]string
	for _, c := range b.Calls() {
		sent = append(sent, c.Attributes)
	}
	must("attributes sent", [][]string{nil, nil, {"access_token_url", "client_id", "client_secret", "name", "scope"}, {"audience", "client_secret", "scope"}}, sent, nil)
	b.Delete(id)
	b.Delete(created.ID)
	list, err = b.List(ctx)
	must("an empty list", []datadog.AuthMethod{}, list, err)
	_, err = b.Get(ctx, id)
	must("what is not there", "Datadog answered 404: The requested auth method does not exist.", fmt.Sprint(err), nil)
}

func TestAnswersThatMakeNoSense(t *testing.T) {
	const attributes = `"attributes":{"name":"payments","protocol":"oauth2-client-credentials"}`
	resource := func(id, typ, attributes string) string {
		return fmt.Sprintf(`{"id":%q,"type":%q,%s}`, id, typ, attributes)
	}
	const ours = "webhooks-auth-method-oauth2-client-credentials"
	data := `"data":[{"id":"` + id + `","type":"webhooks-auth-method","attributes":{"protocol":"oauth2-client-credentials"}}]`
	good := resource(id, ours, attributes)
	for name, tc := range map[string]struct {
		body string
		list int // how many are listed; -1 = an error
		one  bool
	}{
		"the true list":                    {`{` + data + `,"included":[` + good + `]}`, 1, false},
		"the true auth method":             {`{"data":` + good + `}`, -1, true},
		"nothing held":                     {`{"data":[]}`, 0, false},
		"another type included":            {`{` + data + `,"included":[{"type":"x","id":7},` + good + `,{"type":5},null]}`, 1, false},
		"another protocol":                 {`{"data":[{"id":"7","attributes":{"protocol":"basic"}}],"included":[]}`, 0, false},
		"nothing":                          {" ", -1, false},
		"HTML":                             {`<html><body>Sign in</body></html>`, -1, false},
		"an empty object":                  {`{}`, -1, false},
		"null":                             {`null`, -1, false},
		"an array":                         {`[]`, -1, false},
		"null data":                        {`{"data":null,"included":[]}`, -1, false},
		"data without included":            {`{` + data + `}`, -1, false},
		"data that included does not show": {`{` + data + `,"included":[` + resource(another, ours, attributes) + `]}`, -1, false},
		"data that names what included shows": {`{"data":[{"id":"x","type":"webhooks-auth-method","attributes":{"protocol":"oauth2-client-credentials"},"relationships":{"oauth2-client-credentials":{"data":{"id":"` +
			another + `","type":"webhooks-auth-method-oauth2-client-credentials"}}}}],"included":[` + resource(another, ours, attributes) + `]}`, 1, false},
		"data of something else":      {`{"data":[{"id":"7","type":"users","attributes":{"name":"x"}}]}`, -1, false},
		"included is no array":        {`{` + data + `,"included":{}}`, -1, false},
		"included without attributes": {`{"data":[],"included":[` + resource(id, ours, `"x":1`) + `]}`, -1, false},
		"included without a name":     {`{"data":[],"included":[` + resource(id, ours, `"attributes":{}`) + `]}`, -1, false},
		"included with a wrong name":  {`{"data":[],"included":[` + resource(id, ours, `"attributes":{"name":["payments"]}`) + `]}`, -1, false},
		"included with a wrong scope": {`{"data":[],"included":[` + resource(id, ours, `"attributes":{"name":"n","scope":1}`) + `]}`, -1, false},
		"included with a wrong id":    {`{"data":[],"included":[` + resource("7", ours, attributes) + `]}`, -1, false},
		"cut short":                   {`{` + data + `,"included":[` + good, -1, false},
		"more behind":                 {`{"data":[]} x`, -1, false},
		"another id":                  {`{"data":` + resource(another, ours, attributes) + `}`, -1, false},
		"another type":                {`{"data":` + resource(id, "x", attributes) + `}`, -1, false},
		"no name":                     {`{"data":` + resource(id, ours, `"attributes":{}`) + `}`, -1, false},
		"no attributes":               {`{"data":` + resource(id, ours, `"attributes":null`) + `}`, -1, false},
		"8 MiB":                       {`{"data":[]}` + strings.Repeat(" ", 8<<20-11), 0, false},
		"8 MiB and a byte":            {`{"data":[]}` + strings.Repeat(" ", 8<<20-10), -1, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.Fail(datadogtest.Fault{Method: "POST", Status: 201, Body: tc.body})
			b.Fail(datadogtest.Fault{Status: 200, Body: tc.body})
			ctx := context.Background()
			list, err := b.List(ctx)
			if (err == nil) != (tc.list >= 0) || len(list) != max(0, tc.list) || (list == nil) != (err != nil) {
				t.Errorf("list: %v, %v", list, err)
			}
			for op, call := range b.operations() {
				switch err := call(ctx); {
				case op == "list":
				case op == "create" && name == "another id": // any id will do
				case err == nil && tc.one:
				default:
					if e, ok := errors.AsType[*datadog.Error](err); !ok || tc.one || e.Malformed == "" || e.Status/100 != 2 || !e.Ambiguous() {
						t.Errorf("%s: %v", op, err)
					}
				}
			}
			if calls := len(b.Calls()); calls != 5 {
				t.Errorf("%d calls; an answer was asked for again", calls)
			}
		})
	}
}

func TestOtherSuccessesAndRedirectsAreErrors(t *testing.T) {
	for _, status := range []int{200, 201, 202, 204, 301, 302, 303, 307, 308} {
		for op, want := range map[string]int{"list": 200, "get": 200, "create": 201, "update": 200} {
			if status == want {
				continue
			}
			b := newBench(t)
			b.Fail(datadogtest.Fault{Status: status, Header: http.Header{"Location": {"https://elsewhere.example.com/"}}, Body: "{}"})
			e, ok := errors.AsType[*datadog.Error](b.operations()[op](context.Background()))
			if !ok || e.Status != status || !e.Ambiguous() || len(b.Calls()) != 1 {
				t.Errorf("%s answered %d: %v after %d calls", op, status, e, len(b.Calls()))
			}
		}
	}
}

func TestRetries(t *testing.T) {
	const reads, writes = "list get update", "create"
	failing := func(times, status int) datadogtest.Fault { return datadogtest.Fault{Times: times, Status: status} }
	type faults = []datadogtest.Fault
	for name, tc := range map[string]struct {
		ops         string
		faults      faults
		limit       time.Duration // 0 = none
		calls       int
		status      int // of the error; -1 = none
		least, most time.Duration
	}{
		"four failures":                         {reads, faults{failing(4, 502)}, 0, 5, -1, 1500 * time.Millisecond, 3 * time.Second},
		"five failures":                         {reads, faults{failing(5, 502)}, 0, 5, 502, 1500 * time.Millisecond, 3 * time.Second},
		"a cut connection":                      {reads, faults{{Times: 1, Cut: true}}, 0, 2, -1, 0, time.Second},
		"a cut answer":                          {reads, faults{{Times: 1, Status: 200, Body: "{", Cut: true}}, 0, 2, -1, 0, time.Second},
		"no answer at all":                      {reads, faults{{Delay: time.Hour}}, 0, 2, 0, 10 * time.Second, 10 * time.Second},
		"slow failures":                         {reads, faults{{Status: 500, Delay: 4700 * time.Millisecond}}, 0, 3, 0, 10 * time.Second, 10 * time.Second},
		"a failure, create":                     {writes, faults{failing(1, 500)}, 0, 1, 500, 0, 0},
		"a failure that committed, create":      {writes, faults{{Times: 1, Status: 503, Commit: true}}, 0, 1, 503, 0, 0},
		"a cut connection, create":              {writes, faults{{Times: 1, Cut: true, Commit: true}}, 0, 1, 0, 0, 0},
		"a cut answer, create":                  {writes, faults{{Times: 1, Status: 201, Body: "{", Cut: true}}, 0, 1, 0, 0, 0},
		"no answer at all, create":              {writes, faults{{Delay: time.Hour}}, 0, 1, 0, 5 * time.Second, 5 * time.Second},
		"429 for 30 s":                          {reads + " " + writes, faults{datadogtest.Throttled(30)}, 0, 2, -1, 30 * time.Second, 30 * time.Second},
		"429 until a Unix time":                 {reads + " " + writes, faults{datadogtest.Throttled(946684800 + 30)}, 0, 2, -1, 30 * time.Second, 30 * time.Second},
		"429 that just fits the deadline":       {reads + " " + writes, faults{datadogtest.Throttled(20)}, 20*time.Second + 1, 2, -1, 20 * time.Second, 20 * time.Second},
		"429 that does not fit the deadline":    {reads + " " + writes, faults{datadogtest.Throttled(20)}, 20 * time.Second, 1, 429, 0, 0},
		"429 without a reset":                   {reads + " " + writes, faults{failing(0, 429)}, 0, 5, 429, 1500 * time.Millisecond, 3 * time.Second},
		"429, whose wait is no trying, and 5xx": {reads, faults{datadogtest.Throttled(30), failing(1, 500)}, 0, 3, -1, 30 * time.Second, 31 * time.Second},
		"429 and then 5xx, create":              {writes, faults{datadogtest.Throttled(3), failing(1, 500)}, 0, 2, 500, 3 * time.Second, 3 * time.Second},
		"a failure near the deadline":           {reads, faults{failing(0, 500)}, 90 * time.Millisecond, 1, 500, 0, 0},
	} {
		for _, op := range strings.Fields(tc.ops) {
			t.Run(name+"/"+op, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBench(t)
					for _, f := range tc.faults {
						b.Fail(f)
					}
					ctx := context.Background()
					if tc.limit > 0 {
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, tc.limit)
						defer cancel()
					}
					began, status := time.Now(), -1
					err := b.operations()[op](ctx)
					if e, ok := errors.AsType[*datadog.Error](err); ok {
						status = e.Status
					}
					if took := time.Since(began); (err != nil) != (tc.status >= 0) || status != tc.status || len(b.Calls()) != tc.calls || took < tc.least || took > tc.most {
						t.Errorf("error %v after %v and %d calls", err, took, len(b.Calls()))
					}
					time.Sleep(2 * time.Hour) // until the server is done, too
				})
			})
		}
	}
}

// What one caller learns of a limit spares the others calls that would be refused.
func TestRateLimiter(t *testing.T) {
	for name, tc := range map[string]struct {
		first datadogtest.Fault
		limit time.Duration // of the second caller
		calls int           // of the second caller, at once
		takes time.Duration
		fails bool
	}{
		"429":                              {datadogtest.Throttled(20), time.Minute, 0, 20 * time.Second, false},
		"nothing remains":                  {datadogtest.Fault{Times: 1, Header: http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"20"}}}, time.Minute, 0, 20 * time.Second, false},
		"nothing remains, and no time":     {datadogtest.Fault{Times: 1, Header: http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"20"}}}, 10 * time.Second, 0, 0, true},
		"something remains":                {datadogtest.Fault{Times: 1, Header: http.Header{"X-Ratelimit-Remaining": {"1"}, "X-Ratelimit-Reset": {"20"}}}, time.Minute, 1, 0, false},
		"a reset too far to be waited for": {datadogtest.Throttled(31), time.Minute, 1, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.Fail(tc.first)
				go func() { _, _ = b.Client.Update(context.Background(), id, whole) }()
				synctest.Wait()
				b.ResetCalls()
				ctx, cancel := context.WithTimeout(context.Background(), tc.limit)
				defer cancel()
				began := time.Now()
				atOnce := make(chan int, 1)
				time.AfterFunc(time.Nanosecond, func() { atOnce <- len(b.Calls()) })
				_, err := b.Client.Update(ctx, id, whole)
				if took := time.Since(began); (err != nil) != tc.fails || took != tc.takes {
					t.Errorf("%v after %v", err, took)
				}
				if got := <-atOnce; got != tc.calls {
					t.Errorf("%d calls at once; want %d", got, tc.calls)
				}
				if _, err := b.Client.Get(context.Background(), id); err != nil {
					t.Errorf("another method: %v", err)
				}
			})
		})
	}
}

func TestDatadogsWords(t *testing.T) {
	long := strings.Repeat("é", 120) // 240 bytes
	for name, tc := range map[string]struct{ body, want string }{
		"one":                           {`{"errors":["scope is wrong"]}`, ": scope is wrong"},
		"several":                       {`{"errors":["a","b"],"more":1}`, ": a; b"},
		"200 bytes":                     {`{"errors":["` + long[:200] + `"]}`, ": " + long[:200]},
		"over 200 bytes":                {`{"errors":["x` + long + `"]}`, ": x" + long[:196] + "…"},
		"none":                          {`{"errors":[]}`, ""},
		"of another kind":               {`{"errors":[{"detail":"` + appKey + `"}]}`, ""},
		"not JSON":                      {`<html>` + appKey, ""},
		"the client secret":             {`{"errors":["wrong: canary/of+the client\"secret"]}`, ""},
		"the client secret, escaped":    {`{"errors":["wrong: canary/of+the client\\\"secret"]}`, ""},
		"the client secret, encoded":    {`{"errors":["wrong: ` + url.QueryEscape(canary) + `"]}`, ""},
		"the client secret, in HTML":    {`{"errors":["wrong: ` + html.EscapeString(canary) + `"]}`, ""},
		"the client secret, in base64":  {`{"errors":["Basic ` + base64.StdEncoding.EncodeToString([]byte("c:"+canary)) + `"]}`, ""},
		"the client secret, in hex":     {`{"errors":["wrong: ` + fmt.Sprintf("%x", canary) + `"]}`, ""},
		"the API key":                   {`{"errors":["fine","key right is wrong"]}`, ""},
		"the application key":           {`{"errors":["key ` + appKey + ` is wrong"]}`, ""},
		"a secret behind the 200 bytes": {`{"errors":["` + long + appKey + `"]}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.Fail(datadogtest.Fault{Status: 400, Body: tc.body})
			err := b.operations()["update"](context.Background())
			if got := fmt.Sprint(err); got != "Datadog answered 400"+tc.want {
				t.Errorf("says %q; want %q behind the status", got, tc.want)
			}
			for _, secret := range []string{canary, appKey, "right"} {
				if sensitive.New(secret).In(fmt.Sprintf("%v %+v %#v", err, err, err)) {
					t.Errorf("%q is in the error", secret)
				}
			}
		})
	}
}
