// Package system starts the whole system on one machine: an AWS emulator with
// the stack of template.yaml deployed to it, and stand-ins for Datadog and for
// an identity provider. Everything listens on 127.0.0.1 alone.
package system

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"golang.org/x/sync/errgroup"

	"datadog-webhook-auth-sync/handler/datadog/datadogtest"
	"datadog-webhook-auth-sync/handler/tokencheck/tokentest"
)

// Options say what to start.
type Options struct {
	Name      string            // of this system's folder in .run; two of one name wait for each other
	Log       io.Writer         // what is being done, line by line
	Overrides map[string]string // template parameters, over this package's own choice; results are read from the default bus

	Keyless bool // Datadog accepts the function's role in place of keys

	// Meanwhile runs while the stack is deployed: the system has its stand-ins and the emulator. nil = nothing.
	Meanwhile func(context.Context, *System) error

	// Deploy deploys the stack with programs in the environment env. nil = SAM
	// builds and deploys the source.
	Deploy func(ctx context.Context, env []string, parameters map[string]string) error
}

// System is a running system.
type System struct {
	Datadog *datadogtest.Server // Datadog's API
	Tokens  *tokentest.Server   // the identity provider's token endpoint
	Stack   map[string]string   // the outputs of the stack
	Folder  string              // where the log files are

	Events   *Queue[Event]            // results
	Notices  *Queue[json.RawMessage]  // what the stack's topic delivers
	Failures *Queue[FailedInvocation] // what is in the failure queue

	TokenURL     string   // of the token endpoint
	DatadogURL   string   // of Datadog's API
	KeySecretARN string   // of the secret that holds Datadog's keys
	DatadogKeys  []string // the API key and the application key

	bin      string     // the folder of sam
	cfg      aws.Config // the emulator's administrator
	function function
	stops    []func() // last first
}

// Start starts a system. ctx ends the start, not the system: that is Stop's to
// do, and the operating system's when this process ends without it.
func Start(ctx context.Context, o Options) (_ *System, err error) {
	s := &System{DatadogKeys: []string{rand.Text(), rand.Text()}}
	defer func() {
		if err != nil {
			s.Stop()
		}
	}()
	say := func(format string, args ...any) { fmt.Fprintf(o.Log, format+"\n", args...) }
	root, err := findRoot(ctx)
	if err != nil {
		return nil, err
	}
	tmp, err := s.folders(ctx, root, o.Name, say)
	if err != nil {
		return nil, err
	}
	if s.bin, err = tools(ctx, root, o.Log, say); err != nil {
		return nil, err
	}

	say("Starting the AWS emulator, and stand-ins for Datadog and an identity provider")
	s.startStandIns()
	emulator, err := startEmulator(ctx, s.bin, s.Folder, tmp)
	if err != nil {
		return nil, err
	}
	s.stops = append(s.stops, emulator.leash.stop)
	s.cfg = admin(emulator.url)

	say("Deploying the stack: some twenty seconds")
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return s.deploy(ctx, root, tmp, o) })
	if o.Meanwhile != nil {
		work.Go(func() error { return o.Meanwhile(ctx, s) })
	}
	if err := work.Wait(); err != nil {
		return nil, err
	}
	return s, nil
}

// deploy deploys the stack, and listens to what it publishes.
func (s *System) deploy(ctx context.Context, root, tmp string, o Options) (err error) {
	parameters, err := s.datadogParameters(ctx, o.Keyless)
	if err != nil {
		return err
	}
	parameters["EnableRotationFunction"] = "true"
	parameters["LogLevel"] = "debug"
	maps.Copy(parameters, o.Overrides)

	if o.Deploy != nil {
		err = o.Deploy(ctx, s.Environment(), parameters)
	} else {
		err = s.buildAndDeploy(ctx, root, tmp, parameters)
	}
	if err != nil {
		return err
	}
	stack, err := describeStack(ctx, s.cfg, stackName)
	if err != nil {
		return err
	}
	s.Stack = stack.outputs()
	if err := s.describeFunction(ctx); err != nil {
		return err
	}
	if o.Keyless {
		s.federate()
	}
	s.stops = append(s.stops, s.SaveLogs)
	if s.Events, err = listen[Event](ctx, s, "result-events", resultEvents); err != nil {
		return err
	}
	s.Failures = &Queue[FailedInvocation]{cfg: s.cfg, url: s.Stack["FailureQueueUrl"]}
	s.Notices, err = s.Subscribe(ctx, s.Stack["AlarmTopicArn"], "notices")
	return err
}

// Stop ends everything that Start started. The logs stay.
func (s *System) Stop() {
	for len(s.stops) > 0 {
		last := len(s.stops) - 1
		s.stops[last]()
		s.stops = s.stops[:last]
	}
}

// SecretsManager is a client with every permission.
func (s *System) SecretsManager() *secretsmanager.Client {
	return secretsmanager.NewFromConfig(s.cfg)
}

// SecretsManagerOf is such a client in another account, of twelve digits.
func (s *System) SecretsManagerOf(account string) *secretsmanager.Client {
	cfg := s.cfg.Copy()
	cfg.Credentials = credentials.NewStaticCredentialsProvider(account, "test", "")
	return secretsmanager.NewFromConfig(cfg)
}

// Endpoint is the emulator's address: AWS_ENDPOINT_URL.
func (s *System) Endpoint() string { return *s.cfg.BaseEndpoint }

// folders makes the folder of logs, which stays, and one for everything else
// that a system writes, which goes with it.
func (s *System) folders(ctx context.Context, root, name string, say func(string, ...any)) (tmp string, err error) {
	s.Folder = filepath.Join(root, ".run", name)
	tmp = filepath.Join(s.Folder, "tmp")
	if err := os.MkdirAll(s.Folder, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(ctx, s.Folder+".lock", say)
	if err != nil {
		return "", err
	}
	s.stops = append(s.stops, unlock)
	if err := os.RemoveAll(s.Folder); err != nil {
		return "", err
	}
	s.stops = append(s.stops, func() { os.RemoveAll(tmp) })
	return tmp, os.MkdirAll(tmp, 0o755)
}

// startStandIns listens for what is not AWS.
func (s *System) startStandIns() {
	s.Datadog = datadogtest.New(s.DatadogKeys[0], s.DatadogKeys[1])
	s.Tokens = tokentest.New()
	datadog, tokens := httptest.NewServer(s.Datadog), httptest.NewServer(s.Tokens)
	s.stops = append(s.stops, datadog.Close, tokens.Close)
	s.DatadogURL, s.TokenURL = datadog.URL, tokens.URL+"/oauth2/token"
}

// findRoot returns the folder of go.mod, from the working directory up.
func findRoot(ctx context.Context) (string, error) {
	found, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	return strings.TrimSpace(string(found)), err
}
