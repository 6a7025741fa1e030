package system

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
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
		s.functionPath()+"/invocations", http.Header{"X-Amz-Invocation-Type": {kind}}, text)
	if err != nil {
		return nil, "", err
	}
	return body, header.Get("X-Amz-Function-Error"), nil
}

// SetEnvironment changes variables of the live function, as a deployment with
// other parameters does, until restore.
func (s *System) SetEnvironment(ctx context.Context, changes map[string]string) (restore func(context.Context) error, err error) {
	path := s.functionPath() + "/configuration"
	type environment struct {
		Environment struct{ Variables map[string]string }
	}
	put := func(ctx context.Context, e environment) error {
		body, err := json.Marshal(e)
		if err == nil {
			_, _, err = callREST(ctx, s.cfg, "lambda", http.MethodPut, path, nil, body)
		}
		return err
	}
	body, _, err := callREST(ctx, s.cfg, "lambda", http.MethodGet, path, nil, nil)
	if err != nil {
		return nil, err
	}
	var before, after environment
	if err := json.Unmarshal(body, &before); err != nil {
		return nil, err
	}
	after.Environment.Variables = maps.Clone(before.Environment.Variables)
	maps.Copy(after.Environment.Variables, changes)
	return func(ctx context.Context) error { return put(ctx, before) }, put(ctx, after)
}

// LabelEvent is what EventBridge sends when a label of a secret moved.
func LabelEvent(name, arn, label string, moved time.Time) map[string]any {
	return map[string]any{
		"version": "0", "id": rand.Text(), "source": "aws.secretsmanager", "detail-type": "Secret Label Updated",
		"account": Account, "region": Region, "time": moved.UTC().Format(time.RFC3339),
		"resources": []string{arn}, "detail": map[string]any{"name": name, "labelUpdated": label},
	}
}

// Flush has the function do nothing. The emulator keeps back what a function logs
// late until its next invocation.
func (s *System) Flush(ctx context.Context) error {
	_, _, err := s.Invoke(ctx, LabelEvent(keySecretName, s.KeySecretARN, "AWSPENDING", time.Now()), false)
	return err
}

// Logs returns every line that the function has logged; the last ones, if they came
// late, only after Flush.
func (s *System) Logs(ctx context.Context) ([]string, error) {
	return s.LogLines(ctx, s.function.LoggingConfig.LogGroup)
}

// LogLines returns every line of a log group.
func (s *System) LogLines(ctx context.Context, group string) (lines []string, err error) {
	in := map[string]any{"logGroupName": group}
	for {
		var page struct {
			Events    []struct{ Message string }
			NextToken string
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

// Metrics are the metrics in a line of the log, nil if it has none.
func Metrics(line string) map[string]float64 {
	var document map[string]any
	if json.Unmarshal([]byte(line), &document) != nil || document["_aws"] == nil {
		return nil
	}
	metrics := map[string]float64{}
	for name, value := range document {
		if number, ok := value.(float64); ok {
			metrics[name] = number
		}
	}
	return metrics
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
	Role          string
	LoggingConfig struct{ LogGroup string }
}

func (s *System) functionPath() string {
	return "/2015-03-31/functions/" + url.PathEscape(s.Stack["FunctionName"])
}

func (s *System) describeFunction(ctx context.Context) error {
	body, _, err := callREST(ctx, s.cfg, "lambda", http.MethodGet, s.functionPath()+"/configuration", nil, nil)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, &s.function)
}
