package handler_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"datadog-webhook-auth-sync/handler"
	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/standin"
)

// From init to the arrival of the PATCH, a recorded secret that states every field takes four round trips that follow one
// another: TCP, TLS and the request to the token endpoint, and the PATCH, whose connection was opened meanwhile. The
// clock counts them, since nothing else takes time here.
func TestColdStart(t *testing.T) {
	const roundTrip = 100 * time.Millisecond
	server, client := standin.Certificate("api.datadoghq.com", "idp.example.com")
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(time.Second) // until every connection is closed
		w := newWorld(t)
		w.wire()
		w.secrets.Create(secretName, w.value("first"))
		if _, err := w.sync(secretName); err != nil {
			t.Fatal(err)
		}
		w.secrets.Put(secretName, w.value("second"))
		w.datadog.ResetCalls()

		network := &standin.Network{RoundTrip: roundTrip}
		var arrived time.Time
		for host, h := range map[string]http.Handler{
			"idp.example.com": w.tokens,
			"api.datadoghq.com": http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				arrived = time.Now()
				w.datadog.ServeHTTP(rw, r)
			}),
		} {
			s := &http.Server{Handler: h, TLSConfig: server.Clone()}
			defer s.Close()
			go s.ServeTLS(network.Listen(host+":443"), "", "")
		}
		toDatadog := datadog.NewTransport(&http.Transport{DialContext: network.DialContext, TLSClientConfig: client})
		toTokens := &http.Transport{DialContext: network.DialContext, TLSClientConfig: client.Clone(), ForceAttemptHTTP2: true}
		defer toDatadog.CloseIdleConnections()
		defer toTokens.CloseIdleConnections()

		began := time.Now()
		w.handler = handler.New(w.config, handler.Outside{Secrets: w.secrets, Bus: w.bus, Datadog: toDatadog, Tokens: toTokens, Log: w.log})
		if _, err := w.sync(secretName); err != nil {
			t.Fatal(err)
		}
		if took, want := arrived.Sub(began), 3*roundTrip+roundTrip/2; took > want { // the PATCH arrives half-way through its own
			t.Errorf("the PATCH arrived after %.1f round trips; want %.1f", took.Seconds()/roundTrip.Seconds(), want.Seconds()/roundTrip.Seconds())
		}
		if calls := w.datadog.Calls(); len(calls) != 1 || calls[0].Method != "PATCH" || network.Dials("api.datadoghq.com:443") != 1 {
			t.Errorf("%d connections for %+v; want one for the PATCH", network.Dials("api.datadoghq.com:443"), calls)
		}
		w.mustHoldNoSecret()
	})
}
