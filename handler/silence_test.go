package handler_test

import (
	"log/slog"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/report"
)

const otherName = "datadog/webhooks/other"

// TestSilence plays each way to lose an alert that docs/operations.md lists, for hours or days. What its row says is
// heard after the time that it says, and nothing else is.
func TestSilence(t *testing.T) {
	reject := func(w *account) { w.putRejected("second") }
	rotate := func(w *account) { w.put("second") }
	revoke := func(w *account) { w.revoke(w.first) }
	eventsStop := func(w *account) { w.secrets.OnLabel = nil }
	is := func(what, state string) func(w *account) { return func(w *account) { w.stack[what] = state } }
	datadogAnswers := func(status int) func(w *account) {
		return func(w *account) { w.datadog.Fail(datadogtest.Fault{Status: status}) }
	}
	deletes := func(names ...string) func(w *account) { return func(w *account) { w.deleteMethods(names...) } }
	edit := func(edit func(m *datadogtest.AuthMethod)) func(w *account) {
		return func(w *account) {
			m, _ := w.datadog.Get(w.record(secretName)["id"])
			edit(&m)
			w.datadog.Put(m)
		}
	}
	mustSucceed := func(printing string) func(w *account) {
		return func(w *account) {
			if printed, succeeded := w.checkStack(); !succeeded || !strings.Contains(printed, printing) {
				w.t.Errorf("check_stack fails, or does not say %q", printing)
			}
		}
	}
	verificationOff := func(w *world) { w.config.VerifyCredential = false }
	type steps = []func(w *account)
	losses := map[string]struct {
		lose   steps
		config func(*world)
		then   func(w *account) // in the end
	}{
		"a rotation whose client secret the provider rejects, while the one before works": {lose: steps{reject}},
		"the same, and the one before is revoked later": {lose: steps{reject, func(w *account) {
			w.runFor(2 * schedulePeriod)
			w.loss = time.Now()
		}, revoke}},
		"the same, and the one before is revoked already": {lose: steps{revoke, reject}},
		"a rotation whose value is no valid credential": {lose: steps{func(w *account) {
			w.secrets.Put(secretName, "{}")
		}}},
		"the current client secret is revoked at the provider, or expires, without a rotation": {lose: steps{revoke}},
		"an auth method is deleted in Datadog": {lose: steps{
			deletes(secretName)}},
		"all auth methods, two or more, are deleted in Datadog": {
			lose: steps{deletes(secretName, otherName)}},
		"the client, URL or scope of an auth method is edited in Datadog": {
			lose: steps{edit(func(m *datadogtest.AuthMethod) { m.ClientID = "another-client" })}},
		"another client secret is pasted into an auth method in Datadog": {
			lose: steps{edit(func(m *datadogtest.AuthMethod) { m.ClientSecret = "pasted" })},
			then: func(w *account) {
				if m, _ := w.datadog.Get(w.record(secretName)["id"]); m.ClientSecret != secretIn(w.first) {
					w.t.Error("no refresh overwrote it")
				}
			},
		},
		"a client secret that works nowhere, of a provider whose answer to it is no verdict (Apigee, Keyrock, Twitch): " +
			"it is pushed, with a warning": {lose: steps{func(w *account) { w.tokens.Fail(unavailable) }, reject}},
		"a client secret that works nowhere, with VerifyCredential=false": {lose: steps{reject}, config: verificationOff},
		"a new secret whose client secret the provider rejects": {lose: steps{func(w *account) {
			w.secrets.Create(secretName+"-new", w.valueOf("unknown", "name=new"))
		}}},
		"an auth method is created, and nobody attaches it to a webhook": {lose: steps{func(w *account) {
			w.secrets.Create(secretName+"-new", w.value("of-new", "name=new"))
		}}},
		"a rotation while Datadog does not answer":                   {lose: steps{datadogAnswers(503), rotate}},
		"a rotation while Datadog refuses the function's credential": {lose: steps{datadogAnswers(403), rotate}},
		"the event of a rotation does not come":                      {lose: steps{eventsStop, rotate}},
		"a rotation while IAM or KMS refuses the secret to the function": {lose: steps{func(w *account) {
			w.secrets.Fail("GetSecretValue", 9999, kmsDenied)
		}, rotate}},
		"the event of a rotation comes more than AlertGapAlarmSeconds late": {lose: steps{func(w *account) {
			w.delay = eventDelay
		}, rotate}},
		"a rotation while Lambda has no room for the function, or somebody stopped it": {lose: steps{func(w *account) {
			w.stopped = true
		}, rotate}},
		"a result that cannot be published, so that no notice comes": {lose: steps{func(w *account) {
			w.bus.Hook = denied
		}, reject}},
		"the schedule does not run": {lose: steps{is("SCHEDULE", "DELETED")}},
		"no reconcile has ever succeeded since the deployment": {config: func(w *world) {
			w.datadog.Fail(datadogtest.Fault{Status: 403})
		}},
		"nobody is subscribed, or has confirmed": {
			lose: steps{mustSucceed(""), is("SUBSCRIPTION", "PendingConfirmation")}},
		"`Enabled=false`": {lose: steps{is("SCHEDULE", "DISABLED"), is("RULES", "DISABLED"), eventsStop, rotate, revoke}},
		"`Enabled=false` and ReconcileSchedule=none": {
			lose: steps{is("SCHEDULE", "none"), is("RULES", "DISABLED"), eventsStop, rotate, revoke}},
		"the rules that start the function are switched off, by hand": {
			lose: steps{is("RULES", "DISABLED"), eventsStop, rotate, revoke}},
		"the rule that sends notices is switched off, by hand": {lose: steps{is("NOTICE_RULE", "DISABLED"), reject}},
		"the actions of an alarm are switched off, by hand":    {lose: steps{is("ACTIONS", "false")}},
		"a rotation that the provider rejects, on an event bus given by its ARN that sends no results back": {
			lose: steps{is("BUS", "arn:aws:events:us-east-1:111122223333:event-bus/central"), reject},
			then: mustSucceed("notices: NONE")},
		"an auth method is deleted in Datadog, with ReconcileSchedule=none": {
			lose: steps{is("SCHEDULE", "none"), deletes(secretName)}},
		"the secret's name is outside SecretNamePrefix": {lose: steps{func(w *account) {
			w.secrets.Create("elsewhere/payments", w.value("of-elsewhere"))
		}}},
		"the secret is marked for deletion, and its client secret is revoked": {lose: steps{func(w *account) {
			w.secrets.Delete(secretName)
		}, revoke}},
	}
	for _, row := range table(t, "### How alerts are lost, and what says so") {
		how := row[0]
		loss, ok := losses[how]
		if !ok {
			t.Errorf("no case plays %q", how)
			continue
		}
		delete(losses, how)
		t.Run(how, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				a := newAccount(w)
				if loss.lose != nil {
					a.first = a.value("first", "name=payments")
					a.secrets.Create(secretName, a.first)
					a.secrets.Create(otherName, a.value("of-other", "name=other"))
					a.runFor(2 * schedulePeriod) // so that both are settled
				}
				a.loss = time.Now()
				for _, step := range loss.lose {
					step(a)
				}
				a.runFor(max(4*time.Hour, within[row[2]][1]+time.Hour))
				a.mustHear(row[1], row[2])
				if loss.then != nil {
					loss.then(a)
				}
			}, func(w *world) {
				w.config.LogLevel = slog.LevelError // the metrics are in the log, whatever its level
				if loss.config != nil {
					loss.config(w)
				}
			})
		})
	}
	for how := range losses {
		t.Errorf("docs/operations.md has no row %q", how)
	}
}

