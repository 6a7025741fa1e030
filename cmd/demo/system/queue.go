package system

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// queue is an SQS queue whose messages are kept once received, so that several
// readers can each wait for theirs.
type queue[T any] struct {
	cfg aws.Config
	url string

	mu   sync.Mutex
	seen []T
}

// createQueue creates a queue that lets a service of AWS send to it.
func createQueue(ctx context.Context, cfg aws.Config, name, service string) (queueURL, arn string, err error) {
	arn = "arn:aws:sqs:" + Region + ":" + Account + ":" + name
	var created struct{ QueueUrl string }
	err = callJSON(ctx, cfg, "sqs", "AmazonSQS.CreateQueue", map[string]any{
		"QueueName": name, "Attributes": map[string]string{"Policy": policy("sqs:SendMessage", arn, service)},
	}, &created)
	return created.QueueUrl, arn, err
}

// subscribe brings the messages of an SNS topic to a new queue of that name: raw,
// or each in an envelope.
func subscribe[T any](ctx context.Context, cfg aws.Config, topicARN, name string, raw bool) (*queue[T], error) {
	queueURL, queueARN, err := createQueue(ctx, cfg, name, "sns.amazonaws.com")
	if err != nil {
		return nil, err
	}
	err = callQuery(ctx, cfg, "sns", "2010-03-31", "Subscribe", url.Values{
		"TopicArn": {topicARN}, "Protocol": {"sqs"}, "Endpoint": {queueARN},
		"Attributes.entry.1.key": {"RawMessageDelivery"}, "Attributes.entry.1.value": {fmt.Sprint(raw)},
	}, nil)
	return &queue[T]{cfg: cfg, url: queueURL}, err
}

// all returns every message up to now.
func (q *queue[T]) all(ctx context.Context) ([]T, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		n, err := q.receive(ctx, 0)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return slices.Clone(q.seen), nil
		}
	}
}

// wait returns the first message that matches, waiting for it until ctx ends.
func (q *queue[T]) wait(ctx context.Context, match func(T) bool) (T, error) {
	read := 0
	for {
		found, ok, err := q.next(ctx, &read, match)
		if ok || err != nil {
			return found, err
		}
	}
}

// next looks at the messages from *read on, and at the queue if none matches.
func (q *queue[T]) next(ctx context.Context, read *int, match func(T) bool) (found T, ok bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for ; *read < len(q.seen); *read++ {
		if match(q.seen[*read]) {
			return q.seen[*read], true, nil
		}
	}
	if _, err := q.receive(ctx, 1); err != nil {
		return found, false, err
	}
	return found, false, nil
}

// receive moves up to ten messages from the queue to q.seen. The caller holds
// q.mu.
func (q *queue[T]) receive(ctx context.Context, waitSeconds int) (int, error) {
	var got struct {
		Messages []struct{ Body, ReceiptHandle string }
	}
	err := callJSON(ctx, q.cfg, "sqs", "AmazonSQS.ReceiveMessage", map[string]any{
		"QueueUrl": q.url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": waitSeconds,
	}, &got)
	if err != nil {
		return 0, err
	}
	for _, m := range got.Messages {
		var message T
		if err := json.Unmarshal([]byte(m.Body), &message); err != nil {
			return 0, fmt.Errorf("message in %s: %w", q.url, err)
		}
		q.seen = append(q.seen, message)
		err := callJSON(ctx, q.cfg, "sqs", "AmazonSQS.DeleteMessage", map[string]any{
			"QueueUrl": q.url, "ReceiptHandle": m.ReceiptHandle,
		}, nil)
		if err != nil {
			return 0, err
		}
	}
	return len(got.Messages), nil
}
