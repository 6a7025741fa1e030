package system

import (
	"context"
	"net/http"
	"strings"
)

// Answer is what the HTTP API answered.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// HTTPAPI is the address of the HTTP API. The emulator tells APIs apart by
// host, as AWS does.
func (s *System) HTTPAPI() string {
	_, port, _ := strings.Cut(strings.TrimPrefix(s.Endpoint(), "http://"), ":")
	_, host, _ := strings.Cut(s.Stack.HTTPAPIURL, "://") // https://ID.execute-api.…
	id, _, _ := strings.Cut(host, ".")
	return "http://" + id + ".execute-api.localhost:" + port
}

// HTTP calls the HTTP API. Without a signature it is nobody's call. A nil
// header means JSON.
func (s *System) HTTP(ctx context.Context, method, path string, header http.Header, body string, signed bool) (Answer, error) {
	req, err := http.NewRequest(method, s.HTTPAPI()+path, nil)
	if err != nil {
		return Answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	if header != nil {
		req.Header = header.Clone()
	}
	// Not every resolver knows localhost's subdomains: the address is given.
	req.Host = req.URL.Host
	req.URL.Host = strings.TrimPrefix(s.Endpoint(), "http://")
	var resp *http.Response
	var answer []byte
	if signed {
		resp, answer, err = sign(ctx, s.cfg, "execute-api", req, []byte(body))
	} else {
		resp, answer, err = exchange(ctx, req, []byte(body))
	}
	if err != nil {
		return Answer{}, err
	}
	return Answer{Status: resp.StatusCode, Header: resp.Header, Body: answer}, nil
}
