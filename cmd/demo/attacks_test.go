package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// These tests show on the deployed stack that a team that may write its own secret gains nothing that is another's.
// Each rule by itself is tested in handler and handler/authsync; handler/simulation mixes attacks with all else.

// TestAttackOnAnAuthMethod has thieves, whose token endpoints accept anything, ask for the auth method of another team.
func TestAttackOnAnAuthMethod(t *testing.T) {
	const mismatch = "auth_method_mismatch"
	all := newTenants(t)
	victim := all.tenant("victim")
	held := victim.joins(victim.value(nil))
	theirs := func(stated values) values {
		stated["client_id"], stated["access_token_url"] = victim.name, victim.TokenURL
		return stated
	}
	var attacks sync.WaitGroup
	for i, c := range []struct {
		has    bool // an auth method of its own
		stated values
		want   string
	}{
		{false, values{"auth_method_id": held.ID}, mismatch},
		{true, values{"auth_method_id": held.ID}, mismatch},
		{false, values{"auth_method_id": held.ID, "client_id": "", "access_token_url": ""}, mismatch},
		{false, theirs(values{"auth_method_id": held.ID}), mismatch},
		{false, values{"auth_method_id": "../oauth2-client-credentials/" + held.ID}, "secret_invalid"},
		{false, values{"name": victim.name}, mismatch},
		{true, values{"name": victim.name}, "datadog_rejected"},
		{false, values{"name": victim.name, "client_id": "", "access_token_url": ""}, mismatch},
		{false, theirs(values{"name": victim.name}), mismatch},
	} {
		thief := all.tenant(fmt.Sprint("thief-", i))
		thief.idp.acceptsAll = true
		if c.has {
			thief.joins(thief.value(nil))
		}
		_, pins := c.stated["auth_method_id"]
		if url, states := c.stated["access_token_url"]; states && (pins || url != "") {
			thief.trusts = victim.idp // it sends its own there
		}
		thief.stores(thief.value(c.stated))
		attacks.Go(func() { thief.syncs(c.want) })
	}
	attacks.Wait()
	all.stays(held)
	if event := victim.result(victim.puts(victim.value(nil))); event.Detail.Outcome != "updated" {
		t.Errorf("the victim rotates: %s", event.Detail.Summary)
	}
	all.has(held.ID, victim.secret(), victim.TokenURL)
}

// TestAttackOnAName has a thief take the name that is another team's default, before that team comes.
func TestAttackOnAName(t *testing.T) {
	all := newTenants(t)
	victim, thief := all.tenant("victim"), all.tenant("thief")
	thief.idp.acceptsAll = true
	held := thief.joins(thief.value(values{"name": victim.name, "client_id": victim.name}))
	victim.stores(victim.value(nil))
	victim.syncs("auth_method_mismatch")
	all.stays(held)
	victim.stores(victim.value(values{"name": victim.name + "-2"}))
	all.has(victim.syncs("created").AuthMethod.ID, victim.secret(), victim.TokenURL)
}

// TestAttackInDatadog has somebody edit the URL of an auth method, whose team's secret states none.
func TestAttackInDatadog(t *testing.T) {
	all := newTenants(t)
	victim, thief := all.tenant("victim"), all.tenant("thief")
	thief.idp.acceptsAll = true
	held := victim.joins(victim.value(nil))
	victim.stores(victim.plain())
	victim.syncs("updated")
	all.has(held.ID, victim.secret(), victim.TokenURL)

	held, _ = all.Datadog.Get(held.ID)
	held.AccessTokenURL = thief.TokenURL
	all.Datadog.Put(held)
	victim.stores(victim.plain())
	victim.syncs("auth_method_mismatch")
	all.stays(held)

	victim.trusts = thief.idp
	victim.must(victim.tag(victim.ctx, "id="+held.ID)) // the operator accepts what is there
	victim.syncs("adopted")
	all.has(held.ID, victim.secret(), thief.TokenURL)
}

// TestAttackOnTokenHosts narrows where client secrets may go.
func TestAttackOnTokenHosts(t *testing.T) {
	all := newTenants(t)
	there, other := all.tenant("there"), all.tenant("other")
	restore, err := all.SetEnvironment(all.ctx, map[string]string{"ALLOWED_TOKEN_HOSTS": "*.example.com,localhost"})
	all.must(err)
	defer func() { all.must(restore(context.Background())) }()
	there.joins(there.value(values{"access_token_url": strings.Replace(there.TokenURL, "127.0.0.1", "localhost", 1)}))
	for _, url := range []string{other.TokenURL, "https://169.254.169.254/token", "https://example.com/token"} {
		other.stores(other.value(values{"access_token_url": url}))
		other.syncs("secret_invalid")
	}
	if slices.ContainsFunc(other.secrets, other.idp.got) {
		t.Error("a client secret was sent to a host that is not allowed")
	}
}
