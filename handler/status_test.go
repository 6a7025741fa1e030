package handler_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/fleet"
	"datadog-webhook-auth-sync/handler/report"
)

func (w *world) getStatus(query string) answer {
	w.t.Helper()
	return w.http(`{"version":"2.0","routeKey":"GET /status","rawPath":"/status","queryStringParameters":` + query +
		`,"requestContext":{"authorizer":{"iam":{}},"http":{"method":"GET"}}}`)
}

func (w *world) status(query string) (s fleet.Status) {
	w.t.Helper()
	a := w.getStatus(query)
	if a.StatusCode != 200 || json.Unmarshal([]byte(a.Body), &s) != nil {
		w.t.Fatalf("status: %+v", a)
	}
	return s
}

func TestStatusFollowsASecret(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.create()
		w.secrets.Tag(secretName, "team", "payments-team")
		version, _ := w.secrets.Current(secretName)
		mustBe := func(state fleet.State, reasons ...fleet.Reason) fleet.SecretStatus {
			t.Helper()
			all := w.status("null")
			if diff := cmp.Diff(all, w.status(`{"secretId":"`+secretName+`"}`)); diff != "" {
				t.Errorf("one and all differ:\n%s", diff)
			}
			if got := all.Secrets[0]; got.State != state || !slices.Equal(reasons, got.Reasons) {
				t.Fatalf("status: %+v; want %s, %v", got, state, reasons)
			}
			for _, s := range []fleet.State{fleet.InSync, fleet.IsSettling, fleet.OutOfSync} {
				if page := w.status(`{"state":"` + string(s) + `"}`).Secrets; (len(page) == 1) != (s == state) {
					t.Errorf("those in state %s: %+v", s, page)
				}
			}
			return all.Secrets[0]
		}
		mustBe(fleet.OutOfSync, fleet.NeverSynced)
		w.reconcile()
		mustBe(fleet.IsSettling, fleet.Settling) // by a listing from before, which is kept
		time.Sleep(listingKept)
		got := mustBe(fleet.IsSettling, fleet.Settling)
		pushed := time.Now().UTC().Add(-listingKept)
		want := fleet.SecretStatus{
			Secret:     report.SecretRef{ARN: w.arn(), Name: secretName, VersionID: version, Owner: "payments-team"},
			AuthMethod: &report.AuthMethodRef{ID: w.method().ID, Name: "payments", Site: "datadoghq.com"},
			State:      fleet.IsSettling, Reasons: []fleet.Reason{fleet.Settling},
			RecordedVersionID: version, PushedAt: &pushed,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("status (-want +got):\n%s", diff)
		}
		time.Sleep(11 * time.Minute)
		mustBe(fleet.OutOfSync, fleet.NotSettled)
		w.reconcile()
		if got := mustBe(fleet.InSync); !got.Settled {
			t.Error("it is not settled")
		}
		w.deleteMethods(secretName)
		mustBe(fleet.InSync) // by a listing that is kept
		time.Sleep(listingKept)
		if got := mustBe(fleet.OutOfSync, fleet.AuthMethodMissing); got.AuthMethod.Name != "" || got.AuthMethod.ID == "" {
			t.Errorf("auth method: %+v", got.AuthMethod)
		}
		if n := w.secrets.Calls()["GetSecretValue"]; n != 2 {
			t.Errorf("values were read %d times; want 2, for the pushes", n)
		}
	})
}

const listingKept = 10 * time.Second

func TestStatusInPages(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 250 {
			w.secrets.Create(nameOf(i), "{}")
		}
		w.createIdle()
		seen, query := 0, "null"
		for range 3 {
			page := w.status(query)
			seen += len(page.Secrets)
			token, _ := json.Marshal(page.NextToken)
			query = `{"nextToken":` + string(token) + `}`
			if more := page.NextToken != ""; more != (seen < 250) {
				t.Fatalf("after %d secrets nextToken is %q", seen, page.NextToken)
			}
		}
	})
}

func TestStatusRefused(t *testing.T) {
	for query, want := range map[string]fault.Code{
		`{"secretId":"elsewhere/payments"}`:                 fault.SecretOutOfScope,
		`{"secretId":"datadog/webhooks/nobody"}`:            fault.SecretNotFound,
		`{"secretId":"` + secretName + `-deleted"}`:         fault.SecretNotFound,
		`{"secretId":"` + secretName + `","nextToken":"1"}`: fault.BadRequest,
		`{"secretId":""}`:                                   fault.BadRequest,
		`{"secretId":"datadog/webhooks/ü"}`:                 fault.BadRequest,
		`{"nextToken":"nonsense"}`:                          fault.BadRequest,
		`{"secretid":"` + secretName + `"}`:                 fault.BadRequest,
		`{"secretId":"` + secretName + `","verbose":"ja"}`:  fault.BadRequest,
	} {
		subtest(t, query, func(t *testing.T, w *world) {
			w.secrets.Create(secretName+"-deleted", w.create())
			w.secrets.Delete(secretName + "-deleted")
			if p := w.getStatus(query).problem(t); p.Code != string(want) {
				t.Errorf("problem: %+v; want %s", p, want)
			}
		})
	}
}
