package simulation

import (
	"strings"
	"testing"
	"time"
)

// What the simulation found once, or was suspected of, each as the smallest schedule that shows it.
func TestRegressions(t *testing.T) {
	const ms, second, minute = time.Millisecond, time.Second, time.Minute
	once := []delivery{{}}
	unread := []delivery{{Kill: &kill{Op: "GetSecretValue", Unsent: true}, NoRetry: true}}
	late := func(op string, d time.Duration) []delivery {
		return []delivery{{Kill: &kill{Op: op, Late: d}, NoRetry: true}}
	}
	of := func(x ...secret) []secret { return x }
	whole := of(secret{Kind: full, Deliveries: once})
	for _, c := range []struct {
		name     string
		schedule schedule
	}{
		{"an older PATCH lands last, after a newer record", schedule{Warm: true, Secrets: whole, Steps: []step{
			{Do: put, Deliveries: late("PATCH", 7*minute)},
			{Do: put, After: 10 * second, Deliveries: once},
		}}},
		{"away and back, and what was settled is overwritten late", schedule{Warm: true, Secrets: whole, Steps: []step{
			{Do: put, Deliveries: late("PATCH", 7*minute)},
			{Do: rollback, Back: 1, After: 10 * second, Deliveries: unread},
		}}},
		{"away and back in the seconds that labels are stale", schedule{Warm: true, Secrets: whole, Steps: []step{
			{Do: put, After: 2 * ms, Deliveries: append(late("PATCH", 2*minute), delivery{})},
			{Do: staleLabels, After: 3 * ms, For: 5 * second, Rate: 100},
			{Do: put, After: ms, Deliveries: once},
			{Do: put, After: ms, Deliveries: once},
			{Do: rollback, Back: 3, After: 1784 * ms, Deliveries: []delivery{{After: ms}}},
		}}},
		{"a rejected version is read again, and then the provider is down", schedule{Warm: true, Secrets: whole, Steps: []step{
			{Do: put, Version: version{Never: true}, Deliveries: once},
			{Do: staleLabels, After: 30 * ms, For: 3 * second, Rate: 100},
			{Do: failTokens, After: 500 * ms, For: 2 * second, Rate: 100},
		}}},
		{"a lost POST among secrets of one client", schedule{Secrets: of(secret{Kind: full}, secret{Kind: full, Client: 1},
			secret{Kind: full, Client: 1}), Steps: []step{{Do: loseAnswers, Ahead: 1, For: second, Rate: 100}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if wrong, trace := play(t, c.schedule, bug{}, true); len(wrong) > 0 {
				t.Errorf("%s\n%s", strings.Join(wrong, "\n"), strings.Join(trace, "\n"))
			}
		})
	}
}