// table returns the rows of the first table after a heading of docs/operations.md, links as their text.
func table(t testing.TB, heading string) (rows [][]string) {
	t.Helper()
	text, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n"+heading+"\n")
	for line := range strings.SplitSeq(section, "\n") {
		switch {
		case strings.HasPrefix(line, "| "):
			cells := strings.Split(strings.Trim(markdownLink.ReplaceAllString(line, "$1"), "| "), "|")
			for i, cell := range cells {
				cells[i] = strings.TrimSpace(cell)
			}
			rows = append(rows, append(cells, "")) // where the last cell is empty
		case len(rows) > 0 && !strings.HasPrefix(line, "|"):
			return rows[1:] // without the head
		}
	}
	t.Fatalf("docs/operations.md has no table after %q", heading)
	return nil
}

var markdownLink = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)

const (
	schedulePeriod = 15 * time.Minute
	eventDelay     = 10 * time.Minute
)

// within has the least and the most that each text of the table's last column stands for. CloudWatch looks once a
// minute.
var within = map[string][2]time.Duration{
	"a minute":               {0, 70 * time.Second},
	"3 minutes":              {3 * time.Minute, 4*time.Minute + 10*time.Second},
	"a schedule period":      {schedulePeriod, schedulePeriod + 70*time.Second},
	"a minute after it came": {eventDelay, eventDelay + 70*time.Second},
	"ReconcileAlarmMinutes":  {time.Hour, time.Hour + 2*time.Minute},
	"RefreshHours":           {18 * time.Hour, 24*time.Hour + schedulePeriod},
	"a day and a half":       {36 * time.Hour, 37*time.Hour + time.Minute},
	"never":                  {0, 25 * time.Hour}, // a refresh
	"":                       {},
}

