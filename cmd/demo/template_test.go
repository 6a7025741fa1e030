package main

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
// KMS, the policies of queue, topic and function), so the text itself is held to the tables below.

const (
	keySecret    = "arn:aws-cn:secretsmanager:cn-north-1:111122223333:secret:datadog/api-AbCdEf"
	appKeySecret = "arn:aws-cn:secretsmanager:cn-north-1:111122223333:secret:datadog/app-AbCdEf"
	kmsKeys      = "arn:aws-cn:kms:cn-north-1:111122223333:key/1,arn:aws-cn:kms:cn-north-1:111122223333:key/2"
	stackKey     = "arn:aws-cn:kms:cn-north-1:111122223333:key/3"
	foreignBus   = "arn:aws-cn:events:cn-north-1:444455556666:event-bus/ops"
	inScope      = "arn:aws-cn:secretsmanager:cn-north-1:111122223333:secret:team/*"
	noticeRule   = "arn:aws-cn:events:cn-north-1:111122223333:rule/ops/notices" // as on another bus than the default one
	topic        = "arn:aws-cn:sns:cn-north-1:111122223333:on-call"

	writeSecret = "secretsmanager:TagResource secretsmanager:PutSecretValue secretsmanager:UpdateSecretVersionStage"
	onlyOurTag  = `{"ForAllValues:StringEquals":{"aws:TagKeys":["datadog-webhook-auth-sync"]},"Null":{"aws:TagKeys":"false"}}`
	onlyOurName = `{"StringEquals":{"events:source":"datadog-webhook-auth-sync"}}`
	onlyLambda  = `{"Null":{"lambda:SourceFunctionArn":"true"}}`
	onlyForSM   = `{"StringEquals":{"kms:ViaService":"secretsmanager.cn-north-1.amazonaws.com.cn"}}`
	onlyForSQS  = `{"StringEquals":{"kms:ViaService":"sqs.cn-north-1.amazonaws.com.cn"}}`
	onlyOurs    = `{"StringEquals":{"secretsmanager:resource/AllowRotationLambdaArn":"Function.Arn"}}`
	foreign     = `{"ArnNotEquals":{"lambda:SourceFunctionArn":"Function.Arn"},"Null":{"lambda:SourceFunctionArn":"false"}}`
)

