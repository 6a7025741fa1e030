package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// BenchmarkInit is the time from the start of the process to its first poll of the Runtime API. Neither Secrets Manager
// nor Datadog answers meanwhile: init must not wait for them.
func BenchmarkInit(b *testing.B) {
	polled := make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/runtime/invocation/next") {
			polled <- struct{}{}
		}
		_, _ = io.Copy(io.Discard, r.Body) // a server sees its client go only once the body is read
		<-r.Context().Done()
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	environment := []string{"AWS_LAMBDA_RUNTIME_API=" + host, "AWS_ENDPOINT_URL=" + server.URL,
		"DD_API_URL=https://" + host, "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=none",
		"AWS_SECRET_ACCESS_KEY=none", "DD_SITE=datadoghq.com",
		"DD_API_KEY_SECRET_ARN=arn:aws:secretsmanager:us-east-1:123456789012:secret:datadog/keys-AbCdEf",
		"SECRET_NAME_PREFIX=datadog/webhooks/", "EVENT_BUS_NAME=default", "VERIFY_CREDENTIAL=true", "REFRESH_HOURS=24",
		"LOG_LEVEL=info"}
	program := filepath.Join(b.TempDir(), "bootstrap")
	build := exec.Command("go", "build", "-tags", "lambda.norpc", "-ldflags", "-s -w", "-o", program, ".")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	for b.Loop() {
		ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
		cmd := exec.CommandContext(ctx, program)
		cmd.Env = environment
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		select {
		case <-polled:
		case <-ctx.Done():
			b.Fatal("it did not poll")
		}
		b.StopTimer()
		cancel()
		_ = cmd.Wait()
		b.StartTimer()
	}
}
