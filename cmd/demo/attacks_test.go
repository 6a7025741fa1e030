package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/cmd/demo/system"
	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/tokencheck"
	"datadog-webhook-auth-sync/handler/tokencheck/tokentest"
)

// These tests show on the deployed stack that whoever may write one secret, or
// tag it, edit an auth method, invoke the function, or run a server that it
// calls, gains nothing that is another's; and that honest teams do not notice.

// TestAttackOnAnAuthMethod has a thief, whose token endpoint accepts anything,
// ask for the auth method of another team.
func TestAttackOnAnAuthMethod(t *testing.T) {
	const mismatch = "auth_method_mismatch"
	for _, c := range []struct {
		name   string
		owner  bool // the thief has an auth method of its own
		want   string
		stated func(victim *tenant, id string) fields
	}{
		{"pins it", false, mismatch, func(_ *tenant, id string) fields { return fields{"auth_method_id": id} }},
		{"pins it, has its own", true, mismatch, func(_ *tenant, id string) fields { return fields{"auth_method_id": id} }},
		{"pins it, states its client", false, mismatch, func(v *tenant, id string) fields {
			return fields{"auth_method_id": id, "client_id": v.name}
		}},
		{"pins it, states nothing else", false, mismatch, func(_ *tenant, id string) fields {
			return fields{"auth_method_id": id, "client_id": "", "access_token_url": ""}
		}},
		{"pins it, states all that it has", false, mismatch, func(v *tenant, id string) fields {
			return fields{"auth_method_id": id, "client_id": v.name, "access_token_url": v.TokenURL}
		}},
		{"pins a path to it", false, "secret_invalid", func(_ *tenant, id string) fields {
			return fields{"auth_method_id": "../oauth2-client-credentials/" + id}
		}},
		{"states its name", false, mismatch, func(v *tenant, _ string) fields { return fields{"name": v.name} }},
		{"states its name, has its own", true, "datadog_rejected", func(v *tenant, _ string) fields { return fields{"name": v.name} }},
		{"states its name and client", false, mismatch, func(v *tenant, _ string) fields {
			return fields{"name": v.name, "client_id": v.name}
		}},
		{"states its name, no client", false, mismatch, func(v *tenant, _ string) fields {
			return fields{"name": v.name, "client_id": "", "access_token_url": ""}
		}},
		{"states its name, and all that it has", false, mismatch, func(v *tenant, _ string) fields {
			return fields{"name": v.name, "client_id": v.name, "access_token_url": v.TokenURL}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := newTenants(t)
			victim, thief := all.tenant("victim"), all.tenant("thief")
			held := victim.joins(victim.value(nil))

			thief.idp.acceptsAll = true
			if c.owner {
				thief.joins(thief.value(nil))
			}
			stated := c.stated(victim, held.ID)
			_, pins := stated["auth_method_id"]
			if url, has := stated["access_token_url"]; has && (pins || url == victim.TokenURL) {
				thief.trusts = victim.idp // it sends its own there
			}
			thief.stores(thief.value(stated))
			thief.syncs(c.want)
			all.stays(held)

			if event := victim.result(victim.puts(victim.value(nil))); event.Detail.Outcome != "updated" {
				t.Errorf("the victim rotates: %s", event.Raw)
			}
			all.has(held.ID, victim.secret(), victim.TokenURL)
		})
	}
}

// TestAttackOnAName has a thief take the name that is another team's default,
// before that team comes.
func TestAttackOnAName(t *testing.T) {
	for _, c := range []struct {
		name  string
		value func(victim *tenant) string
	}{
		{"of a whole credential", func(v *tenant) string { return v.value(nil) }},
		{"of one without a URL", func(v *tenant) string { return v.value(fields{"access_token_url": ""}) }},
		{"of a client secret alone", (*tenant).plain},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := newTenants(t)
			victim, thief := all.tenant("victim"), all.tenant("thief")
			thief.idp.acceptsAll = true
			held := thief.joins(thief.value(fields{"name": victim.name, "client_id": victim.name}))

			victim.stores(c.value(victim))
			victim.syncs("auth_method_mismatch")
			all.stays(held)
			victim.stores(victim.value(fields{"name": victim.name + "-2"}))
			all.has(victim.syncs("created").AuthMethod.ID, victim.secret(), victim.TokenURL)
		})
	}
	t.Run("while the provider is down", func(t *testing.T) {
		all := newTenants(t)
		victim, thief := all.tenant("victim"), all.tenant("thief")
		thief.idp.Fail(tokentest.Fault{Status: http.StatusServiceUnavailable})
		thief.stores(thief.value(fields{"name": victim.name}))
		if failed := thief.syncs("credential_rejected"); !failed.Error.Retryable || failed.Verification != "inconclusive" {
			t.Errorf("the result is %+v", failed)
		}
		if m, there := victim.authMethod(); there {
			t.Errorf("%s has the name", m.ID)
		}
		victim.joins(victim.value(nil))
	})
}

