package secretstore_test

import (
	"testing"

	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/secretstore"
)

func TestScope(t *testing.T) {
	const prefix = "arn:aws:secretsmanager:us-east-1:123456789012:secret:"
	scope := secretstore.Scope{Prefix: "datadog/webhooks/", KeyARNs: []string{prefix + "datadog/webhooks/keys-AbCdEf"}}
	for id, want := range map[string]fault.Code{
		"datadog/webhooks/payments":                 "",
		prefix + "datadog/webhooks/payments-AbCdEf": "",
		prefix + "datadog/webhooks/payments":        "",
		"datadog/webhooks/":                         fault.SecretOutOfScope,
		"datadog/webhook":                           fault.SecretOutOfScope,
		"other/payments":                            fault.SecretOutOfScope,
		"Datadog/webhooks/payments":                 fault.SecretOutOfScope,
		prefix + "other/payments-AbCdEf":            fault.SecretOutOfScope,
		"arn:aws:secretsmanager:eu-west-1:123456789012:secret:datadog/webhooks/p-AbCdEf":  fault.SecretOutOfScope,
		"arn:aws:secretsmanager:us-east-1:210987654321:secret:datadog/webhooks/p-AbCdEf":  fault.SecretOutOfScope,
		"arn:aws-cn:secretsmanager:us-east-1:123456789012:secret:datadog/webhooks/p-AbCd": fault.SecretOutOfScope,
		"arn:aws:iam::123456789012:role/datadog/webhooks/p":                               fault.SecretOutOfScope,
		"datadog/webhooks/keys":                 fault.SecretOutOfScope,
		prefix + "datadog/webhooks/keys":        fault.SecretOutOfScope,
		prefix + "datadog/webhooks/keys-AbCdEf": fault.SecretOutOfScope,
		"datadog/webhooks/keys-of-mine":         "",
		"":                                      fault.BadRequest,
		"datadog/webhooks/zahlungen-für-kunden": fault.BadRequest,
		"datadog/webhooks/a b":                  fault.BadRequest,
		"datadog/webhooks/a\n":                  fault.BadRequest,
		prefix + "datadog/webhooks/a:b":         fault.BadRequest,
	} {
		err := scope.Admit(id, prefix)
		if want == "" && err != nil || want != "" && (err == nil || fault.From(err).Code != want) {
			t.Errorf("Admit(%q) = %v; want %q", id, err, want)
		}
	}
	if err := scope.Admit(prefix+"datadog/webhooks/payments-AbCdEf", ""); err == nil || fault.From(err).Code != fault.SecretOutOfScope {
		t.Errorf("an ARN where the function's own account is unknown: %v", err)
	}
}
