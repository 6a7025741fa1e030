package main

import (
	"encoding/json"
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
		"the notices":   `notice: "` + system.Account + " " + system.Region + ": " + u.secretName,
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
	for i, key := range u.DatadogKeys() {
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

// told is all that the function let out up to now.
func (u *user) outputs() []string {
	u.t.Helper()
	logs, err := u.Logs(u.ctx)
	u.must(err)
	events, err := u.Events(u.ctx)
	u.must(err)
	failures, err := u.Failures(u.ctx)
	u.must(err)
	notices, err := u.Notices(u.ctx)
	u.must(err)
	all := slices.Concat(logs, answers.all())
	for _, notice := range notices {
		all = append(all, "notice: "+notice.Message)
	}
	for _, event := range events {
		all = append(all, string(event.Raw))
	}
	for _, failure := range failures {
		text, err := json.Marshal(failure)
		u.must(err)
		all = append(all, string(text))
	}
	return all
}

// lookedAt is what leaksNothing searched: each text once.
var lookedAt sync.Map

// answers are what the tests were answered, and found recorded.
var answers texts

type texts struct {
	mu   sync.Mutex
	list []string
}

func (l *texts) add(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, text)
}

func (l *texts) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list)
}
