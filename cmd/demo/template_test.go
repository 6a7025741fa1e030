package main_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/eventbus"
	"datadog-webhook-auth-sync/handler/secretstore"
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
	onlyLambda  = `{"Null":{"lambda:SourceFunctionArn":"true"}}`
	onlyForSM   = `{"StringEquals":{"kms:ViaService":"secretsmanager.cn-north-1.amazonaws.com.cn"}}`
	onlyForSQS  = `{"StringEquals":{"kms:ViaService":"sqs.cn-north-1.amazonaws.com.cn"}}`
	onlyOurs    = `{"StringEqualsIfExists":{"secretsmanager:resource/AllowRotationLambdaArn":"Function.Arn"}}`
	foreign     = `{"ArnNotEquals":{"lambda:SourceFunctionArn":"Function.Arn"},"Null":{"lambda:SourceFunctionArn":"false"}}`

	noticeRule = "arn:aws-cn:events:cn-north-1:111122223333:rule/ops/notices" // as on another bus than the default one

	topic    = "arn:aws-cn:sns:cn-north-1:111122223333:on-call"
	stackKey = "arn:aws-cn:kms:cn-north-1:111122223333:key/3"
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
			"secretsmanager:PutSecretValue secretsmanager:UpdateSecretVersionStage", inScope, onlyOurs},
		{"refuse other functions that have the role", "", "Deny", "*", "*", foreign},
		{"decrypt secrets", "KmsKeyArns", "Allow", "kms:Decrypt", kmsKeys, onlyForSM},
		{"encrypt what it promotes", "KmsKeyArns EnableRotationFunction", "Allow", "kms:GenerateDataKey", kmsKeys, onlyForSM},
		{"publish on the account's bus", "!EventBusName", "Allow", "events:PutEvents",
			"arn:aws-cn:events:cn-north-1:111122223333:event-bus/default", onlyOurName},
		{"publish on another account's bus", "EventBusName", "Allow", "events:PutEvents", foreignBus, onlyOurName},
		{"keep what Lambda gave up", "", "Allow", "sqs:SendMessage", "FailureQueue.Arn", ""},
		{"encrypt it", "StackKmsKeyArn", "Allow", "kms:Decrypt kms:GenerateDataKey", stackKey, onlyForSQS},
		{"let Lambda attach it to a VPC", "VPCSubnetIds", "Allow", "ec2:CreateNetworkInterface ec2:DeleteNetworkInterface " +
			"ec2:DescribeNetworkInterfaces ec2:DescribeSubnets ec2:AssignPrivateIpAddresses ec2:UnassignPrivateIpAddresses", "*", onlyLambda},
	}
	for _, given := range []map[string]string{
		{},
		{"EnableRotationFunction": "true"},
		{"KmsKeyArns": kmsKeys},
		{"StackKmsKeyArn": stackKey},
		{"VPCSubnetIds": "subnet-0a1b2c3d,subnet-4e5f6a7b", "VPCSecurityGroupIds": "sg-0a1b2c3d"},
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
			s := evaluate(t, given)
			role := s.properties("Role")
			same(t, want, s.granted())
			same(t, []string{"Allow lambda.amazonaws.com: sts:AssumeRole on itself"}, statements(role["AssumeRolePolicyDocument"]))
			equal(t, nil, role["ManagedPolicyArns"])
		})
	}
}

// granted are the statements of all policies of the function's role.
func (s stack) granted() (all []string) {
	for _, policy := range s.properties("Role")["Policies"].([]any) {
		all = append(all, statements(policy.(fields)["PolicyDocument"])...)
	}
	policy := s.properties("FunctionPolicy")
	equal(s.t, any([]any{"Role"}), policy["Roles"])
	return append(all, statements(policy["PolicyDocument"])...)
}

