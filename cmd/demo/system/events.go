package system

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
)

// Event is a result event as a consumer of the bus sees it.
type Event struct {
	Source     string
	DetailType string `json:"detail-type"`
	Time       time.Time
	Resources  []string
	Detail     Result
}

// Result is the result document. It is declared here a second time, as a
// consumer of the contract would, so that a change of the wire format shows.
type Result struct {
	SchemaVersion, Outcome     string
	Secret                     struct{ ARN, Name, VersionID string }
	AuthMethod                 struct{ ID, Name, Site string }
	Verification               string
	Trigger                    struct{ Type, ID string }
	RequestID                  string
	PreviousSecretSafeToRevoke bool
	LagMs                      *int64 // nil = absent
	DurationMs                 int64
	Warnings                   []string
	Error                      Failure
	Held                       *Held
	Recovered                  *Recovered
	Summary                    string
	Plan                       json.RawMessage
}

// Failure is the error of a result.
type Failure struct {
	Code, Message, Hint string
	Retryable           bool
}

// Held tells of what Datadog held before a sync that failed.
type Held struct{ VersionID, Verification string }

// Recovered is the failure that a success ends.
type Recovered struct {
	Code  string
	Since time.Time
}

// EventBridge is a client with every permission.
func (s *System) EventBridge() *eventbridge.Client { return eventbridge.NewFromConfig(s.cfg) }

// LoseEvents keeps the function from hearing of secrets that change, until
// restore.
func (s *System) LoseEvents(ctx context.Context) (restore func(context.Context) error, err error) {
	bus := s.EventBridge()
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

// Summary is what a notice of the function's result says between account and
// region, and the link to the dashboard; "" of any other message of a topic.
func Summary(notice json.RawMessage) string {
	var text string
	if json.Unmarshal(notice, &text) != nil { // it is sent as a JSON string
		return ""
	}
	summary, found := strings.CutPrefix(text, Account+" "+Region+": ")
	summary, _, linked := strings.Cut(summary, " https://console.aws.amazon.com/cloudwatch/")
	if !found || !linked {
		return ""
	}
	return summary
}

// Notified reports whether a notice tells of the result.
func (r Result) Notified() bool {
	return r.Outcome == "failed" || r.Recovered != nil || r.Outcome == "created" || r.Outcome == "adopted"
}

// FailedInvocation is what Lambda leaves in the failure queue.
type FailedInvocation struct {
	RequestContext  struct{ ApproximateInvokeCount int }
	RequestPayload  json.RawMessage
	ResponsePayload struct{ ErrorMessage string }
}

// resultEvents is a rule that sends the result events of the default bus to a queue.
const resultEvents = `{"Type": "AWS::Events::Rule", "Properties": {
	"EventPattern": {"source": ["datadog-webhook-auth-sync"]},
	"Targets": [{"Id": "queue", "Arn": {"Fn::GetAtt": ["Queue", "Arn"]}}]}}`
