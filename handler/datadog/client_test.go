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
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/sensitive"
	"datadog-webhook-auth-sync/handler/standin"
)

const (
	id      = "0f5e4d3c-2b1a-4c9d-8e7f-6a5b4c3d2e1f"
	another = "1f5e4d3c-2b1a-4c9d-8e7f-6a5b4c3d2e1f"
	canary  = `canary/of+the client"secret`
	appKey  = "canary-of-the-app-key"
	created = `{"data":{"id":"` + id + `","type":"webhooks-auth-method-oauth2-client-credentials","attributes":{"name":"orders"}}}`
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
	fetch   func(n int) (apiKey string, err error)
	fetches int
}

// both keys as a secret holds them.
func both(apiKey string) sensitive.Text {
	return sensitive.New(fmt.Sprintf(`{"api_key":%q,"app_key":%q}`, apiKey, appKey))
}

// keys are credentials that are there.
func keys(apiKey string) datadog.Stored {
	return datadog.Stored{Read: func(context.Context, string) (sensitive.Text, error) { return both(apiKey), nil }}
}

func newBench(t *testing.T) *bench {
	b := &bench{Server: datadogtest.New("right", appKey), fetch: func(int) (string, error) { return "right", nil }}
	b.Put(datadogtest.AuthMethod{ID: id, Name: "payments", AccessTokenURL: held.AccessTokenURL, ClientID: "c", ClientSecret: "old", Scope: &scope})
	stored := datadog.Stored{Read: func(context.Context, string) (sensitive.Text, error) {
		b.fetches++ // one at a time
		key, err := b.fetch(b.fetches)
		return both(key), err
	}}
	stranger := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("called %s with %v", r.Host, r.Header) })
	b.Client = datadog.New("https://api.datadoghq.com/", standin.Hosts{"api.datadoghq.com": b.Server, "elsewhere.example.com": stranger}, stored)
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
	must("what is not there", "datadog_unavailable: Datadog answered 404", fmt.Sprint(err), nil)
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
					if e, ok := errors.AsType[*datadog.Error](err); !ok || tc.one || e.Malformed == "" || e.Status/100 != 2 || !datadog.IsLost(err) {
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
		"429 for 31 s":                          {reads + " " + writes, faults{datadogtest.Throttled(31)}, 0, 1, 429, 0, 0},
		"429 until a date":                      {reads + " " + writes, faults{{Times: 1, Status: 429, Header: http.Header{"Retry-After": {"Sat, 01 Jan 2000 00:00:07 GMT"}}}}, 0, 2, -1, 7 * time.Second, 7 * time.Second},
		"429 until a Unix time":                 {reads + " " + writes, faults{datadogtest.Throttled(946684800 + 30)}, 0, 2, -1, 30 * time.Second, 30 * time.Second},
		"429 that just fits the deadline":       {reads + " " + writes, faults{datadogtest.Throttled(20)}, 20*time.Second + 1, 2, -1, 20 * time.Second, 20 * time.Second},
		"429 that does not fit the deadline":    {reads + " " + writes, faults{datadogtest.Throttled(20)}, 20 * time.Second, 1, 429, 0, 0},
		"429 without a reset":                   {reads + " " + writes, faults{failing(0, 429)}, 0, 5, 429, 1500 * time.Millisecond, 3 * time.Second},
		"429, whose wait is no trying, and 5xx": {reads, faults{datadogtest.Throttled(30), failing(1, 500)}, 0, 3, -1, 30 * time.Second, 31 * time.Second},
		"429 and then 5xx, create":              {writes, faults{datadogtest.Throttled(3), failing(1, 500)}, 0, 2, 500, 3 * time.Second, 3 * time.Second},
		"what would be the same":                {reads + " " + writes, faults{failing(1, 409)}, 0, 1, 409, 0, 0},
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

// frozen is a connection that died while the function was frozen: no call over it is answered before it is closed.
type frozen struct {
	http.RoundTripper
	dead bool
}

func (f *frozen) CloseIdleConnections() { f.dead = false }
func (f *frozen) RoundTrip(r *http.Request) (*http.Response, error) {
	if f.dead {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return f.RoundTripper.RoundTrip(r)
}

func TestDeadConnection(t *testing.T) {
	for name, credentials := range map[string]datadog.Credentials{"with keys": keys("right"), "keyless": keyless} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				connection := &frozen{standin.Hosts{"api.datadoghq.com": withKeyless(t, keyless).Server}, true}
				client := datadog.New("https://api.datadoghq.com", connection, credentials)
				began := time.Now()
				if _, err := client.List(context.Background()); err != nil || time.Since(began) > 6*time.Second {
					t.Errorf("error %v after %v", err, time.Since(began))
				}
			})
		})
	}
}