// TestAttackInDatadog has somebody edit the URL of an auth method, whose team's
// secrets state none.
func TestAttackInDatadog(t *testing.T) {
	for _, c := range []struct {
		name  string
		value func(victim *tenant, id string) string
	}{
		{"of a credential without a URL", func(v *tenant, _ string) string { return v.value(fields{"access_token_url": ""}) }},
		{"of one that pins it", func(v *tenant, id string) string {
			return v.value(fields{"access_token_url": "", "auth_method_id": id})
		}},
		{"of a client secret alone", func(v *tenant, _ string) string { return v.plain() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := newTenants(t)
			victim, thief := all.tenant("victim"), all.tenant("thief")
			thief.idp.acceptsAll = true
			held := victim.joins(victim.value(nil))
			version := victim.stores(c.value(victim, held.ID))
			victim.syncs("updated")
			all.has(held.ID, victim.secret(), victim.TokenURL)

			held, _ = all.Datadog.Get(held.ID)
			held.AccessTokenURL = thief.TokenURL
			all.Datadog.Put(held)
			victim.stores(c.value(victim, held.ID))
			failed := victim.syncs("auth_method_mismatch")
			all.stays(held)
			if failed.Held == nil || failed.Held.VersionID != version || failed.Held.Verification != "inconclusive" {
				t.Errorf("what Datadog holds is told as %+v", failed.Held)
			}

			victim.tags("id=" + held.ID) // the operator accepts what is there
			victim.trusts = thief.idp
			victim.syncs("adopted")
			all.has(held.ID, victim.secret(), thief.TokenURL)
		})
	}
}

// TestAttackByLostAnswers loses the answer to the POST that created an auth
// method, while three secrets of one client ask for one.
func TestAttackByLostAnswers(t *testing.T) {
	for _, lost := range []datadogtest.Fault{
		{Cut: true}, {Status: http.StatusInternalServerError}, {Status: http.StatusGatewayTimeout, CommitAfter: 300 * time.Millisecond},
	} {
		t.Run(fmt.Sprintf("cut %t, status %d, late %v", lost.Cut, lost.Status, lost.CommitAfter), func(t *testing.T) {
			all := newTenants(t)
			all.reconciles() // what other tests left does not meet the fault then
			members := []*tenant{all.tenant("a"), all.tenant("b"), all.tenant("c")}
			client := all.name + "-client"
			same := fields{"client_id": client, "access_token_url": members[0].TokenURL}
			for _, p := range members {
				p.trusts = members[0].idp
				p.stores(p.value(same))
				members[0].idp.Allow(client, p.secret())
			}
			lost.Method, lost.Times, lost.Commit = http.MethodPost, 1, true
			all.Datadog.Fail(lost)
			all.reconciles()
			if n := len(all.of(client)); n != 1 {
				t.Errorf("the client has %d auth methods", n)
			}
			var created, refused int
			for _, p := range members {
				switch results := p.results(); {
				case len(results) != 1:
					t.Errorf("%s has %d results", p.name, len(results))
				case results[0].Detail.Error.Code == "auth_method_mismatch":
					refused++
				case slices.Contains([]string{"created", "adopted"}, results[0].Detail.Outcome):
					created++
				}
			}
			if created != 1 || refused != 2 {
				t.Errorf("%d have an auth method, %d are told of it", created, refused)
			}

			if lost.CommitAfter > 0 {
				return // its outcome depends on who is first
			}
			single := all.tenant("single")
			single.stores(single.value(nil))
			all.Datadog.Fail(lost)
			single.syncs("adopted")
			if n := len(all.of(single.name)); n != 1 {
				t.Errorf("the client of one secret has %d auth methods", n)
			}
		})
	}
}

// of is what Datadog holds of a client.
func (c *tenants) of(clientID string) []datadogtest.AuthMethod {
	return slices.DeleteFunc(c.Datadog.AuthMethods(), func(m datadogtest.AuthMethod) bool { return m.ClientID != clientID })
}

