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
	keyless := flag.Bool("keyless", false, "have Datadog accept the function's role in place of keys")
	picture := flag.String("picture", ".run/run/alerts.svg", "the file for the picture of the alerts")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	err := run(ctx, os.Stdout, *picture, *keep, *keyless)
	if err != nil && ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, picture string, keep, keyless bool) error {
	started := time.Now()
	fmt.Fprintln(out, "This takes about a minute, and two when it runs for the first time and installs its tools.")
	if keyless {
		fmt.Fprintln(out, "Datadog gets no keys here: it accepts the function's role, of which it asks AWS.")
	}
	st := &story{printer: &printer{out: out}}
	defer st.stop()
	meanwhile := func(ctx context.Context, s *system.System) error {
		if err := st.begin(ctx, s); err != nil {
			return err
		}
		return st.tell(ctx, prologue)
	}
	s, err := system.Start(ctx, system.Options{Name: "run", Log: out, Keyless: keyless, Meanwhile: meanwhile})
	if err != nil {
		return fmt.Errorf("\nThe system did not start: %w", err)
	}
	defer s.Stop()
	for _, c := range chapters {
		if err := st.tell(ctx, c); err != nil {
			return fmt.Errorf("\nThis went wrong: %w\nThe logs are in %s", err, near(s.Folder))
		}
	}
	if err := st.sum(picture); err != nil {
		return err
	}
	st.row("time", "%.0f s", time.Since(started).Seconds())
	if keep {
		return st.play(ctx)
	}
	return nil
}

// near is a path as seen from the working directory.
func near(path string) string {
	wd, _ := os.Getwd()
	if rel, err := filepath.Rel(wd, path); err == nil {
		return rel
	}
	return path
}
