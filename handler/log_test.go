package handler_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// One line tells why a sync failed.
func TestTheLogLineOfASync(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, w.value("first"))
		version, _ := w.secrets.Current(secretName)
		w.tokens.Revoke("payments-client", w.secret[len(w.secret)-1])
		w.tokens.Latency, w.datadog.Latency = 100*time.Millisecond, 50*time.Millisecond
		w.http(w.sample("http-api-sync.json"))

		var line map[string]any
		first, _, _ := strings.Cut(w.log.String(), "\n")
		if err := json.Unmarshal([]byte(first), &line); err != nil {
			t.Fatal(err)
		}
		delete(line, "time")
		failure, _ := line["error"].(map[string]any)
		want := map[string]any{
			"level": "WARN", "msg": "sync", "outcome": "failed", "requestId": "request-1", "durationMs": 300.0,
			"caller":       "arn:aws:sts::123456789012:assumed-role/Operator/alex",
			"secret":       map[string]any{"arn": w.arn(), "name": secretName, "versionId": version},
			"trigger":      map[string]any{"type": "http", "id": "Xy1zAbCdEfGHijk="},
			"authMethod":   map[string]any{"name": "payments", "site": "datadoghq.com"},
			"verification": "rejected",
			"failing":      line["failing"],
			"error":        failure,
			"summary":      line["summary"],
		}
		caused := strings.Contains(fmt.Sprint(failure["message"]), "401 invalid_client")
		if diff := cmp.Diff(want, line); diff != "" || !caused {
			t.Errorf("line (-want +got):\n%s", diff)
		}
	})
}

// What others write begins no line of its own.
func TestNothingInjectsALine(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		const forged = "a\n{\"msg\":\"sync\",\"outcome\":\"updated\"}"
		w.secrets.Create(secretName, w.value("first"))
		w.datadogHolds(forged, "payments-client")
		_, _ = w.sync(secretName)
		text, _ := json.Marshal(forged)
		for _, payload := range []string{`{"Step":%s,"SecretId":%[1]s,"ClientRequestToken":%[1]s}`,
			`{"action":"sync","secretId":%s}`} {
			_, _ = w.invoke(fmt.Sprintf(payload, text))
		}
		for line := range strings.Lines(w.log.String()) {
			var fields map[string]any
			if json.Unmarshal([]byte(line), &fields) != nil || fields["outcome"] == "updated" {
				t.Errorf("line: %s", line)
			}
		}
	})
}
