package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"datadog-webhook-auth-sync/cmd/demo/system"
	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
)

// patience is how long what should come within a second is waited for.
const patience = 30 * time.Second

// story prints what happens, in the order in which it does. After the first error
// it does nothing more.
type story struct {
	*system.System
	ctx context.Context // of the whole story
	out io.Writer
	err error // the first

	mu       sync.Mutex
	chapters int
	began    time.Time // of the chapter

	// What was told: calls by number, events by id.
	calls, tokens map[int]bool
	events        map[string]bool
}

func newStory(ctx context.Context, s *system.System, out io.Writer) *story {
	return &story{System: s, ctx: ctx, out: out, calls: map[int]bool{}, tokens: map[int]bool{}, events: map[string]bool{}}
}

// must ends the story if err is one.
func (st *story) must(err error) {
	if st.err == nil {
		st.err = err
	}
}

func (st *story) chapter(title string) {
	if st.err != nil {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.chapters++
	st.began = time.Now()
	fmt.Fprintf(st.out, "\n%d. %s\n", st.chapters, title)
}

// line says what somebody did, after every call that came before it.
func (st *story) line(who, format string, args ...any) {
	if st.err != nil {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.tellCalls()
	st.print(who, format, args...)
}

// print prints a line. The caller holds st.mu.
func (st *story) print(who, format string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "\n"+strings.Repeat(" ", 23))
	fmt.Fprintf(st.out, "   %5.2f s  %-9s  %s\n", time.Since(st.began).Seconds(), who, text)
}

// claim says what holds, or ends the story.
func (st *story) claim(what string, holds bool) {
	if st.err != nil {
		return
	}
	if !holds {
		st.must(fmt.Errorf("%q does not hold", what))
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	fmt.Fprintf(st.out, "        ✓  %s\n", what)
}

func (st *story) team(name string) *team {
	t, err := newTeam(st.ctx, st.System, name)
	st.must(err)
	return cmp.Or(t, &team{System: st.System})
}

// store stores a value as AWSCURRENT, and returns its version.
func (st *story) store(t *team, value string) (versionID string) {
	if st.err != nil {
		return ""
	}
	versionID, err := t.put(st.ctx, value)
	st.must(err)
	st.line("AWS", "AWSCURRENT of %s is version %.8s", t.secretName, versionID)
	return versionID
}

// post asks for a sync over HTTP, which must be answered with that status.
func (st *story) post(t *team, signed bool, status int) {
	if st.err != nil {
		return
	}
	answer, err := st.HTTP(st.ctx, http.MethodPost, "/sync", nil, fmt.Sprintf(`{"secretId": %q}`, t.secretName), signed)
	st.must(err)
	how := "without a signature"
	if signed {
		how = "signed"
	}
	st.line("HTTP", "POST /sync %s: %d", how, answer.Status)
	if answer.Status != status {
		st.must(fmt.Errorf("the HTTP API answered %d where %d was expected: %s", answer.Status, status, answer.Body))
	}
}

// reconcile calls the function as its schedule does.
func (st *story) reconcile() {
	if st.err != nil {
		return
	}
	body, failed, err := st.Invoke(st.ctx, map[string]string{"action": "reconcile"}, false)
	st.must(err)
	var answer struct{ Secrets, InSync, Settling, OutOfSync, Failing, AtRisk int }
	if json.Unmarshal(body, &answer) != nil || failed != "" {
		st.must(fmt.Errorf("the reconcile answered %s", body))
	}
	st.line("reconcile", "of %d secrets %d in sync, %d settling, %d out of sync; %d failing, %d at risk",
		answer.Secrets, answer.InSync, answer.Settling, answer.OutOfSync, answer.Failing, answer.AtRisk)
}

// next returns the next result, which must be the team's and have that outcome.
func (st *story) next(t *team, outcome string) system.Result {
	ctx, cancel := context.WithTimeout(st.ctx, patience)
	defer cancel()
	event := st.event(ctx)
	if st.err == nil && (event.Detail.Secret.ARN != t.secretARN || event.Detail.Outcome != outcome) {
		st.must(fmt.Errorf("a result %q of %s was expected, not this: %s", outcome, t.secretName, event.Raw))
	}
	return event.Detail
}

// event waits for a result event that was not told yet, and tells it, and what a
// subscriber of notices is told.
func (st *story) event(ctx context.Context) system.Event {
	if st.err != nil {
		return system.Event{}
	}
	event, err := st.WaitEvent(ctx, func(e system.Event) bool { return !st.events[e.ID] })
	st.must(err)
	st.events[event.ID] = true
	d := event.Detail
	text := event.DetailType + ": " + cmp.Or(d.Error.Code, d.Outcome)
	if d.LagMs != nil {
		text += fmt.Sprintf(", lagMs %d", *d.LagMs)
	}
	st.line("event", "%s", text)
	if st.err == nil && d.Notified() {
		_, err := st.WaitNotice(ctx, func(n system.Notice) bool { return n.Summary() == d.Summary })
		st.must(err)
		st.line("notice", "%s", wrap(d.Summary))
	}
	return event
}

// warned waits for the line in the log that warns of a version.
func (st *story) warned(versionID, code string) {
	st.await("a warning in the log", func() bool {
		return slices.ContainsFunc(st.logs(), func(line string) bool {
			return strings.Contains(line, `"level":"WARN"`) && strings.Contains(line, versionID) && strings.Contains(line, code)
		})
	})
	st.line("log", "WARN %s", code)
}

// atRisk is the last value of the metric AtRisk, -1 if there is none.
func (st *story) atRisk() float64 {
	last := -1.0
	for _, line := range st.logs() {
		if value, ok := system.Metrics(line)["AtRisk"]; ok {
			last = value
		}
	}
	return last
}

func (st *story) logs() []string {
	st.must(st.Flush(st.ctx))
	lines, err := st.Logs(st.ctx)
	st.must(err)
	return lines
}

// await waits until the condition holds.
func (st *story) await(what string, holds func() bool) {
	if st.err != nil {
		return
	}
	if err := until(st.ctx, func() bool { return st.err != nil || holds() }); err != nil {
		st.must(fmt.Errorf("waiting for %s: %w", what, err))
	}
}

// follow prints calls as they are answered, until stopped.
func (st *story) follow() (stop func()) {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
				st.mu.Lock()
				st.tellCalls()
				st.mu.Unlock()
			}
		}
	}()
	return func() { close(done); <-stopped }
}

