package main_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// These tests evaluate template.yaml without an account: the emulator lets pass much that AWS would refuse (log writes,
// KMS, the policies of queue and function), so the text itself is held to the tables below.

const (
	keySecret    = "arn:aws-cn:secretsmanager:cn-north-1:111122223333:secret:datadog/api-AbCdEf"
	appKeySecret = "arn:aws-cn:secretsmanager:cn-north-1:111122223333:secret:datadog/app-AbCdEf"
	kmsKeys      = "arn:aws-cn:kms:cn-north-1:111122223333:key/1,arn:aws-cn:kms:cn-north-1:111122223333:key/2"
	foreignBus   = "arn:aws-cn:events:cn-north-1:444455556666:event-bus/ops"
	inScope      = "arn:aws-cn:secretsmanager:cn-north-1:111122223333:secret:team/*"

	writeSecret = "secretsmanager:TagResource secretsmanager:PutSecretValue secretsmanager:UpdateSecretVersionStage"
	onlyOurTag  = `{"ForAllValues:StringEquals":{"aws:TagKeys":["datadog-webhook-auth-sync"]},"Null":{"aws:TagKeys":"false"}}`
	onlyOurName = `{"StringEqualsIfExists":{"events:source":"datadog-webhook-auth-sync"}}`
	onlyForSM   = `{"StringEquals":{"kms:ViaService":"secretsmanager.cn-north-1.amazonaws.com.cn"}}`
)

// TestTemplateRole knows every permission of the function, by purpose and by the parameters that bring it.
func TestTemplateRole(t *testing.T) {
	grants := []struct{ purpose, when, effect, actions, resources, condition string }{
		{"write to its own log group", "", "Allow", "logs:CreateLogStream logs:PutLogEvents", "LogGroup.Arn", ""},
		{"read credentials", "", "Allow", "secretsmanager:DescribeSecret secretsmanager:GetSecretValue", inScope, ""},
		{"list the secrets", "", "Allow", "secretsmanager:ListSecrets", "*", ""},
		{"record a push in one tag", "", "Allow", "secretsmanager:TagResource", inScope, onlyOurTag},
		{"read the API key", "", "Allow", "secretsmanager:GetSecretValue", keySecret, ""},
		{"read the application key", "DdAppKeySecretArn", "Allow", "secretsmanager:GetSecretValue", appKeySecret, ""},
		{"never write the API key", "", "Deny", writeSecret, keySecret, ""},
		{"never write the application key", "DdAppKeySecretArn", "Deny", writeSecret, appKeySecret, ""},
		{"promote a staged credential", "EnableRotationFunction", "Allow",
			"secretsmanager:PutSecretValue secretsmanager:UpdateSecretVersionStage", inScope, ""},
		{"decrypt secrets", "KmsKeyArns", "Allow", "kms:Decrypt", kmsKeys, onlyForSM},
		{"encrypt what it promotes", "KmsKeyArns EnableRotationFunction", "Allow", "kms:GenerateDataKey", kmsKeys, onlyForSM},
		{"publish on the account's bus", "!EventBusName", "Allow", "events:PutEvents",
			"arn:aws-cn:events:cn-north-1:111122223333:event-bus/default", onlyOurName},
		{"publish on another account's bus", "EventBusName", "Allow", "events:PutEvents", foreignBus, onlyOurName},
		{"keep what failed for good", "", "Allow", "sqs:SendMessage", "FailureQueue.Arn", ""},
	}
	for _, given := range []map[string]string{
		{},
		{"EnableRotationFunction": "true"},
		{"KmsKeyArns": kmsKeys},
		{"KmsKeyArns": kmsKeys, "EnableRotationFunction": "true", "DdAppKeySecretArn": appKeySecret, "EventBusName": foreignBus},
	} {
		t.Run("with "+strings.Join(slices.Sorted(maps.Keys(given)), " "), func(t *testing.T) {
			var want []string
			for _, grant := range grants {
				if !slices.ContainsFunc(strings.Fields(grant.when), func(name string) bool {
					name, unwanted := strings.CutPrefix(name, "!")
					return (given[name] != "") == unwanted
				}) {
					want = append(want, lines(grant.effect, strings.Fields(grant.actions), strings.Split(grant.resources, ","), grant.condition)...)
				}
			}
			given["DdApiKeySecretArn"], given["SecretNamePrefix"] = keySecret, "team/"
			role := evaluate(t, given).properties("Role")
			policies := role["Policies"].([]any)
			same(t, want, statements(policies[0].(fields)["PolicyDocument"]))
			same(t, []string{"Allow lambda.amazonaws.com: sts:AssumeRole on itself"}, statements(role["AssumeRolePolicyDocument"]))
			equal(t, 1, len(policies))
			equal(t, nil, role["ManagedPolicyArns"])
		})
	}
}

