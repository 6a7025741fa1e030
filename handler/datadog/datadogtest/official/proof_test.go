package official_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	official "github.com/DataDog/datadog-api-client-go/v2/api/datadog"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/datadog"
)

// TestProof compares what our client sends with what the official one makes of the same role, organisation and time.
func TestProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // its clock stands still
		signed := official.Credentials{AccessKeyID: role.AccessKeyID, SecretAccessKey: role.SecretAccessKey, SessionToken: role.SessionToken}
		theirs, err := new(official.AWSAuth).GenerateAwsAuthData(org, &signed)
		if err != nil {
			t.Fatal(err)
		}
		var sent http.Header
		capture := transportFunc(func(r *http.Request) (*http.Response, error) {
			sent = r.Header
			return nil, errors.New("captured")
		})
		provider := credentials.NewStaticCredentialsProvider(role.AccessKeyID, role.SecretAccessKey, role.SessionToken)
		_, _ = datadog.New("https://api.datadoghq.com", capture, datadog.Keyless{OrgUUID: org, Role: provider}).List(t.Context())
		proof, _ := strings.CutPrefix(sent.Get("Authorization"), "Delegated ")
		ours := strings.Split(proof, "|")
		if len(ours) != 4 || sent.Get("Content-Type") != "application/json" {
			t.Fatalf("sent %v", sent)
		}
		if diff := cmp.Diff([]string{theirs.BodyEncoded, theirs.Method, theirs.URLEncoded}, []string{ours[0], ours[2], ours[3]}); diff != "" {
			t.Errorf("body, method, URL (-theirs +ours):\n%s", diff)
		}
		headers := headersOf(t, theirs.HeadersEncoded)
		delete(headers, "User-Agent") // which is not signed
		if diff := cmp.Diff(headers, headersOf(t, ours[1])); diff != "" {
			t.Errorf("headers (-theirs +ours):\n%s", diff)
		}
	})
}

func headersOf(t *testing.T, encoded string) (headers map[string][]string) {
	text, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &headers); err != nil {
		t.Fatal(err)
	}
	return headers
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
