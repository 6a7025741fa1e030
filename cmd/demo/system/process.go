package system

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// tools has make install the pinned tools, unless it did before: ministack, the AWS
// emulator, and SAM. It returns the folder with their programs.
func tools(ctx context.Context, root string, out io.Writer, say func(string, ...any)) (bin string, err error) {
	home := filepath.Join(root, ".tools")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(ctx, filepath.Join(home, "lock"), say)
	if err != nil {
		return "", err
	}
	defer unlock()
	install := exec.CommandContext(ctx, "make", "--silent", "-C", root, ".tools/emulator/installed")
	install.Env = append(os.Environ(), "MAKEFLAGS=") // of a make above this process
	install.Stdout, install.Stderr = out, out
	if err := install.Run(); err != nil {
		return "", fmt.Errorf("install the AWS emulator and SAM with python3 (3.10 or later, with its venv module): %w", err)
	}
	return filepath.Join(home, "emulator", "bin"), nil
}

// command is a program to run, its output appended to a log file.
type command struct {
	log, dir string
	env      []string
	name     string
	args     []string
}

// run runs the command to its end, in a process group of its own that is
// killed when ctx ends. The error names the log and quotes its last lines.
func run(ctx context.Context, c command) error {
	log, err := openLog(c.log)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, c.name, c.args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.dir, c.env, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%s: %w; the end of %s:\n%s", filepath.Base(c.name), err, c.log, tail(c.log))
	}
	return nil
}

// leash is a program that cannot outlive this process.
type leash struct {
	hold io.Closer
	done chan struct{} // closed when the program and whatever it started have ended
}

// The shell reads a pipe whose other end only this process holds. Whichever way
// this process ends, a kill included, the pipe closes; the shell then ends the
// program's process group and removes its folder. It ends with the program, too.
const watch = `set -m; ("$0" </dev/null; kill -KILL $$) & read -r _; kill -KILL -- -$!; rm -rf -- "$PWD"`

// start starts the command, which has no arguments, on a leash. It runs until
// stop. Its folder is for it alone.
func start(c command) (*leash, error) {
	log, err := openLog(c.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	shell := exec.Command("bash", "-c", watch, c.name)
	shell.Dir, shell.Env, shell.Stdout, shell.Stderr = c.dir, c.env, log, log
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is not for it
	hold, err := shell.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := shell.Start(); err != nil {
		return nil, err
	}
	l := &leash{hold, make(chan struct{})}
	go func() {
		shell.Wait() // killed, mostly: the status says nothing
		close(l.done)
	}()
	return l, nil
}

// stop ends the program and everything it started, and waits for the end.
func (l *leash) stop() {
	l.hold.Close()
	<-l.done
}

func openLog(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
}

// tail returns the last lines of a log, indented.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "    " + err.Error()
	}
	lines := strings.Split(string(bytes.TrimSpace(text)), "\n")
	return "    " + strings.Join(lines[max(0, len(lines)-15):], "\n    ")
}

// lock waits until no other process holds the lock on path, or ctx ends.
func lock(ctx context.Context, path string, say func(string, ...any)) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	told := false
	err = Until(ctx, func() (bool, error) {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != syscall.EWOULDBLOCK {
			return err == nil, err
		}
		if !told {
			say("Waiting for another process, which holds %s", path)
			told = true
		}
		return false, nil
	})
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { file.Close() }, nil
}
