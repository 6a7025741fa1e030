package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
)

// alertEvery is the time from one alert to the next.
const alertEvery = 100 * time.Millisecond

// alerts are what Datadog sends to a team's service, one after another. Datadog
// gets a token for each alert with the client secret that it holds then: how
// long the real one keeps a token is not published.
type alerts struct {
	authMethod func() (datadogtest.AuthMethod, bool)
	service    *httptest.Server
	cancel     context.CancelFunc
	running    sync.WaitGroup

	mu   sync.Mutex
	sent []*alert
}

// alert is one webhook request.
type alert struct {
	at     time.Time
	status int // that the service answered; 0 = under way
}

// lost reports whether the service refused the alert. Datadog does not repeat it.
func (a alert) lost() bool { return a.status != http.StatusOK }

// startAlerts starts sending alerts to a service of the team's, until stop.
func startAlerts(t *team) *alerts {
	service := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+t.Tokens.AccessToken {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	a := &alerts{authMethod: t.authMethod, service: httptest.NewServer(service), cancel: cancel}
	a.running.Go(func() {
		for tick := time.Tick(alertEvery); ; {
			select {
			case <-ctx.Done():
				return
			case <-tick:
				a.running.Go(a.send)
			}
		}
	})
	return a
}

func (a *alerts) stop() {
	a.cancel()
	a.running.Wait()
	a.service.Close()
}

// send sends one alert.
func (a *alerts) send() {
	sent := &alert{at: time.Now()}
	a.mu.Lock()
	a.sent = append(a.sent, sent)
	a.mu.Unlock()

	status := http.StatusBadGateway
	req, _ := http.NewRequest(http.MethodPost, a.service.URL, strings.NewReader(`{"alert": "disk full"}`))
	req.Header.Set("Authorization", "Bearer "+a.token())
	if res, err := http.DefaultClient.Do(req); err == nil {
		res.Body.Close()
		status = res.StatusCode
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	sent.status = status
}

// token asks the token endpoint for a token, "" if there is none.
func (a *alerts) token() string {
	m, _ := a.authMethod()
	res, err := http.PostForm(m.AccessTokenURL, url.Values{
		"grant_type": {"client_credentials"}, "client_id": {m.ClientID}, "client_secret": {m.ClientSecret}})
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	var granted struct {
		AccessToken string `json:"access_token"`
	}
	json.NewDecoder(res.Body).Decode(&granted) // what is no token opens nothing
	return granted.AccessToken
}

// between returns the alerts that were sent from one time to another, once each
// is answered.
func (a *alerts) between(ctx context.Context, from, to time.Time) (sent []alert, err error) {
	err = until(ctx, func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		sent = nil
		for _, s := range a.sent {
			if !s.at.Before(from) && s.at.Before(to) {
				sent = append(sent, *s)
			}
		}
		return !slices.ContainsFunc(sent, func(s alert) bool { return s.status == 0 })
	})
	return sent, err
}

// count counts the alerts that were delivered and those that were lost.
func count(sent []alert) (delivered, lost int) {
	for _, a := range sent {
		if a.lost() {
			lost++
		} else {
			delivered++
		}
	}
	return delivered, lost
}
