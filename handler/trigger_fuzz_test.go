package handler

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"datadog-webhook-auth-sync/handler/fault"
)

// Every payload is of one kind; a sync names a secret; a refusal is unsupported_event or bad_request.
func FuzzPayload(f *testing.F) {
	samples, err := filepath.Glob(filepath.Join("..", "events", "*.json"))
	if err != nil || len(samples) == 0 {
		f.Fatal("no samples", err)
	}
	for _, sample := range samples {
		data, err := os.ReadFile(sample)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, seed := range []string{"", "{}", `{"action":"sync","secretId":""}`,
		`{"source":"aws.secretsmanager","detail-type":"AWS API Call via CloudTrail","detail":{"responseElements":[]}}`,
		`{"version":"2.0","requestContext":{"http":{},"authorizer":{"a":1},"stage":"dev"},"rawPath":"/dev/sync",` +
			`"body":"{\"secretId\":\"a\"}"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		secretID := "none"
		switch kind := recognise(payload).(type) {
		case eventSync:
			secretID = kind.request.SecretID
		case directSync:
			secretID = kind.request.SecretID
		case ignored, unknown, reconcile, status, rotationStep:
		case httpRequest:
			if r, refused := kind.syncRequest(); refused == nil {
				secretID = r.SecretID
			}
		case *fault.Error:
			if kind.Code != fault.UnsupportedEvent && kind.Code != fault.BadRequest {
				t.Errorf("refused as %v", kind)
			}
		default:
			t.Errorf("no payload is a %T", kind)
		}
		if secretID == "" {
			t.Error("a sync of no secret")
		}
	})
}

// A path of the API is the whole route or, where the route leaves the path open, the whole path after the stage.
func FuzzRoute(f *testing.F) {
	for _, seed := range [][3]string{
		{"/sync", "/dev/sync", "dev"}, {"", "/sync/", "$default"}, {"/{proxy+}", "/dev/sync", "dev"},
		{"", "/status/x/sync", "status"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, route, path, stage string) {
		got := routed(route, path, stage)
		if allowed[got] == "" {
			return
		}
		open := !strings.HasPrefix(route, "/") || strings.Contains(route, "{")
		if whole := []string{got, got + "/"}; !open && !slices.Contains(whole, route) ||
			open && !slices.Contains(append(whole, "/"+stage+got, "/"+stage+got+"/"), path) {
			t.Errorf("route %q, path %q, stage %q are %s", route, path, stage, got)
		}
	})
}
