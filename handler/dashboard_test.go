package handler_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/secretstore/secretstoretest"
)

// TestReadmeDashboard plays a day of a small fleet and holds README's picture of the dashboard to the metrics of that day;
// with README=write it draws it anew.
func TestReadmeDashboard(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		midnight := w.playDay()
		const path = "testdata/dashboard.svg"
		want := drawDashboard(t, func(name string) [96][]float64 { return w.quarters(midnight, name) })
		if os.Getenv("README") == "write" {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s is out of date: run make readme (%v)", path, err)
		}
	})
}

// troubles of the day, by hour.
var troubles = []struct {
	name        string
	begin, over float64
	fault       func(w *world)
}{
	{"new secrets honoured late", 6.1, 7.1, func(*world) {}}, // and in the second also the old one is ended: see rotate
	{"old one ended early", 10.6, 11.4, func(*world) {}},
	{"Datadog: 500", 14.17, 14.34, func(w *world) { w.datadog.Fail(datadogtest.Fault{Status: 500}) }},
	{"auth method deleted", 17.3, 17.3, func(w *world) { w.datadog.Delete(w.datadog.AuthMethods()[0].ID) }},
	{"Datadog throttles", 20.6, 21.1, func(w *world) {
		throttled := datadogtest.Throttled(900)
		throttled.Method, throttled.Times = "PATCH", 0
		w.datadog.Fail(throttled)
	}},
}

// rotations are secrets by hour. The twelve are there by midnight, 12 comes later and finds an auth method that is its own.
var rotations = map[float64][]int{1.2: {9}, 2.6: {10}, 3.4: {0}, 4.8: {1, 2, 3}, 6.2: {7}, 6.4: {8}, 6.6: {9}, 8.3: {4, 5, 6}, 10.7: {10},
	13.3: {11}, 14.2: {0}, 14.295: {1}, 16.4: {2}, 18.8: {3, 4}, 19.6: {9}, 20.65: {5, 6, 7}, 22.4: {8}}

func (w *world) playDay() (midnight time.Time) {
	midnight = time.Now().Add(24 * time.Hour)
	w.datadog.Latency, w.tokens.Latency = 400*time.Millisecond, 150*time.Millisecond
	var deliveries sync.WaitGroup
	defer deliveries.Wait()
	// deliver invokes as Lambda does where nobody waits for the answer: after a failure again, after 1 and 2 minutes.
	deliver := func(payload string, late time.Duration) {
		next := time.Now().Add(late)
		deliveries.Go(func() {
			for _, pause := range []time.Duration{0, time.Minute, 2 * time.Minute} {
				next = next.Add(pause) // not of how long the attempt took, which is random
				time.Sleep(time.Until(next))
				if _, err := w.invoke(payload); err == nil {
					return
				}
			}
		})
	}
	late := time.Duration(0) // the event
	w.secrets.OnLabel = func(e secretstoretest.Event) {
		if e.Label == "AWSCURRENT" {
			late = (late + 1130*time.Millisecond) % (2900 * time.Millisecond)
			deliver(label(e), late)
		}
	}
	secret := func(i int) (name, value string) {
		return fmt.Sprintf("%s-%d", secretName, i), w.value(fmt.Sprint(len(w.secret)), fmt.Sprintf("name=method %02d", i))
	}

	type act struct {
		hour float64
		do   func()
	}
	// rotate stores a new client secret, which in the first two troubles does not work before they are over.
	rotate := func(i int, hour float64) {
		name, value := secret(i)
		for n, one := range troubles[:2] {
			if hour < one.begin || hour >= one.over {
				continue
			}
			w.tokens.HonourAfter("payments-client", secretIn(value), time.Duration((one.over-hour)*float64(time.Hour)))
			for _, m := range w.datadog.AuthMethods() {
				if n == 1 && m.Name == fmt.Sprintf("method %02d", i) {
					w.tokens.Revoke("payments-client", m.ClientSecret)
				}
			}
		}
		w.secrets.Put(name, value)
	}
	acts := []act{{15.1, func() { w.datadogHolds("method 12", "payments-client"); w.secrets.Create(secret(12)) }}}
	for i := range 12 {
		acts = append(acts, act{-1, func() { w.secrets.Create(secret(i)) }})
	}
	for hour := -0.75; hour < 24; hour += 0.25 {
		acts = append(acts, act{hour, func() { deliver(`{"action":"reconcile"}`, 0) }})
	}
	for hour, secrets := range rotations {
		for n, i := range secrets {
			acts = append(acts, act{hour + float64(n)/600, func() { rotate(i, hour) }})
		}
	}
	for _, one := range troubles {
		acts = append(acts, act{one.begin, func() { one.fault(w) }}, act{one.over, func() { w.datadog.ClearFaults() }})
	}
	slices.SortStableFunc(acts, func(a, b act) int { return int(math.Round((a.hour - b.hour) * 3600)) })
	for _, a := range acts {
		time.Sleep(time.Until(midnight.Add(time.Duration(math.Round(a.hour*3600)) * time.Second)))
		a.do()
	}
	return midnight
}