// TestTemplateRole knows every permission of the function, by purpose and by the parameters that bring it.
func TestTemplateRole(t *testing.T) {
	grants := []struct{ purpose, when, effect, actions, resources, condition string }{
		{"write to its own log group", "", "Allow", "logs:CreateLogStream logs:PutLogEvents", "LogGroup.Arn", ""},
		{"read credentials", "", "Allow", "secretsmanager:DescribeSecret secretsmanager:GetSecretValue", inScope, ""},
		{"list the secrets", "", "Allow", "secretsmanager:ListSecrets", "*", ""},
		{"record a push in one tag", "", "Allow", "secretsmanager:TagResource", inScope, onlyOurTag},
		{"read the API key", "DdApiKeySecretArn", "Allow", "secretsmanager:GetSecretValue", keySecret, ""},
		{"read the application key", "DdAppKeySecretArn", "Allow", "secretsmanager:GetSecretValue", appKeySecret, ""},
		{"never write the API key", "DdApiKeySecretArn", "Deny", writeSecret, keySecret, ""},
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
		{"DdApiKeySecretArn": keySecret},
		{"DdOrgUuid": "6b1f0c52-52a8-4f0a-9d5e-7c7b0d8f1a11"},
		{"DdApiKeySecretArn": keySecret, "EnableRotationFunction": "true"},
		{"DdApiKeySecretArn": keySecret, "KmsKeyArns": kmsKeys},
		{"DdApiKeySecretArn": keySecret, "StackKmsKeyArn": stackKey},
		{"DdApiKeySecretArn": keySecret, "VPCSubnetIds": "subnet-0a1b2c3d,subnet-4e5f6a7b", "VPCSecurityGroupIds": "sg-0a1b2c3d"},
		{"DdApiKeySecretArn": keySecret, "KmsKeyArns": kmsKeys, "EnableRotationFunction": "true", "DdAppKeySecretArn": appKeySecret,
			"EventBusName": foreignBus},
	} {
		t.Run("with "+strings.Join(slices.Sorted(maps.Keys(given)), " "), func(t *testing.T) {
			var want []string
			for _, grant := range grants {
				if !slices.ContainsFunc(strings.Fields(grant.when), func(name string) bool {
					name, unwanted := strings.CutPrefix(name, "!")
					return (given[name] != "") == unwanted
				}) {
					resources := strings.Split(grant.resources, ",")
					want = append(want, lines(grant.effect, strings.Fields(grant.actions), resources, grant.condition)...)
				}
			}
			given["SecretNamePrefix"] = "team/"
			s := evaluate(t, given)
			same(t, want, s.granted())
			same(t, []string{"Allow lambda.amazonaws.com: sts:AssumeRole on itself"}, statements(s.properties("Role")["AssumeRolePolicyDocument"]))
			equal(t, nil, s.properties("Role")["ManagedPolicyArns"])
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

// TestTemplateGrantsNobodyElse knows what grants anything to anybody, and that each role has the boundary. The permissions
// of SAM's rules are SAM's.
func TestTemplateGrantsNobodyElse(t *testing.T) {
	const boundary = "arn:aws-cn:iam::111122223333:policy/bounds"
	s := evaluate(t, map[string]string{"EnableRotationFunction": "true", "PermissionsBoundaryArn": boundary})
	var granting []string
	for name, resource := range s.section("Resources") {
		kind := resource.(fields)["Type"].(string)
		if regexp.MustCompile(`IAM|Permission|Policy`).MatchString(kind) {
			granting = append(granting, name)
		}
		if kind == "AWS::IAM::Role" {
			equal(t, any(boundary), s.properties(name)["PermissionsBoundary"])
		}
	}
	same(t, []string{"Role", "FunctionPolicy", "FailureQueuePolicy", "AlarmTopicPolicy", "HttpPermission", "RotationPermission", "ScheduleRole"},
		granting)
	equal(t, nil, evaluate(t, nil).section("Resources")["RotationPermission"])
	equal(t, any("111122223333"), s.properties("RotationPermission")["SourceAccount"])
	equal(t, any("arn:aws-cn:execute-api:cn-north-1:111122223333:HttpApi/*"), s.properties("HttpPermission")["SourceArn"])

	schedule := s.properties("ScheduleRole")
	same(t, []string{`Allow scheduler.amazonaws.com: sts:AssumeRole on itself if {"StringEquals":{"aws:SourceAccount":"111122223333"}}`},
		statements(schedule["AssumeRolePolicyDocument"]))
	same(t, []string{"Allow: lambda:InvokeFunction on Function.Arn", "Allow: sqs:SendMessage on FailureQueue.Arn"},
		statements(schedule["Policies"].([]any)[0].(fields)["PolicyDocument"]))

	equal(t, any([]any{"FailureQueue"}), s.properties("FailureQueuePolicy")["Queues"])
	const withoutTLS = `{"Bool":{"aws:PrincipalIsAWSService":"false","aws:SecureTransport":"false"}}`
	for pages, rule := range map[string]string{"": "", topic: `,"PageRule.Arn"`} {
		rules := `["FunctionLabelUpdated.Arn","FunctionRotationSucceeded.Arn","` + noticeRule + `"` + rule + `]`
		same(t, []string{
			`Allow events.amazonaws.com: sqs:SendMessage on FailureQueue.Arn if {"ArnEquals":{"aws:SourceArn":` + rules + `}}`,
			`Deny *: sqs:* on FailureQueue.Arn if ` + withoutTLS,
		}, statements(evaluate(t, map[string]string{"PageTopicArn": pages}).properties("FailureQueuePolicy")["PolicyDocument"]))
	}
	equal(t, any([]any{"AlarmTopic"}), s.properties("AlarmTopicPolicy")["Topics"])
	same(t, []string{
		`Allow cloudwatch.amazonaws.com: sns:Publish on AlarmTopic if {"StringEquals":{"aws:SourceAccount":"111122223333"}}`,
		`Allow events.amazonaws.com: sns:Publish on AlarmTopic`,
		`Deny *: sns:Publish on AlarmTopic if ` + withoutTLS,
	}, statements(s.properties("AlarmTopicPolicy")["PolicyDocument"]))
}

// TestTemplateStackKey holds that a key of one's own encrypts all that the stack keeps, and that whoever fills the queue in a
// role of the stack may use it. (EventBridge and CloudWatch go by the policy of the key.)
func TestTemplateStackKey(t *testing.T) {
	s := evaluate(t, map[string]string{"StackKmsKeyArn": stackKey})
	for name, property := range map[string]string{"LogGroup": "KmsKeyId", "HttpLogGroup": "KmsKeyId", "FailureQueue": "KmsMasterKeyId",
		"AlarmTopic": "KmsMasterKeyId"} {
		equal(t, any(stackKey), s.properties(name)[property])
	}
	equal(t, nil, s.properties("FailureQueue")["SqsManagedSseEnabled"]) // SQS refuses both
	same(t, append([]string{"Allow: lambda:InvokeFunction on Function.Arn", "Allow: sqs:SendMessage on FailureQueue.Arn"},
		lines("Allow", []string{"kms:Decrypt", "kms:GenerateDataKey"}, []string{stackKey}, onlyForSQS)...),
		statements(s.properties("ScheduleRole")["Policies"].([]any)[0].(fields)["PolicyDocument"]))
}

// TestTemplateNames holds that a stack's name of 128 characters, the most there can be, fits wherever it is part of a name;
// that the role's policies fit with as many keys as there can be; and that no condition has a name that YAML 1.1 takes for a
// truth value.
func TestTemplateNames(t *testing.T) {
	limits := map[string]int{"LogGroup LogGroupName": 512, "HttpLogGroup LogGroupName": 512, "Dashboard DashboardName": 255, "HttpApi Name": 128}
	s := evaluate(t, nil)
	long := strings.Repeat("s", 128)
	s.refs["AWS::StackName"] = long
	for resource := range s.section("Resources") {
		for property, value := range s.properties(resource) {
			name, _ := value.(string)
			limit := limits[resource+" "+property]
			if strings.HasSuffix(property, "Name") && strings.Contains(name, long) && len(name) > limit {
				t.Errorf("%s of %s has %d characters, and may have %d", property, resource, len(name), limit)
			}
		}
	}
	const key = "arn:aws-us-gov:kms:us-gov-east-1:111122223333:key/mrk-0123456789abcdef0123456789abcdef"
	keys := strings.Repeat(key+",", 39) + key
	if !admits(s.section("Parameters")["KmsKeyArns"].(fields), keys) || admits(s.section("Parameters")["KmsKeyArns"].(fields), keys+","+key) {
		t.Error("KmsKeyArns does not end at 40 keys")
	}
	s = evaluate(t, map[string]string{"DdApiKeySecretArn": keySecret, "DdAppKeySecretArn": appKeySecret, "EnableRotationFunction": "true",
		"KmsKeyArns": keys, "StackKmsKeyArn": key, "VPCSubnetIds": "subnet-0a1b2c3d", "VPCSecurityGroupIds": "sg-0a1b2c3d",
		"SecretNamePrefix": strings.Repeat("p", 255) + "/"})
	text, err := json.Marshal([]any{s.properties("Role")["Policies"], s.properties("FunctionPolicy")})
	if err != nil || len(text) > 10_240 {
		t.Errorf("the role's policies have %d characters, and may have 10,240: %v", len(text), err)
	}
	for name := range s.section("Conditions") {
		if regexp.MustCompile(`(?i)^(y|yes|n|no|on|off|true|false)$`).MatchString(name) {
			t.Errorf("YAML takes the condition %s for a truth value", name)
		}
	}
}

// TestTemplateNotices holds that each failure, recovery, creation and adoption is notified by its summary, whatever else is
// switched off; and a failure by which alerts are being lost also where pages go, if that is another topic.
func TestTemplateNotices(t *testing.T) {
	for bus, on := range map[string]string{"default": "default", "ops": "ops", foreignBus: "default"} { // no rule can be made on another's bus
		s := evaluate(t, map[string]string{"EventBusName": bus, "Enabled": "false", "PageTopicArn": topic})
		for name, to := range map[string]string{"NoticeRule": "AlarmTopic", "PageRule": topic} {
			rule := s.properties(name)
			equal(t, any(on), rule["EventBusName"])
			equal(t, nil, rule["State"]) // enabled
			target := rule["Targets"].([]any)[0].(fields)
			equal(t, any(to), target["Arn"])
			equal(t, any(fields{"Arn": "FailureQueue.Arn"}), target["DeadLetterConfig"])
			equal(t, any(`"<account> <region>: <summary> https://console.amazonaws.cn/cloudwatch/home?region=cn-north-1#dashboards/dashboard/sync-cn-north-1"`),
				target["InputTransformer"].(fields)["InputTemplate"])
		}
	}
	equal(t, nil, evaluate(t, nil).section("Resources")["PageRule"])
	s := evaluate(t, map[string]string{"PageTopicArn": topic})
	notice, page := s.properties("NoticeRule")["EventPattern"], s.properties("PageRule")["EventPattern"]
	const recovered = `{"recovered": {"code": "credential_rejected", "since": "2026-01-15T03:12:44Z"}}`
	const failed, lost = `{"held": {"verification": "accepted"}}`, `{"held": {"verification": "rejected"}}`
	for _, test := range []struct {
		source, account, kind, detail string
		notified, paged               bool
	}{
		{"datadog-webhook-auth-sync", "111122223333", "Datadog Auth Method Sync Failed", `{}`, true, false},
		{"datadog-webhook-auth-sync", "111122223333", "Datadog Auth Method Sync Failed", failed, true, false},
		{"datadog-webhook-auth-sync", "111122223333", "Datadog Auth Method Sync Failed", lost, true, true},
		{"datadog-webhook-auth-sync", "111122223333", "Datadog Auth Method Synced", recovered, true, false},
		{"datadog-webhook-auth-sync", "111122223333", "Datadog Auth Method Settled", recovered, true, false},
		{"datadog-webhook-auth-sync", "111122223333", "Datadog Auth Method Synced", `{"outcome": "created"}`, true, false},
		{"datadog-webhook-auth-sync", "111122223333", "Datadog Auth Method Synced", `{"outcome": "adopted"}`, true, false},
		{"datadog-webhook-auth-sync", "111122223333", "Datadog Auth Method Synced", `{"outcome": "updated"}`, false, false},
		{"datadog-webhook-auth-sync", "444455556666", "Datadog Auth Method Sync Failed", lost, false, false},
		{"another", "111122223333", "Datadog Auth Method Sync Failed", lost, false, false},
	} {
		event := decode(t, test.source, test.account, test.kind, test.detail)
		if notified, paged := matches(notice, event), matches(page, event); notified != test.notified || paged != test.paged {
			t.Errorf("%v: notified %v, paged %v; want %v, %v", event, notified, paged, test.notified, test.paged)
		}
	}
}

// TestTemplateEnabled holds that what starts by itself can be switched off, and what HTTP offers can be left out.
func TestTemplateEnabled(t *testing.T) {
	for value, want := range map[string]any{"true": "ENABLED", "false": "DISABLED"} {
		s := evaluate(t, map[string]string{"Enabled": value})
		equal(t, want, s.properties("Schedule")["State"])
		for _, rule := range s.properties("Function")["Events"].(fields) {
			equal(t, want, rule.(fields)["Properties"].(fields)["State"])
		}
	}
	for name, resource := range evaluate(t, map[string]string{"EnableHttpApi": "false", "ReconcileSchedule": "none"}).section("Resources") {
		if kind := resource.(fields)["Type"].(string); regexp.MustCompile(`^Http|Api|Schedule`).MatchString(name + " " + kind) {
			t.Errorf("%s is there all the same", name)
		}
	}
}

func TestTemplateRules(t *testing.T) {
	const label, trail = "Secret Label Updated", "AWS Service Event via CloudTrail"
	rules := evaluate(t, map[string]string{"SecretNamePrefix": "team/"}).properties("Function")["Events"].(fields)
	for _, rule := range rules {
		equal(t, any(fields{"Arn": "FailureQueue.Arn"}), rule.(fields)["Properties"].(fields)["DeadLetterConfig"])
	}
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
		for _, value := range textsOf(statement["Principal"]) {
			principal = " " + value
		}
		if statement["Condition"] != nil {
			text, _ := json.Marshal(statement["Condition"])
			condition = string(text)
		}
		resources := textsOf(statement["Resource"])
		if resources == nil {
			resources = []string{"itself"}
		}
		actions := textsOf(statement["Action"])
		spelt = append(spelt, lines(statement["Effect"].(string)+principal, actions, resources, condition)...)
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

func textsOf(value any) []string {
	var texts []string
	switch value := value.(type) {
	case string:
		return []string{value}
	case fields:
		return textsOf(value["Service"])
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
