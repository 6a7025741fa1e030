package handler_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"datadog-webhook-auth-sync/handler/secretstore/secretstoretest"
)

// account is what surrounds the function in AWS: events, a schedule, metrics, alarms.
type account struct {
	*world
	first   string // the value of secretName before the loss
	loss    time.Time
	delay   time.Duration     // of events
	stopped bool              // Lambda runs nothing
	stack   map[string]string // the state of what check_stack looks at

	mu     sync.Mutex
	others []point // values of other services' metrics
}

func newAccount(w *world) *account {
	a := &account{world: w, stack: map[string]string{"SCHEDULE": "ENABLED", "SUBSCRIPTION": "arn",
		"RULES": "ENABLED", "NOTICE_RULE": "ENABLED", "ACTIONS": "true", "BUS": "default"}}
	w.secrets.OnLabel = func(e secretstoretest.Event) {
		go func() {
			time.Sleep(a.delay)
			a.deliver(label(e))
		}()
	}
	return a
}

// deliver invokes the function as Lambda does for an event: again after one and two minutes. Then the event goes to the
// failure queue.
func (a *account) deliver(event string) {
	for _, wait := range []time.Duration{0, time.Minute, 2 * time.Minute} {
		time.Sleep(wait)
		if a.stopped {
			a.count("Throttles")
			return
		}
		if _, err := a.invoke(event); err == nil {
			return
		}
	}
	a.count("NumberOfMessagesSent")
}

func (a *account) count(metric string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.others = append(a.others, point{metric, time.Now(), 1})
}

// runFor lets d pass, with a reconcile at each end of a schedule's period.
func (a *account) runFor(d time.Duration) {
	for ; d > 0; d -= schedulePeriod {
		time.Sleep(schedulePeriod)
		if a.stack["SCHEDULE"] == "ENABLED" {
			a.deliver(`{"action":"reconcile"}`)
		}
	}
}

func (a *account) minutes() map[string]map[int64][]float64 {
	all := map[string]map[int64][]float64{}
	for _, p := range append(a.points(), a.others...) {
		if all[p.metric] == nil {
			all[p.metric] = map[int64][]float64{}
		}
		minute := p.at.Unix() / 60
		all[p.metric][minute] = append(all[p.metric][minute], p.value)
	}
	return all
}

// alarm is one of the template's. Its periods are in minutes.
type alarm struct {
	metric, statistic, comparison, missing string
	threshold                              float64
	period, periods, datapoints            int64
}

// alarms are those of the template, with its parameters' defaults, those of a stack that reconciles, or not.
func alarms(t testing.TB, reconciles bool) map[string]alarm {
	t.Helper()
	text, err := os.ReadFile("../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var template struct {
		Parameters map[string]map[string]any `yaml:"Parameters"`
		Resources  map[string]struct {
			Type       string         `yaml:"Type"`
			Condition  string         `yaml:"Condition"`
			Properties map[string]any `yaml:"Properties"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal(text, &template); err != nil {
		t.Fatal(err)
	}
	all := map[string]alarm{}
	for name, resource := range template.Resources {
		if resource.Type != "AWS::CloudWatch::Alarm" || resource.Condition == "MustReconcile" && !reconciles {
			continue
		}
		text := func(property string) string {
			value := fmt.Sprint(resource.Properties[property])
			if parameter, ok := template.Parameters[value]; ok { // !Ref
				value = fmt.Sprint(parameter["Default"])
			}
			return value
		}
		number := func(property string) int64 {
			n, err := strconv.ParseInt(text(property), 10, 64)
			if err != nil {
				t.Fatal(name, err)
			}
			return n
		}
		a := alarm{text("MetricName"), text("Statistic"), text("ComparisonOperator"), text("TreatMissingData"),
			float64(number("Threshold")), number("Period") / 60, number("EvaluationPeriods"), 0}
		if a.datapoints = a.periods; resource.Properties["DatapointsToAlarm"] != nil {
			a.datapoints = number("DatapointsToAlarm")
		}
		all[name] = a
	}
	return all
}

// ringsAfter says when the alarm first notifies after a time. CloudWatch looks at the periods that have ended, every
// minute, or every hour where these last hours.
func (a alarm) ringsAfter(loss time.Time, minutes map[int64][]float64) (at time.Time, rings bool) {
	state, step := "INSUFFICIENT_DATA", int64(1)
	if a.period >= 60 {
		step = 60
	}
	if len(minutes) == 0 {
		return at, false
	}
	first, end := slices.Min(slices.Collect(maps.Keys(minutes))), time.Now().Unix()/60
	for now := first - first%step; now <= end; now += step {
		before := state
		state = a.stateAt(now, minutes, before)
		notifies := state == "ALARM" || state == "INSUFFICIENT_DATA" && a.missing == "missing"
		if notifies && state != before && now >= loss.Unix()/60 {
			return time.Unix(now*60, 0), true
		}
	}
	return time.Time{}, false
}

func (a alarm) stateAt(now int64, minutes map[int64][]float64, before string) string {
	var breaching, present int64
	for i := range a.periods {
		end := now - i*a.period
		var values []float64
		for minute := end - a.period; minute < end; minute++ {
			values = append(values, minutes[minute]...)
		}
		if len(values) == 0 {
			continue
		}
		present++
		if a.breaches(values) {
			breaching++
		}
	}
	switch {
	case breaching >= a.datapoints:
		return "ALARM"
	case present > 0 || a.missing == "notBreaching":
		return "OK"
	case a.missing == "ignore":
		return before
	}
	return "INSUFFICIENT_DATA"
}

func (a alarm) breaches(values []float64) bool {
	value := slices.Max(values)
	switch a.statistic {
	case "Minimum":
		value = slices.Min(values)
	case "Sum":
		value = 0
		for _, v := range values {
			value += v
		}
	}
	switch a.comparison {
	case "GreaterThanThreshold":
		return value > a.threshold
	case "GreaterThanOrEqualToThreshold":
		return value >= a.threshold
	}
	return value < a.threshold
}
