package main

import (
	"cmp"
	"context"
	"errors"
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

// tell lets the story happen, and prints it as it does. With keep it then leaves
// the system to the reader, until ctx ends.
func tell(ctx context.Context, s *system.System, out io.Writer, keep bool) error {
	s.Datadog.Latency, s.Tokens.Latency = 200*time.Millisecond, 100*time.Millisecond // as the real ones
	st := &story{System: s, out: out, told: told{map[int]bool{}, map[int]bool{}, map[string]bool{}}}
	defer st.follow()()

	st.chapter("A team rotates its client secret for the first time")
	t, err := newTeam(ctx, s, "payments")
	if err != nil {
		return err
	}
	st.line("AWS", "secret %s is there", t.secretName)
	current := t.newClientSecret()
	if _, err := st.rotate(ctx, t, current, "created"); err != nil {
		return err
	}
	if err := st.claim("Datadog has the auth method, with AWSCURRENT", t.holds(current)); err != nil {
		return err
	}

	st.chapter("It rotates again")
	current = t.newClientSecret()
	if _, err := st.rotate(ctx, t, current, "updated"); err != nil {
		return err
	}
	if err := st.claim("Datadog holds AWSCURRENT", t.holds(current)); err != nil {
		return err
	}

	refused, err := st.refused(ctx, t, current)
	if err != nil {
		return err
	}
	if err := st.byHTTP(ctx, t, refused); err != nil {
		return err
	}
	if err := st.overlap(ctx, t); err != nil {
		return err
	}
	if err := st.summary(ctx); err != nil || !keep {
		return err
	}
	return st.play(ctx, t)
}

// refused rotates to a client secret that the identity provider does not know.
func (st *story) refused(ctx context.Context, t *team, working string) (refused string, err error) {
	st.chapter("It stores a client secret that the identity provider refuses")
	writes := t.writes()
	refused = clientSecretMark + "refused"
	failed, err := st.rotate(ctx, t, refused, "failed")
	if err != nil {
		return "", err
	}
	var wrong error
	switch {
	case failed.Detail.Error.Code != "credential_rejected":
		wrong = fmt.Errorf("the error is %q, not credential_rejected", failed.Detail.Error.Code)
	case t.writes() != writes:
		wrong = errors.New("there was a write to Datadog")
	default:
		wrong = t.holds(working)
	}
	return refused, st.claim("It went no further: Datadog still holds what works", wrong)
}

// byHTTP repairs that with one request.
func (st *story) byHTTP(ctx context.Context, t *team, refused string) error {
	st.chapter("The identity provider catches up, and somebody asks for a sync over HTTP")
	t.Tokens.Allow(t.name, refused)
	body := fmt.Sprintf(`{"secretId": %q}`, t.secretName)
	for _, request := range []struct {
		signed bool
		what   string
		status int
	}{{false, "without a signature", http.StatusForbidden}, {true, "signed", http.StatusOK}} {
		answer, err := st.HTTP(ctx, http.MethodPost, "/sync", nil, body, request.signed)
		if err != nil {
			return err
		}
		st.line("HTTP", "POST /sync %s: %d", request.what, answer.Status)
		if answer.Status != request.status {
			return fmt.Errorf("the HTTP API answered %d where %d was due: %s", answer.Status, request.status, answer.Body)
		}
	}
	if _, err := st.next(ctx, t, "updated"); err != nil {
		return err
	}
	return st.claim("Datadog holds AWSCURRENT", t.holds(refused))
}

// overlap rotates twice, so that the first write to Datadog lands last.
func (st *story) overlap(ctx context.Context, t *team) error {
	const late = 2 * time.Second
	st.chapter("Two rotations overlap, and Datadog gets the older client secret last")
	older, newer := t.newClientSecret(), t.newClientSecret()
	writes := t.writes()
	t.Datadog.Fail(datadogtest.Fault{Method: http.MethodPatch, Path: datadogtest.MethodPath + "/*", Times: 1, Delay: late})
	if err := st.store(ctx, t, older); err != nil {
		return err
	}
	if err := until(ctx, func() bool { return t.writes() > writes }); err != nil {
		return fmt.Errorf("waiting for the first write: %w", err)
	}
	st.line("Datadog", "PATCH is on its way, and takes %.0f s", late.Seconds())
	if err := st.store(ctx, t, newer); err != nil {
		return err
	}
	if _, err := st.next(ctx, t, "updated"); err != nil {
		return err
	}
	overtaken, cancel := context.WithTimeout(ctx, late)
	defer cancel()
	if until(overtaken, func() bool { return t.holds(older) == nil }) == nil {
		st.line("Datadog", "has the older one now, for a moment")
	}
	if _, err := st.next(ctx, t, "updated"); err != nil {
		return err
	}
	return st.claim("Datadog holds AWSCURRENT in the end", t.holds(newer))
}

// summary counts.
func (st *story) summary(ctx context.Context) error {
	if unknown := st.Datadog.Unknown(); len(unknown) > 0 {
		return fmt.Errorf("no part of Datadog's API: %s %s", unknown[0].Method, unknown[0].Path)
	}
	events, err := st.Events(ctx)
	if err != nil {
		return err
	}
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
	fmt.Fprintf(st.out, "\nIn all\n")
	fmt.Fprintf(st.out, "   calls to Datadog   %s\n", calls)
	fmt.Fprintf(st.out, "   token requests     %s\n", answers)
	fmt.Fprintf(st.out, "   result events      %s\n", outcomes)
	if len(lags) > 0 {
		fmt.Fprintf(st.out, "   rotation to push   %.1f to %.1f s (events tell whole seconds)\n",
			slices.Min(lags).Seconds(), slices.Max(lags).Seconds())
	}
	return nil
}

type tally map[string]int

func (t tally) String() string {
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(t)) {
		parts = append(parts, fmt.Sprintf("%d %s", t[what], what))
	}
	return strings.Join(parts, ", ")
}

