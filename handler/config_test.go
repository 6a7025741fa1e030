package handler_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler"
)

const (
	keyARN    = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:datadog/keys-AbC123"
	appKeyARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:dd!app-key-xyz789"
	busARN    = "arn:aws:events:us-east-1:123456789012:event-bus/"
	orgUUID   = "6b1f0c52-52a8-4f0a-9d5e-7c7b0d8f1a11"
)

// environment is what the template's defaults and the required parameter make, with AWS behind an endpoint.
func environment(changes ...string) func(string) string {
	env := map[string]string{"DD_SITE": "datadoghq.com", "DD_API_KEY_SECRET_ARN": keyARN, "EVENT_BUS_NAME": "default",
		"SECRET_NAME_PREFIX": "datadog/webhooks/", "VERIFY_CREDENTIAL": "true", "REFRESH_HOURS": "24",
		"OWNER_TAG_KEY": "team", "LOG_LEVEL": "info", "AWS_REGION": "eu-central-1",
		"AWS_ENDPOINT_URL": "https://vpce.eu-central-1.amazonaws.com"}
	for _, change := range changes {
		name, value, _ := strings.Cut(change, "=")
		env[name] = value
	}
	return func(name string) string { return env[name] }
}

func TestConfig(t *testing.T) {
	defaults := handler.Config{Site: "datadoghq.com", APIURL: "https://api.datadoghq.com", APIKeySecretARN: keyARN,
		AppKeySecretARN: keyARN, Prefix: "datadog/webhooks/", EventBus: "default", VerifyCredential: true,
		Refresh: 24 * time.Hour, LogLevel: slog.LevelInfo, Region: "eu-central-1", OwnerTagKey: "team"}
	keyless := defaults
	keyless.APIKeySecretARN, keyless.AppKeySecretARN, keyless.OrgUUID = "", "", orgUUID
	everything := handler.Config{Site: "datadoghq.eu", APIURL: "http://127.0.0.1:8080/dd", APIKeySecretARN: keyARN,
		AppKeySecretARN: appKeyARN, Prefix: "a/", NamePrefix: "prod: ", EventBus: "alerts", Refresh: time.Hour,
		LogLevel: slog.LevelDebug, Region: "eu-central-1", AllowLoopback: true, FunctionName: "sync",
		TokenHosts: []string{"idp.example.com", "*.example.org"}}
	for name, tc := range map[string]struct {
		changes []string
		want    handler.Config
	}{
		"defaults": {nil, defaults},
		"keyless":  {[]string{"DD_API_KEY_SECRET_ARN=", "DD_ORG_UUID=" + orgUUID}, keyless},
		"everything": {[]string{"DD_SITE=datadoghq.eu", "DD_API_URL=http://127.0.0.1:8080/dd", "SECRET_NAME_PREFIX=a/",
			"DD_APP_KEY_SECRET_ARN=" + appKeyARN, "EVENT_BUS_NAME=alerts", "AUTH_METHOD_NAME_PREFIX=prod: ",
			"VERIFY_CREDENTIAL=false", "REFRESH_HOURS=1", "ALLOWED_TOKEN_HOSTS=idp.example.com, *.example.org",
			"OWNER_TAG_KEY=", "LOG_LEVEL=debug", "AWS_ENDPOINT_URL=http://127.0.0.1:4566",
			"AWS_LAMBDA_FUNCTION_NAME=sync"}, everything},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := handler.ReadConfig(environment(tc.changes...))
			if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
				t.Errorf("error %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestConfigValues(t *testing.T) {
	const abroad = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:datadog/keys-AbC123"
	for parameter, tc := range map[string]struct {
		env         string
		good, wrong []string
	}{
		"DdSite": {"DD_SITE", []string{"us3.datadoghq.com", "us5.datadoghq.com", "ap1.datadoghq.com", "ap2.datadoghq.com",
			"uk1.datadoghq.com", "datadoghq.eu", "ddog-gov.com", "us2.ddog-gov.com"},
			[]string{"", "DATADOGHQ.COM", "app.datadoghq.com", "datadoghq.com ", "https://datadoghq.com"}},
		"DdApiUrl": {"DD_API_URL", []string{"https://proxy.example.com:8443/dd/", "https://10.0.0.1"},
			[]string{"http://proxy.example.com", "https://proxy.example.com/?", "https://127.0.0.1", "http://localhost:9001"}},
		"DdApiKeySecretArn": {"DD_API_KEY_SECRET_ARN", []string{appKeyARN, strings.Replace(keyARN, "aws", "aws-cn", 1)},
			[]string{"", abroad, "datadog/keys", keyARN[:len(keyARN)-7], keyARN + "9", "x" + keyARN, keyARN + "\n",
				strings.Replace(keyARN, "123456789012", "1234", 1), strings.Replace(keyARN, "secretsmanager", "ssm", 1)}},
		"DdAppKeySecretArn": {"DD_APP_KEY_SECRET_ARN", []string{"", keyARN, appKeyARN}, []string{"datadog/keys", abroad}},
		"OwnerTagKey": {"OWNER_TAG_KEY", []string{"", "aws:cloudformation:stack-name", "cost centre"},
			[]string{"a\n", "é", "<", strings.Repeat("a", 129)}},
		"SecretNamePrefix": {"SECRET_NAME_PREFIX", []string{"a/", "A-z_0+=.@/x/"},
			[]string{"", "/", "datadog", "datadog/*", "*/", "a b/", "a/\n", "${aws:x}/"}},
		"EventBusName": {"EVENT_BUS_NAME", []string{"my.bus_1-x/y", strings.Repeat("b", 256), busARN + strings.Repeat("b", 256)},
			[]string{"", "a b", "arn:aws:events:eu-central-1:123456789012:rule/x", strings.Repeat("b", 257), busARN + strings.Repeat("b", 257)}},
		"AuthMethodNamePrefix": {"AUTH_METHOD_NAME_PREFIX", []string{"", "prod-", "account 1: "},
			[]string{"a\n", "<b>", strings.Repeat("a", 65)}},
		"RefreshHours":      {"REFRESH_HOURS", []string{"1", "168"}, []string{"", "0", "169", "-1", "1.5", "24h"}},
		"VerifyCredential":  {"VERIFY_CREDENTIAL", []string{"true", "false"}, []string{"", "True", "1", " true"}},
		"AllowedTokenHosts": {"ALLOWED_TOKEN_HOSTS", []string{"", "*.example.com"}, []string{"*", "idp.example.com:443"}},
		"LogLevel":          {"LOG_LEVEL", []string{"warn", "error"}, []string{"", "INFO", "trace", "info+1", "warning"}},
	} {
		for _, value := range tc.good {
			if _, err := handler.ReadConfig(environment(tc.env + "=" + value)); err != nil {
				t.Errorf("%s %q: %v", parameter, value, err)
			}
		}
		for _, value := range tc.wrong {
			got, err := handler.ReadConfig(environment(tc.env + "=" + value))
			text := fmt.Sprint(err)
			if !strings.HasPrefix(text, "configuration: "+parameter+" ") || strings.Contains(text, ";") ||
				!cmp.Equal(got, handler.Config{}) {
				t.Errorf("%s %q: %v", parameter, value, err)
			}
		}
	}
}

func TestConfigNamesEveryFaultAtOnce(t *testing.T) {
	keyless := []string{"DD_API_KEY_SECRET_ARN=", "DD_ORG_UUID=" + orgUUID}
	for want, getenv := range map[string]func(string) string{
		"DdSite DdApiKeySecretArn SecretNamePrefix EventBusName RefreshHours VerifyCredential LogLevel": func(string) string {
			return ""
		},
		"DdSite DdApiUrl DdApiKeySecretArn DdAppKeySecretArn OwnerTagKey SecretNamePrefix EventBusName " +
			"AuthMethodNamePrefix RefreshHours VerifyCredential AllowedTokenHosts LogLevel": environment("DD_SITE=x",
			"DD_API_URL=x", "DD_API_KEY_SECRET_ARN=x", "DD_APP_KEY_SECRET_ARN=x", "SECRET_NAME_PREFIX=x", "EVENT_BUS_NAME= ",
			"AUTH_METHOD_NAME_PREFIX=<", "REFRESH_HOURS=x", "VERIFY_CREDENTIAL=x", "ALLOWED_TOKEN_HOSTS=*",
			"OWNER_TAG_KEY=<", "LOG_LEVEL=x"),
		"DdApiKeySecretArn":                  environment("DD_ORG_UUID=" + orgUUID), // both
		"DdAppKeySecretArn":                  environment(append(keyless, "DD_APP_KEY_SECRET_ARN="+appKeyARN)...),
		"DdOrgUuid":                          environment("DD_ORG_UUID=x", "DD_API_KEY_SECRET_ARN="),
		"DdOrgUuid of another partition":     environment(append(keyless, "AWS_REGION=us-gov-west-1")...),
		"DdOrgUuid of yet another partition": environment(append(keyless, "AWS_REGION=cn-north-1")...),
	} {
		want, _, _ = strings.Cut(want, " of ")
		_, err := handler.ReadConfig(getenv)
		var named []string
		for part := range strings.SplitSeq(strings.TrimPrefix(fmt.Sprint(err), "configuration: "), "; ") {
			name, _, _ := strings.Cut(part, " ")
			named = append(named, name)
		}
		if got := strings.Join(named, " "); got != want {
			t.Errorf("named %s; want %s", got, want)
		}
	}
}
