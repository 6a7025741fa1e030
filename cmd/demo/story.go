package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"datadog-webhook-auth-sync/cmd/demo/system"
	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
)

// story is what happens to the alerts of the team orders. Whatever it says was
// checked: what does not hold is an error.
type story struct {
	*printer
	*system.System
	orders  *team
	alerts  *alerts
	current string // client secret of orders that is AWSCURRENT

	without, with   rotation
	delivered, lost int
}

// rotation is one, with the alerts around it.
type rotation struct {
	stored, written, ended time.Time // the new client secret in AWS and in Datadog (zero: it was not), and the old one
	alerts                 []alert
}

const (
	beforeRotation = time.Second     // that alerts are looked at
	untilEnd       = 3 * time.Second // of the old client secret
	afterEnd       = 3 * time.Second // that alerts are looked at
)

// begin has Datadog send alerts with an auth method that was made by hand.
func (st *story) begin(ctx context.Context, s *system.System) (err error) {
	s.Datadog.Latency, s.Tokens.Latency = 200*time.Millisecond, 100*time.Millisecond // as the real ones
	st.System = s
	if st.orders, err = newTeam(ctx, s, "orders"); err != nil {
		return err
	}
	t := st.orders
	st.current = t.first
	s.Datadog.Put(datadogtest.AuthMethod{
		Name: t.name, ClientID: t.name, ClientSecret: t.first, AccessTokenURL: s.TokenURL})
	st.alerts = startAlerts(t)
	return nil
}

// stop ends the alerts.
func (st *story) stop() {
	if st.alerts != nil {
		st.alerts.stop()
	}
}

// tell tells a chapter, and what became of the alerts meanwhile.
func (st *story) tell(ctx context.Context, c chapter) error {
	st.chapter(c.title)
	began := time.Now()
	if err := c.tell(st, ctx); err != nil {
		return err
	}
	sent, err := st.alerts.between(ctx, began, time.Now())
	if err != nil {
		return err
	}
	delivered, lost := count(sent)
	st.delivered, st.lost = st.delivered+delivered, st.lost+lost
	st.row("alerts", "%d delivered, %d lost", delivered, lost)
	return check(c.loses == (lost > 0), "%d alerts were lost", lost)
}

// sum tells what it comes to.
func (st *story) sum(picture string) error {
	if unknown := st.Datadog.Unknown(); len(unknown) > 0 {
		return fmt.Errorf("no part of Datadog's API: %s %s", unknown[0].Method, unknown[0].Path)
	}
	if err := drawRotations(picture, st.without, st.with); err != nil {
		return err
	}
	fmt.Fprintln(st.out, "\nIn all")
	st.row("alerts", "%d delivered, %d lost", st.delivered, st.lost)
	row := func(what string, sent []alert) {
		delivered, lost := count(sent)
		around := beforeRotation + untilEnd + afterEnd
		st.row(what, "%d delivered, %d lost, in the %s around the rotation", delivered, lost, around)
	}
	row("without", st.without.alerts)
	row("with", st.with.alerts)
	st.row("rotation", "%.1f s later the new client secret is in Datadog", st.with.written.Sub(st.with.stored).Seconds())
	st.row("picture", "%s", near(picture))
	return nil
}

// stores stores a new client secret of orders, which the identity provider knows.
func (st *story) stores(ctx context.Context) (version string, err error) {
	st.current = st.orders.newClientSecret()
	return st.orders.put(ctx, st.orders.credential(st.current))
}

// ends has the identity provider end a client secret that Datadog may still use
// for alerts that are under way.
func (st *story) ends(ctx context.Context, clientSecret string) error {
	_, err := st.alerts.between(ctx, time.Time{}, time.Now())
	st.Tokens.Revoke(st.orders.name, clientSecret)
	return err
}

// result waits for a result of the team's, and says what whoever subscribes to
// notices is told of it. A version or held of "" is any.
func (st *story) result(ctx context.Context, t *team, version, outcome, held string) (system.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	event, err := st.Events.Wait(ctx, func(e system.Event) bool {
		r := e.Detail
		return r.Secret.ARN == t.secretARN && r.Outcome == outcome && (version == "" || r.Secret.VersionID == version) &&
			(held == "" || r.Held != nil && r.Held.Verification == held)
	})
	if err != nil {
		return event.Detail, fmt.Errorf("%s was not %s: %w", t.name, outcome, err)
	}
	if event.Detail.Notified() {
		notice, err := st.Notices.Wait(ctx, func(n json.RawMessage) bool { return system.Summary(n) == event.Detail.Summary })
		if err != nil {
			return event.Detail, err
		}
		st.say("Notice: %s", system.Summary(notice))
	}
	return event.Detail, nil
}

// reconciliation is the answer to a reconcile.
type reconciliation struct {
	RequestID                             string
	Secrets, InSync, Settling, OutOfSync  int
	Failing, AtRisk, Unverified, LeftOver int
	DurationMs                            int
	Outcomes                              map[string]int
	Plans, Failures                       []system.Result
	Unmanaged                             []struct{ ID, Name string }
	Error                                 *system.Failure
}

// statuses is the answer to GET /status.
type statuses struct{ Secrets []secretStatus }

type secretStatus struct {
	Secret  struct{ Name string }
	State   string
	Failing *failing
}

// failing is a failure. Told: it was published. Lost: alerts are being lost.
type failing struct {
	Code       string
	Since      time.Time
	Told, Lost bool
}

// reconcile calls the function as its schedule does.
func (st *story) reconcile(ctx context.Context, dryRun bool) (answer reconciliation, err error) {
	body, failed, err := st.Invoke(ctx, map[string]any{"action": "reconcile", "dryRun": dryRun}, false)
	if err != nil {
		return answer, err
	}
	if json.Unmarshal(body, &answer) != nil || failed != "" || answer.Error != nil {
		return answer, fmt.Errorf("the reconcile answered %s", body)
	}
	return answer, nil
}

// atRisk is the last value of the metric AtRisk, -1 if there is none.
func (st *story) atRisk(ctx context.Context) float64 {
	last := -1.0
	st.Flush(ctx)
	lines, _ := st.Logs(ctx)
	for _, line := range lines {
		if value, ok := system.Metrics(line)["AtRisk"]; ok {
			last = value
		}
	}
	return last
}

// check returns an error unless what the story says holds.
func check(holds bool, format string, args ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf(format, args...)
}

// sleep waits, or returns an error if ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// list is the map as text, in order.
func list(m map[string]string) string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, key+" "+m[key])
	}
	return strings.Join(parts, ", ")
}
