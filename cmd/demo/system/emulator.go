package system

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// emulator is AWS on a loopback port: Secrets Manager, EventBridge, Lambda,
// SQS, API Gateway, IAM and CloudFormation in one process, with Lambda
// functions as native processes below it. IAM is enforced.
type emulator struct {
	url   string
	leash *leash
}

// startEmulator starts the emulator on a free port, and waits until it
// answers. All it writes, except its log, stays below tmp.
func startEmulator(ctx context.Context, bin, logs, tmp string) (e emulator, err error) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return e, err
	}
	port := fmt.Sprint(free.Addr().(*net.TCPAddr).Port)
	free.Close()
	e.url = "http://127.0.0.1:" + port
	log := filepath.Join(logs, "emulator.log")
	e.leash, err = start(command{
		log: log,
		dir: tmp,
		// Functions inherit this environment, so it holds nothing of ours.
		env: []string{
			"PATH=" + os.Getenv("PATH"),
			"HOME=" + tmp,
			"TMPDIR=" + tmp,
			"S3_DATA_DIR=" + filepath.Join(tmp, "s3"),
			"BIND_HOST=127.0.0.1",
			"GATEWAY_PORT=" + port,
			"AWS_ENDPOINT_URL=" + e.url,
			"AUTH=true", // hold every caller to its IAM policies
			"IOT_MTLS_ENABLED=0",
			"LAMBDA_ASYNC_RETRY_BASE_SECONDS=0.2", // on AWS: one minute, then two
		},
		name: filepath.Join(bin, "ministack"),
	})
	if err != nil {
		return e, err
	}
	if err := e.healthy(ctx); err != nil {
		e.leash.stop()
		return e, fmt.Errorf("the AWS emulator did not start: %w; the end of %s:\n%s", err, log, tail(log))
	}
	return e, nil
}

// healthy returns when the emulator answers, or after three minutes with an error.
func (e emulator) healthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	return Until(ctx, func() (bool, error) {
		select {
		case <-e.leash.done:
			return false, errors.New("it ended")
		default:
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url+"/_ministack/health", nil)
		if err != nil {
			return false, err
		}
		resp, err := client.Do(req)
		if err != nil {
			return false, nil // not yet
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK, nil
	})
}
