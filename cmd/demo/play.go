package main

import (
	"fmt"
	"strings"
	"text/template"

	"datadog-webhook-auth-sync/cmd/demo/system"
)

// known are client secrets that the identity provider knows in the play.
var known = []string{"autumn", "winter", "spring", "summer"}

// curl signs as AWS's clients do; the emulator's administrator is test:test.
var invitation = template.Must(template.New("").Parse(`
Everything stays up until Ctrl-C, and what happens is told below.
To play, in another terminal:

  secrets() {
    curl -s --user test:test --aws-sigv4 aws:amz:{{.Region}}:secretsmanager \
      -H "X-Amz-Target: secretsmanager.$1" -H "Content-Type: application/x-amz-json-1.1" \
      -d "$2" {{.Endpoint}}/; echo
  }

Rotate: the identity provider knows {{.Known}}, and refuses any other.
Of a refusal you hear below when you ask for a sync, or from a reconcile after 150 s
  secrets PutSecretValue '{"SecretId": "{{.Secret}}", "SecretString": "autumn"}'

See what is remembered of the last push
  secrets DescribeSecret '{"SecretId": "{{.Secret}}"}'

Ask for a sync over HTTP
  curl -s --user test:test --aws-sigv4 aws:amz:{{.Region}}:execute-api \
    -H "Content-Type: application/json" -d '{"secretId": "{{.Secret}}"}' \
    {{.API}}/sync

Reconcile, as the schedule does every 15 minutes
  curl -s --user test:test --aws-sigv4 aws:amz:{{.Region}}:lambda -d '{"action": "reconcile"}' \
    {{.Endpoint}}/2015-03-31/functions/{{.Function}}/invocations

Or use the AWS CLI, with
  export AWS_ENDPOINT_URL={{.Endpoint}} AWS_REGION={{.Region}}
  export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
`))

// play leaves the system to the reader and tells what happens, until ctx ends.
func (st *story) play(t *team) {
	if st.err != nil {
		return
	}
	for _, secret := range known {
		t.Tokens.Allow(t.name, secret)
	}
	st.must(invitation.Execute(st.out, map[string]string{
		"Region": system.Region, "Endpoint": st.Endpoint(), "API": st.HTTPAPI(), "Function": st.Stack.FunctionName,
		"Secret": t.secretName, "Known": strings.Join(known, ", "),
	}))
	st.chapter("Yours")
	for st.err == nil {
		st.event(st.ctx)
	}
	if st.ctx.Err() != nil {
		fmt.Fprintln(st.out)
		st.err = nil // it was ended
	}
}
