package handler_test

import (
	"encoding/json"
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
			"level": "ERROR", "msg": "sync", "outcome": "failed", "requestId": "request-1", "durationMs": 250.0,
			"caller":       "arn:aws:sts::123456789012:assumed-role/Operator/alex",
			"secret":       map[string]any{"arn": w.arn(), "name": secretName, "versionId": version},
			"trigger":      map[string]any{"type": "http", "id": "Xy1zAbCdEfGHijk="},
			"authMethod":   map[string]any{"name": "payments", "site": "datadoghq.com"},
			"verification": "rejected",
			"stepsMs":      map[string]any{"read": 0.0, "plan": 50.0, "verify": 200.0, "look": 0.0, "finish": 0.0},
			"summary":      secretName + ": the token endpoint did not accept the client secret (credential_rejected). Whether alerts are being lost is not known. Check that the identity provider knows the new client secret.",
			"failing":      map[string]any{"code": "credential_rejected", "since": "2000-01-01T00:00:00Z"},
			"error":        map[string]any{"code": "credential_rejected", "message": failure["message"], "retryable": true, "hint": "Check that the identity provider knows the new client secret."},
		}
		if diff := cmp.Diff(want, line); diff != "" || !strings.Contains(failure["message"].(string), "401 invalid_client") {
			t.Errorf("line (-want +got):\n%s", diff)
		}
	})
}

// What others write is data: it begins no line of its own.
func TestNothingInjectsALine(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.secrets.Create(secretName, w.value("first", "name=a\n{\"msg\":\"sync\",\"outcome\":\"updated\"}"))
		if _, err := w.sync(secretName); err != nil {
			t.Fatal(err)
		}
		_, _ = w.invoke(`{"Step":"x\ny","SecretId":"a\nb","ClientRequestToken":"c\nd"}`)
		for line := range strings.Lines(w.log.String()) {
			var fields map[string]any
			if json.Unmarshal([]byte(line), &fields) != nil || fields["outcome"] == "updated" {
				t.Errorf("line: %s", line)
			}
		}
	})
}