// TestTemplateGrantsWhatTheCodeCalls compares the role with the methods of the SDK that the code can call: each action is
// used, and none is missing.
func TestTemplateGrantsWhatTheCodeCalls(t *testing.T) {
	calls := map[string]bool{}
	for service, api := range map[string]reflect.Type{"secretsmanager:": reflect.TypeFor[secretstore.API](), "events:": reflect.TypeFor[eventbus.API]()} {
		for i := range api.NumMethod() {
			calls[service+api.Method(i).Name] = true
		}
	}
	granted := map[string]bool{}
	for _, line := range evaluate(t, map[string]string{"EnableRotationFunction": "true"}).granted() {
		action, _, _ := strings.Cut(strings.TrimPrefix(line, "Allow: "), " on ")
		if strings.HasPrefix(action, "secretsmanager:") || strings.HasPrefix(action, "events:") {
			granted[action] = true
		}
	}
	equal(t, calls, granted)
}

// TestTemplateResources knows who may reach the queue and the function, and what AWS does with a failed event. The
// permissions of SAM's rules are SAM's.
func TestTemplateResources(t *testing.T) {
	const boundary = "arn:aws-cn:iam::111122223333:policy/bounds"
	s := evaluate(t, map[string]string{"EnableRotationFunction": "true", "LogRetentionInDays": "7", "PermissionsBoundaryArn": boundary})
	for name, want := range map[string]any{
		"LogGroup":     fields{"LogGroupName": "/aws/lambda/sync", "RetentionInDays": "7"},
		"HttpLogGroup": fields{"LogGroupName": "/aws/vendedlogs/sync", "RetentionInDays": "7"},
		"FailureQueue": fields{"SqsManagedSseEnabled": true, "MessageRetentionPeriod": 14 * 24 * 3600},
		"HttpPermission": fields{"FunctionName": "Function", "Action": "lambda:InvokeFunction", "Principal": "apigateway.amazonaws.com",
			"SourceArn": "arn:aws-cn:execute-api:cn-north-1:111122223333:HttpApi/*"},
		"RotationPermission": fields{"FunctionName": "Function", "Action": "lambda:InvokeFunction",
			"Principal": "secretsmanager.amazonaws.com", "SourceAccount": "111122223333"},
		"HttpStage": fields{"ApiId": "HttpApi", "StageName": "$default", "AutoDeploy": true,
			"DefaultRouteSettings": fields{"ThrottlingRateLimit": 10, "ThrottlingBurstLimit": 20},
			"AccessLogSettings": fields{"DestinationArn": "HttpLogGroup.Arn", "Format": `{"requestId":"$context.requestId",` +
				`"caller":"$context.identity.userArn","sourceIp":"$context.identity.sourceIp","route":"$context.routeKey", "status":"$context.status","latencyMs":"$context.responseLatency"}`}},
		"HttpIntegration": fields{"ApiId": "HttpApi", "IntegrationType": "AWS_PROXY", "IntegrationUri": "Function.Arn",
			"PayloadFormatVersion": "2.0", "TimeoutInMillis": 30_000},
		"ScheduleGroup": fields{"Name": "sync"},
		"Schedule": fields{"Description": "Repairs what events missed, and settles what was pushed", "GroupName": "ScheduleGroup",
			"State": "ENABLED", "ScheduleExpression": "rate(15 minutes)", "FlexibleTimeWindow": fields{"Mode": "OFF"},
			"Target": fields{"Arn": "Function.Arn", "RoleArn": "ScheduleRole.Arn", "Input": `{"action": "reconcile"}`,
				"RetryPolicy":      fields{"MaximumEventAgeInSeconds": 3600, "MaximumRetryAttempts": 5},
				"DeadLetterConfig": fields{"Arn": "FailureQueue.Arn"}}},
	} {
		equal(t, want, any(s.properties(name)))
	}

	var granting []string // the rest grants nothing to anybody
	for name, resource := range s.section("Resources") {
		kind := resource.(fields)["Type"].(string)
		if regexp.MustCompile(`IAM|Permission|Policy`).MatchString(kind) {
			granting = append(granting, name)
		}
		if kind == "AWS::IAM::Role" {
			equal(t, any(boundary), s.properties(name)["PermissionsBoundary"])
			equal(t, nil, evaluate(t, nil).properties(name)["PermissionsBoundary"])
		}
	}
	same(t, []string{"Role", "FunctionPolicy", "FailureQueuePolicy", "HttpPermission", "RotationPermission", "ScheduleRole"}, granting)
	schedule := s.properties("ScheduleRole")
	same(t, []string{`Allow scheduler.amazonaws.com: sts:AssumeRole on itself if {"StringEquals":{"aws:SourceAccount":"111122223333"}}`},
		statements(schedule["AssumeRolePolicyDocument"]))
	same(t, []string{"Allow: lambda:InvokeFunction on Function.Arn", "Allow: sqs:SendMessage on FailureQueue.Arn"},
		statements(schedule["Policies"].([]any)[0].(fields)["PolicyDocument"]))
	for _, name := range []string{"Schedule", "ScheduleGroup", "ScheduleRole"} {
		equal(t, nil, evaluate(t, map[string]string{"ReconcileSchedule": "none"}).section("Resources")[name])
	}
	equal(t, nil, evaluate(t, nil).section("Resources")["RotationPermission"])
	equal(t, nil, s.section("Resources")["NoticeRule"]) // there is no topic to tell

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

	mayFill := func(s stack, rules ...string) {
		t.Helper()
		policy := s.properties("FailureQueuePolicy")
		equal(t, any([]any{"FailureQueue"}), policy["Queues"])
		same(t, []string{
			fmt.Sprintf(`Allow events.amazonaws.com: sqs:SendMessage on FailureQueue.Arn if {"ArnEquals":{"aws:SourceArn":["%s"]}}`, strings.Join(rules, `","`)),
			`Deny *: sqs:* on FailureQueue.Arn if {"Bool":{"aws:PrincipalIsAWSService":"false","aws:SecureTransport":"false"}}`,
		}, statements(policy["PolicyDocument"]))
	}
	mayFill(s, rules...)
	mayFill(evaluate(t, map[string]string{"AlarmTopicArn": topic}), append(rules, noticeRule)...)
}

