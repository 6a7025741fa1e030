package datadog

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

const (
	maxAttempts = 5
	maxTrying   = 10 * time.Second // over all attempts, waits for a rate limit aside
	maxReset    = 30 * time.Second // the longest wait that a 429 is granted
	firstWait   = 200 * time.Millisecond
	maxWait     = 2 * time.Second
)

// retry decides what follows a failed attempt: after how long to try again, if at all.
//
//  1. A 429 did nothing, so any method repeats it, once its reset has passed, if that is at most 30 s away.
//  2. A POST is never repeated otherwise: it may have created what the answer does not tell.
//  3. A 5xx answer, or none, may pass: GET and PATCH are repeated with jittered, growing waits.
//  4. All else would be answered the same.
//
// Nothing is tried after 5 attempts, after 10 s of them, or where the wait reaches the deadline.
func retry(ctx context.Context, e *Error, method string, attempt int, tried time.Duration) (time.Duration, bool) {
	backoff := min(maxWait, firstWait<<(attempt-1))
	wait, again := backoff/2+rand.N(backoff/2), false
	switch {
	case e.Status == http.StatusTooManyRequests: // 1
		wait = max(e.Reset, wait)
		again = e.Reset <= maxReset
	case method == http.MethodPost: // 2
	case e.Status == 0 || e.Status >= http.StatusInternalServerError: // 3
		again = tried+wait < maxTrying
	} // 4
	deadline, limited := ctx.Deadline()
	return wait, again && attempt < maxAttempts && (!limited || wait < time.Until(deadline))
}

// reset returns how long an answer asks to wait: the longer of X-RateLimit-Reset and Retry-After.
// https://docs.datadoghq.com/api/latest/rate-limits/
func reset(h http.Header, now time.Time) time.Duration {
	return max(parseWait(h.Get("X-RateLimit-Reset"), now), parseWait(h.Get("Retry-After"), now))
}

// parseWait reads seconds, or an HTTP date. Some endpoints give a Unix time, which a number over 10⁶ is. What cannot be
// read, or is over, is no wait.
func parseWait(text string, now time.Time) time.Duration {
	seconds, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil:
		date, _ := http.ParseTime(text) // long past where it is none
		return max(0, date.Sub(now))
	case seconds > 1e6:
		return max(0, time.Unix(int64(min(seconds, 1<<40)), 0).Sub(now))
	case seconds > 0: // not NaN
		return time.Duration(seconds * float64(time.Second))
	}
	return 0
}