func TestErrors(t *testing.T) {
	type is struct {
		Code                     fault.Code
		NotFound, Conflict, Lost bool
	}
	elsewhere := http.Header{"Location": {"https://elsewhere.example.com/"}}
	for name, tc := range map[string]struct {
		fault datadogtest.Fault
		want  is
	}{
		"400":              {datadogtest.Fault{Status: 400}, is{Code: fault.DatadogRejected}},
		"401":              {datadogtest.Fault{Status: 401}, is{Code: fault.DatadogUnauthorized}},
		"403":              {datadogtest.Fault{Status: 403}, is{Code: fault.DatadogUnauthorized}},
		"404":              {datadogtest.Fault{Status: 404}, is{Code: fault.DatadogUnavailable, NotFound: true}},
		"408":              {datadogtest.Fault{Status: 408}, is{Code: fault.DatadogUnavailable}},
		"409":              {datadogtest.Fault{Status: 409}, is{Code: fault.DatadogRejected, Conflict: true}},
		"429":              {datadogtest.Throttled(31), is{Code: fault.DatadogThrottled}},
		"451":              {datadogtest.Fault{Status: 451}, is{Code: fault.DatadogRejected}},
		"500":              {datadogtest.Fault{Status: 500}, is{Code: fault.DatadogUnavailable, Lost: true}},
		"a redirect":       {datadogtest.Fault{Status: 307, Header: elsewhere}, is{Code: fault.DatadogUnavailable, Lost: true}},
		"another success":  {datadogtest.Fault{Status: 202, Body: created}, is{Code: fault.DatadogUnavailable, Lost: true}},
		"an unusable one":  {datadogtest.Fault{Status: 201, Body: "{}"}, is{Code: fault.DatadogUnavailable, Lost: true}},
		"a cut connection": {datadogtest.Fault{Cut: true}, is{Code: fault.DatadogUnavailable, Lost: true}},
		"no time":          {datadogtest.Fault{Delay: time.Minute}, is{Code: fault.Deadline, Lost: true}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.Fail(tc.fault)
				ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
				defer cancel()
				_, err := b.Create(ctx, whole)
				if _, ok := errors.AsType[*fault.Error](err); !ok {
					t.Fatalf("error %v has no code", err)
				}
				got := is{fault.From(err).Code, datadog.IsNotFound(err), datadog.IsConflict(err), datadog.IsLost(err)}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("%v (-want +got):\n%s", err, diff)
				}
				time.Sleep(time.Hour) // until the server is done, too
			})
		})
	}
	if err := fault.New(fault.DatadogUnauthorized, "no call was made"); datadog.IsLost(err) || datadog.IsLost(nil) {
		t.Error("what was not called is lost")
	}
}