// TestTemplateResources knows who may reach the queue and the function, and what AWS does with a failed event. The
// permissions of the rules are SAM's.
func TestTemplateResources(t *testing.T) {
	s := evaluate(t, map[string]string{"EnableRotationFunction": "true", "LogRetentionInDays": "7"})
	for name, want := range map[string]any{
		"LogGroup":     fields{"LogGroupName": "/aws/lambda/sync", "RetentionInDays": "7"},
		"FailureQueue": fields{"SqsManagedSseEnabled": true, "MessageRetentionPeriod": 14 * 24 * 3600},
		"HttpPermission": fields{"FunctionName": "Function", "Action": "lambda:InvokeFunction", "Principal": "apigateway.amazonaws.com",
			"SourceArn": "arn:aws-cn:execute-api:cn-north-1:111122223333:HttpApi/*"},
		"RotationPermission": fields{"FunctionName": "Function", "Action": "lambda:InvokeFunction",
			"Principal": "secretsmanager.amazonaws.com", "SourceAccount": "111122223333"},
		"HttpStage": fields{"ApiId": "HttpApi", "StageName": "$default", "AutoDeploy": true},
		"HttpIntegration": fields{"ApiId": "HttpApi", "IntegrationType": "AWS_PROXY", "IntegrationUri": "Function.Arn",
			"PayloadFormatVersion": "2.0", "TimeoutInMillis": 30_000},
		"ScheduleGroup": fields{"Name": "sync"},
		"Schedule": fields{"Description": "Repairs what events missed, and settles what was pushed", "GroupName": "ScheduleGroup",
			"ScheduleExpression": "rate(15 minutes)", "FlexibleTimeWindow": fields{"Mode": "OFF"},
			"Target": fields{"Arn": "Function.Arn", "RoleArn": "ScheduleRole.Arn", "Input": `{"action": "reconcile"}`,
				"RetryPolicy":      fields{"MaximumEventAgeInSeconds": 3600, "MaximumRetryAttempts": 5},
				"DeadLetterConfig": fields{"Arn": "FailureQueue.Arn"}}},
	} {
		equal(t, want, any(s.properties(name)))
	}

	var granting []string // the rest grants nothing to anybody
	for name, resource := range s.section("Resources") {
		if regexp.MustCompile(`IAM|Permission|Policy`).MatchString(resource.(fields)["Type"].(string)) {
			granting = append(granting, name)
		}
	}
	same(t, []string{"Role", "FailureQueuePolicy", "HttpPermission", "RotationPermission", "ScheduleRole"}, granting)
	schedule := s.properties("ScheduleRole")
	same(t, []string{`Allow scheduler.amazonaws.com: sts:AssumeRole on itself if {"StringEquals":{"aws:SourceAccount":"111122223333"}}`},
		statements(schedule["AssumeRolePolicyDocument"]))
	same(t, []string{"Allow: lambda:InvokeFunction on Function.Arn", "Allow: sqs:SendMessage on FailureQueue.Arn"},
		statements(schedule["Policies"].([]any)[0].(fields)["PolicyDocument"]))
	for _, name := range []string{"Schedule", "ScheduleGroup", "ScheduleRole"} {
		equal(t, nil, evaluate(t, map[string]string{"ReconcileSchedule": "none"}).section("Resources")[name])
	}
	equal(t, nil, evaluate(t, nil).section("Resources")["RotationPermission"])

	function, rules := s.properties("Function"), []string{}
	for property, want := range map[string]any{
		"Architectures": []any{"arm64"}, "Timeout": 120, "MemorySize": 256, "Role": "Role.Arn", "LoggingConfig": fields{"LogGroup": "LogGroup"},
		"EventInvokeConfig": fields{"MaximumRetryAttempts": 2, "MaximumEventAgeInSeconds": 6 * 3600,
			"DestinationConfig": fields{"OnFailure": fields{"Type": "SQS", "Destination": "FailureQueue.Arn"}}},
	} {
		equal(t, want, function[property])
	}
	for name, rule := range function["Events"].(fields) {
		rules = append(rules, "Function"+name+".Arn")
		equal(t, any("EventBridgeRule"), rule.(fields)["Type"])
		equal(t, any(fields{"Arn": "FailureQueue.Arn"}), rule.(fields)["Properties"].(fields)["DeadLetterConfig"])
		equal(t, any(fields{"MaximumEventAgeInSeconds": 6 * 3600, "MaximumRetryAttempts": 185}), rule.(fields)["Properties"].(fields)["RetryPolicy"])
	}
	slices.Sort(rules)

	policy := s.properties("FailureQueuePolicy")
	equal(t, any([]any{"FailureQueue"}), policy["Queues"])
	same(t, []string{
		fmt.Sprintf(`Allow events.amazonaws.com: sqs:SendMessage on FailureQueue.Arn if {"ArnEquals":{"aws:SourceArn":["%s"]}}`, strings.Join(rules, `","`)),
		`Deny *: sqs:* on FailureQueue.Arn if {"Bool":{"aws:PrincipalIsAWSService":"false","aws:SecureTransport":"false"}}`,
	}, statements(policy["PolicyDocument"]))
}

