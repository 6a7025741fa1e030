package system

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// AssumeFunctionRole returns a configuration for calls with exactly the
// function's permissions.
func (s *System) AssumeFunctionRole(ctx context.Context) (aws.Config, error) {
	var out struct {
		Credentials struct {
			AccessKeyId, SecretAccessKey, SessionToken string
		} `xml:"AssumeRoleResult>Credentials"`
	}
	err := callQuery(ctx, s.cfg, "sts", "2011-06-15", "AssumeRole", url.Values{
		"RoleArn": {s.function.Role}, "RoleSessionName": {"probe"},
	}, &out)
	if err != nil {
		return aws.Config{}, err
	}
	cfg := s.cfg.Copy()
	cfg.Credentials = credentials.NewStaticCredentialsProvider(
		out.Credentials.AccessKeyId, out.Credentials.SecretAccessKey, out.Credentials.SessionToken)
	return cfg, nil
}

// RevokeAction takes one action away from the function's live role, wherever
// its policies allow it, until restore. It is an error if none does.
func (s *System) RevokeAction(ctx context.Context, action string) (restore func(context.Context) error, err error) {
	policies, err := s.rolePolicies(ctx)
	if err != nil {
		return nil, err
	}
	changed := map[string]json.RawMessage{}
	for name, document := range policies {
		without, found, err := withoutAction(document, action)
		if err != nil {
			return nil, fmt.Errorf("policy %s: %w", name, err)
		}
		if found {
			changed[name] = without
		}
	}
	if len(changed) == 0 {
		return nil, fmt.Errorf("no policy of the function's role allows %s", action)
	}
	restore = func(ctx context.Context) error {
		for name := range changed {
			if err := s.putRolePolicy(ctx, name, policies[name]); err != nil {
				return err
			}
		}
		return nil
	}
	for name, document := range changed {
		if err := s.putRolePolicy(ctx, name, document); err != nil {
			return nil, err
		}
	}
	return restore, nil
}

// RelaxRole does to the role's policies what ForEmulator does to a template: a
// deployment by somebody else left them as they are on AWS.
func (s *System) RelaxRole(ctx context.Context) error {
	policies, err := s.rolePolicies(ctx)
	if err != nil {
		return err
	}
	for name, document := range policies {
		if relaxed := relax(document); !bytes.Equal(relaxed, document) {
			if err := s.putRolePolicy(ctx, name, relaxed); err != nil {
				return err
			}
		}
	}
	return nil
}

// AllowedActions returns every action that the function's role allows, sorted.
func (s *System) AllowedActions(ctx context.Context) ([]string, error) {
	policies, err := s.rolePolicies(ctx)
	if err != nil {
		return nil, err
	}
	var actions []string
	for name, document := range policies {
		var policy struct{ Statement []statement }
		if err := json.Unmarshal(document, &policy); err != nil {
			return nil, fmt.Errorf("policy %s: %w", name, err)
		}
		for _, s := range policy.Statement {
			if s.allows() {
				actions = append(actions, s.actions()...)
			}
		}
	}
	slices.Sort(actions)
	return slices.Compact(actions), nil
}

// statement is one of an IAM policy, whatever is in it.
type statement map[string]any

func (s statement) allows() bool { return s["Effect"] == "Allow" }

func (s statement) actions() []string {
	switch action := s["Action"].(type) {
	case string:
		return []string{action}
	case []any:
		var all []string
		for _, a := range action {
			all = append(all, fmt.Sprint(a))
		}
		return all
	}
	return nil
}

// withoutAction returns the policy without the action, and whether it had it.
func withoutAction(document json.RawMessage, action string) (_ json.RawMessage, found bool, err error) {
	var policy struct {
		Version   string
		Statement []statement
	}
	if err := json.Unmarshal(document, &policy); err != nil {
		return nil, false, err
	}
	var kept []statement
	for _, s := range policy.Statement {
		actions := s.actions()
		if !s.allows() || !slices.Contains(actions, action) {
			kept = append(kept, s)
			continue
		}
		found = true
		if actions = slices.DeleteFunc(actions, func(a string) bool { return a == action }); len(actions) > 0 {
			s["Action"] = actions
			kept = append(kept, s)
		}
	}
	if len(kept) == 0 { // IAM takes no policy without a statement
		kept = []statement{{"Effect": "Deny", "Action": action, "Resource": "*"}}
	}
	policy.Statement = kept
	without, err := json.Marshal(policy)
	return without, found, err
}

// rolePolicies returns the inline policies of the function's role by name.
func (s *System) rolePolicies(ctx context.Context) (map[string]json.RawMessage, error) {
	var names struct {
		Names []string `xml:"ListRolePoliciesResult>PolicyNames>member"`
	}
	if err := s.iam(ctx, "ListRolePolicies", nil, &names); err != nil {
		return nil, err
	}
	policies := map[string]json.RawMessage{}
	for _, name := range names.Names {
		var policy struct {
			Document string `xml:"GetRolePolicyResult>PolicyDocument"`
		}
		if err := s.iam(ctx, "GetRolePolicy", url.Values{"PolicyName": {name}}, &policy); err != nil {
			return nil, err
		}
		document, err := url.QueryUnescape(policy.Document)
		if err != nil {
			return nil, err
		}
		policies[name] = json.RawMessage(document)
	}
	return policies, nil
}

func (s *System) putRolePolicy(ctx context.Context, name string, document json.RawMessage) error {
	return s.iam(ctx, "PutRolePolicy", url.Values{"PolicyName": {name}, "PolicyDocument": {string(document)}}, nil)
}

// iam calls IAM about the function's role.
func (s *System) iam(ctx context.Context, action string, in url.Values, out any) error {
	_, role, _ := strings.Cut(s.function.Role, ":role/")
	values := url.Values{"RoleName": {role[strings.LastIndex(role, "/")+1:]}}
	for name, value := range in {
		values[name] = value
	}
	return callQuery(ctx, s.cfg, "iam", "2010-05-08", action, values, out)
}
