package authsync

import (
	"strings"
	"testing"
	"time"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/endpoint"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
	"datadog-webhook-auth-sync/handler/secretstore"
	"datadog-webhook-auth-sync/handler/sensitive"
)

const (
	idA      = "aaaaaaaa-0000-4000-8000-000000000001"
	idB      = "bbbbbbbb-0000-4000-8000-000000000002"
	tokenURL = "https://idp.example.com/oauth2/token"
	version1 = "00000000-0000-4000-8000-000000000001"
	version2 = "00000000-0000-4000-8000-000000000002"
)

var now = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

func method(id, name string) datadog.AuthMethod {
	return datadog.AuthMethod{ID: id, Name: name, ClientID: "client", AccessTokenURL: tokenURL}
}

func snapshotOf(c secretstore.Credential, r secretstore.Record, methods ...datadog.AuthMethod) snapshot {
	c.ClientSecret = sensitive.New("canary-client-secret")
	snap := snapshot{at: now, version: version1, credential: c, record: r, name: "payments", methods: map[string]datadog.AuthMethod{}}
	if c.Name != "" {
		snap.name = c.Name
	}
	for _, m := range methods {
		snap.methods[m.ID] = m
	}
	return snap
}

func TestDecide(t *testing.T) {
	full := secretstore.Credential{ClientID: "client", AccessTokenURL: tokenURL}
	bare := secretstore.Credential{}
	with := func(c secretstore.Credential, edit func(*secretstore.Credential)) secretstore.Credential {
		edit(&c)
		return c
	}
	pin := func(c secretstore.Credential, id string) secretstore.Credential {
		return with(c, func(c *secretstore.Credential) { c.AuthMethodID = id })
	}
	recorded := func(m datadog.AuthMethod, age time.Duration) secretstore.Record {
		return secretstore.Record{ID: m.ID, Version: version2, At: now.Add(-age), Digest: m.Digest(), State: secretstore.Settled}
	}
	tag := secretstore.Record{ID: idA}
	a, b := method(idA, "payments"), method(idB, "other")
	otherClient := a
	otherClient.ClientID = "another"
	thiefs := a
	thiefs.AccessTokenURL = "https://127.0.0.1/token"
	edited := a
	edited.Scope = "edited"
	otherURL := with(full, func(c *secretstore.Credential) { c.AccessTokenURL = "https://login.example.net/token" })

	for _, c := range []struct {
		name    string
		snap    snapshot
		outcome report.Outcome
		id      string
		own     bool
		code    fault.Code
		retry   bool
		says    string
	}{
		{"a: pinned and recorded", snapshotOf(pin(full, idA), recorded(a, time.Hour), a), report.Updated, idA, true, "", false, ""},
		{"a: pinned, another recorded", snapshotOf(pin(full, idB), recorded(a, time.Hour), a, b), report.Adopted, idB, false, "", false, ""},
		{"a: pinned, and stating nothing", snapshotOf(pin(bare, idB), secretstore.Record{}, b), report.Adopted, idB, false, "", false, ""},
		{"a: pinned, stating another client", snapshotOf(pin(full, idA), secretstore.Record{}, otherClient), "", "", false, fault.AuthMethodMismatch, false, "tag"},
		{"a: pinned, stating another URL", snapshotOf(pin(otherURL, idA), secretstore.Record{}, a), "", "", false, fault.AuthMethodMismatch, false, "tag"},
		{"a: pinned, and gone", snapshotOf(pin(full, idA), secretstore.Record{}, b), "", "", false, fault.AuthMethodNotFound, false, "pins"},
		{"a: pinned, recorded a moment ago, and gone", snapshotOf(pin(full, idA), recorded(a, 0), b), "", "", false, fault.DatadogUnavailable, true, "yet"},
		{"a: pinned, recorded 10 min ago, and gone", snapshotOf(pin(full, idA), recorded(a, 10*time.Minute), b), "", "", false, fault.AuthMethodNotFound, false, "pins"},
		{"b: recorded", snapshotOf(full, recorded(a, time.Hour), a, b), report.Updated, idA, true, "", false, ""},
		{"b: recorded, and one of the name", snapshotOf(full, recorded(b, time.Hour), a, b), report.Updated, idB, true, "", false, ""},
		{"b: recorded, with a new client and URL", snapshotOf(otherURL, recorded(a, time.Hour), a), report.Updated, idA, true, "", false, ""},
		{"b: an operator's tag", snapshotOf(bare, tag, otherClient), report.Adopted, idA, true, "", false, ""},
		{"b: a client secret alone", snapshotOf(bare, recorded(a, time.Hour), a), report.Updated, idA, true, "", false, ""},
		{"b: the same, edited since", snapshotOf(bare, recorded(a, time.Hour), edited), "", "", false, fault.AuthMethodMismatch, true, "edited"},
		{"b: stating the URL, edited since", snapshotOf(full, recorded(a, time.Hour), edited), report.Updated, idA, true, "", false, ""},
		{"b: an operator's tag on a URL that may not be called", snapshotOf(bare, tag, thiefs), "", "", false, fault.AuthMethodMismatch, false, "access_token_url"},
		{"c: one of the name", snapshotOf(full, secretstore.Record{}, a, b), report.Adopted, idA, false, "", false, ""},
		{"c: one of the stated name", snapshotOf(with(full, func(c *secretstore.Credential) { c.Name = "other" }), secretstore.Record{}, a, b), report.Adopted, idB, false, "", false, ""},
		{"c: one of the name, recorded gone", snapshotOf(full, recorded(b, time.Hour), a), report.Adopted, idA, false, "", false, ""},
		{"c: of another client", snapshotOf(full, secretstore.Record{}, otherClient), "", "", false, fault.AuthMethodMismatch, false, "states another"},
		{"c: of another URL", snapshotOf(otherURL, secretstore.Record{}, a), "", "", false, fault.AuthMethodMismatch, false, "states another"},
		{"c: stating no URL", snapshotOf(with(full, func(c *secretstore.Credential) { c.AccessTokenURL = "" }), secretstore.Record{}, a), "", "", false, fault.AuthMethodMismatch, true, "does not state"},
		{"c: stating no client", snapshotOf(with(full, func(c *secretstore.Credential) { c.ClientID = "" }), secretstore.Record{}, a), "", "", false, fault.AuthMethodMismatch, true, "does not state"},
		{"d: recorded and gone", snapshotOf(full, recorded(a, 10*time.Minute)), "", "", false, fault.AuthMethodNotFound, false, "attach"},
		{"d: recorded a little less than 10 min ago", snapshotOf(full, recorded(a, 10*time.Minute-time.Nanosecond)), "", "", false, fault.DatadogUnavailable, true, "yet"},
		{"d: an operator's tag of what is gone", snapshotOf(full, tag), "", "", false, fault.AuthMethodNotFound, false, "attach"},
		{"e: nothing to update", snapshotOf(bare, secretstore.Record{}, b), "", "", false, fault.SecretInvalid, false, "client_id, access_token_url"},
		{"f: another has the client", snapshotOf(full, secretstore.Record{}, b), "", "", false, fault.AuthMethodMismatch, false, idB},
		{"g: the same, with a stated name", snapshotOf(with(full, func(c *secretstore.Credential) { c.Name = "new" }), secretstore.Record{}, b), report.Created, "", false, "", false, ""},
		{"g: nothing there", snapshotOf(full, secretstore.Record{}), report.Created, "", false, "", false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := decide(c.snap, endpoint.Rule{}, true)
			if err != nil {
				e := fault.From(err)
				if e.Code != c.code || e.Retryable != c.retry || !strings.Contains(e.Message, c.says) {
					t.Errorf("%v, retryable %v; want %s, %v, saying %q", e, e.Retryable, c.code, c.retry, c.says)
				}
				summary := report.Summary(report.Result{Secret: report.SecretRef{Name: "datadog/webhooks/payments"}, Error: e})
				if strings.Contains(summary, "id=") || strings.Contains(summary, "...") {
					t.Errorf("a notice is cut, or says how to give an auth method away: %s", summary)
				}
				return
			}
			if c.code != "" || p.outcome != c.outcome || p.before.ID != c.id || p.own != c.own {
				t.Errorf("%s of %q, own %v; want %s of %q, %v, %s", p.outcome, p.before.ID, p.own, c.outcome, c.id, c.own, c.code)
			}
			if p.write.AccessTokenURL == "" || p.write.AccessTokenURL != p.after.AccessTokenURL {
				t.Errorf("the write states %q, which is not what will be verified: %q", p.write.AccessTokenURL, p.after.AccessTokenURL)
			}
		})
	}

	shared := snapshotOf(full, recorded(a, time.Hour), a)
	shared.shared = true
	if _, err := decide(shared, endpoint.Rule{}, true); !fault.Is(err, fault.AuthMethodMismatch) || !fault.From(err).Retryable {
		t.Errorf("shared: %v", err)
	}
	for name, snap := range map[string]snapshot{"name": snapshotOf(full, secretstore.Record{}, a), "pin": snapshotOf(pin(full, idA), secretstore.Record{}, a)} {
		if _, err := decide(snap, endpoint.Rule{}, false); !fault.Is(err, fault.AuthMethodMismatch) || !fault.From(err).Retryable {
			t.Errorf("a take-over by %s with verification off: %v", name, err)
		}
	}
	if _, err := decide(snapshotOf(bare, tag, a), endpoint.Rule{}, false); err != nil {
		t.Errorf("an operator's tag with verification off: %v", err)
	}
}

