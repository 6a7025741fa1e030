package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"datadog-webhook-auth-sync/cmd/demo/system"
)

// tell lets the story happen, and prints it as it does. With keep it then leaves
// the system to the reader, until ctx ends. The secret of the old team is there
// from before.
func tell(ctx context.Context, s *system.System, old *team, out io.Writer, keep bool) error {
	s.Datadog.Latency, s.Tokens.Latency = 200*time.Millisecond, 100*time.Millisecond // as the real ones
	st := newStory(ctx, s, out)
	defer st.follow()()
	t := st.team("payments")
	st.rotations(t)
	st.settling(old)
	st.breakage(t)
	st.neighbour(t)
	st.sum()
	if keep {
		st.play(t)
	}
	return st.err
}

// rotations are two that go well.
func (st *story) rotations(t *team) {
	st.chapter("A team stores a client secret")
	first := t.newClientSecret()
	st.store(t, t.credential(first))
	st.next(t, "created")
	st.claim("Datadog has an auth method, with AWSCURRENT", t.holds(first) == nil)

	st.chapter("It rotates")
	second := t.newClientSecret()
	st.store(t, t.credential(second))
	st.next(t, "updated")
	st.claim("Datadog holds AWSCURRENT", t.holds(second) == nil)
}

// settling is of a secret that is there from before.
func (st *story) settling(old *team) {
	st.chapter("A reconcile finds a secret of which no event told, and pushes it once more ten minutes later")
	st.reconcile()
	st.next(old, "created")
	st.line("story", "does not wait, and dates that push of %s back", old.secretName)
	st.must(old.setRecord(st.ctx, "at", ago(10*time.Minute)))
	st.reconcile()
	settled := st.next(old, "settled")
	st.claim("No late write can undo that: the client secret before may be revoked", settled.PreviousSecretSafeToRevoke)
}

// breakage is a rotation that goes wrong, gets worse, and ends well.
func (st *story) breakage(t *team) {
	m, _ := t.authMethod()
	working, refused := m.ClientSecret, clientSecretMark+"refused"
	held := func(failed system.Result, is string) bool {
		return failed.Held != nil && failed.Held.Verification == is
	}

	st.chapter("It rotates to a client secret that the identity provider refuses")
	writes := t.writes()
	st.warned(st.store(t, t.credential(refused)), "credential_rejected")
	st.line("story", "the provider may only be late: nobody is told for 150 s. On AWS, Lambda tries again after 1 and 2")
	st.line("story", "minutes, and the last of these tells. The story does not wait, and asks for a sync")
	st.post(t, false, http.StatusForbidden)
	st.post(t, true, http.StatusUnprocessableEntity)
	failed := st.next(t, "failed")
	st.claim("No alert is lost yet: Datadog holds the one before, which still works",
		t.holds(working) == nil && t.writes() == writes && held(failed, "accepted"))

	st.chapter("The identity provider ends the one before, too")
	t.Tokens.Revoke(t.name, working)
	st.reconcile()
	failed = st.next(t, "failed")
	st.claim("It says that alerts are being lost, and the metric AtRisk pages whoever is on call", held(failed, "rejected") && st.atRisk() == 1)

	st.chapter("The identity provider learns the new one, and somebody asks for a sync")
	t.Tokens.Allow(t.name, refused)
	st.post(t, true, http.StatusOK)
	recovered := st.next(t, "updated")
	st.claim("Datadog holds AWSCURRENT, and it says that this is over", t.holds(refused) == nil && recovered.Recovered != nil)
	st.reconcile()
	st.claim("The metric AtRisk ends the page", st.atRisk() == 0)
}

// neighbour is a team that wants what another sends to Datadog.
func (st *story) neighbour(victim *team) {
	st.chapter("A neighbour pins the auth method of that team, to have its client secrets sent elsewhere")
	n := st.team("neighbour")
	before, _ := victim.authMethod()
	calls := len(st.Tokens.Calls())
	st.store(n, strings.NewReplacer("{", fmt.Sprintf(`{"auth_method_id": %q, `, before.ID), st.TokenURL, st.TokenURL+"-elsewhere").
		Replace(n.credential(n.newClientSecret())))
	st.next(n, "failed")
	after, _ := victim.authMethod()
	st.claim("It is refused: the auth method is as it was, and nothing was sent anywhere", after == before && len(st.Tokens.Calls()) == calls)
}
