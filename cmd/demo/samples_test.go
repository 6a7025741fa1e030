package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/cmd/demo/system"
	"datadog-webhook-auth-sync/handler/contract"
)

// These tests deploy the samples of docs beside the stack, and look at what arrives.

// deploysSample creates a stack of a file in docs/samples.
func (u *user) deploysSample(stack, file string, parameters map[string]string) (outputs map[string]string) {
	u.t.Helper()
	outputs, err := u.CreateStack(u.ctx, stack, readText(u.t, "docs/samples/"+file), parameters)
	u.must(err)
	return outputs
}

// TestNotices takes a secret through what can happen to it: created, refused while the old client secret still works,
// refused while that does not work either, and recovered. It looks at what comes of each to chat.yaml, to PageTopicArn,
// and to Datadog by events.yaml.
func TestNotices(t *testing.T) {
	u := newUser(t)
	channel, err := u.Subscribe(u.ctx, u.deploysSample(u.name, "chat.yaml", nil)["TopicArn"], u.name+"-chat")
	u.must(err)
	pager, err := u.Subscribe(u.ctx, pageTopic, u.name+"-pager")
	u.must(err)
	posted, err := u.Subscribe(u.ctx, u.deploysEvents()["TopicArn"], u.name+"-events")
	u.must(err)

	created := u.result(u.rotates(u.first)).Detail.Summary
	u.must(until(u.ctx, func() bool { return u.recorded() != "" })) // what Datadog holds is known by the record
	u.putsUnheard(u.credential(unknownSecret))
	failed := u.fails("credential_rejected").Summary
	u.Tokens.Revoke(u.name, u.first)
	lost := u.fails("credential_rejected").Summary
	u.Tokens.Allow(u.name, unknownSecret)
	recovered := u.syncs("updated").Summary

	for summary, title := range map[string]string{created: "Synced", failed: "Sync Failed", lost: "Sync Failed", recovered: "Synced"} {
		message, err := channel.Wait(u.ctx, func(m json.RawMessage) bool { return bytes.Contains(m, []byte(summary)) })
		u.must(err)
		want := map[string]any{"version": "1.0", "source": "custom", "content": map[string]any{"textType": "client-markdown",
			"title":       fmt.Sprintf("Datadog Auth Method %s (%s %s)", title, system.Account, system.Region),
			"description": summary}}
		var got map[string]any
		u.must(json.Unmarshal(message, &got))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("custom notification (-want +got):\n%s", diff)
		}
	}

	_, err = pager.Wait(u.ctx, func(m json.RawMessage) bool { return strings.Contains(string(m), lost) })
	u.must(err)
	pages, err := pager.All(u.ctx)
	u.must(err)
	for _, message := range pages {
		var text string
		u.must(json.Unmarshal(message, &text))
		if strings.Contains(text, u.secretName) && !strings.HasPrefix(text, system.Account+" "+system.Region+": "+lost+" https://") {
			t.Errorf("the pager got %s", text)
		}
	}

	alerts := map[string]string{created: "success", failed: "warning", lost: "error", recovered: "success"}
	got := map[string]string{}
	_ = until(u.ctx, func() bool { // what is missing, the comparison shows
		all, err := posted.All(u.ctx)
		u.must(err)
		for _, message := range all {
			var event struct {
				Text      string
				AlertType string `json:"alert_type"`
				Tags      []string
			}
			u.must(json.Unmarshal(message, &event))
			if slices.Contains(event.Tags, "secret:"+system.Account+"/"+system.Region+"/"+u.secretName) {
				got[event.Text] = event.AlertType
			}
		}
		return len(got) >= len(alerts)
	})
	if diff := cmp.Diff(alerts, got); diff != "" {
		t.Errorf("events at Datadog (-want +got):\n%s", diff)
	}
}

// deploysEvents deploys the rules of events.yaml with a topic in place of the destination, which the emulator's
// CloudFormation does not know.
func (u *user) deploysEvents() (outputs map[string]string) {
	u.t.Helper()
	head, rest, _ := strings.Cut(readText(u.t, "docs/datadog/events.yaml"), "\nResources:\n")
	_, rules, _ := strings.Cut(rest, "\n  AlertsLost:\n")
	rules = strings.NewReplacer("!GetAtt Destination.Arn", "!Ref Topic", "RoleArn: !GetAtt Role.Arn", "").Replace(rules)
	outputs, err := u.CreateStack(u.ctx, u.name+"-events", head+`
Outputs: {TopicArn: {Value: !Ref Topic}}
Resources:
  Topic: {Type: "AWS::SNS::Topic"}
  AlertsLost:
`+rules, map[string]string{"DdApiKeySecretArn": u.KeySecretARN})
	u.must(err)
	return outputs
}

// TestSampleTeam forges results of two teams' secrets, and looks at which one of them is notified.
func TestSampleTeam(t *testing.T) {
	u := newUser(t)
	_, err := u.EventBridge().CreateEventBus(u.ctx, &eventbridge.CreateEventBusInput{Name: &u.name})
	u.must(err)
	parameters := map[string]string{"Owner": u.name, "Email": "team@example.com", "EventBusName": u.name}
	topic := u.deploysSample(u.name, "team.yaml", parameters)["TopicArn"]
	team, err := u.Subscribe(u.ctx, topic, u.name)
	u.must(err)
	for i, of := range []struct{ owner, kind, more string }{
		{"another", "Sync Failed", ""},
		{u.name, "Synced", `, "outcome": "updated"`},
		{u.name, "Sync Failed", ""},
		{u.name, "Settled", `, "outcome": "settled", "recovered": {"code": "credential_rejected", "since": "2026-01-15T03:12:44Z"}`},
		{u.name, "Synced", `, "outcome": "adopted"`},
	} {
		detail := fmt.Sprintf(`{"secret": {"owner": %q}, "summary": "result %d of %s"%s}`, of.owner, i, of.owner, of.more)
		u.putsEvent(u.name, of.kind, detail)
	}
	_, err = team.Wait(u.ctx, func(m json.RawMessage) bool { return strings.Contains(string(m), "result 4 of") })
	u.must(err)
	all, err := team.All(u.ctx)
	u.must(err)
	var got []string
	for _, message := range all {
		got = append(got, string(message))
	}
	slices.Sort(got)
	var want []string
	for _, i := range []int{2, 3, 4} {
		want = append(want, fmt.Sprintf(`"%s %s: result %d of %s"`, system.Account, system.Region, i, u.name))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what the team got (-want +got):\n%s", diff)
	}
}

