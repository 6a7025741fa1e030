package datadog

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

const (
	maxAttempts = 5
	maxTrying   = 10 * time.Second // over all attempts, waits for a rate limit aside
	maxReset    = 30 * time.Second // the longest wait that a 429 is granted
	firstWait   = 200 * time.Millisecond
	maxWait     = 2 * time.Second
)

// retry decides what follows a failed attempt: after how long to try again, if at all. left is the time to the deadline.
//
//  1. A 429 did nothing, so any method repeats it, once its reset has passed, if that is at most 30 s away.
//  2. A POST is never repeated otherwise: it may have created what the answer does not tell.
//  3. A 5xx answer, or none, may pass: GET and PATCH are repeated with jittered, growing waits.
//  4. All else would be answered the same.
//
// Nothing is tried after 5 attempts, after 10 s of them, or where the wait reaches the deadline.
func retry(e *Error, method string, attempt int, tried, left time.Duration) (wait time.Duration, again bool) {
	backoff := min(maxWait, firstWait<<(attempt-1))
	backoff = backoff/2 + rand.N(backoff/2)
	switch {
	case attempt >= maxAttempts:
		return 0, false
	case e.Status == http.StatusTooManyRequests: // 1
		wait = max(e.Reset, backoff)
		return wait, e.Reset <= maxReset && wait < left
	case method == http.MethodPost: // 2
		return 0, false
	case e.Status == 0 || e.Status >= http.StatusInternalServerError: // 3
		return backoff, tried+backoff < maxTrying && backoff < left
	}
	return 0, false // 4
}

// rateLimiter keeps every user of a client from calls that a rate limit, which one of them met, would refuse. Datadog
// limits each endpoint on its own, and methods tell ours apart well enough.
type rateLimiter struct {
	mu    sync.Mutex
	until map[string]time.Time // by method
}

// note learns from an answer that nothing remains of the limit. A reset too far away to be waited for is left to Datadog
// to tell again.
func (l *rateLimiter) note(method string, resp *http.Response) {
	wait := reset(resp.Header, time.Now())
	spent := resp.StatusCode == http.StatusTooManyRequests || resp.Header.Get("X-RateLimit-Remaining") == "0"
	if !spent || wait <= 0 || wait > maxReset {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.until == nil {
		l.until = map[string]time.Time{}
	}
	l.until[method] = time.Now().Add(wait)
}

func (l *rateLimiter) wait(method string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Until(l.until[method])
}

// sleep ends early when ctx does; the call that follows then says so.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func remaining(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return time.Until(deadline)
	}
	return time.Hour
}
