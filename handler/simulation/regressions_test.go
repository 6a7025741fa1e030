package simulation

import (
	"strings"
	"testing"
	"time"
)

// What the simulation found once, or was suspected of, each as the smallest schedule that shows it.
func TestRegressions(t *testing.T) {
	const second, minute = time.Second, time.Minute
	at := func(op string, late time.Duration) []delivery {
		return []delivery{{Kill: &kill{Op: op, Late: late}, NoRetry: true}}
	}
	unread := []delivery{{Kill: &kill{Op: "GetSecretValue", Unsent: true}, NoRetry: true}}
	whole := []secret{{Kind: full, Deliveries: []delivery{{}}}}
	for _, c := range []struct {
		name     string
		schedule schedule
	}{
		{"an older PATCH lands last, after a newer record", schedule{Warm: true, Secrets: whole, Steps: []step{
			{Do: put, Deliveries: at("PATCH", 7*minute)},
			{Do: put, After: 10 * second, Deliveries: []delivery{{}}},
		}}},
		{"away and back, and what was settled is overwritten late", schedule{Warm: true, Secrets: whole, Steps: []step{
			{Do: put, Deliveries: at("PATCH", 7*minute)},
			{Do: rollback, Back: 1, After: 10 * second, Deliveries: unread},
		}}},
		{"away and back just before a reconcile", schedule{Warm: true, Secrets: whole, Steps: []step{
			{Do: put, After: 13*minute + 50*second, Deliveries: at("PATCH", 7*minute)},
			{Do: rollback, Back: 1, After: second, Deliveries: unread},
		}}},
		{"away and back within the grace of a settled record", schedule{Secrets: whole, Steps: []step{
			{Do: put, Ahead: 1, After: 2 * second, Deliveries: at("PATCH", 7*minute)},
			{Do: rollback, Back: 1, After: 500 * time.Millisecond, Deliveries: unread},
		}}},
		{"a young secret is not there for a moment, after its first push", schedule{Seed: 2, Secrets: whole, Steps: []step{
			{Do: put, After: 300 * time.Millisecond, Deliveries: []delivery{{After: minute}}},
			{Do: staleLabels, After: 300 * time.Millisecond, For: 200 * time.Millisecond, Rate: 100},
		}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if wrong, _ := play(t, c.schedule, bug{}, false); len(wrong) > 0 {
				_, story := play(t, c.schedule, bug{}, true)
				t.Errorf("%s\n%s", strings.Join(wrong, "\n"), strings.Join(story, "\n"))
			}
		})
	}
}