// TestTemplateStackKey holds that a key of one's own encrypts all that the stack keeps, and that whoever fills the queue in a
// role of the stack may use it. (EventBridge and CloudWatch Logs go by the policy of the key.)
func TestTemplateStackKey(t *testing.T) {
	s := evaluate(t, map[string]string{"StackKmsKeyArn": stackKey})
	equal(t, any(stackKey), s.properties("LogGroup")["KmsKeyId"])
	equal(t, any(stackKey), s.properties("HttpLogGroup")["KmsKeyId"])
	equal(t, fields{"KmsMasterKeyId": stackKey, "MessageRetentionPeriod": 14 * 24 * 3600}, s.properties("FailureQueue"))
	same(t, append([]string{"Allow: lambda:InvokeFunction on Function.Arn", "Allow: sqs:SendMessage on FailureQueue.Arn"},
		lines("Allow", []string{"kms:Decrypt", "kms:GenerateDataKey"}, []string{stackKey}, onlyForSQS)...),
		statements(s.properties("ScheduleRole")["Policies"].([]any)[0].(fields)["PolicyDocument"]))
}

func TestTemplateConcurrency(t *testing.T) {
	for value, want := range map[string]any{"none": nil, "5": "5"} {
		equal(t, want, evaluate(t, map[string]string{"ReservedConcurrency": value}).properties("Function")["ReservedConcurrentExecutions"])
	}
}

