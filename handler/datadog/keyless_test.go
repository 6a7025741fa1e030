package datadog_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/sensitive"
	"datadog-webhook-auth-sync/handler/standin"
)

const (
	org          = "3a6f0a34-6b0b-4b62-8f36-2f6b2a4e1c55"
	session      = "arn:aws:sts::123456789012:assumed-role/sync/function"
	signingKey   = "canary/of+the/signing+key"
	sessionToken = "FwoGZXIvYXdz/session+token==" // has no 8 bytes of another secret value
)

var (
	role    = credentials.NewStaticCredentialsProvider("ASIAEXAMPLE", signingKey, sessionToken)
	keyless = datadog.Keyless{OrgUUID: org, Role: role}
)

// withKeyless is a bench whose organisation has mapped the role, and whose client has no keys.
func withKeyless(t *testing.T, credentials datadog.Credentials) *bench {
	b := newBench(t)
	b.Federate(datadogtest.Federation{OrgUUID: org, ARN: session, CallerIdentity: datadogtest.SignedBy(role.Value, session)})
	b.Client = datadog.New("https://api.datadoghq.com", standin.Hosts{"api.datadoghq.com": b.Server}, credentials)
	return b
}

// exchanges counts the calls for a token.
func (b *bench) exchanges() (n int) {
	for _, c := range b.Calls() {
		if c.Path == datadogtest.TokenPath {
			n++
		}
	}
	return n
}

func TestKeyless(t *testing.T) {
	ctx := context.Background()
	inTime := func(name string, test func(t *testing.T, b *bench)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := withKeyless(t, keyless)
				b.Latency = 200 * time.Millisecond
				b.Client.Warm(ctx)
				test(t, b)
				time.Sleep(time.Hour) // until the server is done, too
			})
		})
	}
	list := func(t *testing.T, b *bench, exchanges int) {
		t.Helper()
		if methods, err := b.List(ctx); err != nil || len(methods) != 1 || b.exchanges() != exchanges {
			t.Fatalf("%v, %v after %d exchanges; want one auth method after %d", methods, err, b.exchanges(), exchanges)
		}
	}
	inTime("every operation has the token", func(t *testing.T, b *bench) {
		for name, call := range b.operations() {
			if err := call(ctx); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if b.exchanges() != 1 {
			t.Errorf("%d exchanges", b.exchanges())
		}
	})
	inTime("renewed a minute before the end", func(t *testing.T, b *bench) {
		time.Sleep(14*time.Minute - 300*time.Millisecond)
		list(t, b, 1)
		time.Sleep(200 * time.Millisecond)
		list(t, b, 2)
	})
	inTime("used to its end where it cannot be renewed", func(t *testing.T, b *bench) {
		b.Fail(datadogtest.Fault{Path: datadogtest.TokenPath, Status: 500})
		time.Sleep(14*time.Minute + time.Second)
		list(t, b, 2)
		time.Sleep(time.Minute)
		if _, err := b.List(ctx); !fault.Is(err, fault.DatadogUnavailable) {
			t.Errorf("error %v", err)
		}
		b.ClearFaults()
		list(t, b, 4)
	})
	inTime("500 calls whose token ends renew it once, and none fails", func(t *testing.T, b *bench) {
		var all sync.WaitGroup
		for n := range 500 {
			all.Go(func() {
				time.Sleep(time.Duration(n) * time.Millisecond)
				if _, err := b.Update(ctx, id, datadog.Write{ClientSecret: sensitive.New(canary)}); err != nil {
					t.Errorf("call %d: %v", n, err)
				}
			})
		}
		time.Sleep(250 * time.Millisecond) // some have had their answer, some wait for it, some did not begin
		b.EndTokens()
		if all.Wait(); b.exchanges() != 2 {
			t.Errorf("%d exchanges", b.exchanges())
		}
	})
	inTime("refused again with the new token", func(t *testing.T, b *bench) {
		b.Fail(datadogtest.Fault{Path: datadogtest.ListPath, Status: 401})
		if _, err := b.List(ctx); !fault.Is(err, fault.DatadogUnauthorized) || len(b.Calls()) != 4 {
			t.Errorf("%v after %d calls", err, len(b.Calls()))
		}
	})
}

