package main_test

import (
	"regexp"
	"strings"
	"testing"

	"datadog-webhook-auth-sync/handler/fault"
)

// TestOperations finds the entry of each code in docs/operations.md.
func TestOperations(t *testing.T) {
	_, codes, _ := strings.Cut(readText(t, root+"docs/operations.md"), "\n## Codes\n")
	codes, _, _ = strings.Cut(codes, "\n## ")
	for _, row := range fault.Table {
		if !regexp.MustCompile(`\b` + string(row.Code) + `\b`).MatchString(codes) {
			t.Errorf("%s has no entry", row.Code)
		}
	}
}