const (
	firstToken  = "11111111-52a8-4f0a-9d5e-7c7b0d8f1a11"
	secondToken = "22222222-52a8-4f0a-9d5e-7c7b0d8f1a11"
)

// step plays one step of a rotation, as Secrets Manager calls it.
func (p *tenant) step(name, token string) (body string, failed bool) {
	return p.invokes(map[string]string{"Step": name, "SecretId": p.secretARN, "ClientRequestToken": token})
}

// rotatedBy names a function as the secret's rotation function.
func (p *tenant) rotatedBy(functionARN string) {
	p.t.Helper()
	rotated, err := p.SecretsManager().RotateSecret(p.ctx, &secretsmanager.RotateSecretInput{SecretId: &p.secretARN, RotationLambdaARN: &functionARN})
	p.must(err)
	p.result(*rotated.VersionId)
}

func TestAttackByRotation(t *testing.T) {
	t.Run("nothing staged", func(t *testing.T) {
		p := newTenants(t).tenant("victim")
		p.stores(p.value(nil))
		p.rotatedBy(p.Stack.FunctionARN)
		staged := p.value(nil)
		p.stages("NEXT", "", staged)
		p.stages("AWSPENDING", firstToken, "")
		for _, name := range []string{"createSecret", "createSecret", "setSecret", "testSecret", "finishSecret"} {
			if body, failed := p.step(name, firstToken); failed {
				t.Fatalf("%s: %s", name, body)
			}
		}
		p.result(firstToken)
		p.datadogHolds(p.secret())
		for version, labels := range p.labels() {
			if slices.Contains(labels, "NEXT") {
				t.Errorf("version %s is still labelled %v", version, labels)
			}
		}

		current := p.puts(p.value(nil))
		p.result(current)
		p.stages("AWSPENDING", secondToken, "")
		if body, failed := p.step("createSecret", secondToken); !failed || !strings.Contains(body, `"rotation_refused: `) {
			t.Errorf("a rotation with nothing staged: %s", body)
		}
		p.datadogHolds(p.secret())
	})
	for _, c := range []struct {
		name, suffix string
		refused      bool
	}{{"of another function", "-2", true}, {"of this function, with a qualifier", ":live", false}} {
		t.Run(c.name, func(t *testing.T) {
			p := newTenants(t).tenant("victim")
			p.stores(p.value(nil))
			p.rotatedBy(p.Stack.FunctionARN + c.suffix)
			before := p.labels()
			p.stages("AWSPENDING", firstToken, p.value(nil))
			for _, name := range []string{"createSecret", "setSecret", "testSecret", "finishSecret"} {
				body, failed := p.step(name, firstToken)
				if failed != c.refused || failed && !strings.Contains(body, `"rotation_refused: `) {
					t.Errorf("%s: %s", name, body)
				}
			}
			current := slices.Contains(p.labels()[firstToken], "AWSCURRENT")
			if current == c.refused {
				t.Errorf("the labels were %v and are %v", before, p.labels())
			}
		})
	}
}

// asText is an answer of the provider's that says that it is text.
var asText = tokentest.Fault{Header: http.Header{"Content-Type": {"text/plain"}}}

// TestAttackByAProvider has the provider refuse a credential in ways that can
// be mistaken for trouble of its own.
func TestAttackByAProvider(t *testing.T) {
	for _, c := range []struct {
		name    string
		trouble func(idp, thief *provider)
	}{
		{"a rejection as text", func(idp, _ *provider) { idp.Fail(asText) }},
		{"one style refused, the other unanswered", func(idp, _ *provider) { idp.silentOn = tokencheck.Body }},
		{"moved to a thief", func(idp, thief *provider) {
			idp.Fail(tokentest.Fault{Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {thief.url}}})
		}},
		{"refused before, now down", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := newTenants(t)
			p, thief := all.tenant("victim"), all.tenant("thief")
			thief.idp.acceptsAll = true
			held := p.joins(p.value(nil))
			p.stores(p.value(nil))
			p.Tokens.Revoke(p.name, p.secret())
			if c.trouble == nil {
				p.syncs("credential_rejected")
				p.idp.Fail(tokentest.Fault{Status: http.StatusServiceUnavailable})
			} else {
				c.trouble(p.idp, thief.idp)
			}
			if failed := p.syncs("credential_rejected"); !failed.Error.Retryable {
				t.Errorf("the result is %+v", failed)
			}
			all.stays(held)
		})
	}
}

