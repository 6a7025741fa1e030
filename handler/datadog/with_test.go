package datadog_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/datadog"
)

func TestWith(t *testing.T) {
	const id, url = "aaaaaaaa-0000-4000-8000-000000000001", "https://idp.example.com/oauth2/token"
	before := datadog.AuthMethod{ID: id, Name: "before", ClientID: "c", AccessTokenURL: url, Audience: "a", Scope: "s"}
	empty, other := "", "other"
	for _, c := range []struct {
		what  string
		m     datadog.AuthMethod
		write datadog.Write
		want  datadog.AuthMethod
	}{
		{"nothing stated leaves all", before, datadog.Write{}, before},
		{"cleared and changed", before, datadog.Write{Audience: &empty, Scope: &other}, datadog.AuthMethod{ID: id, Name: "before", ClientID: "c", AccessTokenURL: url, Scope: "other"}},
		{"a stated name renames", before, datadog.Write{Name: "stated"}, datadog.AuthMethod{ID: id, Name: "stated", ClientID: "c", AccessTokenURL: url, Audience: "a", Scope: "s"}},
		{"a create", datadog.AuthMethod{}, datadog.Write{Name: "default", ClientID: "c", AccessTokenURL: url}, datadog.AuthMethod{Name: "default", ClientID: "c", AccessTokenURL: url}},
	} {
		t.Run(c.what, func(t *testing.T) {
			if diff := cmp.Diff(c.want, c.m.With(c.write)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
