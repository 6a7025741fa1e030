package system

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Queue is an SQS queue whose messages, each a JSON document, are kept once
// received, so that several readers can each wait for theirs.
type Queue[T any] struct {
	cfg aws.Config
	url string

	mu     sync.Mutex
	seen   []T
	bodies []string // of the messages in seen
}

// listening is a stack with a queue and a resource that sends to it.
const listening = `{"Resources": {
	"Queue": {"Type": "AWS::SQS::Queue"},
	"Policy": {"Type": "AWS::SQS::QueuePolicy", "Properties": {
		"Queues": [{"Ref": "Queue"}],
		"PolicyDocument": {"Version": "2012-10-17", "Statement": [{
			"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "*",
			"Principal": {"Service": ["events.amazonaws.com", "sns.amazonaws.com"]}}]}}},
	"Source": %s},
	"Outputs": {"Url": {"Value": {"Ref": "Queue"}}}}`

func listen[T any](ctx context.Context, s *System, name, source string) (*Queue[T], error) {
	outputs, err := s.CreateStack(ctx, name, fmt.Sprintf(listening, source), nil)
	return &Queue[T]{cfg: s.cfg, url: outputs["Url"]}, err
}

// Subscribe brings the messages of an SNS topic to a new queue of that name.
func (s *System) Subscribe(ctx context.Context, topicARN, name string) (*Queue[json.RawMessage], error) {
	subscription := fmt.Sprintf(`{"Type": "AWS::SNS::Subscription", "Properties": {
		"TopicArn": %q, "Protocol": "sqs", "RawMessageDelivery": true,
		"Endpoint": {"Fn::GetAtt": ["Queue", "Arn"]}}}`, topicARN)
	return listen[json.RawMessage](ctx, s, name+"-queue", subscription)
}

// All returns every message up to now, in order of arrival.
func (q *Queue[T]) All(ctx context.Context) ([]T, error) {
	err := q.receive(ctx)
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.seen), err
}

// Bodies returns the text of every message up to now.
func (q *Queue[T]) Bodies(ctx context.Context) ([]string, error) {
	err := q.receive(ctx)
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.bodies), err
}

// Wait returns the first message that matches, waiting for it until ctx ends.
func (q *Queue[T]) Wait(ctx context.Context, match func(T) bool) (found T, err error) {
	err = Until(ctx, func() (bool, error) {
		all, err := q.All(ctx)
		at := slices.IndexFunc(all, match)
		if at >= 0 {
			found = all[at]
		}
		return at >= 0, err
	})
	if err != nil {
		return found, fmt.Errorf("waiting for a message in %s: %w", q.url, err)
	}
	return found, nil
}

// receive moves all messages from the queue to q.seen.
func (q *Queue[T]) receive(ctx context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		var got struct {
			Messages []struct{ Body, ReceiptHandle string }
		}
		err := callJSON(ctx, q.cfg, "sqs", "AmazonSQS.ReceiveMessage",
			map[string]any{"QueueUrl": q.url, "MaxNumberOfMessages": 10}, &got)
		if err != nil || len(got.Messages) == 0 {
			return err
		}
		for _, m := range got.Messages {
			var message T
			if err := json.Unmarshal([]byte(m.Body), &message); err != nil {
				return fmt.Errorf("message in %s: %w", q.url, err)
			}
			q.seen, q.bodies = append(q.seen, message), append(q.bodies, m.Body)
			err := callJSON(ctx, q.cfg, "sqs", "AmazonSQS.DeleteMessage",
				map[string]any{"QueueUrl": q.url, "ReceiptHandle": m.ReceiptHandle}, nil)
			if err != nil {
				return err
			}
		}
	}
}

// Until returns when the condition holds, or with its error, or when ctx ends.
func Until(ctx context.Context, holds func() (bool, error)) error {
	for {
		if is, err := holds(); is || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
