package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"datadog-webhook-auth-sync/cmd/demo/system"
)

// commands is what the reader sources.
var commands = template.Must(template.New("").Parse(`{{range .Settings}}export '{{.}}'
{{end}}. docs/ops.sh
# TEAM CLIENT_SECRET
allow() { curl -s -X PUT {{.Provider}}/$1/$2; }
revoke() { curl -s -X DELETE {{.Provider}}/$1/$2; }
rotate_team() { store_client_secret "{{.Prefix}}$1" <(echo "$2"); }
`))

var invitation = template.Must(template.New("").Parse(`
Everything stays up until Ctrl-C. In another terminal with bash, the AWS CLI, jq and curl, from this folder:

  source {{.Script}}

  allow orders autumn        has the identity provider accept a client secret of orders
  rotate_team orders autumn  stores it in AWS Secrets Manager
  revoke orders autumn       ends it: alerts are lost, which a sync finds out
  sync_secret {{.Prefix}}orders
  reconcile                  as the schedule does every 15 minutes; does not ask of what is in sync
  status {{.Prefix}}orders

All commands of README and docs/operations.md work as well, but for three that the emulator
answers wrongly: broken is empty, logged shows every sync, rotate calls no function. With
  Datadog's keys  cp {{.Keys}} keys.json
  token URL       {{.TokenURL}}, for clients that you allow
  region          {{.Region}}

A client secret that was not allowed is refused. Of that you hear from the second
reconcile after 150 s, or when alerts are lost.
`))

// play leaves the system to the reader and tells what happens, until ctx ends.
func (st *story) play(ctx context.Context) error {
	provider := httptest.NewServer(http.HandlerFunc(st.provider))
	defer provider.Close()
	script, keys := filepath.Join(st.Folder, "play.sh"), filepath.Join(st.Folder, "keys.json")
	fields := map[string]any{
		"Region": system.Region, "Settings": st.Settings(), "Prefix": prefix, "TokenURL": st.TokenURL,
		"Provider": provider.URL, "Script": near(script), "Keys": near(keys),
	}
	var text strings.Builder
	if err := commands.Execute(&text, fields); err != nil {
		return err
	}
	if err := errors.Join(
		os.WriteFile(script, []byte(text.String()), 0o600),
		os.WriteFile(keys, []byte(st.KeySecret()), 0o600),
		invitation.Execute(st.out, fields),
	); err != nil {
		return err
	}
	st.watch(ctx)
	return nil
}

// provider is the console of the identity provider: PUT and DELETE of
// /CLIENT/CLIENT_SECRET.
func (st *story) provider(w http.ResponseWriter, r *http.Request) {
	client, secret, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch r.Method {
	case http.MethodPut:
		st.Tokens.Allow(client, secret)
	case http.MethodDelete:
		st.Tokens.Revoke(client, secret)
	}
}

// watch tells what happens, until ctx ends. What fails meanwhile, since the
// reader changes the stack, is tried again.
func (st *story) watch(ctx context.Context) {
	st.chapter("Yours")
	secrets := map[string]bool{}
	st.unseenSecrets(ctx, secrets)
	before, _ := st.Events.All(ctx)
	told, losing := len(before), false
	for from := time.Now(); sleep(ctx, time.Second) == nil; {
		st.RelaxRole(ctx) // the reader may have deployed
		for _, t := range st.unseenSecrets(ctx, secrets) {
			st.say("AWS tells of the new secret %s, which the emulator does not.", t.secretName)
			st.Invoke(ctx, t.labelEvent(time.Now()), true)
		}
		events, _ := st.Events.All(ctx)
		for ; told < len(events); told++ {
			st.say("%s: %s", events[told].DetailType, events[told].Detail.Summary)
		}
		to := time.Now()
		sent, _ := st.alerts.between(ctx, from, to)
		from = to
		if _, lost := count(sent); lost > 0 != losing {
			losing = lost > 0
			if losing {
				st.say("Alerts of orders are being LOST.")
			} else {
				st.say("Alerts of orders are delivered again.")
			}
		}
	}
	fmt.Fprintln(st.out)
}

// unseenSecrets returns the secrets in scope that are not in seen, and puts them there.
func (st *story) unseenSecrets(ctx context.Context, seen map[string]bool) (unseen []*team) {
	list, err := st.SecretsManager().ListSecrets(ctx, &secretsmanager.ListSecretsInput{
		Filters: []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{prefix}}}, MaxResults: aws.Int32(100)})
	if err != nil {
		return nil
	}
	for _, s := range list.SecretList {
		if !seen[*s.ARN] {
			seen[*s.ARN] = true
			unseen = append(unseen, &team{System: st.System, secretName: *s.Name, secretARN: *s.ARN})
		}
	}
	return unseen
}
