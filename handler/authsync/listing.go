package authsync

import (
	"context"
	"sync"
	"time"

	"datadog-webhook-auth-sync/handler/datadog"
)

// Listing is the auth methods that Datadog listed at one time, and those created since by whoever shares it. It is safe
// for concurrent use. The nil Listing is one that was not fetched.
type Listing struct {
	At       time.Time     // before it was asked for
	creating chan struct{} // held from the decision to create until the auth method is in here

	mu     sync.RWMutex
	byID   map[string]datadog.AuthMethod
	byName map[string]string // names are unique
	client map[client]string // one of the auth methods of each client
}

// client is what Datadog gets its tokens as.
type client struct{ id, accessTokenURL string }

func newListing(at time.Time, methods []datadog.AuthMethod) *Listing {
	l := &Listing{At: at, creating: make(chan struct{}, 1), byID: map[string]datadog.AuthMethod{}, byName: map[string]string{}, client: map[client]string{}}
	for _, m := range methods {
		l.add(m)
	}
	return l
}

func (l *Listing) add(m datadog.AuthMethod) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.byID[m.ID] = m
	l.byName[m.Name] = m.ID
	l.client[client{m.ClientID, m.AccessTokenURL}] = m.ID
}

// Get returns nil where there is no auth method with that id.
func (l *Listing) Get(id string) *datadog.AuthMethod {
	return l.find(func() string { return id })
}

func (l *Listing) named(name string) *datadog.AuthMethod {
	return l.find(func() string { return l.byName[name] })
}

func (l *Listing) of(clientID, accessTokenURL string) *datadog.AuthMethod {
	return l.find(func() string { return l.client[client{clientID, accessTokenURL}] })
}

func (l *Listing) find(id func() string) *datadog.AuthMethod {
	if l == nil {
		return nil
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if m, ok := l.byID[id()]; ok {
		return &m
	}
	return nil
}

// turn waits until nobody else creates; done gives the turn on.
func (l *Listing) turn(ctx context.Context) (done func(), err error) {
	select {
	case l.creating <- struct{}{}:
		return func() { <-l.creating }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