// quarters are a metric's values by the quarter of an hour since midnight.
func (w *world) quarters(midnight time.Time, metric string) (all [96][]float64) {
	for line := range strings.Lines(w.log.String()) {
		values := map[string]any{}
		_ = json.Unmarshal([]byte(line), &values)
		if value, ok := values[metric].(float64); ok {
			at := int64(values["_aws"].(map[string]any)["Timestamp"].(float64))
			if quarter := time.UnixMilli(at).Sub(midnight).Hours() * 4; quarter >= 0 && quarter < 96 {
				all[int(quarter)] = append(all[int(quarter)], value)
			}
		}
	}
	return all
}

const left, right, firstTop, high, apart = 60., 876., 74., 100., 152.

func x(hour float64) float64 { return left + (right-left)/24*hour }

type picture struct{ strings.Builder }

func (p *picture) add(format string, args ...any) {
	for i, arg := range args {
		if f, ok := arg.(float64); ok {
			args[i] = strconv.FormatFloat(math.Round(f*10)/10, 'f', -1, 64)
		}
	}
	fmt.Fprintf(p, format+"\n", args...)
}

// widget draws the frame of one; its legend is names and colours in turn.
func (p *picture) widget(top float64, title string, y func(float64) float64, ticks []float64, legend ...string) {
	p.add(`<text x="%v" y="%v" class="title">%s</text>`, left, top-12, title)
	for i, end := len(legend)-2, right; i >= 0; i -= 2 {
		end -= 6.3*float64(len(legend[i])) + 28
		p.add(`<rect x="%v" y="%v" width="9" height="9" rx="2" fill="%s"/><text x="%v" y="%v">%s</text>`, end+14, top-20, legend[i+1], end+27, top-12, legend[i])
	}
	for _, tick := range ticks {
		p.add(`<path d="M%v %vH%v" stroke="#e5e7eb"/><text x="%v" y="%v" class="left">%v</text>`, left, y(tick), right, left-8, y(tick)+4, tick)
	}
	for hour := 0; hour <= 24; hour += 3 {
		p.add(`<text x="%v" y="%v" class="hour">%02d:00</text>`, x(float64(hour)), top+high+16, hour)
	}
}

