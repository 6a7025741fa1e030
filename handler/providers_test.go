package handler_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"datadog-webhook-auth-sync/handler"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/standin"
	"datadog-webhook-auth-sync/handler/tokencheck"
	"datadog-webhook-auth-sync/handler/tokencheck/tokentest"
)

// dialect answers requests with one client secret as a provider was seen to, and all others as the stand-in does.
type dialect struct {
	others       *tokentest.Server
	seen         tokentest.Server
	clientSecret string
}

func (d *dialect) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	_, basic, _ := r.BasicAuth()
	if basic != d.clientSecret && !strings.Contains(string(body), "client_secret="+d.clientSecret) {
		return standin.Hosts{"idp.example.com": d.others}.RoundTrip(r)
	}
	for _, a := range d.seen.Answers {
		if a.Network == "no such host" {
			return nil, &net.DNSError{Err: a.Network, Name: r.URL.Hostname(), IsNotFound: true}
		}
	}
	return standin.Hosts{"idp.example.com": &d.seen}.RoundTrip(r)
}

// What a provider answers to a new client secret decides what is written, told and counted. One that it refused is told
// within one period of the schedule, and never settles; and no answer pages, since the one before still works.
func TestProviders(t *testing.T) {
	for _, file := range []string{"cases.json", "reported.json"} {
		cases, err := tokentest.ReadCases("tokencheck/testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, tc := range cases {
			if tc.ClientID == "" && tc.ClientSecret == "" { // others are of encodings, which tokencheck's own tests have
				t.Run(tc.Name, func(t *testing.T) { inWorld(t, func(t *testing.T, w *world) { w.mustFollowProvider(tc) }) })
			}
		}
	}
}

func (w *world) mustFollowProvider(tc tokentest.Case) {
	const next = "the-new-one"
	before := secretIn(w.createSettled())
	via := regexp.MustCompile(` via=\w+`).ReplaceAllString(w.tag(secretName), "")
	if tc.Known != "" {
		via += " via=" + string(tc.Known)
	}
	w.setRecord(via)
	d := &dialect{others: w.tokens, seen: tokentest.Server{Answers: tc.Answers}, clientSecret: next}
	w.handler = handler.New(w.config, handler.Outside{Secrets: w.secrets, Bus: w.bus, Log: w.log, Tokens: d,
		Datadog: standin.Hosts{"api.datadoghq.com": w.datadog}})
	w.secrets.Put(secretName, w.valueOf(next))
	w.newResults()
	for range 5 {
		time.Sleep(15 * time.Minute)
		w.reconcile()
	}

	refused := tc.Want == tokencheck.Rejected || tc.Want == tokencheck.Inconclusive && tc.Refused
	holds, state, want := next, "settled", []string{"updated", "settled"}
	switch {
	case refused:
		holds, state, want = before, "", []string{"failed credential_rejected held accepted"}
	case tc.Want == tokencheck.Inconclusive:
		state, want = "unproven", []string{"updated"}
	}
	w.wantResults("in five periods", want...)
	record, metrics := w.record(secretName), w.metrics()
	if w.holds() != holds || record["state"] != state {
		w.t.Errorf("Datadog holds the new one: %v; record %q", w.holds() == next, w.tag(secretName))
	}
	if tc.Refused && tc.Want != tokencheck.Accepted && record["refused"] == "" {
		w.t.Errorf("the refusal is not recorded: %q", w.tag(secretName))
	}
	if slices.Max(metrics["AtRisk"]) > 0 || refused != (slices.Max(metrics["Failing"]) > 0) ||
		(state == "unproven") != (slices.Max(metrics["Unverified"]) > 0) {
		w.t.Errorf("metrics: %v", metrics)
	}
	for _, r := range w.published() {
		if r.PreviousSecretSafeToRevoke && r.Outcome != report.Settled {
			w.t.Errorf("safe to revoke: %s", r.Summary)
		}
	}
}
