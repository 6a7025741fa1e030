package system

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// Notice is a message of the stack's topic, as a subscriber gets it.
type Notice struct{ Message string }

// Summary is what a notice of the function's result says between account and
// region, and the link to the dashboard; "" of any other notice.
func (n Notice) Summary() string {
	var text string
	if json.Unmarshal([]byte(n.Message), &text) != nil { // it is sent as a JSON string
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

// WaitNotice returns the first notice that matches, waiting for it until ctx
// ends.
func (s *System) WaitNotice(ctx context.Context, match func(Notice) bool) (Notice, error) {
	notice, err := s.notices.wait(ctx, match)
	if err != nil {
		return Notice{}, fmt.Errorf("waiting for a notice: %w", err)
	}
	return notice, nil
}

// Notices returns the notices up to now, in order of arrival.
func (s *System) Notices(ctx context.Context) ([]Notice, error) { return s.notices.all(ctx) }

// policy is a resource's policy that lets services do one action.
func policy(action, resource string, services ...string) string {
	text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{
		"Effect": "Allow", "Principal": map[string]any{"Service": services}, "Action": action, "Resource": resource,
	}}})
	if err != nil {
		panic(err) // strings always encode
	}
	return string(text)
}