// story prints what happens, in the order in which it does.
type story struct {
	*system.System
	out io.Writer

	mu       sync.Mutex
	chapters int
	began    time.Time // of the chapter
	told     told
}

// told is what the story told already.
type told struct {
	calls, tokens map[int]bool    // by number
	events        map[string]bool // by id
}

func (st *story) chapter(title string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.chapters++
	st.began = time.Now()
	fmt.Fprintf(st.out, "\n%d. %s\n", st.chapters, title)
}

// line says what somebody did, after every call that came before it.
func (st *story) line(who, format string, args ...any) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.tellCalls()
	st.print(who, format, args...)
}

// print prints a line. The caller holds st.mu.
func (st *story) print(who, format string, args ...any) {
	fmt.Fprintf(st.out, "   %5.2f s  %-9s  %s\n", time.Since(st.began).Seconds(), who, fmt.Sprintf(format, args...))
}

// claim says what holds, unless something is wrong.
func (st *story) claim(what string, wrong error) error {
	if wrong != nil {
		return fmt.Errorf("%q does not hold: %w", what, wrong)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	fmt.Fprintf(st.out, "        ✓  %s\n", what)
	return nil
}

// store stores a client secret as AWSCURRENT.
func (st *story) store(ctx context.Context, t *team, clientSecret string) error {
	version, err := t.rotate(ctx, clientSecret)
	if err != nil {
		return err
	}
	st.line("AWS", "AWSCURRENT is version %.8s", version)
	return nil
}

// rotate stores a client secret and returns the result event, which must have
// that outcome.
func (st *story) rotate(ctx context.Context, t *team, clientSecret, outcome string) (system.Event, error) {
	if err := st.store(ctx, t, clientSecret); err != nil {
		return system.Event{}, err
	}
	return st.next(ctx, t, outcome)
}

// next returns the next result event, which must be the team's and have that
// outcome.
func (st *story) next(ctx context.Context, t *team, outcome string) (system.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	event, err := st.event(ctx)
	if err != nil {
		return event, err
	}
	if event.Detail.Secret.ARN != t.secretARN || event.Detail.Outcome != outcome {
		return event, fmt.Errorf("a result %q of %s was due, not this: %s", outcome, t.secretName, event.Raw)
	}
	return event, nil
}

// event waits for a result event that was not told yet, and tells it.
func (st *story) event(ctx context.Context) (system.Event, error) {
	event, err := st.WaitEvent(ctx, func(e system.Event) bool { return !st.told.events[e.ID] })
	if err != nil {
		return event, err
	}
	st.told.events[event.ID] = true
	line := event.DetailType + ": " + cmp.Or(event.Detail.Error.Code, event.Detail.Outcome)
	if lag := event.Detail.LagMs; lag != nil {
		line += fmt.Sprintf(", lagMs %d", *lag)
	}
	st.line("event", "%s", line)
	return event, nil
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
		if call.Status != 0 && !st.told.tokens[call.N] {
			st.told.tokens[call.N] = true
			st.print("identity", "token request of %s: %s", call.ClientID, granted(call.Status))
		}
	}
	for _, call := range st.Datadog.Calls() {
		if call.Status != 0 && !st.told.calls[call.N] {
			st.told.calls[call.N] = true
			st.print("Datadog", "%s %s: %d", call.Method, what(call.Path), call.Status)
		}
	}
}

func granted(status int) string {
	if status == http.StatusOK {
		return "granted"
	}
	return "refused"
}

func what(path string) string {
	if path == datadogtest.ListPath {
		return "the list of auth methods"
	}
	return "the auth method"
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
