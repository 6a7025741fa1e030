package datadog_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"testing"

	"datadog-webhook-auth-sync/handler/datadog"
	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/sensitive"
	"datadog-webhook-auth-sync/handler/standin"
)

// secrets are those that every create sends.
var secrets = map[string]string{"API key": "canary-of-the-api-key", "application key": appKey, "client secret": "canary-of-the-client-secret"}

// create sends them over a connection of dial's, and fails.
func create(t *testing.T, base string, config *tls.Config) error {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	_, err := datadog.New(base, transport, keys(secrets["API key"])).Create(context.Background(), datadog.Write{Name: "payments", ClientSecret: sensitive.New(secrets["client secret"])})
	if err == nil {
		t.Error("no error")
	}
	return err
}

func mustNotQuote(t *testing.T, err error) {
	t.Helper()
	said := fmt.Sprintf("%q %v", err, fault.From(err).LogValue())
	for ; err != nil; err = errors.Unwrap(err) {
		said += fmt.Sprintf("\n%v %+v %#v", err, err, err)
	}
	for name, value := range secrets {
		if sensitive.New(value).In(said) {
			t.Errorf("the %s is in:\n%s", name, said)
		}
	}
}

// A server, or a proxy before it, may send back what it was sent, and net/http quotes what it cannot read.
func TestNothingIsQuoted(t *testing.T) {
	log.SetOutput(io.Discard) // the wiring's concern
	trusted, trusting := standin.Certificate("localhost")
	http2 := trusted.Clone()
	http2.NextProtos = []string{"h2"}
	type server struct {
		tls    *tls.Config // nil: over none
		scheme string      // that the client was told
		answer string
	}
	for what, value := range secrets {
		length := func(n int) string { return string(rune(n + len(value))) }
		stranger, _ := standin.Certificate(value + ".example.com")
		all := map[string]server{
			"instead of TLS":               {nil, "https", value},
			"as a TLS record":              {nil, "https", "\x16\x03\x03\x00" + length(0) + value},
			"as a TLS alert":               {nil, "https", "\x15\x03\x03\x00" + length(0) + value},
			"in HTTP where is TLS":         {nil, "https", "HTTP/1.1 400 " + value + "\r\n\r\n" + value},
			"as the name of a certificate": {stranger, "https", ""},
			"in a GOAWAY of HTTP/2": {http2, "https", "\x00\x00\x00\x04\x00\x00\x00\x00\x00" + // behind SETTINGS
				"\x00\x00" + length(8) + "\x07\x00\x00\x00\x00\x00" + "\x00\x00\x00\x01\x00\x00\x00\x02" + value},
		}
		for form, text := range map[string]string{"": value, "in base64 ": base64.StdEncoding.EncodeToString([]byte("x:" + value)), "escaped ": url.QueryEscape(value)} {
			for place, answer := range standin.Garbled(text) {
				all[form+place+" over http"] = server{nil, "http", answer}
				all[form+place+" over https"] = server{trusted, "https", answer}
			}
		}
		for place, tc := range all {
			t.Run(what+" "+place, func(t *testing.T) {
				mustNotQuote(t, create(t, tc.scheme+"://localhost:"+listen(t, tc.tls, tc.answer), trusting))
			})
		}
	}
}

// listen answers whatever comes to a port with the same bytes, over TLS where there is a configuration for it.
func listen(t *testing.T, config *tls.Config, answer string) (port string) {
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if config != nil {
				conn = tls.Server(conn, config)
			}
			go func() {
				defer conn.Close()
				_, _ = conn.Read(make([]byte, 4096))
				_, _ = io.WriteString(conn, answer)
				_ = conn.(interface{ CloseWrite() error }).CloseWrite()
				_, _ = io.Copy(io.Discard, conn)
			}()
		}
	}()
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port
}

// A proxy that goes on with another protocol, and says nothing, would hold the function until Lambda ends it.
func TestAnotherProtocolIsNoAnswer(t *testing.T) {
	silent, _ := io.Pipe()
	_, err := datadog.New("https://api.datadoghq.com", transportFunc(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusSwitchingProtocols, Body: silent}, nil
	}), keys(secrets["API key"])).List(context.Background())
	if failed, ok := errors.AsType[*datadog.Error](err); !ok || !datadog.IsLost(failed) {
		t.Errorf("error: %v", err)
	}
}