// TestTemplateNotices holds that each failure, each recovery and each auth method that a reconcile created is notified by its
// summary, whatever else is switched off.
func TestTemplateNotices(t *testing.T) {
	for bus, on := range map[string]string{"default": "default", "ops": "ops", foreignBus: "default"} { // no rule can be made on another's bus
		rule := evaluate(t, map[string]string{"AlarmTopicArn": topic, "EventBusName": bus, "Enabled": "false"}).properties("NoticeRule")
		equal(t, any(on), rule["EventBusName"])
		equal(t, nil, rule["State"]) // enabled
		equal(t, any([]any{fields{"Id": "topic", "Arn": topic,
			"InputTransformer": fields{"InputPathsMap": fields{"account": "$.account", "region": "$.region", "summary": "$.detail.summary"},
				"InputTemplate": `"<account> <region>: <summary>"`},
			"RetryPolicy":      fields{"MaximumEventAgeInSeconds": 6 * 3600, "MaximumRetryAttempts": 185},
			"DeadLetterConfig": fields{"Arn": "FailureQueue.Arn"}}}), rule["Targets"])
	}
	pattern := evaluate(t, map[string]string{"AlarmTopicArn": topic}).properties("NoticeRule")["EventPattern"]
	const recovered = `{"recovered": {"code": "credential_rejected", "since": "2026-01-15T03:12:44Z"}}`
	const created, byLabel, updated = `{"outcome": "created", "trigger": {"type": "reconcile"}}`, `{"outcome": "created", "trigger": {"type": "label"}}`,
		`{"outcome": "updated", "trigger": {"type": "reconcile"}}`
	for _, test := range []struct {
		source, account, kind, detail string
		want                          bool
	}{
		{"datadog-webhook-auth-sync", "111122223333", "Datadog Auth Method Sync Failed", `{}`, true},
		{"datadog-webhook-auth-sync", "111122223333", "Datadog Auth Method Synced", recovered, true},
		{"datadog-webhook-auth-sync", "111122223333", "Datadog Auth Method Settled", recovered, true},
		{"datadog-webhook-auth-sync", "111122223333", "Datadog Auth Method Synced", created, true},
		{"datadog-webhook-auth-sync", "111122223333", "Datadog Auth Method Synced", byLabel, false},
		{"datadog-webhook-auth-sync", "111122223333", "Datadog Auth Method Synced", updated, false},
		{"datadog-webhook-auth-sync", "111122223333", "Datadog Auth Method Synced", `{}`, false},
		{"datadog-webhook-auth-sync", "444455556666", "Datadog Auth Method Sync Failed", `{}`, false},
		{"another", "111122223333", "Datadog Auth Method Sync Failed", recovered, false},
	} {
		if event := decode(t, test.source, test.account, test.kind, test.detail); matches(pattern, event) != test.want {
			t.Errorf("a notice of %v: %v, want %v", event, !test.want, test.want)
		}
	}
}

// TestTemplateVPC holds that half of a VPC's parameters reach Lambda, which refuses them.
func TestTemplateVPC(t *testing.T) {
	for _, test := range []struct{ subnets, groups string }{{"", ""}, {"subnet-0a1b2c3d,subnet-4e5f6a7b", "sg-0a1b2c3d"}, {"subnet-0a1b2c3d", ""}, {"", "sg-0a1b2c3d"}} {
		var want any
		if test.subnets+test.groups != "" {
			want = fields{"SubnetIds": split(test.subnets, ","), "SecurityGroupIds": split(test.groups, ",")}
		}
		function := evaluate(t, map[string]string{"VPCSubnetIds": test.subnets, "VPCSecurityGroupIds": test.groups}).properties("Function")
		equal(t, want, function["VpcConfig"])
	}
}

// TestTemplateEnabled holds that what starts by itself can be switched off.
func TestTemplateEnabled(t *testing.T) {
	for value, want := range map[string]any{"true": "ENABLED", "false": "DISABLED"} {
		s := evaluate(t, map[string]string{"Enabled": value})
		equal(t, want, s.properties("Schedule")["State"])
		for _, rule := range s.properties("Function")["Events"].(fields) {
			equal(t, want, rule.(fields)["Properties"].(fields)["State"])
		}
	}
}

