package handler_test

import (
	"encoding/json"
	"fmt"
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
	"datadog-webhook-auth-sync/handler/tokencheck/tokentest"
)

const otherName = "datadog/webhooks/other"

// TestSilence plays each way to lose an alert that docs/operations.md lists, for hours or days. What its row says is
// heard after the time that it says, and nothing else is.
func TestSilence(t *testing.T) {
	reject := func(w *account) { w.putRejected("second") }
	switchOffRules := func(w *account) {
		w.rules, w.secrets.OnLabel = "DISABLED", nil
		w.rotate()
		w.revoke(w.first)
	}
	losses := map[string]struct {
		lose   func(w *account)
		config func(*world)
		then   func(w *account) // in the end
	}{
		"a rotation whose client secret the provider rejects, while the one before works": {lose: reject},
		"the same, and the one before is revoked later": {lose: func(w *account) {
			reject(w)
			w.runFor(2 * schedulePeriod)
			w.lossIsNow()
			w.revoke(w.first)
		}},
		"the same, and the one before is revoked already": {lose: func(w *account) {
			w.revoke(w.first)
			reject(w)
		}},
		"a rotation whose value is no valid credential": {lose: func(w *account) { w.secrets.Put(secretName, "{}") }},
		"the current client secret is revoked at the provider, or expires, without a rotation": {lose: func(w *account) {
			w.revoke(w.first)
		}},
		"an auth method is deleted in Datadog": {lose: func(w *account) { w.datadog.Delete(w.record(secretName)["id"]) }},
		"all auth methods, two or more, are deleted in Datadog": {lose: func(w *account) {
			w.datadog.Delete(w.record(secretName)["id"])
			w.datadog.Delete(w.record(otherName)["id"])
		}},
		"the client, URL or scope of an auth method is edited in Datadog": {lose: func(w *account) {
			w.edit(func(m *datadogtest.AuthMethod) { m.ClientID = "another-client" })
		}},
		"another client secret is pasted into an auth method in Datadog": {
			lose: func(w *account) { w.edit(func(m *datadogtest.AuthMethod) { m.ClientSecret = "pasted" }) },
			then: func(w *account) {
				w.edit(func(m *datadogtest.AuthMethod) {
					if m.ClientSecret != secretIn(w.first) {
						w.t.Error("no refresh overwrote it")
					}
				})
			},
		},
		"a client secret that works nowhere, of a provider whose answer to it is no verdict (Apigee, Keyrock, Twitch): " +
			"it is pushed, with a warning": {lose: func(w *account) {
			w.tokens.Fail(tokentest.Fault{Status: 503})
			reject(w)
		}},
		"a client secret that works nowhere, with VerifyCredential=false": {lose: reject,
			config: func(w *world) { w.config.VerifyCredential = false }},
		"a new secret whose client secret the provider rejects": {lose: func(w *account) {
			value := w.value("of-new", "name=new")
			w.revoke(value)
			w.secrets.Create(secretName+"-new", value)
		}},
		"an auth method is created, and nobody attaches it to a webhook": {lose: func(w *account) {
			w.secrets.Create(secretName+"-new", w.value("of-new", "name=new"))
		}},
		"a rotation while Datadog does not answer": {lose: func(w *account) {
			w.datadog.Fail(datadogtest.Fault{Status: 503})
			w.rotate()
		}},
		"a rotation while Datadog refuses the function's credential": {lose: func(w *account) {
			w.datadog.Fail(datadogtest.Fault{Status: 403})
			w.rotate()
		}},
		"a rotation while IAM or KMS refuses the secret to the function": {lose: func(w *account) {
			w.secrets.Fail("GetSecretValue", 9999, kmsDenied)
			w.rotate()
		}},
		"the event of a rotation does not come": {lose: func(w *account) {
			w.secrets.OnLabel = nil
			w.rotate()
		}},
		"the event of a rotation comes more than AlertGapAlarmSeconds late": {lose: func(w *account) {
			w.delay = eventDelay
			w.rotate()
		}},
		"a rotation while Lambda has no room for the function, or somebody stopped it": {lose: func(w *account) {
			w.stopped = true
			w.rotate()
		}},
		"a result that cannot be published, so that no notice comes": {lose: func(w *account) {
			w.bus.Hook = denied
			reject(w)
		}},
		"the schedule does not run": {lose: func(w *account) { w.schedule = "DELETED" }},
		"no reconcile has ever succeeded since the deployment": {config: func(w *world) {
			w.datadog.Fail(datadogtest.Fault{Status: 403})
		}},
		"nobody is subscribed, or has confirmed": {lose: func(w *account) {
			if _, succeeded := w.checkStack(); !succeeded {
				w.t.Error("check_stack fails while all is well")
			}
			w.subscription = "PendingConfirmation"
		}},
		"`Enabled=false`": {lose: func(w *account) {
			w.schedule = "DISABLED"
			switchOffRules(w)
		}},
		"`Enabled=false` and ReconcileSchedule=none": {lose: func(w *account) {
			w.schedule = "none"
			switchOffRules(w)
		}},
		"the rules that start the function are switched off, by hand": {lose: switchOffRules},
		"the rule that sends notices is switched off, by hand": {lose: func(w *account) {
			w.noticeRule = "DISABLED"
			reject(w)
		}},
		"the actions of an alarm are switched off, by hand": {lose: func(w *account) { w.alarmActions = false }},
		"a rotation that the provider rejects, on an event bus given by its ARN that sends no results back": {
			lose: func(w *account) {
				w.busName = "arn:aws:events:us-east-1:111122223333:event-bus/central"
				reject(w)
			},
			then: func(w *account) {
				if printed, succeeded := w.checkStack(); !succeeded || !strings.Contains(printed, "notices: NONE") {
					w.t.Error("check_stack does not say that no notice comes, or fails")
				}
			},
		},
		"an auth method is deleted in Datadog, with ReconcileSchedule=none": {lose: func(w *account) {
			w.schedule = "none"
			w.datadog.Delete(w.record(secretName)["id"])
		}},
		"the secret's name is outside SecretNamePrefix": {lose: func(w *account) {
			w.secrets.Create("elsewhere/payments", w.value("of-elsewhere"))
		}},
		"the secret is marked for deletion, and its client secret is revoked": {lose: func(w *account) {
			w.secrets.Delete(secretName)
			w.revoke(w.first)
		}},
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
					a.settleTwo()
					a.lossIsNow()
					loss.lose(a)
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
	for name, alarm := range alarms(a.t, a.reconciles()) {
		if at, rings := alarm.ringsAfter(a.loss, minutes[alarm.metric]); rings {
			heard[name] = at
		}
	}
	_, failing := heard["FailingAlarm"]
	if delete(heard, "FailingAlarm"); failing != (a.reconciliation().Failing > 0) {
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
	if a.noticeRule != "ENABLED" || a.busName != "default" {
		return first
	}
	for _, e := range a.bus.Events() {
		var res report.Result
		if err := json.Unmarshal([]byte(*e.Detail), &res); err != nil {
			a.t.Fatal(err)
		}
		fresh := res.Outcome == report.Created || res.Outcome == report.Adopted
		if notified := res.Outcome == report.Failed || res.Recovered != nil || fresh; !notified || e.Time.Before(a.loss) {
			continue
		}
		i := slices.IndexFunc(texts, func(text string) bool { return strings.Contains(res.Summary, text) })
		if i < 0 {
			a.t.Errorf("docs/operations.md does not explain the notice %q", res.Summary)
			continue
		}
		if _, again := first[texts[i]]; !again {
			first[texts[i]] = *e.Time
		}
	}
	return first
}

// reconciliation is what a dry reconcile answers.
func (a *account) reconciliation() (answer struct{ Failing int }) {
	text, err := a.invoke(`{"action":"reconcile","dryRun":true}`)
	if err != nil || json.Unmarshal([]byte(text), &answer) != nil {
		a.t.Fatal(text, err)
	}
	return answer
}

// checkStack runs check_stack of docs/ops.sh, to which aws and the function answer what is so.
func (a *account) checkStack() (printed string, succeeded bool) {
	a.t.Helper()
	answer, err := a.invoke(`{"action":"reconcile","dryRun":true}`)
	if err != nil {
		a.t.Fatal(err)
	}
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
	cmd.Env = append(os.Environ(), "ANSWER="+answer, "SCHEDULE="+a.schedule, "BUS="+a.busName, "RULES="+a.rules,
		"NOTICE_RULE="+a.noticeRule, fmt.Sprint("ACTIONS=", a.alarmActions), "SUBSCRIPTION="+a.subscription)
	out, err := cmd.CombinedOutput()
	a.t.Logf("%s", out)
	return string(out), err == nil
}
