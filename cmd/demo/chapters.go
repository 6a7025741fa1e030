package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
)

// chapter is a part of the story.
type chapter struct {
	title string
	loses bool // alerts are lost in it; otherwise none may be
	tell  func(*story, context.Context) error
}

// prologue is told while the stack is deployed.
var prologue = chapter{"A rotation without the function", true, (*story).withoutFunction}

var chapters = []chapter{
	{"The same rotation with the function", false, (*story).withFunction},
	{"A client secret that the identity provider refuses", false, (*story).refused},
	{"The identity provider ends the one before, too", true, (*story).revoked},
	{"A neighbour who means harm", false, (*story).attacked},
	{"A dry run of all, and the status", false, (*story).asked},
	{"Events that do not come", false, (*story).missed},
}

func (st *story) withoutFunction(ctx context.Context) error {
	st.say("Datadog sends an alert to the team orders every 0.1 s. It gets a token for each; how long the real one " +
		"keeps a token is not published.")
	err := st.rotates(ctx, &st.without, func(string) error {
		st.say("Datadog still holds the old one, and nobody is told.")
		return st.orders.holds(st.orders.first)
	})
	if err != nil {
		return err
	}
	st.say("Hours later somebody notices, and pastes the new one into Datadog.")
	m, _ := st.orders.authMethod()
	m.ClientSecret = st.current
	st.Datadog.Put(m)
	return nil
}

func (st *story) withFunction(ctx context.Context) error {
	st.say("The function is deployed. Its first reconcile takes over the auth method that is there.")
	m, _ := st.orders.authMethod()
	if _, err := st.reconcile(ctx, false); err != nil {
		return err
	}
	adopted, err := st.result(ctx, st.orders, "", "adopted", "")
	if err != nil {
		return err
	}
	if err := check(adopted.AuthMethod.ID == m.ID, "another auth method was taken over"); err != nil {
		return err
	}
	return st.rotates(ctx, &st.with, func(version string) error {
		if _, err := st.result(ctx, st.orders, version, "updated", ""); err != nil {
			return err
		}
		st.with.written = time.Now()
		st.say("The function has verified the new one, and written it to Datadog.")
		return st.orders.holds(st.current)
	})
}

// rotates stores a new client secret, lets happen what comes of it, and ends the old one.
func (st *story) rotates(ctx context.Context, r *rotation, comes func(version string) error) error {
	if err := sleep(ctx, beforeRotation); err != nil {
		return err
	}
	r.stored = time.Now()
	old := st.current
	version, err := st.stores(ctx)
	if err != nil {
		return err
	}
	st.say("A new client secret is stored in AWS Secrets Manager.")
	if err := comes(version); err != nil {
		return err
	}
	if err := sleep(ctx, time.Until(r.stored.Add(untilEnd))); err != nil {
		return err
	}
	if err := st.ends(ctx, old); err != nil {
		return err
	}
	r.ended = time.Now()
	st.say("The identity provider ends the old one.")
	if err := sleep(ctx, afterEnd); err != nil {
		return err
	}
	r.alerts, err = st.alerts.between(ctx, r.stored.Add(-beforeRotation), r.stored.Add(untilEnd+afterEnd))
	return err
}

func (st *story) refused(ctx context.Context) error {
	working, writes := st.current, st.orders.writes()
	version, err := st.orders.put(ctx, st.orders.credential(clientSecretMark+"refused"))
	if err != nil {
		return err
	}
	st.say("It is stored in AWS Secrets Manager. The provider may only be late, so that the function tries " +
		"again before it says so: on AWS after 1 and 2 minutes. The story does not wait for the last try.")
	if _, _, err := st.Invoke(ctx, st.orders.labelEvent(time.Now().Add(-3*time.Minute)), false); err != nil {
		return err
	}
	if _, err := st.result(ctx, st.orders, version, "failed", "accepted"); err != nil {
		return err
	}
	if err := st.orders.holds(working); err != nil {
		return err
	}
	st.say("Nothing was written to Datadog. What it holds still works.")
	return check(st.orders.writes() == writes, "something was written to Datadog")
}

func (st *story) revoked(ctx context.Context) error {
	st.Tokens.Revoke(st.orders.name, st.current)
	st.say("From now on alerts are lost. The next reconcile finds out.")
	if _, err := st.reconcile(ctx, false); err != nil {
		return err
	}
	if _, err := st.result(ctx, st.orders, "", "failed", "rejected"); err != nil {
		return err
	}
	if err := until(ctx, func() bool { return st.atRisk(ctx) == 1 }); err != nil {
		return fmt.Errorf("the metric AtRisk is not 1: %w", err)
	}
	st.say("The metric AtRisk is 1, which pages whoever is on call. They store one that works.")
	version, err := st.stores(ctx)
	if err != nil {
		return err
	}
	recovered, err := st.result(ctx, st.orders, version, "updated", "")
	if err != nil {
		return err
	}
	return check(recovered.Recovered != nil, "the recovery was not told: %q", recovered.Summary)
}

