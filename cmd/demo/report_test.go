package main

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/cmd/demo/system"
)

// reports checks that a result is told alike by the event, the log, the metrics
// and, if somebody is to be notified, a notice. It returns since when the secret
// fails, as the log says.
func (u *user) reports(result system.Result, metrics map[string]float64) (since time.Time) {
	u.t.Helper()
	event := u.published(result.RequestID)
	if diff := cmp.Diff(result, event.Detail); diff != "" {
		u.t.Errorf("the event (-result +event):\n%s", diff)
	}
	line, emitted := u.logged(result.RequestID)
	logged := line.Result
	logged.SchemaVersion, logged.Warnings = result.SchemaVersion, result.Warnings
	if diff := cmp.Diff(result, logged); diff != "" {
		u.t.Errorf("the line in the log (-result +log):\n%s", diff)
	}
	delete(emitted, "SyncDuration")
	delete(emitted, "AlertGap")
	if diff := cmp.Diff(metrics, emitted); diff != "" {
		u.t.Errorf("the metrics (-want +got):\n%s", diff)
	}
	if result.Notified() {
		_, err := u.Notices.Wait(u.ctx, func(n json.RawMessage) bool { return system.Summary(n) == result.Summary })
		u.must(err)
	}
	if (line.Failing != nil) != (result.Outcome == "failed") {
		u.t.Errorf("the log says that %+v fails", line.Failing)
	}
	if line.Failing == nil {
		return since
	}
	if f := line.Failing; f.Code != result.Error.Code || f.Since.After(event.Time) {
		u.t.Errorf("the log says that it fails with %s since %v, the event is of %v", f.Code, f.Since, event.Time)
	}
	return line.Failing.Since
}

// logLine is one that the function writes.
type logLine struct {
	Level, Msg string
	system.Result
	Failing *system.Recovered // the failure that is recorded
	Answer  reconciliation
}

// logged finds the line of the secret's sync in the log, and the metrics after it.
func (u *user) logged(requestID string) (line logLine, metrics map[string]float64) {
	u.t.Helper()
	return u.finds(1, func(l logLine) bool {
		return l.Msg == "sync" && l.RequestID == requestID && l.Secret.Name == u.secretName
	})
}

// finds waits for a line in the log, and returns it with the metrics that stand so
// many lines behind it.
func (u *user) finds(behind int, is func(logLine) bool) (found logLine, metrics map[string]float64) {
	u.t.Helper()
	u.must(until(u.ctx, func() bool {
		lines, err := u.Logs(u.ctx)
		u.must(err)
		lines = slices.DeleteFunc(lines, func(line string) bool { return !strings.HasPrefix(line, "{") }) // Lambda's own
		for i, text := range lines {
			var line logLine
			if at := i + behind; json.Unmarshal([]byte(text), &line) == nil && is(line) && at < len(lines) {
				found, metrics = line, system.Metrics(lines[at])
				return true
			}
		}
		u.must(u.Flush(u.ctx))
		return false
	}))
	return found, metrics
}

// hasStatus checks the secret's status.
func (u *user) hasStatus(state string, f *failing) {
	u.t.Helper()
	var status secretStatus
	err := until(u.ctx, func() bool { // it may be recorded a moment after it is published
		status = u.status()
		return status.State == state && cmp.Equal(f, status.Failing)
	})
	if err != nil {
		u.t.Errorf("the status is %+v, %+v, want %s, %+v", status, status.Failing, state, f)
	}
}

// notices are those of the secret up to now. A long name is shortened in its middle.
func (u *user) notices() (summaries []string) {
	u.t.Helper()
	all, err := u.Notices.All(u.ctx)
	u.must(err)
	for _, n := range all {
		summary := system.Summary(n)
		name, _, _ := strings.Cut(summary, ": ")
		begin, end, shortened := strings.Cut(name, "...")
		if shortened && strings.HasPrefix(u.secretName, begin) && strings.HasSuffix(u.secretName, end) {
			name = u.secretName
		}
		if name == u.secretName {
			summaries = append(summaries, summary)
		}
	}
	return summaries
}

// isDenied takes an action away from the function's role, until allow or the end
// of the test.
func (u *user) isDenied(action string) (allow func()) {
	u.t.Helper()
	restore, err := u.RevokeAction(u.ctx, action)
	u.must(err)
	allow = sync.OnceFunc(func() { u.must(restore(context.Background())) })
	u.t.Cleanup(allow)
	return allow
}

// startsCold has the function start anew.
func (u *user) startsCold() {
	u.t.Helper()
	_, err := u.SetEnvironment(u.ctx, nil)
	u.must(err)
}

// rotatesWell stores a client secret that works.
func (u *user) rotatesWell() { u.rotates(u.newClientSecret()) }

// findsDatadogWell reconciles once nothing is the matter with Datadog.
func (u *user) findsDatadogWell() {
	mendDatadog(u.System)
	u.reconciles()
}

func mendDatadog(s *system.System) {
	s.Datadog.ClearFaults()
	s.Datadog.SetKeys(s.DatadogKeys[0], s.DatadogKeys[1])
}
