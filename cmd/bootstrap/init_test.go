package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// BenchmarkInit is the time from the start of the process to its first poll of the Runtime API, ours and that of an empty
// function in turn, so that both see the same machine: the medians. Neither Secrets Manager nor Datadog answers meanwhile:
// init must not wait for them.
func BenchmarkInit(b *testing.B) {
	polled := make(chan struct{}, 1)
	runtimeAPI := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/runtime/invocation/next") {
			polled <- struct{}{}
		}
		<-r.Context().Done()
	}))
	defer runtimeAPI.Close()
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // a server sees its client go only once the body is read
		<-r.Context().Done()
	}))
	defer silent.Close()

	const keys = "arn:aws:secretsmanager:us-east-1:123456789012:secret:datadog/keys-AbCdEf"
	environment := []string{"AWS_LAMBDA_RUNTIME_API=" + strings.TrimPrefix(runtimeAPI.URL, "http://"), "AWS_ENDPOINT_URL=" + silent.URL, "DD_API_URL=https" + strings.TrimPrefix(silent.URL, "http"),
		"AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=none", "AWS_SECRET_ACCESS_KEY=none", "DD_SITE=datadoghq.com", "DD_API_KEY_SECRET_ARN=" + keys,
		"SECRET_NAME_PREFIX=datadog/webhooks/", "EVENT_BUS_NAME=default", "VERIFY_CREDENTIAL=true", "REFRESH_HOURS=24", "LOG_LEVEL=info"}
	programs := map[string]string{}
	for name, source := range map[string]string{"function": ".", "empty": "./testdata/empty"} {
		programs[name] = filepath.Join(b.TempDir(), name)
		build := exec.Command("go", "build", "-tags", "lambda.norpc", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", programs[name], source)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
	}
	took := map[string][]time.Duration{}
	for b.Loop() {
		for name, program := range programs {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			cmd := exec.CommandContext(ctx, program)
			cmd.Env = environment
			began := time.Now()
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			select {
			case <-polled:
			case <-ctx.Done():
				b.Fatalf("%s did not poll", name)
			}
			took[name] = append(took[name], time.Since(began))
			cancel()
			_ = cmd.Wait()
		}
	}
	median := func(name string) float64 {
		slices.Sort(took[name])
		return took[name][len(took[name])/2].Seconds() * 1000
	}
	for name := range programs {
		b.ReportMetric(median(name), name+"-ms")
	}
	b.ReportMetric(median("function")/median("empty"), "ratio")
}
