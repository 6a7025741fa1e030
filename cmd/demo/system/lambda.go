package system

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Invoke calls the function. With async it is only handed over, as EventBridge
// does: an error is retried, and the event then goes to the failure queue.
// Otherwise body is the function's answer and functionError says whether that
// is an error document: "" or "Unhandled".
func (s *System) Invoke(ctx context.Context, payload any, async bool) (body []byte, functionError string, err error) {
	text, err := json.Marshal(payload) // a json.RawMessage stays as it is
	if err != nil {
		return nil, "", err
	}
	kind := "RequestResponse"
	if async {
		kind = "Event"
	}
	body, header, err := callREST(ctx, s.cfg, "lambda", http.MethodPost,
		"/2015-03-31/functions/"+url.PathEscape(s.Stack.FunctionName)+"/invocations",
		http.Header{"X-Amz-Invocation-Type": {kind}}, text)
	if err != nil {
		return nil, "", err
	}
	return body, header.Get("X-Amz-Function-Error"), nil
}

// Logs returns every line that the function has logged.
func (s *System) Logs(ctx context.Context) ([]string, error) {
	var lines []string
	in := map[string]any{"logGroupName": s.function.LogGroup}
	for {
		var page struct {
			Events    []struct{ Message string } `json:"events"`
			NextToken string                     `json:"nextToken"`
		}
		if err := callJSON(ctx, s.cfg, "logs", "Logs_20140328.FilterLogEvents", in, &page); err != nil {
			return nil, err
		}
		for _, event := range page.Events {
			lines = append(lines, event.Message)
		}
		if page.NextToken == "" {
			return lines, nil
		}
		in["nextToken"] = page.NextToken
	}
}

// SaveLogs writes the function's log lines to a file beside the other logs, as
// Stop does too.
func (s *System) SaveLogs() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	lines, err := s.Logs(ctx)
	if err != nil {
		lines = append(lines, err.Error())
	}
	os.WriteFile(filepath.Join(s.Folder, "function.log"), []byte(strings.Join(lines, "\n")+"\n"), 0o644)
}

// function is what AWS knows of the deployed function.
type function struct {
	Role, LogGroup string
}

func describeFunction(ctx context.Context, cfg aws.Config, name string) (function, error) {
	body, _, err := callREST(ctx, cfg, "lambda", http.MethodGet,
		"/2015-03-31/functions/"+url.PathEscape(name)+"/configuration", nil, nil)
	if err != nil {
		return function{}, err
	}
	var got struct {
		Role          string
		LoggingConfig struct{ LogGroup string }
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return function{}, err
	}
	f := function{Role: got.Role, LogGroup: got.LoggingConfig.LogGroup}
	if f.LogGroup == "" {
		f.LogGroup = "/aws/lambda/" + name
	}
	return f, nil
}