// An answer that repeats what it was sent in secret is a success, and nothing that is said repeats it again.
func TestWithheld(t *testing.T) {
	ctx := context.Background()
	repeating := func(name, url, client, audience, scope string) datadogtest.AuthMethod {
		return datadogtest.AuthMethod{ID: id, Name: name, AccessTokenURL: url, ClientID: client, Audience: &audience, Scope: &scope}
	}
	for name, tc := range map[string]struct {
		m     datadogtest.AuthMethod
		shown datadog.AuthMethod
	}{
		"nothing":         {repeating("n", "u", "c", "a", "s"), datadog.AuthMethod{Name: "n", AccessTokenURL: "u", ClientID: "c", Audience: "a", Scope: "s"}},
		"what is short":   {repeating("right", "u", "c", "a", "s"), datadog.AuthMethod{Name: "right", AccessTokenURL: "u", ClientID: "c", Audience: "a", Scope: "s"}},
		"a key":           {repeating("is "+appKey, "u", "c", "a", "s"), datadog.AuthMethod{Name: "[withheld]", AccessTokenURL: "u", ClientID: "c", Audience: "a", Scope: "s"}},
		"a client secret": {repeating("n", "u?"+url.QueryEscape(canary), canary, "a", "s"), datadog.AuthMethod{Name: "n", AccessTokenURL: "[withheld]", ClientID: "[withheld]", Audience: "a", Scope: "s"}},
		"everywhere":      {repeating(canary, canary, appKey, canary, appKey+canary), datadog.AuthMethod{Name: "[withheld]", AccessTokenURL: "[withheld]", ClientID: "[withheld]", Audience: "[withheld]", Scope: "[withheld]"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.Put(tc.m)
			updated, err := b.Update(ctx, id, datadog.Write{ClientSecret: sensitive.New(canary)})
			if err != nil {
				t.Fatal(err)
			}
			listed, err := b.List(ctx)
			if err != nil {
				t.Fatal(err)
			}
			tc.shown.ID = id
			for _, m := range []datadog.AuthMethod{updated, listed[0].Withhold(sensitive.New(canary)).Withhold(sensitive.New(canary))} {
				shown := m.Shown()
				shown.Withheld = [5]bool{}
				if diff := cmp.Diff(tc.shown, shown); diff != "" {
					t.Errorf("shown (-want +got):\n%s", diff)
				}
				if m.Name != tc.m.Name || m.Digest() != listed[0].Digest() || len(m.Digest()) != 16 {
					t.Errorf("%+v is not what Datadog holds", m)
				}
			}
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
		"objects":                       {`{"errors":[{"title":"a","detail":"b"},{"detail":"c"},{"title":"d","status":"400"}]}`, ": a; b; c; d"},
		"of another kind":               {`{"errors":[7,"a",null,["x"],{"title":7,"detail":"b"},{"code":"x"}]}`, ": a; b"},
		"a secret in an object":         {`{"errors":["fine",{"detail":"` + appKey + `"}]}`, ""},
		"a secret in two parts":         {`{"errors":[{"title":"canary-of","detail":"-the-app-key"}]}`, ""},
		"not JSON":                      {`<html>` + appKey, ""},
		"the client secret":             {`{"errors":["wrong: canary/of+the client\"secret"]}`, ""},
		"the client secret, escaped":    {`{"errors":["wrong: canary/of+the client\\\"secret"]}`, ""},
		"the client secret, encoded":    {`{"errors":["wrong: ` + url.QueryEscape(canary) + `"]}`, ""},
		"the client secret, in HTML":    {`{"errors":["wrong: ` + html.EscapeString(canary) + `"]}`, ""},
		"the client secret, in base64":  {`{"errors":["Basic ` + base64.StdEncoding.EncodeToString([]byte("c:"+canary)) + `"]}`, ""},
		"the client secret, in hex":     {`{"errors":["wrong: ` + fmt.Sprintf("%x", canary) + `"]}`, ""},
		"a part of the client secret":   {`{"errors":["wrong: canary/of"]}`, ""},
		"the API key":                   {`{"errors":["fine","key right is wrong"]}`, ""},
		"the application key":           {`{"errors":["key ` + appKey + ` is wrong"]}`, ""},
		"a secret behind the 200 bytes": {`{"errors":["` + long + appKey + `"]}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.Fail(datadogtest.Fault{Status: 400, Body: tc.body})
			err := b.operations()["update"](context.Background())
			if got := fmt.Sprint(err); got != "datadog_rejected: Datadog answered 400"+tc.want {
				t.Errorf("says %q; want %q behind the status", got, tc.want)
			}
			if brief := fault.From(err).Brief(); brief != "Datadog answered 400" {
				t.Errorf("says %q in a summary", brief)
			}
			for _, secret := range []string{canary, appKey, "right"} {
				if sensitive.New(secret).In(fmt.Sprintf("%v %+v %#v", err, err, err)) {
					t.Errorf("%q is in the error", secret)
				}
			}
		})
	}
}
