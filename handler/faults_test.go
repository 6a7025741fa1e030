package handler_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/standin"
)

// Whatever Datadog and the identity provider answer, and if they send back what they were sent, none of it is repeated:
// inWorld looks for that at the end.
func TestEchoes(t *testing.T) {
	elsewhere := http.Header{"Location": {"https://elsewhere.example.com/"}}
	for _, answer := range []standin.Fault{
		{Status: 302, Header: elsewhere}, {Status: 307, Header: elsewhere}, {Status: 400}, {Status: 401}, {Status: 403}, {Status: 404}, {Status: 409},
		{Status: 418}, {Status: 429}, {Status: 500}, {Status: 200, Body: "<html>"}, {Status: 201, Body: "<html>"}, {Cut: true},
		{Status: 400, Body: `{"error":"invalid_client","error_description":"you sent `}, {Status: 400, Body: `{"errors":["you sent `},
	} {
		for _, who := range []string{"Datadog", "the token endpoint"} {
			t.Run(fmt.Sprintf("%s answers %d %s", who, answer.Status, answer.Body), func(t *testing.T) {
				inWorld(t, func(t *testing.T, w *world) {
					w.secrets.Create(secretName, w.value("first"))
					fault := answer
					fault.Echo = true
					if who == "Datadog" {
						w.datadog.Fail(fault)
					} else {
						w.tokens.Fail(fault)
					}
					_, _ = w.sync(secretName)
					w.http(w.sample("http-api-sync.json"))
					_, _ = w.invoke(`{"action":"reconcile"}`)
					if len(w.said) == 0 || w.log.String() == "" {
						t.Error("nothing was said")
					}
				})
			})
		}
	}
}

// Datadog answers 500 for ten minutes. Lambda gives up after its retries; nothing is lost, and nobody has to act.
func TestDatadogIsDownForTenMinutes(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, w.value("first"))
		if _, err := w.sync(secretName); err != nil {
			t.Fatal(err)
		}
		w.datadog.Fail(datadogtest.Fault{Status: 500})
		time.AfterFunc(10*time.Minute, w.datadog.ClearFaults)
		w.secrets.Put(secretName, w.value("second"))
		event := w.sample("secret-label-updated.json")
		for again, wait := range []time.Duration{0, time.Minute, 2 * time.Minute} {
			time.Sleep(wait)
			if _, err := w.invoke(event); (err == nil) != (again == 2) { // it is past its grace
				t.Fatalf("Lambda gets %v", err)
			}
		}
		for range 3 {
			_, _ = w.invoke(`{"action":"reconcile"}`)
			time.Sleep(15 * time.Minute)
		}
		results := w.published()
		if last := results[len(results)-1]; last.Outcome != report.Settled || !last.PreviousSecretSafeToRevoke {
			t.Errorf("in the end: %+v", last)
		}
		if _, value := w.secrets.Current(secretName); w.holds() != secretIn(value) {
			t.Error("Datadog does not hold AWSCURRENT")
		}
	})
}