func TestTemplateHTTP(t *testing.T) {
	for _, on := range []bool{true, false} {
		s := evaluate(t, map[string]string{"EnableHttpApi": fmt.Sprint(on)})
		routes, outputs := map[string]string{}, "DashboardUrl FailureQueueUrl FunctionArn FunctionName"
		for name, resource := range s.section("Resources") {
			kind := resource.(fields)["Type"].(string)
			if !on && (strings.HasPrefix(kind, "AWS::ApiGatewayV2::") || strings.HasPrefix(name, "Http")) {
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
	for _, test := range []struct{ source, account, kind, detail, want string }{
		{"aws.secretsmanager", "111122223333", label, `{"labelUpdated": "AWSCURRENT", "name": "team/pager"}`, "LabelUpdated"},
		{"aws.secretsmanager", "444455556666", label, `{"labelUpdated": "AWSCURRENT", "name": "team/pager"}`, ""},
		{"aws.secretsmanager", "111122223333", label, `{"labelUpdated": "AWSCURRENT", "name": "other/pager"}`, ""},
		{"aws.secretsmanager", "111122223333", label, `{"labelUpdated": "NEXT", "name": "team/pager"}`, ""},
		{"aws.secretsmanager", "111122223333", "Another", `{"labelUpdated": "AWSCURRENT", "name": "team/pager"}`, ""},
		{"another", "111122223333", label, `{"labelUpdated": "AWSCURRENT", "name": "team/pager"}`, ""},
		{"aws.secretsmanager", "111122223333", trail, `{"eventSource": "secretsmanager.amazonaws.com", "eventName": "RotationSucceeded"}`, "RotationSucceeded"},
		{"aws.secretsmanager", "444455556666", trail, `{"eventSource": "secretsmanager.amazonaws.com", "eventName": "RotationSucceeded"}`, ""},
		{"aws.secretsmanager", "111122223333", trail, `{"eventSource": "secretsmanager.amazonaws.com", "eventName": "RotationFailed"}`, ""},
		{"aws.secretsmanager", "111122223333", trail, `{"eventSource": "another.amazonaws.com", "eventName": "RotationSucceeded"}`, ""},
		{"aws.secretsmanager", "111122223333", "Another", `{"eventSource": "secretsmanager.amazonaws.com", "eventName": "RotationSucceeded"}`, ""},
		{"another", "111122223333", trail, `{"eventSource": "secretsmanager.amazonaws.com", "eventName": "RotationSucceeded"}`, ""},
	} {
		event := decode(t, test.source, test.account, test.kind, test.detail)
		var got []string
		for name, rule := range rules {
			if matches(rule.(fields)["Properties"].(fields)["Pattern"], event) {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%v reaches the function by %q, want %q", event, got, test.want)
		}
	}
}

func decode(t *testing.T, source, account, kind, detail string) (event any) {
	t.Helper()
	text := fmt.Sprintf(`{"source": %q, "account": %q, "detail-type": %q, "detail": %s}`, source, account, kind, detail)
	if err := json.Unmarshal([]byte(text), &event); err != nil {
		t.Fatal(err)
	}
	return event
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

// matches is EventBridge's matching, as far as the template uses it: lists of values, prefixes and what is to exist, and $or.
func matches(pattern, event any) bool {
	switch pattern := pattern.(type) {
	case fields:
		object, ok := event.(fields)
		for name, inner := range pattern {
			if name == "$or" {
				ok = ok && slices.ContainsFunc(inner.([]any), func(one any) bool { return matches(one, event) })
			} else {
				ok = ok && matches(inner, object[name])
			}
		}
		return ok
	case []any:
		text, ok := event.(string)
		return ok && slices.ContainsFunc(pattern, func(one any) bool {
			filter, _ := one.(fields)
			prefix, ok := filter["prefix"].(string)
			return one == any(text) || len(filter) == 1 && (ok && strings.HasPrefix(text, prefix) || filter["exists"] == true)
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
