package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"datadog-webhook-auth-sync/cmd/demo/system"
	"datadog-webhook-auth-sync/handler/contract"
)

// These tests deploy the samples of docs beside the stack, and look at what arrives.

// deploysSample creates a stack of a file in docs/samples.
func (u *user) deploysSample(stack, file string, parameters map[string]string) (outputs map[string]string) {
	u.t.Helper()
	text, err := os.ReadFile("../../docs/samples/" + file)
	u.must(err)
	outputs, err = u.DeploySample(u.ctx, stack, string(text), parameters)
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
	posted := u.postsEvents()

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
	_ = until(u.ctx, func() bool { return len(posted()) >= len(alerts) }) // what is missing, the comparison shows
	if diff := cmp.Diff(alerts, posted()); diff != "" {
		t.Errorf("events at Datadog (-want +got):\n%s", diff)
	}
}

// postsEvents makes by hand what of events.yaml the emulator's CloudFormation does not know, the connection and the
// destination, and lets the rules post to a stand-in. posted are the alert types of the user's events by text.
func (u *user) postsEvents() (posted func() map[string]string) {
	var mu sync.Mutex
	alerts := map[string]string{}
	datadog := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var event struct {
			Text      string
			AlertType string `json:"alert_type"`
			Tags      []string
		}
		if err := json.Unmarshal(body, &event); err != nil || r.Method != http.MethodPost || r.Header.Get("DD-API-KEY") != "events-api-key" {
			u.t.Errorf("%s %s: %v", r.Method, body, err)
		}
		mu.Lock()
		defer mu.Unlock()
		if slices.Contains(event.Tags, "secret:"+system.Account+"/"+system.Region+"/"+u.secretName) {
			alerts[event.Text] = event.AlertType
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	u.t.Cleanup(datadog.Close)

	text, err := os.ReadFile("../../docs/datadog/events.yaml")
	u.must(err)
	var template struct {
		Resources map[string]struct {
			Type       string `yaml:"Type"`
			Properties struct {
				EventPattern map[string]any `yaml:"EventPattern"`
				Targets      []struct {
					InputTransformer struct {
						InputPathsMap map[string]string `yaml:"InputPathsMap"`
						InputTemplate string            `yaml:"InputTemplate"`
					} `yaml:"InputTransformer"`
				} `yaml:"Targets"`
			} `yaml:"Properties"`
		} `yaml:"Resources"`
	}
	u.must(yaml.Unmarshal(text, &template))
	bus := u.EventBridge()
	connection, err := bus.CreateConnection(u.ctx, &eventbridge.CreateConnectionInput{Name: &u.name, AuthorizationType: types.ConnectionAuthorizationTypeApiKey,
		AuthParameters: &types.CreateConnectionAuthRequestParameters{ApiKeyAuthParameters: &types.CreateConnectionApiKeyAuthRequestParameters{
			ApiKeyName: aws.String("DD-API-KEY"), ApiKeyValue: aws.String("events-api-key")}}})
	u.must(err)
	destination, err := bus.CreateApiDestination(u.ctx, &eventbridge.CreateApiDestinationInput{Name: &u.name, ConnectionArn: connection.ConnectionArn,
		HttpMethod: types.ApiDestinationHttpMethodPost, InvocationEndpoint: aws.String(datadog.URL + "/api/v1/events")})
	u.must(err)
	for name, resource := range template.Resources {
		if resource.Type != "AWS::Events::Rule" {
			continue
		}
		name = u.name + "-" + name
		pattern, err := json.Marshal(resource.Properties.EventPattern)
		u.must(err)
		_, err = bus.PutRule(u.ctx, &eventbridge.PutRuleInput{Name: &name, EventPattern: aws.String(strings.Replace(string(pattern), "AWS::AccountId", system.Account, 1))})
		u.must(err)
		input := resource.Properties.Targets[0].InputTransformer
		_, err = bus.PutTargets(u.ctx, &eventbridge.PutTargetsInput{Rule: &name, Targets: []types.Target{{Id: aws.String("datadog"), Arn: destination.ApiDestinationArn,
			RoleArn:          aws.String("arn:aws:iam::" + system.Account + ":role/post"),
			InputTransformer: &types.InputTransformer{InputPathsMap: input.InputPathsMap, InputTemplate: &input.InputTemplate}}}})
		u.must(err)
	}
	return func() map[string]string {
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(alerts)
	}
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
		put, err := u.EventBridge().PutEvents(u.ctx, &eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{{
			EventBusName: &u.name, Source: aws.String("datadog-webhook-auth-sync"), DetailType: aws.String("Datadog Auth Method " + of.kind),
			Detail: aws.String(fmt.Sprintf(`{"secret": {"owner": %q}, "summary": "result %d of %s"%s}`, of.owner, i, of.owner, of.more)),
		}}})
		u.must(err)
		if put.FailedEntryCount > 0 {
			t.Fatal("the bus refused the event")
		}
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
	stub, err := u.DeploySample(u.ctx, u.name+"-stub", strings.Replace(notVerifying, "VERSION", version, 1), nil)
	u.must(err)
	log := map[string]string{}
	for name, function := range map[string]string{"stack": u.Stack.FunctionARN, "stub": stub["Arn"]} {
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
				_, err := u.EventBridge().PutEvents(u.ctx, &eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{{
					Source: aws.String("datadog-webhook-auth-sync"), DetailType: aws.String("Datadog Auth Method Settled"),
					Resources: []string{c.arn}, Detail: &detail,
				}}})
				u.must(err)
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
