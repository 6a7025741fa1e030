package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestTemplateParameters knows each parameter's default, the environment variable it becomes, and values on either side
// of its limits.
func TestTemplateParameters(t *testing.T) {
	arn := "arn:aws:secretsmanager:eu-west-1:111122223333:secret:"
	table := []struct{ name, fallback, environment, accepted, refused string }{
		{"DdApiKeySecretArn", "", "DD_API_KEY_SECRET_ARN", arn + "a/b-AbCd12 " + keySecret,
			`datadog/keys ` + arn + "keys " + arn + "keys-AbC " + arn + "a-AbCd12,b-AbCd12 " + arn + "*-AbCd12"},
		{"DdAppKeySecretArn", "", "DD_APP_KEY_SECRET_ARN", arn + "app-AbCd12", arn + "app"},
		{"DdOrgUuid", "", "DD_ORG_UUID", "6b1f0c52-52a8-4f0a-9d5e-7c7b0d8f1a11", "6b1f0c5252a84f0a9d5e7c7b0d8f1a11 0 x"},
		{"DdSite", "datadoghq.com", "DD_SITE", "us3.datadoghq.com us5.datadoghq.com ap1.datadoghq.com ap2.datadoghq.com " +
			"uk1.datadoghq.com datadoghq.eu ddog-gov.com us2.ddog-gov.com", `"" us1.datadoghq.com datadoghq.com.example.com`},
		{"DdApiUrl", "", "DD_API_URL", "https://dd.example.com https://dd.example.com:8443/base/ https://[2001:db8::1] " +
			"http://127.0.0.1:8080 http://localhost:8080/dd http://[::1]:8080",
			"http://dd.example.com http://127.0.0.1 http://127.0.0.1.example.com:80 http://127.0.0.1:80@example.com https://u@dd.example.com " +
				"https://u:p@dd.example.com https://dd.example.com/?q=1 https://dd.example.com?q=1 https://dd.example.com/#f https:// ftp://dd.example.com"},
		{"SecretNamePrefix", "datadog/webhooks/", "SECRET_NAME_PREFIX", "a/ team/_+=.@-/", `"" a a/b a/* */ a?/`},
		{"KmsKeyArns", "", "", "arn:aws:kms:eu-west-1:111122223333:key/mrk-0a1b " + kmsKeys, kmsKeys + ", ," + kmsKeys + " " +
			strings.ReplaceAll(kmsKeys, ",", ",,") + " * alias/x arn:aws:kms:eu-west-1:111122223333:alias/x"},
		{"EventBusName", "default", "EVENT_BUS_NAME", "ops my.bus_1-a " + foreignBus, `"" * arn:aws:events:eu-west-1:111122223333:rule/x`},
		{"AuthMethodNamePrefix", "", "AUTH_METHOD_NAME_PREFIX", "prod/ prod:~eu_1+=.@-", `prod;x ü "x\ ` + strings.Repeat("x", 65)},
		{"VerifyCredential", "true", "VERIFY_CREDENTIAL", "false", `"" True no`},
		{"AllowedTokenHosts", "", "ALLOWED_TOKEN_HOSTS", "idp.example.com *.example.com IdP.example.com,*.okta.com,127.0.0.1 localhost",
			"* *. .example.com example..com idp.*.com *example.com https://idp.example.com idp.example.com:443 idp.example.com/token " +
				"a.example.com,~b.example.com a.example.com,,b.example.com a.example.com, ,a.example.com a_b.example.com"},
		{"EnableHttpApi", "true", "", "false", `"" yes`},
		{"EnableRotationFunction", "false", "", "true", `"" yes`},
		{"ReconcileSchedule", "rate(15~minutes)", "", "none rate(1~minute) rate(1~hour) rate(2~days) rate(10~hours) " +
			"cron(0/10~*~*~*~?~*) cron(0~8~?~*~MON-FRI~*)", `"" rate() rate(5) rate(0~minutes) rate(1~minutes) rate(2~minute) rate(01~hours) ` +
			`15 cron() cron(0~8~*~*~*) cron(0~8~*~*~*~*) cron(0~8~?~*~?~*) at(2030-01-01T00:00:00)`},
		{"RefreshHours", "24", "REFRESH_HOURS", "1 168", "0 169"},
		{"Enabled", "true", "", "false", `"" no`},
		{"AlarmTopicArn", "", "", "arn:aws-cn:sns:cn-north-1:111122223333:on-call_1",
			"on-call arn:aws:sns:eu-west-1:111122223333:x.fifo arn:aws:sqs:eu-west-1:111122223333:x"},
		{"PageTopicArn", "", "", "arn:aws-cn:sns:cn-north-1:111122223333:pager", "pager arn:aws:sns:eu-west-1:111122223333:x.fifo"},
		{"AlarmEmail", "", "", "on-call@example.com", "on-call a@b a~b@example.com a@b@example.com"},
		{"OwnerTagKey", "team", "OWNER_TAG_KEY", `"" Owner aws:cloudformation:stack-name cost~centre`, "a* <x> " + strings.Repeat("x", 129)},
		{"AlertGapAlarmSeconds", "300", "", "1 3600", "0 -1"},
		{"ReconcileAlarmMinutes", "60", "", "2 1440", "1 1441"},
		{"VPCSubnetIds", "", "", "subnet-0a1b2c3d subnet-0123456789abcdef0,subnet-0a1b2c3d", "subnet-0a1b2c3d, vpc-0a1b2c3d subnet- subnet-0A1B2C3D"},
		{"VPCSecurityGroupIds", "", "", "sg-0a1b2c3d sg-0a1b2c3d,sg-0123456789abcdef0", "sg-0a1b2c3d,,sg-0a1b2c3d subnet-0a1b2c3d sg- default"},
		{"PermissionsBoundaryArn", "", "", "arn:aws-cn:iam::111122223333:policy/team/bounds arn:aws:iam::aws:policy/PowerUserAccess",
			"bounds arn:aws:iam::111122223333:role/bounds *"},
		{"StackKmsKeyArn", "", "", "arn:aws:kms:eu-west-1:111122223333:key/mrk-0a1b", "* alias/x arn:aws:kms:eu-west-1:111122223333:alias/x"},
		{"ReservedConcurrency", "none", "", "1 10 1000", `"" 0 -1 01 all 1.5`},
		{"LogLevel", "info", "LOG_LEVEL", "debug warn error", `"" INFO trace`},
		{"LogRetentionInDays", "30", "", "1 365 3653", `"" 0 2 31`},
	}
	s, given, environment, names := evaluate(t, nil), map[string]string{}, fields{}, []string{}
	parameters, grouped, ordered := s.section("Parameters"), []string{}, []string{}
	for _, row := range table {
		names = append(names, row.name)
		t.Run(row.name, func(t *testing.T) {
			parameter := parameters[row.name].(fields)
			fallback, accepted := "none", words(row.accepted)
			if value := parameter["Default"]; value != nil {
				fallback = fmt.Sprint(value)
				accepted = append(accepted, fallback)
			}
			equal(t, strings.ReplaceAll(row.fallback, "~", " "), fallback)
			if parameter["Description"] == nil || (parameter["AllowedPattern"] == nil) != (parameter["ConstraintDescription"] == nil) {
				t.Error("is not described")
			}
			for _, value := range accepted {
				if value = strings.Trim(value, `"`); !admits(parameter, value) {
					t.Errorf("refuses %q", value)
				}
			}
			for _, value := range words(row.refused) {
				if value = strings.Trim(value, `"`); admits(parameter, value) {
					t.Errorf("accepts %q", value)
				}
			}
		})
		given[row.name] = "the value of " + row.name
		if row.environment != "" {
			environment[row.environment] = "the value of " + row.name
		}
	}
	equal(t, any(fields{"Variables": environment}), evaluate(t, given).properties("Function")["Environment"])
	for _, group := range s.section("Metadata")["AWS::CloudFormation::Interface"].(fields)["ParameterGroups"].([]any) {
		grouped = append(grouped, textsOf(group.(fields)["Parameters"])...)
	}
	same(t, names, grouped)
	for pair := range slices.Chunk(s.under("Parameters").Content, 2) {
		ordered = append(ordered, pair[0].Value)
	}
	equal(t, names, ordered) // --guided asks in the order of the template
}

