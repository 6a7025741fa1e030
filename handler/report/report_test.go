package report_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/report"
)

func TestChanges(t *testing.T) {
	before := datadog.AuthMethod{Name: "n", ClientID: "c", Audience: "a", Scope: "s"}
	after := datadog.AuthMethod{Name: "n", ClientID: "d", Scope: "t"}
	c, d, a, s, u := "c", "d", "a", "s", "t"
	want := []report.Change{{"client_id", &c, &d}, {"audience", &a, nil}, {"scope", &s, &u}, {Attribute: "client_secret"}}
	if diff := cmp.Diff(want, report.Changes(before, after)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
