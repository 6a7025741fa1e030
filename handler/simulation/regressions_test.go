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
		{"away and back as a reconcile settles", schedule{Secrets: whole, Steps: []step{
			{Do: rollback, Back: 1, After: 134 * time.Millisecond, Deliveries: []delivery{{}}},
			{Do: put, After: 15 * minute, Deliveries: []delivery{{Kill: &kill{Op: "PATCH", Late: 2 * minute}}}},
			{Do: rollback, Back: 1, Deliveries: []delivery{{}}},
		}}},
		{"away and back in the seconds that labels are stale", schedule{Warm: true, Secrets: []secret{{Kind: full, Deliveries: []delivery{{Kill: &kill{Op: "PATCH", Late: minute}}}}}, Steps: []step{
			{Do: put, After: 2 * time.Millisecond, Deliveries: []delivery{{Kill: &kill{Op: "PATCH", Late: 2 * minute}, NoRetry: true}, {}}},
			{Do: staleLabels, After: 3 * time.Millisecond, For: 5 * second, Rate: 100},
			{Do: put, After: time.Millisecond, Deliveries: []delivery{{}}},
			{Do: put, After: time.Millisecond, Deliveries: []delivery{{}}},
			{Do: rollback, Back: 3, After: 1784 * time.Millisecond, Deliveries: []delivery{{After: time.Millisecond}}},
		}}},
		{"a rejected version is read again, and then the provider is down", schedule{Warm: true, Secrets: whole, Steps: []step{
			{Do: put, Version: version{Never: true}, Deliveries: []delivery{{}}},
			{Do: staleLabels, After: 30 * time.Millisecond, For: 3 * second, Rate: 100},
			{Do: failTokens, After: 500 * time.Millisecond, For: 2 * second, Rate: 100},
		}}},
		{"an event's secret is seen, and then is not there for a moment", schedule{Seed: 1, Secrets: whole, Steps: []step{
			{Do: staleLabels, After: 1207 * time.Millisecond, For: 2 * second, Rate: 100},
			{Do: put, Deliveries: []delivery{{After: 6 * time.Millisecond}}},
		}}},
		{"what was recorded and not told is settled while the provider is down", schedule{
			Secrets: []secret{{Kind: full, Deliveries: at("TagResource", 0)}},
			Steps:   []step{{Do: failTokens, Ahead: 1, For: second, Rate: 100}},
		}},
		{"a thief pins another's auth method", schedule{Warm: true, Secrets: []secret{{Kind: full}, {Kind: thief}}, Steps: []step{
			{Do: put, Secret: 1, Version: version{Ruse: &ruse{Pin: true, Client: theirs, URL: own}}, Deliveries: []delivery{{}}},
		}}},
		{"an auth method is edited to lead to a thief", schedule{Warm: true, Secrets: []secret{{Kind: recorded}}, Steps: []step{
			{Do: redirect},
			{Do: put, Deliveries: []delivery{{}}},
		}}},
		{"a name leads a client secret to where nobody sent it", schedule{Warm: true, Secrets: []secret{{Kind: recorded}}, Steps: []step{
			{Do: untag},
			{Do: put, Deliveries: []delivery{{}}},
		}}},
		{"a lost POST among secrets of one client", schedule{Secrets: []secret{{Kind: full}, {Kind: full, Client: 1}, {Kind: full, Client: 1}}, Steps: []step{
			{Do: loseAnswers, Ahead: 1, For: second, Rate: 100},
		}}},
		{"a provider's brown-out after a rejection", schedule{Warm: true, Secrets: whole, Steps: []step{
			{Do: put, Version: version{Never: true}, Deliveries: []delivery{{}}},
			{Do: failTokens, After: 5 * minute, For: 2 * minute, Rate: 100},
			{Do: direct},
		}}},
		{"a rotation with nothing staged", schedule{Warm: true, Secrets: whole, Steps: []step{
			{Do: stage},
			{Do: rotate},
			{Do: put, After: minute, Deliveries: []delivery{{}}},
			{Do: rotate, After: minute},
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
