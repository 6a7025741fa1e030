package authsync

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/report"
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
	none := []datadog.AuthMethod{}

	for _, c := range []struct {
		name       string
		credential secretstore.Credential
		recorded   string
		listed     []datadog.AuthMethod // nil: not listed
		posted     bool                 // before that, and the answer was lost
		young      bool                 // the secret changed after the listing began
		want       target
		refused    fault.Code
	}{
		{name: "1 pins its own", credential: pinned, recorded: idA, want: target{action: report.Update, id: idA, pinned: true, own: true}},
		{name: "1 pins its own, which is not listed", credential: pinned, recorded: idA, listed: none, want: target{action: report.Update, id: idA, pinned: true, own: true}},
		{name: "2 pins one, and none is recorded", credential: pinned, want: target{action: report.Adopt, id: idA, pinned: true}},
		{name: "2 pins another than is recorded", credential: pinned, recorded: idB, want: target{action: report.Adopt, id: idA, pinned: true}},
		{name: "3 recorded", credential: full, recorded: idB, want: target{action: report.Update, id: idB, own: true}},
		{name: "3 recorded, and listed", credential: full, recorded: idB, listed: []datadog.AuthMethod{mine, twin}, want: target{action: report.Update, id: idB, own: true}},
		{name: "3 recorded, only a client secret", credential: bare, recorded: idB, want: target{action: report.Update, id: idB, own: true}},
		{name: "3 recorded after the listing", credential: full, recorded: idB, listed: none, young: true, want: target{action: report.Update, id: idB, own: true}},
		{name: "3 recorded, and not listed", credential: full, recorded: idB, listed: none, want: target{action: report.Create}},
		{name: "3 recorded, not listed, but its name is", credential: full, recorded: idB, listed: []datadog.AuthMethod{mine}, want: target{action: report.Adopt, id: idA}},
		{name: "the listing is needed", credential: full, want: target{action: list}},
		{name: "4 made by a POST whose answer was lost", credential: full, listed: []datadog.AuthMethod{mine}, posted: true, want: target{action: report.Adopt, id: idA, own: true}},
		{name: "4 not made by it: another client", credential: full, listed: []datadog.AuthMethod{foreign}, posted: true, want: target{action: report.Adopt, id: idB}},
		{name: "5 a name", credential: full, listed: []datadog.AuthMethod{twin, mine}, want: target{action: report.Adopt, id: idA}},
		{name: "5 a name, another client", credential: named, listed: []datadog.AuthMethod{foreign}, want: target{action: report.Adopt, id: idB}},
		{name: "6 nothing to update, no client_id", credential: bare, listed: []datadog.AuthMethod{twin}, refused: fault.SecretInvalid},
		{name: "6 no token endpoint", credential: secretstore.Credential{ClientID: "client"}, listed: none, refused: fault.SecretInvalid},
		{name: "7 a twin under a default name", credential: full, listed: []datadog.AuthMethod{twin}, refused: fault.AuthMethodMismatch},
		{name: "7 a twin is wanted under a stated name", credential: named, listed: []datadog.AuthMethod{twin}, want: target{action: report.Create}},
		{name: "7 the same client_id elsewhere is no twin", credential: full, listed: []datadog.AuthMethod{elsewhere}, want: target{action: report.Create}},
		{name: "8 nothing there", credential: full, listed: none, want: target{action: report.Create}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := subject{name: "payments", credential: c.credential, record: secretstore.Record{ID: c.recorded},
				listing: listingOf(c.listed), changed: began.Add(-time.Hour), lostPOST: c.posted}
			if c.young {
				s.changed = began.Add(-time.Second)
			}
			got, err := decide(s)
			if c.refused != "" {
				if !fault.Is(err, c.refused) || fault.From(err).Retryable {
					t.Fatalf("decide = %v, %v; want %s, permanently", got, err, c.refused)
				}
				return
			}
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(target{})); err != nil || diff != "" {
				t.Errorf("decide: %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

var began = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

// listingOf began at began, unless it is not fetched.
func listingOf(methods []datadog.AuthMethod) *datadog.Listing {
	l := datadog.NewListing(func(context.Context) ([]datadog.AuthMethod, error) { return methods, nil }, func() time.Time { return began })
	if methods != nil {
		_ = l.Load(context.Background())
	}
	return l
}

func TestPossession(t *testing.T) {
	m := datadog.AuthMethod{ID: idA, Name: "payments", ClientID: "client", AccessTokenURL: url}
	for _, c := range []struct {
		name          string
		id, url       string // stated
		named, pinned int    // may it, by name and by pin?
	}{
		{"both equal", "client", url, yes, yes},
		{"neither stated", "", "", notYet, yes},
		{"only the client", "client", "", notYet, yes},
		{"only the URL", "", url, notYet, yes},
		{"another client", "thief", url, no, no},
		{"another URL", "client", "https://thief.example.com/token", no, no},
		{"another URL, no client", "", "https://thief.example.com/token", no, no},
		{"another client, no URL", "thief", "", no, no},
	} {
		t.Run(c.name, func(t *testing.T) {
			credential := secretstore.Credential{ClientID: c.id, AccessTokenURL: c.url}
			if got := may(possession(credential, m, false)); got != c.named {
				t.Errorf("by name: %d", got)
			}
			if got := may(possession(credential, m, true)); got != c.pinned {
				t.Errorf("by pin: %d", got)
			}
		})
	}
}

const no, notYet, yes = 0, 1, 2 // permanently refused, retryable, allowed

func may(err error) int {
	switch {
	case err == nil:
		return yes
	case fault.Is(err, fault.AuthMethodMismatch) && fault.From(err).Retryable:
		return notYet
	case fault.Is(err, fault.AuthMethodMismatch):
		return no
	}
	return -1
}
