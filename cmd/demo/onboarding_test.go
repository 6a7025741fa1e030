package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
)

// onboards follows the document with forty secrets in three accounts, some of whose auth methods exist.
func (r *reader) onboards() {
	accounts := map[string]string{"one": "111111111111", "two": "222222222222", "three": "333333333333"}
	r.hasProfiles(accounts)

	holds := map[string]string{} // by the auth method's name: the client secret that it is to have in the end
	store := func(account, name, value string) {
		_, err := r.SecretsManagerOf(accounts[account]).CreateSecret(r.ctx, &secretsmanager.CreateSecretInput{Name: &name, SecretString: &value})
		r.must(err)
	}
	client := func(account, team string) (id, secret string) {
		return account + "-" + team, clientSecretMark + "of-" + account + "-" + team
	}
	value := func(id, secret string) string {
		return fmt.Sprintf(`{"client_id": %q, "client_secret": %q, "access_token_url": %q}`, id, secret, r.idp.url)
	}
	teams := map[string][]string{"one": {"payments", "ledger"}, "two": {"search"}, "three": {"audit"}}
	for account, n := range map[string]int{"one": 28, "two": 4, "three": 3} {
		for i := range n {
			teams[account] = append(teams[account], fmt.Sprintf("team-%d", i))
		}
	}
	existing := map[[2]string]string{ // an account's team: its auth method's name
		{"one", "payments"}: "Payments on-call", {"one", "ledger"}: "ledger-prod", {"two", "crm"}: "CRM alerts", {"three", "audit"}: "three/audit"}
	for account, names := range teams {
		for _, team := range names {
			id, secret := client(account, team)
			store(account, prefix+team, value(id, secret))
			holds[account+"/"+team] = secret
		}
	}
	id, secret := client("two", "crm")
	store("two", "legacy/crm", fmt.Sprintf(`{"user": %q, "password": %q}`, id, secret))
	ids := map[string]string{}
	for of, name := range existing {
		id, secret := client(of[0], of[1])
		ids[name] = r.Datadog.Put(datadogtest.AuthMethod{Name: name, ClientID: id, ClientSecret: "old", AccessTokenURL: r.idp.url}).ID
		delete(holds, of[0]+"/"+of[1])
		holds[name] = secret
	}
	if len(holds) != 40 {
		r.t.Fatalf("%d secrets", len(holds))
	}

	printed := r.follows(onboarding)
	for text, times := range map[string]int{"  create  ": 2 * 36, "  auth_method_mismatch  ": 3, "  adopt  ": 5,
		`"failing": 0`: 4, `"leftOver": 0`: 4, `"error": null`: 4,
		"rule FunctionLabelUpdated: DISABLED: NO ROTATION": 3, "schedule: NONE": 3, // before they are turned on
		"rule FunctionLabelUpdated: ENABLED\n": 4, "schedule: ENABLED": 4, // after that, and after an upgrade
	} {
		if n := strings.Count(printed, text); n != times {
			r.t.Errorf("%q was printed %d times, want %d", text, n, times)
		}
	}
	r.hold(holds, ids)

	for _, account := range []string{"one", "two"} { // which were turned on, and one of them upgraded
		name := prefix + "team-0"
		id, _ := client(account, "team-0")
		holds[account+"/team-0"] = clientSecretMark + "rotated-in-" + account
		_, err := r.SecretsManagerOf(accounts[account]).PutSecretValue(r.ctx, &secretsmanager.PutSecretValueInput{
			SecretId: &name, SecretString: aws.String(value(id, holds[account+"/team-0"]))})
		r.must(err)
		r.must(until(r.ctx, func() bool { return r.at(account+"/team-0").ClientSecret == holds[account+"/team-0"] }))
	}
	r.hold(holds, ids)

	for account, tags := range map[string]int{"one": 1, "two": 1, "three": 0} {
		secret, err := r.SecretsManagerOf(accounts[account]).DescribeSecret(r.ctx, &secretsmanager.DescribeSecretInput{SecretId: aws.String(prefix + "team-0")})
		r.must(err)
		if len(secret.Tags) != tags {
			r.t.Errorf("a secret of account %s has the tags %v", account, secret.Tags)
		}
	}
}

// hasProfiles gives the reader a profile of the AWS CLI for each account, and no other credentials. The emulator takes
// an access key of twelve digits for the account's own.
func (r *reader) hasProfiles(accounts map[string]string) {
	var config string
	for name, id := range accounts {
		config += fmt.Sprintf("[profile %s]\naws_access_key_id = %s\naws_secret_access_key = test\nregion = us-east-1\n", name, id)
	}
	path := filepath.Join(r.t.TempDir(), "config")
	r.must(os.WriteFile(path, []byte(config), 0o600))
	r.env = slices.DeleteFunc(r.env, func(pair string) bool { // what would go before a profile
		name, _, _ := strings.Cut(pair, "=")
		return slices.Contains([]string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"}, name)
	})
	r.env = append(r.env, "AWS_CONFIG_FILE="+path)
}

// hold checks that the auth methods of the reader's clients are these and no others: their client secrets by name, and
// the ids that some had before.
func (r *reader) hold(clientSecrets, ids map[string]string) {
	r.t.Helper()
	n := 0
	for _, m := range r.Datadog.AuthMethods() {
		if m.AccessTokenURL != r.idp.url {
			continue
		}
		n++
		if m.ClientSecret != clientSecrets[m.Name] || ids[m.Name] != "" && m.ID != ids[m.Name] {
			r.t.Errorf("auth method %s, %q, is another, or has another client secret", m.ID, m.Name)
		}
	}
	if n != len(clientSecrets) {
		r.t.Errorf("Datadog has %d auth methods, want %d", n, len(clientSecrets))
	}
}

// at is the auth method of that name at Datadog.
func (r *reader) at(name string) (held datadogtest.AuthMethod) {
	for _, m := range r.Datadog.AuthMethods() {
		if m.Name == name {
			held = m
		}
	}
	return held
}
