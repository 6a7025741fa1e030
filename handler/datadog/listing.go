package datadog

import (
	"context"
	"maps"
	"sync"
	"time"
)

// Listing is the organisation's auth methods as Datadog lists them. All who sync at once share one: each sees what any
// of them fetched or wrote. It is safe for concurrent use.
type Listing struct {
	MaxAge time.Duration // of a fetch, after which Load fetches again; zero: a fetch never gets old

	fetch func(context.Context) ([]AuthMethod, error)
	now   func() time.Time

	mu       sync.Mutex
	outdated time.Time             // a fetch that began until then does not count
	began    time.Time             // the newest fetch; zero: there is none
	methods  map[string]AuthMethod // by id; replaced, never changed
	written  map[string]time.Time  // id → when the last write of it ended
}

// NewListing returns a listing that is not fetched yet. fetch is a Client's List.
func NewListing(fetch func(context.Context) ([]AuthMethod, error), now func() time.Time) *Listing {
	return &Listing{fetch: fetch, now: now, methods: map[string]AuthMethod{}, written: map[string]time.Time{}}
}

// Load fetches the listing, unless one was fetched after Outdate and is younger than MaxAge. A fetch overwrites neither
// what a newer fetch found nor what a write returned that ended after this fetch began.
func (l *Listing) Load(ctx context.Context) error {
	l.mu.Lock()
	fresh := l.began.After(l.outdated) && (l.MaxAge == 0 || l.now().Round(0).Sub(l.began) < l.MaxAge) // by the wall clock
	l.mu.Unlock()
	if fresh {
		return nil
	}
	began := l.now()
	listed, err := l.fetch(ctx)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if began.Before(l.began) {
		return nil
	}
	methods := make(map[string]AuthMethod, len(listed))
	for _, m := range listed {
		methods[m.ID] = m
	}
	for id, ended := range l.written {
		if !ended.Before(began) {
			methods[id] = l.methods[id]
		}
	}
	l.began, l.methods = began, methods
	return nil
}

// Outdate has the next Load fetch: Datadog turned out not to be as listed.
func (l *Listing) Outdate() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outdated = l.now()
}

// Put enters an auth method as a write returned it.
func (l *Listing) Put(m AuthMethod) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.methods = maps.Clone(l.methods)
	l.methods[m.ID], l.written[m.ID] = m, l.now()
}

// Methods returns the auth methods by id, not to be changed, and when the fetch that listed them began: zero if there
// was none.
func (l *Listing) Methods() (byID map[string]AuthMethod, began time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.methods, l.began
}
