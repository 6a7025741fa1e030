package system

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// requirements pins the tools, and all they need, by hash.
const requirements = "cmd/demo/requirements.txt"

// tools returns the folder with the programs of the pinned tools (ministack,
// the AWS emulator, and sam), installing them into .tools/venv first if that
// has not been done for these very pins and this very place, which its programs
// name. A stamp inside the environment says so and is written last: without it,
// or with another one, the environment is half made or out of date, and made anew.
func tools(ctx context.Context, root, logs string, say func(string, ...any)) (bin string, err error) {
	home := filepath.Join(root, ".tools")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return "", err
	}
	if home, err = filepath.EvalSymlinks(home); err != nil { // several clones may share one
		return "", err
	}
	venv := filepath.Join(home, "venv")
	stamp := filepath.Join(venv, "installed.txt")

	pins, err := os.ReadFile(filepath.Join(root, requirements))
	if err != nil {
		return "", err
	}
	made := append([]byte("# in "+venv+"\n"), pins...)
	unlock, err := lock(ctx, filepath.Join(home, "lock"), say)
	if err != nil {
		return "", err
	}
	defer unlock()

	if have, err := os.ReadFile(stamp); err == nil && bytes.Equal(have, made) {
		return filepath.Join(venv, "bin"), nil
	}
	say("Installing the AWS emulator and SAM into .tools/venv: about a minute, once")
	started := time.Now()
	python, err := exec.LookPath("python3")
	if err != nil {
		return "", errors.New("python3 (3.10 or later, with its venv module) is needed for the AWS emulator and SAM")
	}
	if err := os.RemoveAll(venv); err != nil {
		return "", err
	}
	log := filepath.Join(logs, "install.log")
	if err := run(ctx, command{log: log, dir: root, name: python, args: []string{"-m", "venv", venv}}); err != nil {
		return "", err
	}
	pip := []string{"-m", "pip", "install", "--no-input", "--disable-pip-version-check",
		"--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", requirements}
	if err := run(ctx, command{log: log, dir: root, name: filepath.Join(venv, "bin", "python"), args: pip}); err != nil {
		return "", err
	}
	if err := os.WriteFile(stamp, made, 0o644); err != nil {
		return "", err
	}
	say("Installed in %.0f s", time.Since(started).Seconds())
	return filepath.Join(venv, "bin"), nil
}