// mustHear fails unless what was heard since the loss is what says names, after the time that after names.
func (a *account) mustHear(says, after string) {
	a.t.Helper()
	heard, minutes := a.notices(), a.minutes()
	for name, alarm := range alarms(a.t, a.stack["SCHEDULE"] != "DISABLED" && a.stack["SCHEDULE"] != "none") {
		if at, rings := alarm.ringsAfter(a.loss, minutes[alarm.metric]); rings {
			heard[name] = at
		}
	}
	_, failing := heard["FailingAlarm"]
	if delete(heard, "FailingAlarm"); failing != (a.dryReconcile().Failing > 0) {
		a.t.Errorf("FailingAlarm: %t", failing)
	}
	steps := strings.Split(after, ", then ")
	for i, step := range strings.Split(says, ", then ") {
		text, _, _ := strings.Cut(steps[i], ":")
		limits, known := within[text]
		if !known {
			a.t.Fatalf("how long is %q?", text)
		}
		for _, signal := range signalPattern.FindAllString(step, -1) {
			if signal == "`check_stack`" {
				if _, succeeded := a.checkStack(); succeeded {
					a.t.Error("check_stack succeeds")
				}
				continue
			}
			signal = strings.Trim(signal, `"`)
			at, ok := heard[signal]
			if d := at.Sub(a.loss); !ok || d < limits[0] || d > limits[1] {
				a.t.Errorf("%s: heard %t, after %v; want %v to %v", signal, ok, d, limits[0], limits[1])
			}
			delete(heard, signal)
		}
	}
	for signal, at := range heard {
		a.t.Errorf("the row does not say that %s is heard, after %v", signal, at.Sub(a.loss))
	}
}

var signalPattern = regexp.MustCompile("\"[^\"]+\"|`check_stack`|\\b[A-Z][A-Za-z]+Alarm\\b")

// notices are what NoticeRule sends, by the text that docs/operations.md explains, and when each came first.
func (a *account) notices() map[string]time.Time {
	var texts []string
	for _, row := range table(a.t, "## Notices") {
		texts = append(texts, strings.Trim(row[0], "`… "))
	}
	first := map[string]time.Time{}
	if a.stack["NOTICE_RULE"] != "ENABLED" || a.stack["BUS"] != "default" {
		return first
	}
	events := a.bus.Events()
	for n, res := range a.published() {
		at := *events[n].Time
		fresh := res.Outcome == report.Created || res.Outcome == report.Adopted
		if notified := res.Outcome == report.Failed || res.Recovered != nil || fresh; !notified || at.Before(a.loss) {
			continue
		}
		i := slices.IndexFunc(texts, func(text string) bool { return strings.Contains(res.Summary, text) })
		if i < 0 {
			a.t.Errorf("docs/operations.md does not explain the notice %q", res.Summary)
			continue
		}
		if _, again := first[texts[i]]; !again {
			first[texts[i]] = at
		}
	}
	return first
}

// checkStack runs check_stack of docs/ops.sh, to which aws and the function answer what is so.
func (a *account) checkStack() (printed string, succeeded bool) {
	a.t.Helper()
	cmd := exec.Command("bash", "-c", `. ../docs/ops.sh
		ask() { printf %s "$ANSWER"; }
		output() { echo "$1"; }
		resource() { echo "$1"; }
		parameter() { case $1 in
			PageTopicArn) ;;
			ReconcileSchedule) echo "$SCHEDULE" ;;
			EventBusName) echo "$BUS" ;;
		esac; }
		aws() { case $* in
			*AWS::Events::Rule*) printf '%s\n' 'FunctionLabelUpdated label' 'NoticeRule notice' ;;
			*"--event-bus-name default --name label "*) echo "$RULES" ;;
			*"--event-bus-name default --name notice "*) echo "$NOTICE_RULE" ;;
			scheduler*) echo "$SCHEDULE" ;;
			*AWS::CloudWatch::Alarm*) printf 'AtRiskAlarm\tat-risk\nFailingAlarm\tfailing\n' ;;
			*"--alarm-names at-risk failing "*) echo '{"MetricAlarms": [
				{"AlarmName": "at-risk", "ActionsEnabled": '"$ACTIONS"'}, {"AlarmName": "failing", "ActionsEnabled": true}]}' ;;
			sns*) echo '{"Subscriptions": [{"SubscriptionArn": "'"$SUBSCRIPTION"'", "Endpoint": "on-call"}]}' ;;
		esac; }
		check_stack`)
	cmd.Env = append(os.Environ(), "ANSWER="+a.mustInvoke(dryRunAll, ""))
	for what, state := range a.stack {
		cmd.Env = append(cmd.Env, what+"="+state)
	}
	out, err := cmd.CombinedOutput()
	a.t.Logf("%s", out)
	return string(out), err == nil
}
