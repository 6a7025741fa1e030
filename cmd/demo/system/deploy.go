package system

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
)

const stackName = "datadog-webhook-auth-sync"

// Stack is what the deployed stack puts out.
type Stack struct {
	FunctionName, FunctionARN, HTTPAPIURL, FailureQueueURL string
}

// build has SAM build the function for this machine. The package goes below
// tmp, so that it is nobody else's.
func build(ctx context.Context, root, bin, logs, tmp string) (template string, err error) {
	out := filepath.Join(tmp, "build")
	err = run(ctx, command{
		log:  filepath.Join(logs, "build.log"),
		dir:  root,
		env:  samEnv(bin),
		name: filepath.Join(bin, "sam"),
		args: []string{"build", "--build-in-source", "--build-dir", out},
	})
	return filepath.Join(out, "template.yaml"), err
}

// deploy has SAM deploy the built template to the emulator.
func deploy(ctx context.Context, root, bin, logs, template string, cfg aws.Config, parameters map[string]string) (Stack, error) {
	args := []string{"deploy", "--resolve-s3", "--stack-name", stackName, "--region", Region,
		"--template-file", template, "--config-file", filepath.Join(root, "samconfig.toml"),
		"--capabilities", "CAPABILITY_IAM", "--no-confirm-changeset", "--no-progressbar", "--parameter-overrides"}
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		args = append(args, fmt.Sprintf("%s=%q", name, parameters[name])) // SAM cuts at spaces outside quotes
	}
	err := run(ctx, command{
		log:  filepath.Join(logs, "deploy.log"),
		dir:  root,
		env:  awsEnv(bin, *cfg.BaseEndpoint),
		name: filepath.Join(bin, "sam"),
		args: args,
	})
	if err != nil {
		return Stack{}, err
	}
	return describeStack(ctx, cfg)
}

// Environment is that of a shell whose programs, sam among them, reach the
// emulator as its administrator.
func (s *System) Environment() []string { return awsEnv(s.bin, s.Endpoint()) }

// awsEnv is the environment of programs, sam among them, that reach the emulator
// as its administrator.
func awsEnv(bin, endpoint string) []string {
	return append(samEnv(bin),
		"NO_PROXY=127.0.0.1,localhost", "no_proxy=127.0.0.1,localhost",
		"AWS_ENDPOINT_URL="+endpoint, "AWS_REGION="+Region, "AWS_DEFAULT_REGION="+Region,
		"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test",
		"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull)
}

// samEnv is this process's environment without what belongs to a real AWS
// account, and with the programs that SAM and its build call. What it builds
// is for this machine, and it asks the emulator ten times a second how far a
// deployment is.
func samEnv(bin string) []string {
	env := slices.DeleteFunc(os.Environ(), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return strings.HasPrefix(name, "AWS_") && name != "AWS_CA_BUNDLE" || name == "GOOS" || name == "GOARCH" ||
			// A make above this process must not speak to the one below.
			name == "MAKEFLAGS" || name == "MAKELEVEL" || name == "MFLAGS"
	})
	return append(env, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "SAM_CLI_TELEMETRY=0", "SAM_CLI_POLL_DELAY=0.1",
		"GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH)
}

func describeStack(ctx context.Context, cfg aws.Config) (Stack, error) {
	var got struct {
		Outputs []struct{ OutputKey, OutputValue string } `xml:"DescribeStacksResult>Stacks>member>Outputs>member"`
	}
	err := callQuery(ctx, cfg, "cloudformation", "2010-05-15", "DescribeStacks", url.Values{"StackName": {stackName}}, &got)
	if err != nil {
		return Stack{}, err
	}
	out := map[string]string{}
	for _, output := range got.Outputs {
		out[output.OutputKey] = output.OutputValue
	}
	stack := Stack{
		FunctionName:    out["FunctionName"],
		FunctionARN:     out["FunctionArn"],
		HTTPAPIURL:      out["HttpApiUrl"],
		FailureQueueURL: out["FailureQueueUrl"],
	}
	if stack.FunctionName == "" || stack.FailureQueueURL == "" {
		return Stack{}, errors.New("the stack lacks the outputs FunctionName and FailureQueueUrl")
	}
	return stack, nil
}
