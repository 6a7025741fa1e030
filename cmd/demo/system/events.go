package system

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
)

// Event is a result event as a consumer of the bus sees it.
type Event struct {
	ID         string    `json:"id"`
	Source     string    `json:"source"`
	DetailType string    `json:"detail-type"`
	Time       time.Time `json:"time"`
	Resources  []string  `json:"resources"`
	Detail     Result    `json:"detail"`

	Raw json.RawMessage `json:"-"` // the whole event
}

func (e *Event) UnmarshalJSON(raw []byte) error {
	type plain Event
	if err := json.Unmarshal(raw, (*plain)(e)); err != nil {
		return err
	}
	e.Raw = append(json.RawMessage(nil), raw...)
	return nil
}

// Result is the result document. It is declared here a second time, as a
// consumer of the contract would, so that a change of the wire format shows.
type Result struct {
	SchemaVersion string `json:"schemaVersion"`
	Outcome       string `json:"outcome"`
	Secret        struct {
		ARN       string `json:"arn"`
		Name      string `json:"name"`
		VersionID string `json:"versionId"`
	} `json:"secret"`
	AuthMethod struct {
		ID   string `json:"id"`
		Name string `json:"name"`
		Site string `json:"site"`
	} `json:"authMethod"`
	Verification string `json:"verification"`
	Trigger      struct {
		Type string `json:"type"`
		ID   string `json:"id"`
	} `json:"trigger"`
	RequestID                  string          `json:"requestId"`
	PreviousSecretSafeToRevoke bool            `json:"previousSecretSafeToRevoke"`
	LagMs                      *int64          `json:"lagMs"` // nil = absent
	DurationMs                 int64           `json:"durationMs"`
	Warnings                   []string        `json:"warnings"`
	Error                      Failure         `json:"error"`
	Held                       *Held           `json:"held"`
	Recovered                  *Recovered      `json:"recovered"`
	Summary                    string          `json:"summary"`
	Plan                       json.RawMessage `json:"plan"`
}

// Failure is the error of a result.
type Failure struct {
	Code      string `json:"code"`
	Message   string `json:"message"`
	Retryable bool   `json:"retryable"`
	Hint      string `json:"hint"`
}

// Held tells of what Datadog held before a sync that failed.
type Held struct {
	VersionID    string `json:"versionId"`
	Verification string `json:"verification"`
}

// Recovered is the failure that a success ends.
type Recovered struct {
	Code  string    `json:"code"`
	Since time.Time `json:"since"`
}

// Events returns the result events up to now, in order of arrival.
func (s *System) Events(ctx context.Context) ([]Event, error) { return s.events.all(ctx) }

// WaitEvent returns the first result event that matches, waiting for it until
// ctx ends. An event seen by one caller is there for all.
func (s *System) WaitEvent(ctx context.Context, match func(Event) bool) (Event, error) {
	event, err := s.events.wait(ctx, match)
	if err != nil {
		return Event{}, fmt.Errorf("waiting for a result event: %w", err)
	}
	return event, nil
}

// LoseEvents keeps the function from hearing of secrets that change, until
// restore.
func (s *System) LoseEvents(ctx context.Context) (restore func(context.Context) error, err error) {
	bus := eventbridge.NewFromConfig(s.cfg)
	rules, err := bus.ListRules(ctx, &eventbridge.ListRulesInput{})
	if err != nil {
		return nil, err
	}
	var lost []*string
	for _, rule := range rules.Rules {
		if strings.Contains(aws.ToString(rule.EventPattern), "aws.secretsmanager") {
			lost = append(lost, rule.Name)
			if _, err := bus.DisableRule(ctx, &eventbridge.DisableRuleInput{Name: rule.Name}); err != nil {
				return nil, err
			}
		}
	}
	return func(ctx context.Context) (err error) {
		for _, name := range lost {
			_, failed := bus.EnableRule(ctx, &eventbridge.EnableRuleInput{Name: name})
			err = errors.Join(err, failed)
		}
		return err
	}, nil
}

// FailedInvocation is what Lambda leaves in the failure queue.
type FailedInvocation struct {
	RequestContext struct {
		FunctionARN            string `json:"functionArn"`
		Condition              string `json:"condition"`
		ApproximateInvokeCount int    `json:"approximateInvokeCount"`
	} `json:"requestContext"`
	RequestPayload  json.RawMessage `json:"requestPayload"`
	ResponsePayload struct {
		ErrorType    string `json:"errorType"`
		ErrorMessage string `json:"errorMessage"`
	} `json:"responsePayload"`
}

// WaitFailure returns the first message of the failure queue that matches,
// waiting for it until ctx ends.
func (s *System) WaitFailure(ctx context.Context, match func(FailedInvocation) bool) (FailedInvocation, error) {
	failed, err := s.failures.wait(ctx, match)
	if err != nil {
		return FailedInvocation{}, fmt.Errorf("waiting for the failure queue: %w", err)
	}
	return failed, nil
}

// Failures returns the messages of the failure queue up to now.
func (s *System) Failures(ctx context.Context) ([]FailedInvocation, error) {
	return s.failures.all(ctx)
}

// resultEvents brings the result events of the default bus to a new queue.
func resultEvents(ctx context.Context, cfg aws.Config) (*queue[Event], error) {
	const name = "result-events"
	queueURL, queueARN, err := createQueue(ctx, cfg, name, "events.amazonaws.com")
	if err != nil {
		return nil, err
	}
	bus := eventbridge.NewFromConfig(cfg)
	if _, err := bus.PutRule(ctx, &eventbridge.PutRuleInput{
		Name:         aws.String(name),
		EventPattern: aws.String(`{"source": ["datadog-webhook-auth-sync"]}`),
	}); err != nil {
		return nil, err
	}
	targets, err := bus.PutTargets(ctx, &eventbridge.PutTargetsInput{
		Rule: aws.String(name), Targets: []types.Target{{Id: aws.String("queue"), Arn: &queueARN}},
	})
	if err != nil {
		return nil, err
	}
	if targets.FailedEntryCount > 0 {
		return nil, fmt.Errorf("the queue %s was refused as a target of result events", name)
	}
	return &queue[Event]{cfg: cfg, url: queueURL}, nil
}
