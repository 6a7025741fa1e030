// Command demo runs the whole system on one machine, with an AWS emulator and
// stand-ins for Datadog and an identity provider, and tells on the terminal
// what happens when client secrets are rotated. Whatever it says, it has
// checked: it exits with status 1 when something did not hold.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"datadog-webhook-auth-sync/cmd/demo/system"
)

func main() {
	keep := flag.Bool("keep", false, "leave everything running at the end, until Ctrl-C")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, os.Stdout, *keep); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, keep bool) error {
	started := time.Now()
	var old *team
	s, err := system.Start(ctx, system.Options{Name: "run", Log: out, Before: func(s *system.System) []system.Stored {
		var secret system.Stored
		old, secret = oldTeam(s, "billing")
		return []system.Stored{secret}
	}})
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted")
	}
	if err != nil {
		return fmt.Errorf("the system did not start: %w", err)
	}
	defer s.Stop()
	fmt.Fprintf(out, "Up after %.0f s\n", time.Since(started).Seconds())

	err = tell(ctx, s, old, out, keep)
	switch {
	case err != nil && ctx.Err() != nil:
		return errors.New("interrupted")
	case err != nil:
		return fmt.Errorf("\nThis went wrong: %w\nThe logs of the function and of the emulator are in %s", err, near(s.Folder))
	}
	return nil
}

// near is a path as seen from the working directory.
func near(path string) string {
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, path); err == nil {
			return rel
		}
	}
	return path
}
