package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"datadog-webhook-auth-sync/cmd/demo/system"
	"datadog-webhook-auth-sync/handler/sensitive"
)

// TestWhatIsToldIsSeen guards the search that ends every other test: a place
// that is not looked at keeps every secret.
func TestWhatIsToldIsSeen(t *testing.T) {
	u := newUser(t)
	u.result(u.rotates(u.newClientSecret()))
	u.recorded()
	u.asks("POST", "/sync", nil, fmt.Sprintf(`{"secretId": %q}`, u.secretName), true)
	u.invokes(map[string]string{"action": "sync", "secretId": u.secretName})
	u.reports(u.result(u.puts(`{"client_secret": 7}`)).Detail, map[string]float64{"SyncFailed": 1})

	all := u.outputs()
	for place, mark := range map[string]string{
		"the log":       `"msg":"sync"`,
		"the events":    `"detail-type": "Datadog Auth Method Synced"`,
		"the notices":   `"` + system.Account + " " + system.Region + ": " + u.secretName,
		"HTTP answers":  `"trigger":{"type":"http"`,
		"other answers": `"trigger":{"type":"direct"`,
		"the record":    "site=datadoghq.com",
	} {
		if !slices.ContainsFunc(all, func(text string) bool { return strings.Contains(text, mark) }) {
			t.Errorf("%s is not looked at: nothing has %s", place, mark)
		}
	}
}

// leaksNothing checks that no secret is in anything that was told: logged,
// published, noticed, left in the failure queue, answered or recorded.
func (u *user) leaksNothing() {
	secrets := map[string]string{"a client secret": clientSecretMark, "an access token": u.Tokens.AccessToken}
	for i, key := range u.DatadogKeys {
		secrets[fmt.Sprintf("Datadog key %d", i)] = key
	}
	for _, text := range u.outputs() {
		if _, looked := lookedAt.LoadOrStore(text, true); looked {
			continue
		}
		for what, secret := range secrets {
			if sensitive.New(secret).In(text) {
				u.t.Errorf("%s is told in: %s", what, strings.ReplaceAll(text, secret, "…"))
			}
		}
	}
}

// outputs are all that the function let out up to now.
func (u *user) outputs() (all []string) {
	u.t.Helper()
	for _, texts := range []func(context.Context) ([]string, error){
		u.Logs, u.Events.Bodies, u.Failures.Bodies, u.Notices.Bodies,
	} {
		list, err := texts(u.ctx)
		u.must(err)
		all = append(all, list...)
	}
	answers.Range(func(text, _ any) bool {
		all = append(all, text.(string))
		return true
	})
	return all
}

// answers are what the tests were answered, and found recorded; lookedAt is what
// leaksNothing searched. Both have each text once.
var answers, lookedAt sync.Map
