package authsync

import (
	"context"
	"sync"
	"time"

	"datadog-webhook-auth-sync/handler/datadog"
)

// catalogue is the auth methods that Datadog listed at one time, and those created since by whoever shares it. It is safe
// for concurrent use. The nil catalogue is one that was not fetched.
type catalogue struct {
	at       time.Time
	creating chan struct{} // held from the decision to create until the auth method is in here

	mu     sync.RWMutex
	byID   map[string]datadog.AuthMethod
	byName map[string]string // names are unique
	client map[client]string // one of the auth methods of each client
}

// client is what Datadog gets its tokens as.
type client struct{ id, accessTokenURL string }

func newCatalogue(at time.Time, methods []datadog.AuthMethod) *catalogue {
	c := &catalogue{at: at, creating: make(chan struct{}, 1), byID: map[string]datadog.AuthMethod{}, byName: map[string]string{}, client: map[client]string{}}
	for _, m := range methods {
		c.add(m)
	}
	return c
}

func (c *catalogue) add(m datadog.AuthMethod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byID[m.ID] = m
	c.byName[m.Name] = m.ID
	c.client[client{m.ClientID, m.AccessTokenURL}] = m.ID
}

// get returns nil where there is no auth method with that id.
func (c *catalogue) get(id string) *datadog.AuthMethod {
	return c.find(func() string { return id })
}

func (c *catalogue) named(name string) *datadog.AuthMethod {
	return c.find(func() string { return c.byName[name] })
}

func (c *catalogue) of(clientID, accessTokenURL string) *datadog.AuthMethod {
	return c.find(func() string { return c.client[client{clientID, accessTokenURL}] })
}

func (c *catalogue) find(id func() string) *datadog.AuthMethod {
	if c == nil {
		return nil
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	if m, ok := c.byID[id()]; ok {
		return &m
	}
	return nil
}

// turn waits until nobody else creates; done gives the turn on.
func (c *catalogue) turn(ctx context.Context) (done func(), err error) {
	select {
	case c.creating <- struct{}{}:
		return func() { <-c.creating }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
