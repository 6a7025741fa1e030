package standin_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"datadog-webhook-auth-sync/handler/standin"
)

// TestFaults has those that nobody would miss: a test that looks for what an echo repeats passes without an echo.
func TestFaults(t *testing.T) {
	for want, f := range map[string]standin.Fault{
		`400 "you sent Bearer b\nsent" <nil>`: {Status: 400, Body: "you sent ", Echo: true},
		`503 "{" unexpected EOF`:              {Status: 503, Body: "{", Cut: true},
	} {
		var faults standin.Faults
		faults.Fail(f)
		server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			faults.Around(r, standin.Body(w, r), 0, nil).Send(w)
		})
		r, _ := http.NewRequest("PUT", "https://x/", strings.NewReader("sent"))
		r.Header.Set("Authorization", "Bearer b")
		res, err := standin.Hosts{"x": server}.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if got := fmt.Sprintf("%d %q %v", res.StatusCode, body, err); got != want {
			t.Errorf("%s; want %s", got, want)
		}
	}
}