// TestAttackOnTokenHosts narrows where client secrets may go.
func TestAttackOnTokenHosts(t *testing.T) {
	all := newTenants(t)
	before, there, other := all.tenant("before"), all.tenant("there"), all.tenant("other")
	held := before.joins(before.value(nil))
	all.deployedWith(map[string]string{"ALLOWED_TOKEN_HOSTS": "*.example.com,localhost"})

	allowed := strings.Replace(there.TokenURL, "127.0.0.1", "localhost", 1)
	there.joins(there.value(fields{"access_token_url": allowed}))

	other.stores(other.value(nil))
	other.syncs("secret_invalid")
	before.stores(before.plain())
	before.syncs("auth_method_mismatch")
	all.stays(held)
	if other.idp.got(other.secret()) || before.idp.got(before.secret()) {
		t.Error("a client secret was sent to a host that is not allowed")
	}
	for _, url := range []string{"https://10.1.2.3/token", "https://169.254.169.254/token", "https://[fd00:ec2::254]/token", "https://example.com/token"} {
		other.stores(other.value(fields{"access_token_url": url}))
		other.syncs("secret_invalid")
	}
}

// TestAttackWithVerificationOff does not ask whether a credential works.
func TestAttackWithVerificationOff(t *testing.T) {
	all := newTenants(t)
	all.deployedWith(map[string]string{"VERIFY_CREDENTIAL": "false"})
	victim, thief := all.tenant("victim"), all.tenant("thief")
	held := victim.joins(victim.value(nil))
	for _, stated := range []fields{
		{"auth_method_id": held.ID},
		{"auth_method_id": held.ID, "client_id": victim.name, "access_token_url": victim.TokenURL},
		{"name": victim.name, "client_id": victim.name, "access_token_url": victim.TokenURL},
	} {
		thief.stores(thief.value(stated))
		thief.syncs("auth_method_mismatch")
		all.stays(held)
	}
	held.AccessTokenURL = thief.TokenURL
	all.Datadog.Put(held)
	victim.stores(victim.plain())
	victim.syncs("auth_method_mismatch")
	all.stays(held)
}

// TestAttackByAnswers has Datadog and a token endpoint answer with what they
// were sent, where no HTTP client expects it. That nothing of it is told is
// checked at the end of every test.
func TestAttackByAnswers(t *testing.T) {
	all := newTenants(t)
	p := all.tenant("victim")
	tokens := nonsense(t, func(r *http.Request, body []byte) string {
		_, secret, _ := clientOf(r, body)
		return secret
	}, notHTTP...)
	p.stores(p.value(fields{"access_token_url": tokens}))
	for range notHTTP {
		p.syncs("credential_rejected")
	}
	datadog := nonsense(t, func(r *http.Request, _ []byte) string {
		return r.Header.Get("DD-API-KEY") + " " + r.Header.Get("DD-APPLICATION-KEY")
	}, slices.Concat([]string{"HTTP/1.1 307 Moved\r\nLocation: " + all.TokenURL + "\r\nContent-Length: 0\r\n\r\n"}, notHTTP)...)
	all.deployedWith(map[string]string{"DD_API_URL": datadog})
	p.stores(p.value(nil))
	all.Tokens.ResetCalls()
	for range 3 {
		p.syncs("datadog_unavailable")
	}
	if calls := all.Tokens.Calls(); len(calls) > 0 {
		t.Errorf("Datadog's keys followed a redirect: %+v", calls)
	}
}

// TestAttackByATag forges the record.
func TestAttackByATag(t *testing.T) {
	for _, state := range []string{"pushed", "settled", "unproven"} {
		t.Run(state, func(t *testing.T) {
			all := newTenants(t)
			p := all.tenant("victim")
			held := p.joins(p.value(nil))
			version := p.stores(p.value(nil))
			p.Tokens.Revoke(p.name, p.secret())
			p.tags("id=" + held.ID + " version=" + version + " at=" + time.Now().Add(-30*time.Hour).UTC().Format(time.RFC3339) +
				" digest=0123456789abcdef site=datadoghq.com verified=yes state=" + state)
			all.reconciles()
			all.stays(held)
			if !p.idp.got(p.secret()) {
				t.Error("nobody asked the token endpoint")
			}
		})
	}
}