func TestUnexplained(t *testing.T) {
	conflict := fault.New(fault.DatadogRejected, "no").Because(&datadog.Error{Status: 409})
	lost := fault.New(fault.DatadogUnavailable, "no").Because(&datadog.Error{})
	missing := fault.New(fault.DatadogUnavailable, "no").Because(&datadog.Error{Status: 404})
	create := func(name string) plan { return plan{outcome: report.Created, write: datadog.Write{Name: name}} }
	update := func(id string) plan { return plan{outcome: report.Updated, before: method(id, "payments")} }
	for _, c := range []struct {
		name     string
		surprise error
		last, p  plan
		code     fault.Code // empty: it may be written
	}{
		{"no surprise", nil, update(idA), update(idA), ""},
		{"still listed", missing, update(idA), update(idA), fault.DatadogUnavailable},
		{"another auth method", missing, update(idA), update(idB), ""},
		{"a create in its place", missing, update(idA), create("payments"), ""},
		{"a conflict again", conflict, create("payments"), create("payments"), fault.DatadogRejected},
		{"another name", conflict, create("payments"), create("new"), ""},
		{"a create whose answer was lost", lost, create("payments"), create("payments"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := unexplained(rounds{{plan: c.last, surprise: c.surprise}}, c.p)
			if (err != nil) != (c.code != "") || err != nil && !fault.Is(err, c.code) {
				t.Errorf("%v; want %q", err, c.code)
			}
		})
	}
}