// TestTemplateParametersTogether holds that what does not fit together is refused, by name, before anything is made.
func TestTemplateParametersTogether(t *testing.T) {
	with := func(given ...string) map[string]string {
		parameters := map[string]string{"DdApiKeySecretArn": keySecret}
		for _, pair := range given {
			name, value, _ := strings.Cut(pair, "=")
			parameters[name] = value
		}
		return parameters
	}
	for _, test := range []struct {
		given   map[string]string
		refused string // names of the parameters
	}{
		{with(), ""},
		{with("DdAppKeySecretArn=" + appKeySecret), ""},
		{with("DdApiKeySecretArn=", "DdOrgUuid=6b1f0c52-52a8-4f0a-9d5e-7c7b0d8f1a11"), ""},
		{with("DdApiKeySecretArn="), "DdApiKeySecretArn DdOrgUuid"},
		{with("DdOrgUuid=6b1f0c52-52a8-4f0a-9d5e-7c7b0d8f1a11"), "DdApiKeySecretArn DdOrgUuid"},
		{with("DdApiKeySecretArn=", "DdOrgUuid=6b1f0c52-52a8-4f0a-9d5e-7c7b0d8f1a11", "DdAppKeySecretArn="+appKeySecret),
			"DdAppKeySecretArn DdApiKeySecretArn DdOrgUuid"},
		{with("VPCSubnetIds=subnet-0a1b2c3d", "VPCSecurityGroupIds=sg-0a1b2c3d"), ""},
		{with("VPCSubnetIds=subnet-0a1b2c3d"), "VPCSubnetIds VPCSecurityGroupIds"},
		{with("VPCSecurityGroupIds=sg-0a1b2c3d"), "VPCSubnetIds VPCSecurityGroupIds"},
		{with("AlarmEmail=on-call@example.com"), ""},
		{with("AlarmEmail=on-call@example.com", "AlarmTopicArn="+topic), "AlarmEmail AlarmTopicArn"},
	} {
		s := evaluate(t, test.given)
		var named []string
		for _, word := range regexp.MustCompile(`\w+`).FindAllString(strings.Join(s.broken(), " "), -1) {
			if s.section("Parameters")[word] != nil {
				named = append(named, word)
			}
		}
		if got := strings.Join(named, " "); got != test.refused {
			t.Errorf("%v: refused for %q, want %q", test.given, got, test.refused)
		}
	}
}

// words splits s at spaces; a ~ stands for one inside a word.
func words(s string) []string {
	words := strings.Fields(s)
	for i := range words {
		words[i] = strings.ReplaceAll(words[i], "~", " ")
	}
	return words
}

func admits(parameter fields, value string) bool {
	if pattern, ok := parameter["AllowedPattern"].(string); ok {
		return regexp.MustCompile(pattern).MatchString(value)
	}
	if least, ok := parameter["MinValue"].(int); ok {
		number, err := strconv.Atoi(value)
		most, bounded := parameter["MaxValue"].(int)
		return err == nil && number >= least && (!bounded || number <= most)
	}
	return slices.ContainsFunc(parameter["AllowedValues"].([]any), func(one any) bool { return fmt.Sprint(one) == value })
}