// TestAttackBySilence has one secret fail for long, and then another.
func TestAttackBySilence(t *testing.T) {
	all := newTenants(t)
	broken, next := all.tenant("broken"), all.tenant("next")
	told := func(p *tenant) (codes []string) {
		for _, event := range p.results() {
			codes = append(codes, event.Detail.Error.Code)
		}
		return codes
	}
	broken.stores(`{"client_id": "no client secret"}`)
	next.joins(next.value(nil))
	for range 3 {
		all.reconciles()
	}
	if codes := told(broken); !slices.Equal(codes, []string{"secret_invalid"}) {
		t.Errorf("three reconciles told %v", codes)
	}
	next.stores(`{"client_id": "no client secret"}`)
	all.reconciles()
	all.reconciles()
	if codes := told(next); !slices.Equal(codes, []string{"", "secret_invalid"}) {
		t.Errorf("of the second secret was told %v", codes)
	}
	if codes := told(broken); len(codes) != 1 {
		t.Errorf("of the first secret was told %v", codes)
	}
}

// TestAttackRulesLetHonestTeamsPass does what a team may want to do.
func TestAttackRulesLetHonestTeamsPass(t *testing.T) {
	// method is an auth method of the tenant's that somebody made in Datadog.
	method := func(p *tenant, name string) datadogtest.AuthMethod {
		return p.Datadog.Put(datadogtest.AuthMethod{Name: name, ClientID: p.name, ClientSecret: "old", AccessTokenURL: p.TokenURL})
	}
	for _, c := range []struct {
		name string
		does func(all *tenants, p *tenant)
	}{
		{"takes over by name", func(all *tenants, p *tenant) {
			m := method(p, p.name)
			p.stores(p.value(nil))
			p.syncs("adopted")
			all.has(m.ID, p.secret(), p.TokenURL)
		}},
		{"takes over by pin", func(all *tenants, p *tenant) {
			m := method(p, p.name+" made by hand")
			p.stores(p.value(fields{"auth_method_id": m.ID}))
			p.syncs("adopted")
			all.has(m.ID, p.secret(), p.TokenURL)
			p.stores(p.value(fields{"auth_method_id": m.ID}))
			p.syncs("updated")
			all.has(m.ID, p.secret(), p.TokenURL)
		}},
		{"moves its pin", func(all *tenants, p *tenant) {
			left := p.joins(p.value(nil))
			m := method(p, p.name+" made by hand")
			p.stores(p.value(fields{"auth_method_id": m.ID}))
			if adopted := p.syncs("adopted"); !strings.Contains(strings.Join(adopted.Warnings, " "), left.ID) {
				p.t.Errorf("the warnings are %q", adopted.Warnings)
			}
			all.has(m.ID, p.secret(), p.TokenURL)
			all.stays(left)
		}},
		{"takes over once its provider is up", func(all *tenants, p *tenant) {
			m := method(p, p.name)
			p.idp.Fail(tokentest.Fault{Status: http.StatusServiceUnavailable})
			p.stores(p.value(nil))
			if failed := p.syncs("auth_method_mismatch"); !failed.Error.Retryable {
				p.t.Errorf("the result is %+v", failed)
			}
			all.stays(m)
			p.idp.ClearFaults()
			p.syncs("adopted")
			all.has(m.ID, p.secret(), p.TokenURL)
		}},
		{"takes over by an operator's tag", func(all *tenants, p *tenant) {
			m := method(p, p.name+" made by hand")
			for _, value := range []string{p.value(fields{"client_id": p.name + "-2"}), p.plain()} {
				p.stores(value)
				p.Tokens.Allow(p.name+"-2", p.secrets[0])
				p.Tokens.Allow(p.name+"-2", p.secret())
				p.tags("id=" + m.ID)
				p.syncs("adopted")
			}
			all.has(m.ID, p.secret(), p.TokenURL)
		}},
		{"moves to another provider", func(all *tenants, p *tenant) {
			m := p.joins(p.value(nil))
			other := all.tenant("other-provider")
			p.trusts, other.idp.acceptsAll = other.idp, true
			p.stores(p.value(fields{"access_token_url": other.TokenURL, "client_id": other.name}))
			p.syncs("updated")
			all.has(m.ID, p.secret(), other.TokenURL)
			if p.idp.got(p.secret()) {
				p.t.Error("the new client secret was sent to the old provider")
			}
		}},
		{"renames", func(all *tenants, p *tenant) {
			m := p.joins(p.value(nil))
			p.stores(p.value(fields{"name": p.name + " renamed"}))
			p.syncs("updated")
			all.has(m.ID, p.secret(), p.TokenURL)
			if now, _ := all.Datadog.Get(m.ID); now.Name != p.name+" renamed" {
				p.t.Errorf("the name is %q", now.Name)
			}
		}},
		{"shares a client with a neighbour", func(all *tenants, p *tenant) {
			other := all.tenant("neighbour")
			other.trusts = p.idp
			p.joins(p.value(fields{"name": p.name + " A"}))
			value := other.value(fields{"name": p.name + " B", "client_id": p.name, "access_token_url": p.TokenURL})
			p.Tokens.Allow(p.name, other.secret())
			other.joins(value)
			if n := len(all.of(p.name)); n != 2 {
				p.t.Errorf("the client has %d auth methods", n)
			}
		}},
		{"has a provider that calls its tokens text", func(all *tenants, p *tenant) {
			p.idp.Fail(asText)
			m := p.joins(p.value(nil))
			p.stores(p.value(nil))
			if updated := p.syncs("updated"); updated.Verification != "accepted" {
				p.t.Errorf("the result is %+v", updated)
			}
			all.has(m.ID, p.secret(), p.TokenURL)
		}},
		{"rotates while its provider is down", func(all *tenants, p *tenant) {
			m := p.joins(p.value(nil))
			p.idp.Fail(tokentest.Fault{Status: http.StatusServiceUnavailable})
			p.stores(p.value(nil))
			if updated := p.syncs("updated"); updated.Verification != "inconclusive" || len(updated.Warnings) == 0 {
				p.t.Errorf("the result is %+v", updated)
			}
			all.has(m.ID, p.secret(), p.TokenURL)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := newTenants(t)
			c.does(all, all.tenant("team"))
		})
	}
}

