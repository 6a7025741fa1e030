package standin_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/standin"
)

func TestHosts(t *testing.T) {
	says := func(s string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, s) })
	}
	c := &http.Client{Transport: standin.Hosts{"a.example.com": says("a"), "b.example.com:8443": says("b")}}
	for url, want := range map[string]string{"https://a.example.com/x": "a", "https://b.example.com:8443": "b"} {
		res, err := c.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(res.Body); string(got) != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
	_, err := c.Post("https://b.example.com", "text/plain", strings.NewReader("x"))
	if dns, ok := errors.AsType[*net.DNSError](err); !ok || !dns.IsNotFound || dns.Name != "b.example.com" {
		t.Errorf("%v, want a host that does not exist", err)
	}
}

func TestFaults(t *testing.T) {
	const truth = `200 [] text/x "true" <nil>`
	const down = `500 []  "" <nil>`
	for _, tc := range []struct {
		name string
		standin.Fault
		want  []string // of each of three calls
		acted int
	}{
		{"none that matches", standin.Fault{Method: "POST", Status: 500}, []string{truth, truth, truth}, 3},
		{"until cleared", standin.Fault{Status: 500}, []string{down, down, down}, 0},
		{"twice", standin.Fault{Times: 2, Status: 500}, []string{down, down, truth}, 1},
		{"once", standin.Fault{Times: 1, Status: 500}, []string{down, truth, truth}, 2},
		{"committed", standin.Fault{Times: 1, Status: 500, Commit: true}, []string{down, truth, truth}, 3},
		{"method and path", standin.Fault{Method: "PUT", Path: "/a/*", Times: 1, Status: 500}, []string{down, truth, truth}, 2},
		{"another path", standin.Fault{Path: "/a", Status: 500}, []string{truth, truth, truth}, 3},
		{"header", standin.Fault{Times: 1, Header: http.Header{"X-Fault": {"1"}}}, []string{`200 [1] text/x "true" <nil>`, truth, truth}, 3},
		{"body", standin.Fault{Times: 1, Body: "other"}, []string{`200 [] text/x "other" <nil>`, truth, truth}, 3},
		{"foreign answer", standin.Fault{Times: 1, Status: 502, Body: "<html>"}, []string{`502 [] text/html; charset=utf-8 "<html>" <nil>`, truth, truth}, 2},
		{"echo", standin.Fault{Times: 1, Status: 400, Body: "you sent ", Echo: true}, []string{`400 [] text/plain; charset=utf-8 "you sent Bearer b\nsent" <nil>`, truth, truth}, 2},
		{"cut", standin.Fault{Times: 1, Cut: true}, []string{"no answer", truth, truth}, 2},
		{"cut whatever the status", standin.Fault{Times: 1, Cut: true, Status: 500}, []string{"no answer", truth, truth}, 2},
		{"cut after a body", standin.Fault{Times: 1, Cut: true, Body: "tr"}, []string{`200 [] text/plain; charset=utf-8 "tr" unexpected EOF`, truth, truth}, 2},
		{"cut after a body with a status", standin.Fault{Times: 1, Cut: true, Body: "{", Status: 503}, []string{`503 [] text/plain; charset=utf-8 "{" unexpected EOF`, truth, truth}, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, acted := faulty(tc.Fault)
			if diff := cmp.Diff(tc.want, thrice(t, h)); diff != "" {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
			if *acted != tc.acted {
				t.Errorf("acted %d times, want %d", *acted, tc.acted)
			}
		})
	}
}

// faulty counts how often it takes effect.
func faulty(f standin.Fault) (http.Handler, *int) {
	var faults standin.Faults
	var acted int
	faults.Add(f)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		faults.Around(r, standin.Body(w, r), 0, func() standin.Reply {
			acted++
			return standin.Reply{Status: 200, Header: http.Header{"Content-Type": {"text/x"}}, Body: []byte("true")}
		}).Send(w)
	}), &acted
}

// thrice returns the status, X-Fault, Content-Type, body and error of three calls.
func thrice(t *testing.T, h http.Handler) []string {
	t.Helper()
	c := &http.Client{Transport: standin.Hosts{"x": h}}
	var got []string
	for range 3 {
		r, err := http.NewRequest("PUT", "https://x/a/b", strings.NewReader("sent"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer b")
		res, err := c.Do(r)
		if err != nil {
			got = append(got, "no answer")
			continue
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		got = append(got, fmt.Sprintf("%d %v %s %q %v", res.StatusCode, res.Header["X-Fault"], res.Header.Get("Content-Type"), body, err))
	}
	return got
}
