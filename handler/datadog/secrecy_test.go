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
	"net/http/httptest"
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
	client := datadog.New(base, transport, datadog.Stored{Read: func(context.Context, string) (sensitive.Text, error) {
		return sensitive.New(fmt.Sprintf(`{"api_key":%q,"app_key":%q}`, secrets["API key"], secrets["application key"])), nil
	}})
	_, err := client.Create(context.Background(), datadog.Write{Name: "payments", ClientSecret: sensitive.New(secrets["client secret"])})
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
	quiet := log.New(io.Discard, "", 0)
	for what, value := range secrets {
		for form, text := range map[string]string{"": value, " in base64": base64.StdEncoding.EncodeToString([]byte("x:" + value)), " escaped": url.QueryEscape(value)} {
			for place, answer := range standin.Garbled(text) {
				for scheme, start := range map[string]func(*httptest.Server){"http": (*httptest.Server).Start, "https": (*httptest.Server).StartTLS} {
					t.Run(what+form+" "+place+" over "+scheme, func(t *testing.T) {
						server := httptest.NewUnstartedServer(standin.Raw(answer))
						server.TLS, server.Config.ErrorLog = trusted.Clone(), quiet
						start(server)
						defer server.Close()
						_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
						mustNotQuote(t, create(t, scheme+"://localhost:"+port, trusting))
					})
				}
			}
		}
		for place, answer := range map[string]string{
			"instead of TLS":       value,
			"as a TLS record":      "\x16\x03\x03\x00" + string(rune(len(value))) + value,
			"as a TLS alert":       "\x15\x03\x03\x00" + string(rune(len(value))) + value,
			"in HTTP where is TLS": "HTTP/1.1 400 " + value + "\r\n\r\n" + value,
		} {
			t.Run(what+" "+place, func(t *testing.T) {
				mustNotQuote(t, create(t, "https://localhost:"+listen(t, nil, answer), trusting))
			})
		}
		t.Run(what+" in a GOAWAY of HTTP/2", func(t *testing.T) {
			config := trusted.Clone()
			config.NextProtos = []string{"h2"}
			goAway := "\x00\x00\x00\x04\x00\x00\x00\x00\x00" + // SETTINGS
				"\x00\x00" + string(rune(8+len(value))) + "\x07\x00\x00\x00\x00\x00" + "\x00\x00\x00\x01\x00\x00\x00\x02" + value
			mustNotQuote(t, create(t, "https://localhost:"+listen(t, config, goAway), trusting))
		})
		t.Run(what+" as the name of a certificate", func(t *testing.T) {
			certificate, _ := standin.Certificate(value + ".example.com")
			mustNotQuote(t, create(t, "https://localhost:"+listen(t, certificate, ""), trusting))
		})
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
	done := make(chan struct{})
	s := httptest.NewServer(standin.Upgraded(done))
	defer s.Close()
	defer close(done)
	if failed, ok := errors.AsType[*datadog.Error](create(t, s.URL, &tls.Config{MinVersion: tls.VersionTLS12})); !ok || !datadog.IsLost(failed) {
		t.Errorf("error: %v", failed)
	}
}