func TestExchange(t *testing.T) {
	answer := func(attributes string) datadogtest.Fault {
		return datadogtest.Fault{Status: 200, Body: `{"data":{"attributes":{` + attributes + `}}}`}
	}
	const token = `"access_token":"` + datadogtest.TokenPrefix + `x"`
	for name, tc := range map[string]struct {
		datadogtest.Fault
		code  fault.Code
		lasts time.Duration // until it is renewed
	}{
		"400":                    {datadogtest.Fault{Status: 400, Echo: true}, fault.DatadogUnauthorized, 0},
		"404":                    {datadogtest.Fault{Status: 404}, fault.DatadogUnauthorized, 0},
		"429":                    {datadogtest.Throttled(1), fault.DatadogThrottled, 0},
		"500":                    {datadogtest.Fault{Status: 500, Echo: true}, fault.DatadogUnavailable, 0},
		"201":                    {datadogtest.Fault{Status: 201, Body: answer(token).Body}, fault.DatadogUnavailable, 0},
		"a redirect":             {datadogtest.Fault{Status: 307, Header: http.Header{"Location": {"https://elsewhere.example.com"}}}, fault.DatadogUnavailable, 0},
		"no answer":              {datadogtest.Fault{Delay: time.Hour}, fault.DatadogUnavailable, 0},
		"a cut connection":       {datadogtest.Fault{Cut: true}, fault.DatadogUnavailable, 0},
		"no JSON":                {datadogtest.Fault{Status: 200, Body: "<html>", Echo: true}, fault.DatadogUnavailable, 0},
		"no token":               {answer(`"expires":"1"`), fault.DatadogUnavailable, 0},
		"an empty token":         {answer(`"access_token":""`), fault.DatadogUnavailable, 0},
		"no text":                {answer(`"access_token":7`), fault.DatadogUnavailable, 0},
		"a header's end":         {answer(`"access_token":"a\r\nX: y"`), fault.DatadogUnavailable, 0},
		"no end":                 {answer(token), "", 14 * time.Minute},
		"an end as text":         {answer(token + `,"expires":"946685400"`), "", 9 * time.Minute}, // synctest begins at 946684800
		"an end as a number":     {answer(token + `,"expires":946685400`), "", 9 * time.Minute},
		"an end of another kind": {answer(token + `,"expires":"soon"`), "", 14 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := withKeyless(t, keyless)
				tc.Fault.Path = datadogtest.TokenPath
				b.Fail(tc.Fault)
				b.Fail(datadogtest.Fault{Path: datadogtest.MethodPath, Status: 201, Body: created})
				began := time.Now()
				_, err := b.Create(context.Background(), whole)
				calls, most := 1, 5*time.Second
				if tc.Fault.Cut || tc.Delay > 0 { // once more, on another connection
					calls, most = 2, 10*time.Second
				}
				if tc.code != "" && (!fault.Is(err, tc.code) || datadog.IsLost(err) || len(b.Calls()) != calls || time.Since(began) > most) {
					t.Errorf("%v after %v and %d calls", err, time.Since(began), len(b.Calls()))
				}
				for wrapped := err; wrapped != nil; wrapped = errors.Unwrap(wrapped) {
					said := fmt.Sprintf("%v %+v %#v %v", wrapped, wrapped, wrapped, fault.From(err).LogValue())
					if sensitive.New(sessionToken).In(said) || strings.Contains(said, datadogtest.TokenPrefix) || strings.Contains(said, "AWS4") {
						t.Errorf("the error tells the proof: %s", said)
					}
				}
				if tc.code == "" {
					time.Sleep(tc.lasts - time.Nanosecond)
					for want := 1; want <= 2; want++ {
						if _, err := b.Create(context.Background(), whole); err != nil || b.exchanges() != want {
							t.Errorf("%v after %d exchanges; want %d", err, b.exchanges(), want)
						}
						time.Sleep(time.Nanosecond)
					}
				}
				time.Sleep(2 * time.Hour) // until the server is done, too
			})
		})
	}
	t.Run("Datadog's words are not told", func(t *testing.T) {
		b := withKeyless(t, keyless)
		b.Fail(datadogtest.Fault{Status: 403, Body: `{"errors":["arn:aws:sts::123456789012:assumed-role/sync is nobody's"]}`})
		if _, err := b.List(context.Background()); err.Error() != "datadog_unauthorized: no token for the function's role: Datadog answered 403" {
			t.Errorf("error %v", err)
		}
	})
	t.Run("what was shown for the token is not repeated", func(t *testing.T) {
		b := withKeyless(t, keyless)
		b.Fail(datadogtest.Fault{Method: "PATCH", Status: 400, Body: `{"errors":["bad ` + sessionToken + `"]}`})
		err := b.operations()["update"](context.Background())
		if got := fmt.Sprint(err); got != "datadog_rejected: Datadog answered 400" {
			t.Errorf("error %s", got)
		}
	})
	t.Run("no time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := withKeyless(t, keyless)
			b.Latency = time.Minute
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if _, err := b.List(ctx); !fault.Is(err, fault.Deadline) {
				t.Errorf("error %v", err)
			}
			time.Sleep(time.Hour) // until the server is done, too
		})
	})
	unreadable := datadog.Keyless{OrgUUID: org, Role: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{}, errors.New(sessionToken)
	})}
	if _, err := withKeyless(t, unreadable).List(context.Background()); !fault.Is(err, fault.DatadogUnauthorized) || sensitive.New(sessionToken).In(fmt.Sprintf("%+v", err)) {
		t.Errorf("error %v", err)
	}
}

func TestAccessToken(t *testing.T) {
	b := newBench(t)
	b.SetAccessToken("ddsat_right")
	b.Client = datadog.New("https://api.datadoghq.com", standin.Hosts{"api.datadoghq.com": b.Server}, datadog.Stored{
		Read: func(context.Context, string) (sensitive.Text, error) {
			b.fetches++
			return sensitive.New([]string{"ddsat_old", "ddsat_right"}[b.fetches-1]), nil
		}})
	for name, call := range b.operations() {
		if err := call(context.Background()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if b.fetches != 2 {
		t.Errorf("%d fetches", b.fetches)
	}
}
