package handler

import (
	"os"
	"path/filepath"
	"testing"

	"datadog-webhook-auth-sync/handler/fault"
)

// Whatever the payload, it is one of the kinds that there are; what asks for a sync names a secret; what is refused is
// refused by a code of its own.
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
	for _, seed := range []string{"", "{}", `{"source":"aws.secretsmanager","detail-type":"AWS API Call via CloudTrail","detail":{"responseElements":[]}}`,
		`{"version":"2.0","requestContext":{"http":{},"authorizer":{"a":1}},"rawPath":"/sync","body":"{\"secretId\":\"a\"}"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		switch kind := recognise(payload).(type) {
		case eventSync:
			mustName(t, kind.request.SecretID)
		case directSync:
			mustName(t, kind.request.SecretID)
		case ignored, unknown, reconcile, status, rotationStep:
		case httpRequest:
			r, refused := kind.syncRequest()
			if refused == nil {
				mustName(t, r.SecretID)
			}
			if e := kind.admit(); e != nil {
				problemOf(e, kind, caller{}, nil)
			}
		case *fault.Error:
			if kind.Code != fault.UnsupportedEvent && kind.Code != fault.BadRequest {
				t.Errorf("refused as %v", kind)
			}
		default:
			t.Errorf("%T is no kind that there is", kind)
		}
	})
}

func mustName(t *testing.T, id string) {
	t.Helper()
	if id == "" {
		t.Error("a sync of no secret")
	}
}
