package simulation

import (
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestMain has rapid play the same usual share each time, unless its flags say otherwise.
func TestMain(m *testing.M) {
	flag.Parse()
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	set := func(name, value string) {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	if !given["rapid.nofailfile"] {
		set("rapid.nofailfile", "true")
	}
	if !given["rapid.checks"] {
		set("rapid.checks", "20000") // a fifth of it with -short
		if !given["rapid.seed"] {
			set("rapid.seed", "1")
		}
	}
	runtime.GOMAXPROCS(1) // of a schedule's goroutines hardly ever two have something to do
	debug.SetGCPercent(800)
	os.Exit(m.Run())
}

func TestSchedules(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := schedules.Draw(r, "schedule")
		if wrong, _ := play(t, s, bug{}, false); len(wrong) > 0 {
			_, trace := play(t, s, bug{}, true)
			text, _ := json.MarshalIndent(s, "", " ")
			r.Fatalf("%s\n\n%s\n\n%s", strings.Join(wrong, "\n"), text, strings.Join(trace, "\n"))
		}
	})
}

// Without this a seed would not bring a failure back.
func TestAScheduleIsPlayedTheSameTwice(t *testing.T) {
	for seed := range 60 {
		s := schedules.Example(seed)
		if diff := cmp.Diff(traceOf(t, s), traceOf(t, s)); diff != "" {
			t.Fatalf("schedule %d (-one +two):\n%s", seed, diff)
		}
	}
}

// traceOf a schedule is without the ids of auth methods, which are random.
func traceOf(t *testing.T, s schedule) []string {
	_, lines := play(t, s, bug{}, true)
	for i := range lines {
		lines[i] = uuids.ReplaceAllString(lines[i], "…")
	}
	return lines
}

var uuids = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`)
