package main

import (
	"path/filepath"
	"testing"
)

// TestStory runs what make run does. The story fails where what it says does not hold.
func TestStory(t *testing.T) {
	if testing.Short() {
		t.Skip("end to end: not with -short")
	}
	t.Parallel()
	if err := run(t.Context(), t.Output(), filepath.Join(t.TempDir(), "alerts.svg"), false, false); err != nil {
		t.Fatal(err)
	}
}