func (st *story) attacked(ctx context.Context) error {
	n, err := newTeam(ctx, st.System, "neighbour")
	if err != nil {
		return err
	}
	var asked atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer elsewhere.Close()
	m, _ := st.orders.authMethod()
	pin := strings.NewReplacer("{", fmt.Sprintf(`{"auth_method_id": %q, `, m.ID), st.TokenURL, elsewhere.URL)
	version, err := n.put(ctx, pin.Replace(n.credential(n.first)))
	if err != nil {
		return err
	}
	st.say("Their secret names the auth method of orders, to have its client secrets sent to a URL of theirs.")
	if _, err := st.result(ctx, n, version, "failed", ""); err != nil {
		return err
	}
	now, _ := st.orders.authMethod()
	st.say("The auth method is as it was, and nothing was sent to that URL.")
	return check(now == m && asked.Load() == 0, "the auth method was changed, or that URL called")
}

func (st *story) asked(ctx context.Context) error {
	if _, err := newTeam(ctx, st.System, "search"); err != nil {
		return err
	}
	unmanaged := st.Datadog.Put(datadogtest.AuthMethod{
		Name: "made by hand", ClientID: "c", ClientSecret: "s", AccessTokenURL: st.TokenURL})
	writes := st.orders.writes()
	answer, err := st.reconcile(ctx, true)
	if err != nil {
		return err
	}
	would := map[string]string{}
	for _, r := range slices.Concat(answer.Plans, answer.Failures) {
		var plan struct{ Action string }
		json.Unmarshal(r.Plan, &plan) // a failure has none
		would[strings.TrimPrefix(r.Secret.Name, prefix)] = plan.Action + r.Error.Code
	}
	st.say("The dry run would: %s. It wrote nothing.", list(would))
	for _, m := range answer.Unmanaged {
		st.say("No secret manages the auth method %q.", m.Name)
	}
	plans := map[string]string{"search": "create", "neighbour": "auth_method_mismatch"}
	if err := errors.Join(
		check(maps.Equal(would, plans), "the dry run says %v", would),
		check(len(answer.Unmanaged) == 1 && answer.Unmanaged[0].ID == unmanaged.ID, "not managed are %v", answer.Unmanaged),
		check(st.orders.writes() == writes, "the dry run wrote to Datadog"),
	); err != nil {
		return err
	}
	return st.status(ctx)
}

func (st *story) status(ctx context.Context) error {
	got, err := st.HTTP(ctx, http.MethodGet, "/status", nil, "", true)
	if err != nil {
		return err
	}
	var status statuses
	if err := json.Unmarshal(got.Body, &status); err != nil {
		return err
	}
	states := map[string]string{}
	for _, s := range status.Secrets {
		states[strings.TrimPrefix(s.Secret.Name, prefix)] = s.State
	}
	st.say("The status: %s.", list(states))
	want := map[string]string{"orders": "settling", "neighbour": "out_of_sync", "search": "out_of_sync"}
	return check(maps.Equal(states, want), "the status is %v", states)
}

func (st *story) missed(ctx context.Context) error {
	restore, err := st.LoseEvents(ctx)
	if err != nil {
		return err
	}
	old := st.current
	if _, err := st.stores(ctx); err != nil {
		return err
	}
	if err := errors.Join(sleep(ctx, time.Second), restore(ctx), st.orders.holds(old)); err != nil {
		return err
	}
	st.say("orders has rotated, and search has a first secret. No event told, and Datadog holds neither.")
	answer, err := st.reconcile(ctx, false)
	if err != nil {
		return err
	}
	search := &team{System: st.System, name: "search", secretName: prefix + "search"}
	_, created := search.authMethod()
	outcomes := map[string]int{"created": 1, "updated": 1, "failed": 1} // that of the neighbour stays
	if err := check(created && maps.Equal(answer.Outcomes, outcomes), "the reconcile: %v", answer.Outcomes); err != nil {
		return err
	}
	st.say("The reconcile has created one and updated the other. On AWS it runs every 15 minutes.")
	if err := st.orders.holds(st.current); err != nil {
		return err
	}
	return errors.Join(st.ends(ctx, old), sleep(ctx, time.Second))
}
