package datadog

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"datadog-webhook-auth-sync/handler/fault"
	"datadog-webhook-auth-sync/handler/sensitive"
)

const (
	delegatedPath = "/api/v2/delegated-token"
	stsURL        = "https://sts.amazonaws.com"
	stsRegion     = "us-east-1" // of stsURL, whatever the function's
	stsBody       = "Action=GetCallerIdentity&Version=2011-06-15"
	tokenLifetime = 15 * time.Minute // where Datadog does not say
)

// Keyless exchanges the function's AWS identity for a token of minutes: Datadog's workload identity federation. The
// proof is a signed GetCallerIdentity, which Datadog, not the function, sends to AWS.
// https://docs.datadoghq.com/account_management/workload_identity_federation/
type Keyless struct {
	OrgUUID string
	Role    aws.CredentialsProvider
}

func (k Keyless) fetch(ctx context.Context, c *Client) (credential, error) {
	role, err := k.Role.Retrieve(ctx)
	var proof sensitive.Text
	if err == nil {
		proof, err = k.proof(ctx, role, time.Now())
	}
	if err != nil { // it may quote a credential
		return credential{}, unauthorized("no token for the function's role: its AWS credentials cannot be used")
	}
	exchange := call{method: http.MethodPost, path: delegatedPath, body: []byte{}, want: http.StatusOK}
	body, failed := c.once(ctx, exchange, withToken("Delegated", proof), callTimeout)
	if failed != nil && failed.Status == 0 { // a connection that died while the function was frozen
		body, failed = c.once(ctx, exchange, withToken("Delegated", proof), callTimeout)
	}
	if failed != nil {
		return credential{}, exchangeFault(ctx, failed)
	}
	var answer struct {
		Data struct {
			Attributes struct {
				AccessToken string          `json:"access_token"`
				Expires     json.RawMessage `json:"expires"` // a Unix time, as text
			} `json:"attributes"`
		} `json:"data"`
	}
	token := &answer.Data.Attributes.AccessToken
	if json.Unmarshal(body, &answer) != nil || check("access_token", *token) != nil {
		return credential{}, fault.New(fault.DatadogUnavailable,
			"no token for the function's role: Datadog's answer has none")
	}
	got := withToken("Bearer", sensitive.New(*token))
	got.secrets = append(got.secrets, proof, sensitive.New(role.SessionToken))
	got.expires = time.Now().Add(tokenLifetime).Round(0) // the wall clock goes on while the function is frozen
	if unix, err := strconv.ParseInt(strings.Trim(string(answer.Data.Attributes.Expires), `"`), 10, 64); err == nil {
		got.expires = time.Unix(unix, 0)
	}
	return got, nil
}

// exchangeFault gives e its code. It does not wrap e, since the call that wanted the token was not made.
func exchangeFault(ctx context.Context, e *Error) error {
	code := fault.DatadogUnavailable
	switch {
	case ctx.Err() != nil:
		code = fault.Deadline
	case e.Status == http.StatusTooManyRequests:
		code = fault.DatadogThrottled
	case e.Status >= 400 && e.Status < 500:
		code = fault.DatadogUnauthorized
	}
	return fault.New(code, "no token for the function's role: %s", e.Error())
}

// proof signs a GetCallerIdentity that is bound to the organisation, in the form of Datadog's own clients: body,
// headers, method and URL.
func (k Keyless) proof(ctx context.Context, role aws.Credentials, now time.Time) (sensitive.Text, error) {
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, stsURL, strings.NewReader(stsBody)) // always valid
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	req.Header["x-ddog-org-id"] = []string{k.OrgUUID} // Set would respell the name
	hash := sha256.Sum256([]byte(stsBody))
	if err := v4.NewSigner().SignHTTP(ctx, role, req, hex.EncodeToString(hash[:]), "sts", stsRegion, now); err != nil {
		return sensitive.Text{}, err
	}
	req.Header["host"] = []string{req.Host} // these two are signed, but no part of req.Header
	req.Header.Set("Content-Length", strconv.Itoa(len(stsBody)))
	headers, _ := json.Marshal(req.Header) // strings always encode
	base64 := base64.StdEncoding.EncodeToString
	parts := []string{base64([]byte(stsBody)), base64(headers), req.Method, base64([]byte(stsURL))}
	return sensitive.New(strings.Join(parts, "|")), nil
}
