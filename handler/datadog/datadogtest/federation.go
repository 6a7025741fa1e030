package datadogtest

import (
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/uuid"

	"datadog-webhook-auth-sync/handler/standin"
)

const (
	// TokenPrefix begins every token that is given in exchange.
	TokenPrefix = "ddtest_delegated_"

	stsURL    = "https://sts.amazonaws.com"
	stsBody   = "Action=GetCallerIdentity&Version=2011-06-15"
	maxAge    = 5 * time.Minute // of a proof
	tokenLife = 15 * time.Minute
)

// Federation is the one AWS role that is mapped to an account of the organisation.
type Federation struct {
	OrgUUID string
	// ARN is of the role's session, arn:aws:sts::<account>:assumed-role/<name>/<session>, or ends in /* for any session.
	ARN string
	// CallerIdentity sends a signed GetCallerIdentity and returns the ARN in its answer: SendTo, or SignedBy.
	CallerIdentity func(*http.Request) (arn string, err error)
}

// Federate accepts the proofs of one AWS role, and no longer those of another.
func (s *Server) Federate(f Federation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.federation = f
}

// EndTokens ends every token that was given in exchange, before its time.
func (s *Server) EndTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

// exchange answers a proof with a token.
func (s *Server) exchange(r *http.Request, body []byte) standin.Reply {
	s.mu.Lock()
	federation := s.federation
	s.mu.Unlock()
	if err := federation.admit(r, body); err != nil {
		return refuse(http.StatusForbidden, err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	token, end := TokenPrefix+uuid.NewString(), time.Now().Add(tokenLife)
	s.tokens[token] = end
	return standin.JSON(http.StatusOK, object{"data": object{"type": "delegated_token", "id": uuid.NewString(),
		"attributes": object{"access_token": token, "expires": strconv.FormatInt(end.Unix(), 10)}}})
}

// admit refuses what the official client would not send, and whom the organisation has not mapped.
func (f Federation) admit(r *http.Request, body []byte) error {
	if len(body) != 0 || r.Header.Get("Content-Type") != "application/json" {
		return errors.New("the call has a body, or is not application/json")
	}
	proof, isProof := strings.CutPrefix(r.Header.Get("Authorization"), "Delegated ")
	parts := strings.Split(proof, "|")
	if !isProof || len(parts) != 4 || parts[2] != http.MethodPost {
		return errors.New("the authorization is no proof of four parts")
	}
	var plain [4]string
	for _, i := range []int{0, 1, 3} {
		text, err := base64.StdEncoding.Strict().DecodeString(parts[i])
		if err != nil {
			return errors.New("a part of the proof is not base64")
		}
		plain[i] = string(text)
	}
	var lists map[string][]string
	if plain[0] != stsBody || plain[3] != stsURL || json.Unmarshal([]byte(plain[1]), &lists) != nil {
		return errors.New("the proof is no GetCallerIdentity")
	}
	header, err := signedHeaders(lists)
	if err != nil {
		return err
	}
	at, err := time.Parse("20060102T150405Z", header["X-Amz-Date"])
	switch {
	case err != nil || time.Since(at).Abs() > maxAge:
		return errors.New("the proof is not of now")
	case f.OrgUUID == "" || header["x-ddog-org-id"] != f.OrgUUID:
		return errors.New("the proof is for another organisation")
	}
	call, err := http.NewRequest(http.MethodPost, plain[3], strings.NewReader(plain[0]))
	if err != nil {
		return err
	}
	for name, value := range header {
		call.Header[name] = []string{value}
	}
	arn, err := f.CallerIdentity(call)
	if err != nil {
		return err
	}
	role, anySession := strings.CutSuffix(f.ARN, "*")
	session, ours := strings.CutPrefix(arn, role)
	if !ours || strings.Contains(session, "/") || session != "" && !anySession {
		return errors.New("the role is not mapped")
	}
	return nil
}

var authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=[A-Z0-9]+/[0-9]{8}/us-east-1/sts/aws4_request, ` +
	`SignedHeaders=content-length;content-type;host;x-amz-date;x-amz-security-token;x-ddog-org-id, Signature=[0-9a-f]{64}$`)

// signedHeaders are those of a proof, each of which has one value, and none may be missing or more.
func signedHeaders(lists map[string][]string) (map[string]string, error) {
	header := map[string]string{}
	for name, pattern := range map[string]*regexp.Regexp{
		"Authorization":        authorization,
		"Content-Length":       regexp.MustCompile(`^43$`),
		"Content-Type":         regexp.MustCompile(`^application/x-www-form-urlencoded; charset=utf-8$`),
		"X-Amz-Date":           regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z$`),
		"X-Amz-Security-Token": regexp.MustCompile(`^\S+$`),
		"host":                 regexp.MustCompile(`^sts\.amazonaws\.com$`),
		"x-ddog-org-id":        regexp.MustCompile(`^[0-9a-f-]{36}$`),
	} {
		if values := lists[name]; len(values) != 1 || !pattern.MatchString(values[0]) {
			return nil, fmt.Errorf("the header %s of the proof is wrong", name)
		}
		header[name] = lists[name][0]
	}
	for name := range lists {
		if name != "User-Agent" && header[name] == "" { // which the official client adds, unsigned
			return nil, fmt.Errorf("the proof has another header, %s", name)
		}
	}
	return header, nil
}

// SendTo sends a GetCallerIdentity to the STS at endpoint in place of AWS's, as Datadog sends it to AWS.
func SendTo(endpoint string) func(*http.Request) (arn string, err error) {
	return func(r *http.Request) (string, error) {
		call, err := http.NewRequest(r.Method, endpoint, r.Body)
		if err != nil {
			return "", err
		}
		const host = "host"
		//lint:ignore SA1008 it is signed so spelt
		call.Header, call.Host, call.ContentLength = r.Header.Clone(), r.Header[host][0], r.ContentLength
		delete(call.Header, host)
		call.Header.Del("Content-Length")
		res, err := http.DefaultClient.Do(call)
		if err != nil {
			return "", err
		}
		defer res.Body.Close()
		var answer struct {
			ARN string `xml:"GetCallerIdentityResult>Arn"`
		}
		text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
		if err != nil || res.StatusCode != http.StatusOK || xml.Unmarshal(text, &answer) != nil {
			return "", fmt.Errorf("STS answered %d", res.StatusCode)
		}
		return answer.ARN, nil
	}
}

// SignedBy stands in for STS where there is none: it knows one AWS credential, of the identity arn.
func SignedBy(key aws.Credentials, arn string) func(*http.Request) (string, error) {
	return func(r *http.Request) (string, error) {
		at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		if err != nil {
			return "", err
		}
		again := r.Clone(r.Context())
		for _, name := range []string{"Authorization", "X-Amz-Date", "X-Amz-Security-Token", "Content-Length", "host"} {
			delete(again.Header, name)
		}
		const hash = "ab821ae955788b0e33ebd34c208442ccfc2d406e2edc5e7a39bd6458fbb4f843" // of stsBody
		err = v4.NewSigner().SignHTTP(r.Context(), key, again, hash, "sts", "us-east-1", at)
		if err != nil || again.Header.Get("Authorization") != r.Header.Get("Authorization") {
			return "", errors.New("STS answered 403")
		}
		return arn, nil
	}
}
