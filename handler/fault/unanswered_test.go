package fault_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"

	"datadog-webhook-auth-sync/handler/fault"
)

type answered int

func (a answered) Error() string       { return "canary" }
func (a answered) HTTPStatusCode() int { return int(a) }

func TestUnanswered(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"a deadline":             {context.DeadlineExceeded, "it did not answer in time (context deadline exceeded)"},
		"given up":               {context.Canceled, "the call was given up (context canceled)"},
		"a time limit":           {os.ErrDeadlineExceeded, "it did not answer in time"},
		"an unknown name":        {&net.DNSError{Err: "canary", Name: "canary", IsNotFound: true}, "its host name is unknown"},
		"a name server's fault":  {&net.DNSError{Err: "canary", Name: "canary", IsTimeout: true}, "its host name could not be looked up"},
		"refused":                {&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, "it refused the connection"},
		"no route":               {&net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}, "the connection could not be opened"},
		"reset":                  {&net.OpError{Op: "read", Err: syscall.ECONNRESET}, "the connection was cut"},
		"closed":                 {io.EOF, "the connection was cut"},
		"closed in the middle":   {io.ErrUnexpectedEOF, "the connection was cut"},
		"a wrong certificate":    {&tls.CertificateVerificationError{Err: errors.New("canary")}, "its certificate is not valid"},
		"a TLS alert":            {&net.OpError{Op: "remote error", Err: errors.New("canary")}, "the TLS handshake failed"},
		"an answer of AWS":       {answered(503), "it answered 503"},
		"no answer of AWS":       {answered(0), "it answered what is not HTTP"},
		"what nobody foresaw":    {errors.New(`malformed HTTP response "canary"`), "it answered what is not HTTP"},
		"a timeout inside of it": {errors.Join(errors.New("canary"), context.DeadlineExceeded), "it did not answer in time (context deadline exceeded)"},
	} {
		t.Run(name, func(t *testing.T) {
			got := fault.Unanswered(&url.Error{Op: "Get", URL: "https://canary.example.com", Err: fmt.Errorf("canary: %w", tc.err)})
			if got.Error() != tc.want {
				t.Errorf("says %q; want %q", got, tc.want)
			}
			if everything := fmt.Sprintf("%+v %#v %v", got, got, errors.Unwrap(got)); strings.Contains(everything, "canary") {
				t.Errorf("quotes: %s", everything)
			}
			for _, sentinel := range []error{context.DeadlineExceeded, context.Canceled} {
				if errors.Is(got, sentinel) != errors.Is(tc.err, sentinel) {
					t.Errorf("%v is recognised wrongly", sentinel)
				}
			}
		})
	}
}
