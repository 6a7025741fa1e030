package system

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// Where the emulator says it is.
const (
	Region  = "us-east-1"
	Account = "000000000000"
)

// admin is the emulator's administrator.
func admin(endpoint string) aws.Config {
	return aws.Config{
		Region:       Region,
		BaseEndpoint: aws.String(endpoint),
		HTTPClient:   client,
		Credentials:  credentials.NewStaticCredentialsProvider("test", "test", ""),
	}
}

// client is for calls to the emulator.
var client = &http.Client{Transport: ownBody{&http.Transport{}}}

// ownBody sends a copy of the request's body. With the SDK's own, which the SDK
// closes early, an answer on loopback is lost now and then (about one in five
// thousand on a busy machine: "use of closed network connection"), and the SDK
// then repeats what was done already.
type ownBody struct{ http.RoundTripper }

func (t ownBody) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body == nil {
		return t.RoundTripper.RoundTrip(req)
	}
	body, err := io.ReadAll(req.Body)
	req.Body.Close()
	if err != nil {
		return nil, err
	}
	own := req.Clone(req.Context())
	own.Body = io.NopCloser(bytes.NewReader(body))
	return t.RoundTripper.RoundTrip(own)
}

// The services that the function itself does not use are few calls each, made
// in AWS's three wire protocols rather than with a module for every service.

// callJSON calls a service of the JSON protocol (SQS, CloudWatch Logs).
func callJSON(ctx context.Context, cfg aws.Config, service, target string, in map[string]any, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	header := http.Header{"Content-Type": {"application/x-amz-json-1.0"}, "X-Amz-Target": {target}}
	answer, _, err := callREST(ctx, cfg, service, http.MethodPost, "/", header, body)
	if err != nil {
		return fmt.Errorf("%s: %w", target, err)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

// callQuery calls a service of the Query protocol (CloudFormation, IAM, SNS, STS).
func callQuery(ctx context.Context, cfg aws.Config, service, version, action string, in url.Values, out any) error {
	form := url.Values{"Action": {action}, "Version": {version}}
	maps.Copy(form, in)
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	answer, _, err := callREST(ctx, cfg, service, http.MethodPost, "/", header, []byte(form.Encode()))
	if err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	if out == nil {
		return nil
	}
	return xml.Unmarshal(answer, out)
}

// callREST calls a service of the REST protocol (Lambda). A status other than 2xx
// is an error.
func callREST(
	ctx context.Context, cfg aws.Config, service, method, path string, header http.Header, body []byte,
) ([]byte, http.Header, error) {
	req, err := http.NewRequest(method, *cfg.BaseEndpoint+path, nil)
	if err != nil {
		return nil, nil, err
	}
	maps.Copy(req.Header, header)
	resp, answer, err := exchange(ctx, cfg, service, req, body)
	if err != nil {
		return nil, nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, nil, fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, answer)
	}
	return answer, resp.Header, nil
}

// exchange sends the request with the body, signed for a service of AWS unless that
// is "", and reads the answer.
func exchange(
	ctx context.Context, cfg aws.Config, service string, req *http.Request, body []byte,
) (*http.Response, []byte, error) {
	req = req.WithContext(ctx)
	req.Body = io.NopCloser(bytes.NewReader(body))
	req.ContentLength = int64(len(body))
	if service != "" {
		creds, err := cfg.Credentials.Retrieve(ctx)
		if err != nil {
			return nil, nil, err
		}
		sum := sha256.Sum256(body)
		err = v4.NewSigner().SignHTTP(ctx, creds, req, hex.EncodeToString(sum[:]), service, cfg.Region, time.Now())
		if err != nil {
			return nil, nil, err
		}
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp, answer, err
}
