package system

import (
	"context"
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

// buildAndDeploy has SAM build the function for this machine, and deploy it to the
// emulator. The package goes below tmp, so that it is nobody else's.
func (s *System) buildAndDeploy(ctx context.Context, root, tmp string, parameters map[string]string) error {
	sam := func(log string, args ...string) error {
		return run(ctx, command{log: filepath.Join(s.Folder, log), dir: root, env: s.Environment(),
			name: filepath.Join(s.bin, "sam"), args: args})
	}
	out := filepath.Join(tmp, "build")
	if err := sam("build.log", "build", "--build-in-source", "--build-dir", out); err != nil {
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
	return sam("deploy.log", args...)
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

// Environment is this process's without what belongs to a real AWS account, and with
// Settings.
func (s *System) Environment() []string {
	env := slices.DeleteFunc(os.Environ(), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return strings.HasPrefix(name, "AWS_") && name != "AWS_CA_BUNDLE" ||
			// A make above this process must not speak to the one below.
			name == "MAKEFLAGS" || name == "MAKELEVEL" || name == "MFLAGS"
	})
	return append(env, s.Settings()...)
}

// Settings are what a shell has to set whose programs, sam among them, reach the
// emulator as its administrator. What SAM builds is for this machine, and it asks
// the emulator ten times a second how far a deployment is.
func (s *System) Settings() []string {
	return []string{
		"PATH=" + s.bin + string(os.PathListSeparator) + os.Getenv("PATH"),
		"SAM_CLI_TELEMETRY=0", "SAM_CLI_POLL_DELAY=0.1", "GOOS=" + runtime.GOOS, "GOARCH=" + runtime.GOARCH,
		"NO_PROXY=127.0.0.1,localhost", "no_proxy=127.0.0.1,localhost",
		"AWS_ENDPOINT_URL=" + s.Endpoint(), "AWS_REGION=" + Region, "AWS_DEFAULT_REGION=" + Region,
		"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test",
		"AWS_CONFIG_FILE=" + os.DevNull, "AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
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

// CreateStack creates a stack from the text of a template, beside the system's
// own, and returns its outputs.
func (s *System) CreateStack(ctx context.Context, name, template string, parameters map[string]string) (map[string]string, error) {
	in := url.Values{"StackName": {name}, "TemplateBody": {template}, "Capabilities.member.1": {"CAPABILITY_IAM"}}
	for key, value := range parameters {
		n := fmt.Sprint("Parameters.member.", len(in)/2) // from 1: three other members, and two of each before
		in.Set(n+".ParameterKey", key)
		in.Set(n+".ParameterValue", value)
	}
	if err := callQuery(ctx, s.cfg, "cloudformation", "2010-05-15", "CreateStack", in, nil); err != nil {
		return nil, err
	}
	var stack described
	err := Until(ctx, func() (_ bool, err error) {
		stack, err = describeStack(ctx, s.cfg, name)
		return stack.Status != "CREATE_IN_PROGRESS", err
	})
	if err == nil && stack.Status != "CREATE_COMPLETE" {
		err = fmt.Errorf("stack %s: %s: %s", name, stack.Status, stack.Reason)
	}
	return stack.outputs(), err
}
