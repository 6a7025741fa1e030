package datadog_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/sensitive"
	"datadog-webhook-auth-sync/handler/standin"
)

// A connection that is opened early is used by the first call, and is never a reason for a call to fail or to be made twice.
func TestEarlyConnection(t *testing.T) {
	const (
		address   = "api.datadoghq.com:443"
		roundTrip = 100 * time.Millisecond
		open      = 2 * roundTrip // TCP and TLS
	)
	certificate, trust := standin.Certificate("api.datadoghq.com")
	patch := func(c *datadog.Client) error {
		_, err := c.Update(context.Background(), id, datadog.Write{ClientSecret: sensitive.New(canary)})
		return err
	}
	post := func(c *datadog.Client) error { _, err := c.Create(context.Background(), whole); return err }
	listAndPost := func(c *datadog.Client) error {
		if _, err := c.List(context.Background()); err != nil {
			return err
		}
		return post(c)
	}
	type world struct {
		server  *datadogtest.Server
		client  *datadog.Client
		network *standin.Network
		https   *http.Server
	}
	warm := func(w *world) { w.client.Warm(context.Background()) }
	serve := func(w *world) {
		w.https.Handler, w.https.TLSConfig = w.server, certificate.Clone()
		go w.https.ServeTLS(w.network.Listen(address), "", "")
	}
	restart := func(w *world) {
		w.https.Close()
		w.https = &http.Server{}
		serve(w)
	}
	for name, tc := range map[string]struct {
		before      func(w *world)
		call        func(*datadog.Client) error
		calls       int // that arrive
		dials       int
		least, most time.Duration
		fails       bool
	}{
		"none":        {serve, patch, 1, 1, open + roundTrip, open + roundTrip, false},
		"there":       {func(w *world) { serve(w); warm(w) }, patch, 1, 1, roundTrip, roundTrip, false},
		"on its way":  {func(w *world) { serve(w); go warm(w); time.Sleep(roundTrip) }, patch, 1, 1, 2 * roundTrip, 2 * roundTrip, false},
		"for several": {func(w *world) { serve(w); warm(w) }, listAndPost, 2, 1, 2 * roundTrip, 2 * roundTrip, false},
		"of HTTP/1.1": {func(w *world) {
			w.https.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
			serve(w)
			warm(w)
		}, patch, 1, 1, roundTrip, roundTrip, false},
		"just young enough": {func(w *world) { serve(w); warm(w); time.Sleep(10*time.Second - open) }, patch, 1, 1, roundTrip, roundTrip, false},
		"too old":           {func(w *world) { serve(w); warm(w); time.Sleep(10*time.Second - open + 1) }, patch, 1, 2, open + roundTrip, open + roundTrip, false},
		"lost in a freeze":  {func(w *world) { serve(w); warm(w); w.network.Lose(); time.Sleep(time.Hour) }, post, 1, 2, open + roundTrip, open + roundTrip, false},
		"lost in the handshake": {func(w *world) {
			serve(w)
			go warm(w)
			time.Sleep(roundTrip + 1)
			w.network.Lose()
			time.Sleep(time.Hour)
		},
			post, 1, 2, open + roundTrip, open + roundTrip, false},
		"refused at first": {func(w *world) { warm(w); serve(w) }, post, 1, 1, open + roundTrip, open + roundTrip, false},
		"closed by the server": {func(w *world) { serve(w); warm(w); restart(w) },
			patch, 1, 2, open + roundTrip, open + 4*roundTrip, false},
		"closed by the server, and a POST after a list": {func(w *world) { serve(w); warm(w); restart(w) },
			listAndPost, 2, 2, open + 2*roundTrip, open + 5*roundTrip, false},
		// A POST that had no answer is not made again: whoever asked for it has to look first.
		"closed by the server, and a POST": {func(w *world) { serve(w); warm(w); restart(w) },
			post, 0, 1, 0, roundTrip, true},
		"lost without a sign": {func(w *world) { serve(w); warm(w); w.network.Lose() }, patch, 1, 2, 5 * time.Second, 6 * time.Second, false},
		"lost after its use": {func(w *world) {
			serve(w)
			warm(w)
			_ = patch(w.client)
			w.server.ResetCalls()
			w.network.Lose()
			time.Sleep(time.Minute)
		},
			patch, 1, 2, 5 * time.Second, 6 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{server: datadogtest.New("right", appKey), network: &standin.Network{RoundTrip: roundTrip}, https: &http.Server{ErrorLog: log.New(io.Discard, "", 0)}}
				w.server.Put(datadogtest.AuthMethod{ID: id, Name: "payments", AccessTokenURL: held.AccessTokenURL, ClientID: "c", ClientSecret: "old"})
				transport := datadog.NewTransport(&http.Transport{DialContext: w.network.DialContext, TLSClientConfig: trust})
				w.client = datadog.New("https://api.datadoghq.com", transport, datadog.NewKeyring(func(context.Context) (datadog.Keys, error) {
					return datadog.Keys{API: sensitive.New("right"), App: sensitive.New(appKey)}, nil
				}))
				tc.before(w)
				began := time.Now()
				err := tc.call(w.client)
				if took := time.Since(began); (err != nil) != tc.fails || took < tc.least || took > tc.most {
					t.Errorf("error %v after %v; want %v to %v", err, took, tc.least, tc.most)
				}
				if e, ok := errors.AsType[*datadog.Error](err); tc.fails && (!ok || !e.Ambiguous()) {
					t.Errorf("%v is not ambiguous", err)
				}
				if calls, dials := len(w.server.Calls()), w.network.Dials(address); calls != tc.calls || dials != tc.dials {
					t.Errorf("%d calls over %d connections; want %d over %d", calls, dials, tc.calls, tc.dials)
				}
				w.https.Close()
				transport.CloseIdleConnections()
				time.Sleep(time.Minute) // until every connection is closed
			})
		})
	}
}