// putsEvent puts an event on a bus that says to be a result of that kind.
func (u *user) putsEvent(bus, kind, detail string, resources ...string) {
	u.t.Helper()
	put, err := u.EventBridge().PutEvents(u.ctx, &eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{{
		EventBusName: &bus, Source: aws.String("datadog-webhook-auth-sync"),
		DetailType: aws.String("Datadog Auth Method " + kind), Detail: &detail, Resources: resources,
	}}})
	u.must(err)
	if put.FailedEntryCount > 0 {
		u.t.Fatal("the bus refused the event")
	}
}

// notVerifying stands in for the function of a stack with VerifyCredential=false: it calls every version settled.
const notVerifying = `{"Resources": {
	"Role": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [
		{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]}}},
	"Function": {"Type": "AWS::Lambda::Function", "Properties": {"Runtime": "python3.13", "Handler": "index.handler", "Role": {"Fn::GetAtt": ["Role", "Arn"]},
		"Environment": {"Variables": {"VERIFY_CREDENTIAL": "false"}},
		"Code": {"ZipFile": "def handler(event, context):\n    return {'secrets': [{'settled': True, 'recordedVersionId': 'VERSION'}]}\n"}}}},
	"Outputs": {"Arn": {"Value": {"Fn::GetAtt": ["Function", "Arn"]}}}}`

// TestSampleRotator tells the rotator by forged events that a secret settled: nobody waits here the ten minutes that it takes.
func TestSampleRotator(t *testing.T) {
	u, young := newUser(t), newUser(t)
	version := u.rotates(u.newClientSecret())
	u.result(version)
	youngest := young.rotates(young.newClientSecret())
	young.result(youngest)
	for _, user := range []*user{u, young} {
		u.must(until(u.ctx, func() bool { return user.recorded() != "" }))
	}
	u.setsRecord("state", "settled")
	stub, err := u.CreateStack(u.ctx, u.name+"-stub", strings.Replace(notVerifying, "VERSION", version, 1), nil)
	u.must(err)
	log := map[string]string{}
	for name, function := range map[string]string{"stack": u.Stack["FunctionArn"], "stub": stub["Arn"]} {
		log[name] = u.deploysSample(u.name+"-with-"+name, "rotator.yaml", map[string]string{"SyncFunctionArn": function})["LogGroupName"]
	}

	var settled struct{ Detail json.RawMessage }
	sample, err := contract.Files.ReadFile("events/settled.json")
	u.must(err)
	u.must(json.Unmarshal(sample, &settled))
	const revoked = `{"message": "revoke what is older", "secret": %q, "versionId": %q, "reason": null}`
	const refused = `{"message": "not revoked", "secret": %q, "versionId": %q, "reason": %q}`
	const another = "7b1f0c52-52a8-4f0a-9d5e-7c7b0d8f1a11"
	for _, c := range []struct{ what, log, arn, version, want string }{
		{"settled", "stack", u.secretARN, version, fmt.Sprintf(revoked, u.secretARN, version)},
		{"another version", "stack", u.secretARN, another, fmt.Sprintf(refused, u.secretARN, another, "Datadog holds another version")},
		{"not settled", "stack", young.secretARN, youngest, fmt.Sprintf(refused, young.secretARN, youngest, "the secret is not settled")},
		{"out of scope", "stack", u.KeySecretARN, version, "secret_out_of_scope: "},
		{"not verified", "stub", u.secretARN, version, fmt.Sprintf(refused, u.secretARN, version, "verification is off, so nobody knows whether the new client secret works")},
	} {
		t.Run(c.what, func(t *testing.T) {
			u := u.in(t)
			detail := strings.NewReplacer("arn:aws:secretsmanager:us-east-1:123456789012:secret:datadog/webhooks/payments-AbCdEf", c.arn,
				"1f2e3d4c-5b6a-4798-8899-aabbccddeeff", c.version).Replace(string(settled.Detail))
			var lines []string
			// An event may come twice. Here it does where a line is late: the emulator keeps that until the next call.
			err := until(u.ctx, func() bool {
				u.putsEvent("default", "Settled", detail, c.arn)
				var err error
				for range 20 {
					lines, err = u.LogLines(u.ctx, log[c.log])
					u.must(err)
					if strings.Contains(strings.Join(lines, "\n"), c.want) {
						return true
					}
					time.Sleep(100 * time.Millisecond)
				}
				return false
			})
			if err != nil {
				t.Errorf("no line %s in\n%s", c.want, strings.Join(lines, "\n"))
			}
		})
	}
	lines, err := u.LogLines(u.ctx, log["stack"])
	u.must(err)
	others := func(line string) bool { return !strings.Contains(line, "revoke what is older") }
	revocations := slices.DeleteFunc(lines, others)
	if slices.Sort(revocations); len(slices.Compact(revocations)) != 1 {
		t.Errorf("revocations of more than one version: %q", revocations)
	}
}
