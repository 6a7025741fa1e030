package fault

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// Unanswered returns why a call that ended in err has no answer that can be used, in our own words. The text of err is
// dropped, and so is what it wraps, but for the errors of package context: net/http and the AWS SDK quote an answer
// that they cannot read, and it may repeat what was sent.
func Unanswered(err error) error {
	lookup, isLookup := errors.AsType[*net.DNSError](err)
	answer, isAnswer := errors.AsType[interface { // the AWS SDK's
		error
		HTTPStatusCode() int
	}](err)
	timed, isTimed := errors.AsType[net.Error](err)
	network, isNetwork := errors.AsType[*net.OpError](err)
	_, isCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("it did not answer in time (%w)", context.DeadlineExceeded)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("the call was given up (%w)", context.Canceled)
	case isAnswer && answer.HTTPStatusCode() > 0:
		return fmt.Errorf("it answered %d", answer.HTTPStatusCode())
	case isLookup && lookup.IsNotFound:
		return errors.New("its host name is unknown")
	case isLookup:
		return errors.New("its host name could not be looked up")
	case isTimed && timed.Timeout(), errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("it did not answer in time")
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("it refused the connection")
	case isCertificate:
		return errors.New("its certificate is not valid")
	case isNetwork && strings.HasSuffix(network.Op, " error"): // "local error" or "remote error", of crypto/tls
		return errors.New("the TLS handshake failed")
	case isNetwork && network.Op == "dial":
		return errors.New("the connection could not be opened")
	case isNetwork || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the connection was cut")
	}
	return errors.New("it answered what is not HTTP")
}
