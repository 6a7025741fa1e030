// Package deadline keeps work inside a context's deadline.
package deadline

import (
	"context"
	"time"
)

// Before returns ctx, ended so long before its deadline. Without a deadline it ends with ctx.
func Before(ctx context.Context, reserve time.Duration) (context.Context, context.CancelFunc) {
	if at, ok := ctx.Deadline(); ok {
		return context.WithDeadline(ctx, at.Add(-reserve))
	}
	return context.WithCancel(ctx)
}

// Sleep waits for d, and reports whether ctx did not end before.
func Sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
