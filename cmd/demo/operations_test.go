package main_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"datadog-webhook-auth-sync/handler"
	"datadog-webhook-auth-sync/handler/fault"
)

// TestOperations holds docs/operations.md to the template and the code: each alarm and each code has its entry, and the cost
// is that of what there is.
func TestOperations(t *testing.T) {
	raw, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	s := evaluate(t, map[string]string{"AlarmTopicArn": topic})
	entries := map[string]bool{}
	for _, entry := range strings.Split(text, "\n### ") {
		name, answers, _ := strings.Cut(entry, "\n")
		if !strings.HasSuffix(name, "Alarm") {
			continue
		}
		entries[name] = true
		if !fourWords.MatchString(answers) {
			t.Errorf("%s does not say what happened, whether alerts are lost, what to do first and how it ends", name)
		}
	}
	for name := range s.alarms() {
		if !entries[name] {
			t.Errorf("%s has no entry", name)
		}
		delete(entries, name)
	}
	for name := range entries {
		t.Errorf("there is no %s", name)
	}
	_, codes, _ := strings.Cut(text, "\n## Codes\n")
	codes, _, _ = strings.Cut(codes, "\n## ")
	for _, row := range fault.Table {
		if !regexp.MustCompile(`\b` + string(row.Code) + `\b`).MatchString(codes) {
			t.Errorf("%s has no entry", row.Code)
		}
	}

	sum := 0.0
	row := func(what, number string, n, price float64) {
		sum += n * price
		if want := fmt.Sprintf("| %s | %s | $%.2f | $%.2f |\n", what, number, price, n*price); !strings.Contains(text, want) {
			t.Errorf("the costs lack %s", want)
		}
	}
	alarms, metrics := len(s.alarms()), len(handler.Metrics)
	row("alarms", fmt.Sprint(alarms), float64(alarms), 0.10)
	row("metrics", fmt.Sprint(metrics), float64(metrics), 0.30)
	row("dashboard", "1", 1, 3)
	row("logs, of 40 secrets", "0.01 GB", 0.02, 0.50) // rounded up to a cent
	if want := fmt.Sprintf("| in all | | | $%.2f |\n", sum); !strings.Contains(text, want) {
		t.Errorf("the costs lack %s", want)
	}
}

var fourWords = regexp.MustCompile(`(?s)^\n\*\*What happened:\*\* .*\*\*Alerts:\*\* .*\*\*First:\*\* .*\*\*Ends:\*\* `)
