package system

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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
	env      []string // nil: this process's
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
	program, watcher *exec.Cmd
	done             chan struct{} // closed when the program has ended
}

// The watcher reads a pipe whose other end only this process holds. Whichever
// way this process ends, a kill included, the pipe closes; the watcher then ends
// the program's process group, which is the program and whatever it started, and
// removes its folder.
const watch = `read -r _; kill -s KILL -- "-$0"; rm -rf -- "$1"`

// start starts the command on a leash. It runs until stop. Its folder is for it
// alone.
func start(c command) (*leash, error) {
	log, err := openLog(c.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	l := &leash{program: exec.Command(c.name, c.args...), done: make(chan struct{})}
	l.program.Dir, l.program.Env, l.program.Stdout, l.program.Stderr = c.dir, c.env, log, log
	l.program.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := l.program.Start(); err != nil {
		return nil, err
	}
	go func() {
		l.program.Wait() // killed, mostly: the status says nothing
		close(l.done)
	}()

	l.watcher = exec.Command("/bin/sh", "-c", watch, strconv.Itoa(l.program.Process.Pid), c.dir)
	l.watcher.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is not for it
	_, err = l.watcher.StdinPipe()
	if err == nil {
		err = l.watcher.Start()
	}
	if err != nil {
		l.end()
		return nil, err
	}
	return l, nil
}

// stop ends the program and everything it started, and waits for the end.
func (l *leash) stop() {
	l.end()
	l.watcher.Process.Kill()
	l.watcher.Wait() // which closes the pipe
}

func (l *leash) end() {
	syscall.Kill(-l.program.Process.Pid, syscall.SIGKILL)
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
	for told := false; ; told = true {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if err != syscall.EWOULDBLOCK {
			file.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if !told {
			say("Waiting for another process, which holds %s", path)
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}