// drawDashboard draws the widgets of the three metrics that matter most, in periods of a quarter of an hour.
func drawDashboard(t *testing.T, metric func(name string) [96][]float64) string {
	template, err := os.ReadFile("../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	find := func(pattern string) string { return string(regexp.MustCompile(pattern).FindSubmatch(template)[1]) }
	title := func(name string) string {
		return find(`"title": "([^"]*)", "region": "\$\{AWS::Region\}",[^[{]*"metrics": \[\s*\["DatadogWebhookAuthSync", "` + name + `"`)
	}
	alarm, _ := strconv.ParseFloat(find(`AlertGapAlarmSeconds:\n.*\n.*\n    Default: (\d+)`), 64)
	const red, blue, light, green, orange, violet = "#d62728", "#1f77b4", "#9ecae1", "#2ca02c", "#f59e0b", "#7c3aed"

	p, bottom := &picture{}, firstTop+high
	p.add(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 508" role="img" font-family="system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif" font-size="11" fill="#374151">`)
	p.add(`<title>The dashboard after a day with troubles</title><rect x=".5" y=".5" width="899" height="507" rx="8" fill="#fff" stroke="#d1d5db"/>`)
	p.add(`<style>.title{font-size:13px;font-weight:600;fill:#111827}.left{text-anchor:end;fill:#6b7280}.hour{text-anchor:middle;fill:#6b7280}.note{text-anchor:middle;font-style:italic;fill:#92400e}</style>`)
	for _, one := range troubles {
		p.add(`<text x="%v" y="22" class="note">%s</text><path d="M%v 30H%vV%vH%vz" fill="#fef9e7" stroke="#fde68a"/>`,
			x((one.begin+one.over)/2), one.name, x(one.begin), x(one.over), bottom+2*apart, x(one.begin))
	}

	y := func(seconds float64) float64 { return bottom - high*math.Log(2*seconds)/math.Log(1200) }
	p.widget(firstTop, title("AlertGap"), y, []float64{1, 10, 60, alarm}, "Maximum", blue, "p50", light)
	p.add(`<path d="M%v %vH%v" stroke="%s" stroke-dasharray="5 3"/><text x="%v" y="%v" fill="%s">alarm</text>`, left, y(alarm), right, red, left+4, y(alarm)-4, red)
	for quarter, gaps := range metric("AlertGap") {
		if len(gaps) > 0 {
			slices.Sort(gaps)
			at, most := x(float64(quarter)/4+0.125), gaps[len(gaps)-1]
			colour := map[bool]string{false: blue, true: red}[most > alarm]
			p.add(`<circle cx="%v" cy="%v" r="3.5" fill="%s"/><circle cx="%v" cy="%v" r="3.5" fill="%s"/>`, at, y(gaps[(len(gaps)-1)/2]), light, at, y(most), colour)
		}
	}

	bottom += apart
	y = func(n float64) float64 { return bottom - high*n/6 }
	outcomes := []string{"SyncCreated", green, "SyncUpdated", blue, "SyncAdopted", violet, "SyncSettled", light, "SyncFailed", red}
	p.widget(bottom-high, title("SyncCreated"), y, []float64{0, 2, 4, 6}, outcomes...)
	var stacked [96]float64
	for i := 0; i < len(outcomes); i += 2 {
		for quarter, all := range metric(outcomes[i]) {
			if n := float64(len(all)); n > 0 {
				p.add(`<path d="M%v %vh7V%vh-7z" fill="%s"/>`, x(float64(quarter)/4)+.75, y(stacked[quarter]), y(stacked[quarter]+n), outcomes[i+1])
				stacked[quarter] += n
			}
		}
	}

	bottom += apart
	y = func(n float64) float64 { return bottom - high*n/4 }
	p.widget(bottom-high, title("AtRisk"), y, []float64{0, 1, 2, 3, 4}, "AtRisk", red, "Failing", orange, "LeftOver", violet)
	for i, name := range []string{"Failing", "AtRisk", "LeftOver"} { // the later over the earlier, which counts the same secrets
		style := []string{`stroke="` + orange, `stroke="` + red, `stroke-dasharray="4 3" stroke="` + violet}[i]
		p.add(`<path fill="%s" fill-opacity=".3" %s" stroke-width="1.5" d="M%v %v`, []string{orange, red, "none"}[i], style, left, y(0))
		for quarter, values := range metric(name) {
			if len(values) > 0 { // no run, no news
				p.add(`H%vV%v`, x(float64(quarter)/4), y(slices.Max(values)))
			}
		}
		p.add(`H%vV%vz"/>`, right, y(0))
	}
	p.add(`</svg>`)
	return p.String()
}
