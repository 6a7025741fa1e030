package datadog

import (
	"context"
	"testing"
	"time"
)

// What a fetch shows is as old as its beginning: it does not bring back what was there before.
func TestAFetchDoesNotOverwriteWhatIsNewer(t *testing.T) {
	load := func(l *Listing) {
		if err := l.Load(context.Background()); err != nil {
			t.Error(err)
		}
	}
	write := func(l *Listing) { l.Put(AuthMethod{ID: "a", Name: "written"}) }
	for _, c := range []struct {
		name              string
		before, meanwhile func(l *Listing)
		want              string
		fetches           int
	}{
		{"a write meanwhile", nil, write, "written", 1},
		{"another fetch meanwhile", nil, load, "fetch 2", 2},
		{"a write before it", write, nil, "fetch 1", 1},
		{"it is outdated meanwhile", nil, (*Listing).Outdate, "fetch 2", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			clock, fetches := time.Unix(0, 0), 0
			var l *Listing
			l = NewListing(func(context.Context) ([]AuthMethod, error) {
				fetches++
				listed := []AuthMethod{{ID: "a", Name: "fetch " + string(rune('0'+fetches))}}
				if fetches == 1 && c.meanwhile != nil {
					c.meanwhile(l)
				}
				return listed, nil
			}, func() time.Time {
				clock = clock.Add(time.Second)
				return clock
			})
			if c.before != nil {
				c.before(l)
			}
			load(l)
			load(l) // fetches only what is outdated
			if methods, _ := l.Methods(); methods["a"].Name != c.want || fetches != c.fetches {
				t.Errorf("%q after %d fetches; want %q, %d", methods["a"].Name, fetches, c.want, c.fetches)
			}
		})
	}
}