// TestAttackRulesTellWhetherAlertsAreLost follows a rotation that goes wrong,
// gets worse, and ends well.
func TestAttackRulesTellWhetherAlertsAreLost(t *testing.T) {
	all := newTenants(t)
	p := all.tenant("team")
	version := p.stores(p.value(nil))
	working := p.secret()
	p.syncs("created")
	p.stores(p.value(nil))
	p.Tokens.Revoke(p.name, p.secret())

	var summaries []string
	var since time.Time
	atRisk := all.emitted("AtRisk")
	for _, c := range []struct {
		name     string
		happens  func()
		verified string // how what Datadog holds is verified
		lost     bool   // as recorded
	}{
		{"the provider does not know the new one", func() {}, "accepted", false},
		{"it is down", func() { p.idp.Fail(tokentest.Fault{Status: http.StatusServiceUnavailable}) }, "inconclusive", false},
		{"it ends the old one", func() { p.idp.ClearFaults(); p.Tokens.Revoke(p.name, working) }, "rejected", true},
		{"it is down again", func() { p.idp.Fail(tokentest.Fault{Status: http.StatusServiceUnavailable}) }, "inconclusive", true},
	} {
		c.happens()
		failed := p.syncs("credential_rejected")
		if since.IsZero() {
			failed = p.fails("credential_rejected")
		}
		if diff := cmp.Diff(&system.Held{VersionID: version, Verification: c.verified}, failed.Held); diff != "" {
			t.Errorf("%s: what Datadog holds (-want +got):\n%s", c.name, diff)
		}
		if !slices.Contains(summaries, failed.Summary) {
			summaries = append(summaries, failed.Summary)
		}
		status := p.status()
		if f := status.Failing; status.State != "out_of_sync" || f == nil || f.Code != "credential_rejected" || f.Lost != c.lost ||
			!since.IsZero() && !f.Since.Equal(since) {
			t.Errorf("%s: the status is %+v", c.name, status)
		} else {
			since = f.Since
		}
	}
	if len(summaries) != 3 {
		t.Errorf("alerts are lost, are not, or nobody knows; the summaries are\n%s", strings.Join(summaries, "\n"))
	}
	all.must(until(all.ctx, func() bool { return all.emitted("AtRisk") == atRisk+1 }))

	p.idp.ClearFaults()
	p.Tokens.Allow(p.name, p.secret())
	updated := p.syncs("updated")
	if diff := cmp.Diff(&system.Recovered{Code: "credential_rejected", Since: since}, updated.Recovered); diff != "" {
		t.Errorf("the recovery (-want +got):\n%s", diff)
	}
	if again := p.syncs("updated"); again.Recovered != nil {
		t.Errorf("it recovered twice: %+v", again.Recovered)
	}
	p.datadogHolds(p.secret())
}
