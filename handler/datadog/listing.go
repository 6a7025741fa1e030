package datadog

import (
	"context"
	"sync"
	"time"
)

// Listing is the organisation's auth methods as Datadog lists them, fetched when they are first needed. A run over many
// secrets shares one, so that all see what one fetch found and what one create made. It is safe for concurrent use.
type Listing struct {
	fetch func(context.Context) ([]AuthMethod, error)
	now   func() time.Time

	// Unresolved are clients whose create may have taken effect or not. Only whoever has the turn may use it.
	Unresolved map[TokenClient]bool
	turn       chan struct{} // full while somebody creates

	mu      sync.RWMutex
	fetches int
	began   time.Time
	methods map[string]Listed // by id
}

// TokenClient is what Datadog gets its tokens as.
type TokenClient struct{ ID, AccessTokenURL string }

// Listed is an auth method of a Listing.
type Listed struct {
	AuthMethod
	Since int // the fetch that first showed it
}

// NewListing is a listing that is not fetched yet. fetch is a Client's List.
func NewListing(fetch func(context.Context) ([]AuthMethod, error), now func() time.Time) *Listing {
	return &Listing{fetch: fetch, now: now, turn: make(chan struct{}, 1), methods: map[string]Listed{}, Unresolved: map[TokenClient]bool{}}
}

// Load fetches the listing unless somebody did. Its error has a code.
func (l *Listing) Load(ctx context.Context) error {
	if l.Fetches() > 0 {
		return nil
	}
	return l.Refresh(ctx)
}

// Refresh fetches the listing, for all who share it. Its error has a code.
func (l *Listing) Refresh(ctx context.Context) error {
	began := l.now()
	methods, err := l.fetch(ctx)
	if err != nil {
		return Fault(ctx, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fetches, l.began = l.fetches+1, began
	before := l.methods
	l.methods = make(map[string]Listed, len(methods))
	for _, m := range methods {
		since := l.fetches
		if old, known := before[m.ID]; known {
			since = old.Since
		}
		l.methods[m.ID] = Listed{m, since}
	}
	return nil
}

// Fetches is how often the listing was fetched.
func (l *Listing) Fetches() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.fetches
}

// NewerThan reports whether the listing was begun after at, which may be cut to whole seconds.
func (l *Listing) NewerThan(at time.Time) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.fetches > 0 && at.Before(l.began.Add(-time.Second))
}

// Get finds an auth method by its id.
func (l *Listing) Get(id string) (AuthMethod, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	m, found := l.methods[id]
	return m.AuthMethod, found
}

// Find returns an auth method for which is says yes.
func (l *Listing) Find(is func(AuthMethod) bool) (Listed, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, m := range l.methods {
		if is(m.AuthMethod) {
			return m, true
		}
	}
	return Listed{}, false
}

// Put enters an auth method as it was made or written.
func (l *Listing) Put(m AuthMethod) {
	l.mu.Lock()
	defer l.mu.Unlock()
	since := l.fetches
	if old, known := l.methods[m.ID]; known {
		since = old.Since
	}
	l.methods[m.ID] = Listed{m, since}
}

// Remove takes out an auth method that turned out not to exist.
func (l *Listing) Remove(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.methods, id)
}

// Take waits until nobody else creates; give ends the turn.
func (l *Listing) Take(ctx context.Context) (give func(), err error) {
	select {
	case l.turn <- struct{}{}:
		return func() { <-l.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