// tellCalls prints the calls that were answered since it was last called. The
// caller holds st.mu.
func (st *story) tellCalls() {
	for _, call := range st.Tokens.Calls() {
		if call.Status != 0 && !st.tokens[call.N] {
			st.tokens[call.N] = true
			st.print("identity", "token request of %s: %s", call.ClientID, granted(call.Status))
		}
	}
	for _, call := range st.Datadog.Calls() {
		if call.Status != 0 && !st.calls[call.N] {
			st.calls[call.N] = true
			what := "the auth method"
			if call.Path == datadogtest.ListPath {
				what = "the list of auth methods"
			}
			st.print("Datadog", "%s %s: %d", call.Method, what, call.Status)
		}
	}
}

func granted(status int) string {
	if status == http.StatusOK {
		return "granted"
	}
	return "refused"
}

// sum counts.
func (st *story) sum() {
	if st.err != nil {
		return
	}
	if unknown := st.Datadog.Unknown(); len(unknown) > 0 {
		st.must(fmt.Errorf("no part of Datadog's API: %s %s", unknown[0].Method, unknown[0].Path))
	}
	events, err := st.Events(st.ctx)
	st.must(err)
	outcomes, calls, answers := tally{}, tally{}, tally{}
	var lags []time.Duration
	for _, event := range events {
		outcomes[event.Detail.Outcome]++
		if lag := event.Detail.LagMs; lag != nil {
			lags = append(lags, time.Duration(*lag)*time.Millisecond)
		}
	}
	for _, call := range st.Datadog.Calls() {
		calls[call.Method]++
	}
	for _, call := range st.Tokens.Calls() {
		answers[granted(call.Status)]++
	}
	if st.err != nil || len(lags) == 0 {
		return
	}
	fmt.Fprintf(st.out, "\nIn all\n")
	fmt.Fprintf(st.out, "   calls to Datadog   %s\n", calls)
	fmt.Fprintf(st.out, "   token requests     %s\n", answers)
	fmt.Fprintf(st.out, "   result events      %s\n", outcomes)
	fmt.Fprintf(st.out, "   rotation to push   %.1f to %.1f s (events tell whole seconds)\n", slices.Min(lags).Seconds(), slices.Max(lags).Seconds())
}

type tally map[string]int

func (t tally) String() string {
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(t)) {
		parts = append(parts, fmt.Sprintf("%d %s", t[what], what))
	}
	return strings.Join(parts, ", ")
}

// wrap breaks a text into lines of at most 100 characters.
func wrap(text string) string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > 100 {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return strings.Join(append(lines, line), "\n")
}

// until returns when the condition holds, or with an error when it does not in
// time.
func until(ctx context.Context, holds func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for !holds() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}
