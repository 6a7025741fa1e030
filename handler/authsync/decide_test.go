package authsync

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
)

const (
	idA = "aaaaaaaa-0000-4000-8000-000000000001"
	idB = "bbbbbbbb-0000-4000-8000-000000000002"
	url = "https://idp.example.com/oauth2/token"
)

func TestDecide(t *testing.T) {
	full := secretstore.Credential{ClientID: "client", AccessTokenURL: url}
	named, pinned := full, full
	named.Name, pinned.AuthMethodID = "payments", idA
	bare := secretstore.Credential{}
	mine := datadog.AuthMethod{ID: idA, Name: "payments", ClientID: "client", AccessTokenURL: url}
	foreign := datadog.AuthMethod{ID: idB, Name: "payments", ClientID: "another client", AccessTokenURL: url}
	twin := datadog.AuthMethod{ID: idB, Name: "another name", ClientID: "client", AccessTokenURL: url}
	elsewhere := twin
	elsewhere.AccessTokenURL = "https://other.example.com/token"

	for _, c := range []struct {
		name       string
		credential secretstore.Credential
		recorded   string
		listed     []datadog.AuthMethod // nil: not listed
		want       target
		refused    fault.Code
	}{
		{name: "1 pinned", credential: pinned, want: target{action: Update, id: idA, pinned: true}},
		{name: "1 pinned, whatever is recorded", credential: pinned, recorded: idB, want: target{action: Update, id: idA, pinned: true}},
		{name: "1 pinned, and listed", credential: pinned, listed: []datadog.AuthMethod{twin, mine}, want: target{action: Update, id: idA, pinned: true, held: &mine}},
		{name: "1 pinned, and not in the list", credential: pinned, listed: []datadog.AuthMethod{twin}, want: target{action: Update, id: idA, pinned: true}},
		{name: "2 recorded", credential: full, recorded: idB, want: target{action: Update, id: idB}},
		{name: "2 recorded, and listed", credential: full, recorded: idB, listed: []datadog.AuthMethod{mine, twin}, want: target{action: Update, id: idB, held: &twin}},
		{name: "2 recorded, nothing but a client secret", credential: bare, recorded: idB, want: target{action: Update, id: idB}},
		{name: "2 recorded, and not in the list", credential: full, recorded: idB, listed: []datadog.AuthMethod{}, want: target{action: Create}},
		{name: "2 recorded, not in the list, but its name is", credential: full, recorded: idB, listed: []datadog.AuthMethod{mine}, want: target{action: Adopt, id: idA, held: &mine}},
		{name: "the list is needed", credential: full, want: target{action: list}},
		{name: "3 name and client id", credential: full, listed: []datadog.AuthMethod{twin, mine}, want: target{action: Adopt, id: idA, held: &mine}},
		{name: "4 name, no client id stated", credential: bare, listed: []datadog.AuthMethod{mine}, want: target{action: Adopt, id: idA, held: &mine, prove: true}},
		{name: "4 name, no client id on either side", credential: bare, listed: []datadog.AuthMethod{{ID: idA, Name: "payments"}}, want: target{action: Adopt, id: idA, held: &datadog.AuthMethod{ID: idA, Name: "payments"}, prove: true}},
		{name: "5 name, another client id", credential: full, listed: []datadog.AuthMethod{foreign}, refused: fault.AuthMethodMismatch},
		{name: "5 stated name, another client id", credential: named, listed: []datadog.AuthMethod{foreign}, refused: fault.AuthMethodMismatch},
		{name: "6 nothing to update, no client id", credential: bare, listed: []datadog.AuthMethod{twin}, refused: fault.SecretInvalid},
		{name: "6 no token endpoint", credential: secretstore.Credential{ClientID: "client"}, listed: []datadog.AuthMethod{}, refused: fault.SecretInvalid},
		{name: "7 a twin under a default name", credential: full, listed: []datadog.AuthMethod{twin}, refused: fault.AuthMethodMismatch},
		{name: "7 a twin is wanted under a stated name", credential: named, listed: []datadog.AuthMethod{twin}, want: target{action: Create}},
		{name: "7 the same client id elsewhere is no twin", credential: full, listed: []datadog.AuthMethod{elsewhere}, want: target{action: Create}},
		{name: "8 nothing there", credential: full, listed: []datadog.AuthMethod{}, want: target{action: Create}},
	} {
		t.Run(c.name, func(t *testing.T) {
			known := subject{name: "payments", credential: c.credential, recorded: c.recorded}
			if c.listed != nil {
				known.there = newListing(time.Time{}, c.listed)
			}
			got, err := decide(known)
			if c.refused != "" {
				if !isCode(err, c.refused) {
					t.Fatalf("decide = %v, %v; want %s", got, err, c.refused)
				}
				if got := fault.From(err); got.Retryable {
					t.Error("it is retryable; nothing but the secret or Datadog changes it")
				}
				return
			}
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(target{})); err != nil || diff != "" {
				t.Errorf("decide: %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestOverlay(t *testing.T) {
	held := datadog.AuthMethod{ID: idA, Name: "held", ClientID: "c", AccessTokenURL: url, Audience: "a", Scope: "s"}
	empty, other := "", "other"
	for _, c := range []struct {
		what string
		held *datadog.AuthMethod
		over secretstore.Credential
		name string
		want datadog.AuthMethod
	}{
		{"nothing stated leaves all", &held, secretstore.Credential{}, "", held},
		{"cleared and changed", &held, secretstore.Credential{Audience: &empty, Scope: &other}, "", datadog.AuthMethod{ID: idA, Name: "held", ClientID: "c", AccessTokenURL: url, Scope: "other"}},
		{"a stated name renames", &held, secretstore.Credential{}, "stated", datadog.AuthMethod{ID: idA, Name: "stated", ClientID: "c", AccessTokenURL: url, Audience: "a", Scope: "s"}},
		{"a create takes the default name", nil, secretstore.Credential{ClientID: "c", AccessTokenURL: url}, "default", datadog.AuthMethod{Name: "default", ClientID: "c", AccessTokenURL: url}},
	} {
		t.Run(c.what, func(t *testing.T) {
			if diff := cmp.Diff(c.want, overlay(c.held, c.over, c.name)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestChanges(t *testing.T) {
	before := datadog.AuthMethod{Name: "n", ClientID: "c", Audience: "a", Scope: "s"}
	after := datadog.AuthMethod{Name: "n", ClientID: "d", Scope: "t"}
	c, d, a, s, u := "c", "d", "a", "s", "t"
	want := []Change{{"client_id", &c, &d}, {"audience", &a, nil}, {"scope", &s, &u}, {Attribute: "client_secret"}}
	if diff := cmp.Diff(want, changes(before, after)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
