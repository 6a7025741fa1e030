package system

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
)

// DeploySample creates a stack from the text of a template, beside the system's
// own, and returns its outputs.
func (s *System) DeploySample(ctx context.Context, name, template string, parameters map[string]string) (map[string]string, error) {
	in := url.Values{"StackName": {name}, "TemplateBody": {template}, "Capabilities.member.1": {"CAPABILITY_IAM"}}
	for key, value := range parameters {
		n := fmt.Sprint("Parameters.member.", len(in)/2) // from 1: three other members, and two of each before
		in.Set(n+".ParameterKey", key)
		in.Set(n+".ParameterValue", value)
	}
	if err := callQuery(ctx, s.cfg, "cloudformation", "2010-05-15", "CreateStack", in, nil); err != nil {
		return nil, err
	}
	for {
		var got struct {
			Stack struct {
				StackStatus, StackStatusReason string
				Outputs                        []struct{ OutputKey, OutputValue string } `xml:"Outputs>member"`
			} `xml:"DescribeStacksResult>Stacks>member"`
		}
		err := callQuery(ctx, s.cfg, "cloudformation", "2010-05-15", "DescribeStacks", url.Values{"StackName": {name}}, &got)
		if err != nil {
			return nil, err
		}
		switch got.Stack.StackStatus {
		case "CREATE_COMPLETE":
			outputs := map[string]string{}
			for _, o := range got.Stack.Outputs {
				outputs[o.OutputKey] = o.OutputValue
			}
			return outputs, nil
		case "CREATE_IN_PROGRESS":
			time.Sleep(100 * time.Millisecond)
		default:
			return nil, fmt.Errorf("stack %s: %s: %s", name, got.Stack.StackStatus, got.Stack.StackStatusReason)
		}
	}
}

// EventBridge is a client with every permission.
func (s *System) EventBridge() *eventbridge.Client { return eventbridge.NewFromConfig(s.cfg) }

// Subscriber is a queue that gets what a topic delivers.
type Subscriber struct{ messages *queue[json.RawMessage] }

// Subscribe brings the messages of an SNS topic, which must be JSON, to a new
// queue of that name.
func (s *System) Subscribe(ctx context.Context, topicARN, name string) (*Subscriber, error) {
	queueARN := "arn:aws:sqs:" + Region + ":" + Account + ":" + name
	policy := fmt.Sprintf(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"},
		"Action": "sqs:SendMessage", "Resource": %q, "Condition": {"ArnEquals": {"aws:SourceArn": %q}}}]}`, queueARN, topicARN)
	var created struct{ QueueUrl string }
	err := callJSON(ctx, s.cfg, "sqs", "AmazonSQS.CreateQueue", map[string]any{"QueueName": name, "Attributes": map[string]string{"Policy": policy}}, &created)
	if err != nil {
		return nil, err
	}
	err = callQuery(ctx, s.cfg, "sns", "2010-03-31", "Subscribe", url.Values{"TopicArn": {topicARN}, "Protocol": {"sqs"}, "Endpoint": {queueARN},
		"Attributes.entry.1.key": {"RawMessageDelivery"}, "Attributes.entry.1.value": {"true"}}, nil)
	if err != nil {
		return nil, err
	}
	return &Subscriber{&queue[json.RawMessage]{cfg: s.cfg, url: created.QueueUrl}}, nil
}

// Wait returns the first message that matches, waiting for it until ctx ends.
func (s *Subscriber) Wait(ctx context.Context, match func(json.RawMessage) bool) (json.RawMessage, error) {
	message, err := s.messages.wait(ctx, match)
	if err != nil {
		return nil, fmt.Errorf("waiting for what the topic delivers: %w", err)
	}
	return message, nil
}

// All returns the messages up to now.
func (s *Subscriber) All(ctx context.Context) ([]json.RawMessage, error) { return s.messages.all(ctx) }

// LogLines returns what a log group holds, up to 10,000 lines.
func (s *System) LogLines(ctx context.Context, group string) ([]string, error) {
	var page struct {
		Events []struct{ Message string } `json:"events"`
	}
	if err := callJSON(ctx, s.cfg, "logs", "Logs_20140328.FilterLogEvents", map[string]any{"logGroupName": group}, &page); err != nil {
		return nil, err
	}
	var lines []string
	for _, event := range page.Events {
		lines = append(lines, event.Message)
	}
	return lines, nil
}
