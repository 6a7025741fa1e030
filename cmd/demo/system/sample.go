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
		stack, err := describeStack(ctx, s.cfg, name)
		switch {
		case err != nil:
			return nil, err
		case stack.Status == "CREATE_COMPLETE":
			return stack.outputs(), nil
		case stack.Status != "CREATE_IN_PROGRESS":
			return nil, fmt.Errorf("stack %s: %s: %s", name, stack.Status, stack.Reason)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// EventBridge is a client with every permission.
func (s *System) EventBridge() *eventbridge.Client { return eventbridge.NewFromConfig(s.cfg) }

// Subscriber is a queue that gets what a topic delivers.
type Subscriber struct{ messages *queue[json.RawMessage] }

// Subscribe brings the messages of an SNS topic, which must be JSON, to a new
// queue of that name.
func (s *System) Subscribe(ctx context.Context, topicARN, name string) (*Subscriber, error) {
	messages, err := subscribe[json.RawMessage](ctx, s.cfg, topicARN, name, true)
	return &Subscriber{messages}, err
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
