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

// HTTP calls the HTTP API, which the emulator tells from others by host, as AWS
// does. Without a signature it is nobody's call. A nil header means JSON.
func (s *System) HTTP(ctx context.Context, method, path string, header http.Header, body string, signed bool) (Answer, error) {
	req, err := http.NewRequest(method, s.Endpoint()+path, nil)
	if err != nil {
		return Answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	if header != nil {
		req.Header = header.Clone()
	}
	_, host, _ := strings.Cut(s.Stack["HttpApiUrl"], "://") // ID.execute-api.…
	id, _, _ := strings.Cut(host, ".")
	req.Host = id + ".execute-api.localhost:" + req.URL.Port()
	service := ""
	if signed {
		service = "execute-api"
	}
	resp, answer, err := exchange(ctx, s.cfg, service, req, []byte(body))
	if err != nil {
		return Answer{}, err
	}
	return Answer{Status: resp.StatusCode, Header: resp.Header, Body: answer}, nil
}
