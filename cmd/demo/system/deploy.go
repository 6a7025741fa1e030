package system

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
)

const stackName = "datadog-webhook-auth-sync"

// Stack is what the deployed stack puts out.
type Stack struct {
	FunctionName, FunctionARN, HTTPAPIURL, FailureQueueURL, AlarmTopicARN string
}

// buildAndDeploy has SAM build the function for this machine, and deploy it to the
// emulator. The package goes below tmp, so that it is nobody else's.
func buildAndDeploy(
	ctx context.Context, root, bin, logs, tmp string, cfg aws.Config, parameters map[string]string,
) error {
	out := filepath.Join(tmp, "build")
	err := run(ctx, command{
		log:  filepath.Join(logs, "build.log"),
		dir:  root,
		env:  samEnv(bin),
		name: filepath.Join(bin, "sam"),
		args: []string{"build", "--build-in-source", "--build-dir", out},
	})
	if err != nil {
		return err
	}
	template := filepath.Join(out, "template.yaml")
	if err := ForEmulator(template); err != nil {
		return err
	}
	args := []string{"deploy", "--resolve-s3", "--stack-name", stackName, "--region", Region,
		"--template-file", template, "--config-file", filepath.Join(root, "samconfig.toml"),
		"--capabilities", "CAPABILITY_IAM", "--no-confirm-changeset", "--no-progressbar", "--parameter-overrides"}
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		args = append(args, fmt.Sprintf("%s=%q", name, parameters[name])) // SAM cuts at spaces outside quotes
	}
	return run(ctx, command{
		log:  filepath.Join(logs, "deploy.log"),
		dir:  root,
		env:  awsEnv(bin, *cfg.BaseEndpoint),
		name: filepath.Join(bin, "sam"),
		args: args,
	})
}

// ForEmulator rewrites a template's conditions on the two keys that AWS always
// supplies and the emulator never does: there these would deny everything.
func ForEmulator(template string) error {
	text, err := os.ReadFile(template)
	if err != nil {
		return err
	}
	if n := len(unsupplied.FindAll(text, -1)); n != 2 {
		return fmt.Errorf("%s: %d conditions on keys that the emulator does not supply, want 2", template, n)
	}
	return os.WriteFile(template, relax(text), 0o600)
}

func relax(text []byte) []byte { return unsupplied.ReplaceAll(text, []byte("StringEqualsIfExists$1")) }

var unsupplied = regexp.MustCompile(
	`StringEquals("?:[\s{]+"?(?:events:source|secretsmanager:resource/AllowRotationLambdaArn)\b)`)

// Environment is that of a shell whose programs, sam among them, reach the
// emulator as its administrator.
func (s *System) Environment() []string { return awsEnv(s.bin, s.Endpoint()) }

// Settings are what such a shell has to set.
func (s *System) Settings() []string {
	return slices.Concat(samSettings(s.bin), awsSettings(s.Endpoint()))
}

func awsEnv(bin, endpoint string) []string {
	return append(samEnv(bin), awsSettings(endpoint)...)
}

func awsSettings(endpoint string) []string {
	return []string{
		"NO_PROXY=127.0.0.1,localhost", "no_proxy=127.0.0.1,localhost",
		"AWS_ENDPOINT_URL=" + endpoint, "AWS_REGION=" + Region, "AWS_DEFAULT_REGION=" + Region,
		"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test",
		"AWS_CONFIG_FILE=" + os.DevNull, "AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
	}
}

// samEnv is this process's environment without what belongs to a real AWS
// account, for SAM to build in.
func samEnv(bin string) []string {
	env := slices.DeleteFunc(os.Environ(), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return strings.HasPrefix(name, "AWS_") && name != "AWS_CA_BUNDLE" ||
			// A make above this process must not speak to the one below.
			name == "MAKEFLAGS" || name == "MAKELEVEL" || name == "MFLAGS"
	})
	return append(env, samSettings(bin)...)
}

// samSettings put the programs that SAM and its build call into PATH. What it
// builds is for this machine, and it asks the emulator ten times a second how far
// a deployment is.
func samSettings(bin string) []string {
	return []string{
		"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"),
		"SAM_CLI_TELEMETRY=0", "SAM_CLI_POLL_DELAY=0.1", "GOOS=" + runtime.GOOS, "GOARCH=" + runtime.GOARCH,
	}
}

// described is what CloudFormation tells of a stack.
type described struct {
	Status  string `xml:"DescribeStacksResult>Stacks>member>StackStatus"`
	Reason  string `xml:"DescribeStacksResult>Stacks>member>StackStatusReason"`
	Outputs []struct {
		Key   string `xml:"OutputKey"`
		Value string `xml:"OutputValue"`
	} `xml:"DescribeStacksResult>Stacks>member>Outputs>member"`
}

func describeStack(ctx context.Context, cfg aws.Config, name string) (stack described, err error) {
	in := url.Values{"StackName": {name}}
	err = callQuery(ctx, cfg, "cloudformation", "2010-05-15", "DescribeStacks", in, &stack)
	return stack, err
}

func (d described) outputs() map[string]string {
	outputs := map[string]string{}
	for _, output := range d.Outputs {
		outputs[output.Key] = output.Value
	}
	return outputs
}

func outputsOf(ctx context.Context, cfg aws.Config) (Stack, error) {
	described, err := describeStack(ctx, cfg, stackName)
	if err != nil {
		return Stack{}, err
	}
	out := described.outputs()
	stack := Stack{
		FunctionName:    out["FunctionName"],
		FunctionARN:     out["FunctionArn"],
		HTTPAPIURL:      out["HttpApiUrl"],
		FailureQueueURL: out["FailureQueueUrl"],
		AlarmTopicARN:   out["AlarmTopicArn"],
	}
	if stack.FunctionName == "" || stack.FailureQueueURL == "" {
		return Stack{}, errors.New("the stack lacks the outputs FunctionName and FailureQueueUrl")
	}
	return stack, nil
}