func TestTemplateHTTP(t *testing.T) {
	for _, on := range []bool{true, false} {
		s := evaluate(t, map[string]string{"EnableHttpApi": fmt.Sprint(on)})
		routes, outputs := map[string]string{}, "FailureQueueUrl FunctionArn FunctionName"
		for name, resource := range s.section("Resources") {
			kind := resource.(fields)["Type"].(string)
			if !on && (strings.HasPrefix(kind, "AWS::ApiGatewayV2::") || name == "HttpPermission") {
				t.Errorf("%s is there without the HTTP API", name)
			}
			if kind == "AWS::ApiGatewayV2::Route" {
				routes[s.properties(name)["RouteKey"].(string)] = fmt.Sprint(s.properties(name)["AuthorizationType"], " ", s.properties(name)["Target"])
			}
		}
		want := map[string]string{}
		if on {
			outputs += " HttpApiUrl"
			for _, route := range []string{"POST /sync", "GET /status", "$default"} {
				want[route] = "AWS_IAM integrations/HttpIntegration"
			}
		}
		equal(t, want, routes)
		same(t, strings.Fields(outputs), slices.Collect(maps.Keys(s.section("Outputs"))))
	}
}

func TestTemplateRules(t *testing.T) {
	const label, trail = "Secret Label Updated", "AWS Service Event via CloudTrail"
	rules := evaluate(t, map[string]string{"SecretNamePrefix": "team/"}).properties("Function")["Events"].(fields)
	for _, test := range []struct{ source, kind, detail, want string }{
		{"aws.secretsmanager", label, `{"labelUpdated": "AWSCURRENT", "name": "team/pager"}`, "LabelUpdated"},
		{"aws.secretsmanager", label, `{"labelUpdated": "AWSCURRENT", "name": "other/pager"}`, ""},
		{"aws.secretsmanager", label, `{"labelUpdated": "NEXT", "name": "team/pager"}`, ""},
		{"aws.secretsmanager", "Another", `{"labelUpdated": "AWSCURRENT", "name": "team/pager"}`, ""},
		{"another", label, `{"labelUpdated": "AWSCURRENT", "name": "team/pager"}`, ""},
		{"aws.secretsmanager", trail, `{"eventSource": "secretsmanager.amazonaws.com", "eventName": "RotationSucceeded"}`, "RotationSucceeded"},
		{"aws.secretsmanager", trail, `{"eventSource": "secretsmanager.amazonaws.com", "eventName": "RotationFailed"}`, ""},
		{"aws.secretsmanager", trail, `{"eventSource": "another.amazonaws.com", "eventName": "RotationSucceeded"}`, ""},
		{"aws.secretsmanager", "Another", `{"eventSource": "secretsmanager.amazonaws.com", "eventName": "RotationSucceeded"}`, ""},
		{"another", trail, `{"eventSource": "secretsmanager.amazonaws.com", "eventName": "RotationSucceeded"}`, ""},
	} {
		event := fmt.Sprintf(`{"source": %q, "detail-type": %q, "detail": %s}`, test.source, test.kind, test.detail)
		var decoded any
		if err := json.Unmarshal([]byte(event), &decoded); err != nil {
			t.Fatal(err)
		}
		var got []string
		for name, rule := range rules {
			if matches(rule.(fields)["Properties"].(fields)["Pattern"], decoded) {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s reaches the function by %q, want %q", event, got, test.want)
		}
	}
}

// TestTemplateParameters knows each parameter's default, the environment variable it becomes, and values on either side
// of its limits.
func TestTemplateParameters(t *testing.T) {
	arn := "arn:aws:secretsmanager:eu-west-1:111122223333:secret:"
	table := []struct{ name, fallback, environment, accepted, refused string }{
		{"DdApiKeySecretArn", "none", "DD_API_KEY_SECRET_ARN", arn + "a/b-AbCd12 " + keySecret,
			`"" datadog/keys ` + arn + "keys " + arn + "keys-AbC " + arn + "a-AbCd12,b-AbCd12 " + arn + "*-AbCd12"},
		{"DdAppKeySecretArn", "", "DD_APP_KEY_SECRET_ARN", arn + "app-AbCd12", arn + "app"},
		{"DdSite", "datadoghq.com", "DD_SITE", "us3.datadoghq.com us5.datadoghq.com ap1.datadoghq.com ap2.datadoghq.com " +
			"uk1.datadoghq.com datadoghq.eu ddog-gov.com us2.ddog-gov.com", `"" us1.datadoghq.com datadoghq.com.example.com`},
		{"DdApiUrl", "", "DD_API_URL", "https://dd.example.com https://dd.example.com:8443/base/ https://[2001:db8::1] " +
			"http://127.0.0.1:8080 http://localhost:8080/dd http://[::1]:8080",
			"http://dd.example.com http://127.0.0.1 http://127.0.0.1.example.com:80 http://127.0.0.1:80@example.com https://u@dd.example.com " +
				"https://u:p@dd.example.com https://dd.example.com/?q=1 https://dd.example.com?q=1 https://dd.example.com/#f https:// ftp://dd.example.com"},
		{"SecretNamePrefix", "datadog/webhooks/", "SECRET_NAME_PREFIX", "a/ team/_+=.@-/", `"" a a/b a/* */ a?/`},
		{"KmsKeyArns", "", "", "arn:aws:kms:eu-west-1:111122223333:key/mrk-0a1b", "* alias/x arn:aws:kms:eu-west-1:111122223333:alias/x"},
		{"EventBusName", "default", "EVENT_BUS_NAME", "ops my.bus_1-a " + foreignBus, `"" * arn:aws:events:eu-west-1:111122223333:rule/x`},
		{"VerifyCredential", "true", "VERIFY_CREDENTIAL", "false", `"" True no`},
		{"EnableHttpApi", "true", "", "false", `"" yes`},
		{"EnableRotationFunction", "false", "", "true", `"" yes`},
		{"ReconcileSchedule", "rate(15~minutes)", "", "none rate(1~hour) rate(2~days) cron(0/10~*~*~*~?~*)", `"" rate() rate(5) 15 cron() at(2030-01-01T00:00:00)`},
		{"LogLevel", "info", "LOG_LEVEL", "debug warn error", `"" INFO trace`},
		{"LogRetentionInDays", "30", "", "1 365 3653", `"" 0 2 31`},
	}
	s, given, environment, names := evaluate(t, nil), map[string]string{}, fields{}, []string{}
	parameters, grouped := s.section("Parameters"), []string{}
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
				if !admits(parameter, value) {
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
		grouped = append(grouped, list(group.(fields)["Parameters"])...)
	}
	same(t, names, slices.Collect(maps.Keys(parameters)))
	same(t, names, grouped)
	equal(t, names[0], s.sections["Parameters"].Content[0].Value) // --guided asks in the order of the template
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
	return slices.ContainsFunc(parameter["AllowedValues"].([]any), func(one any) bool { return fmt.Sprint(one) == value })
}

// statements spells a policy out, a line for each action on each resource.
func statements(policy any) []string {
	var spelt []string
	for _, item := range policy.(fields)["Statement"].([]any) {
		statement, principal, condition := item.(fields), "", ""
		for _, value := range list(statement["Principal"]) {
			principal = " " + value
		}
		if statement["Condition"] != nil {
			text, _ := json.Marshal(statement["Condition"])
			condition = string(text)
		}
		resources := list(statement["Resource"])
		if resources == nil {
			resources = []string{"itself"}
		}
		spelt = append(spelt, lines(statement["Effect"].(string)+principal, list(statement["Action"]), resources, condition)...)
	}
	return spelt
}

func lines(effect string, actions, resources []string, condition string) []string {
	var spelt []string
	if condition != "" {
		condition = " if " + condition
	}
	for _, action := range actions {
		for _, resource := range resources {
			spelt = append(spelt, effect+": "+action+" on "+resource+condition)
		}
	}
	return spelt
}

func list(value any) []string {
	var texts []string
	switch value := value.(type) {
	case string:
		return []string{value}
	case fields:
		return list(value["Service"])
	case []any:
		for _, item := range value {
			texts = append(texts, item.(string))
		}
	}
	return texts
}

// matches is EventBridge's matching, as far as the template uses it: lists of values and prefixes.
func matches(pattern, event any) bool {
	switch pattern := pattern.(type) {
	case fields:
		object, ok := event.(fields)
		for name, inner := range pattern {
			ok = ok && matches(inner, object[name])
		}
		return ok
	case []any:
		text, ok := event.(string)
		return ok && slices.ContainsFunc(pattern, func(one any) bool {
			filter, _ := one.(fields)
			prefix, ok := filter["prefix"].(string)
			return one == any(text) || ok && len(filter) == 1 && strings.HasPrefix(text, prefix)
		})
	}
	return false
}

// same compares lists whose order does not matter.
func same(t *testing.T, want, got []string) {
	t.Helper()
	equal(t, slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(got)))
}

func equal[T any](t *testing.T, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("template.yaml (-want +got):\n%s", diff)
	}
}
