package system

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/credentials"
)

// AssumeFunctionRole returns calls of AWS's JSON protocol with exactly the
// function's permissions.
func (s *System) AssumeFunctionRole(ctx context.Context) (call func(string, map[string]any) error, err error) {
	var out struct {
		Credentials struct {
			AccessKeyId, SecretAccessKey, SessionToken string
		} `xml:"AssumeRoleResult>Credentials"`
	}
	err = callQuery(ctx, s.cfg, "sts", "2011-06-15", "AssumeRole", url.Values{
		"RoleArn": {s.function.Role}, "RoleSessionName": {"probe"},
	}, &out)
	cfg := s.cfg.Copy()
	cfg.Credentials = credentials.NewStaticCredentialsProvider(
		out.Credentials.AccessKeyId, out.Credentials.SecretAccessKey, out.Credentials.SessionToken)
	return func(target string, in map[string]any) error {
		service, _, _ := strings.Cut(target, ".")
		return callJSON(ctx, cfg, service, target, in, nil)
	}, err
}

// RevokeAction denies the function's live role one action, until restore.
func (s *System) RevokeAction(ctx context.Context, action string) (restore func(context.Context) error, err error) {
	const name = "revoked"
	deny := fmt.Sprintf(`{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": %q, "Resource": "*"}]}`, action)
	restore = func(ctx context.Context) error {
		return s.iam(ctx, "DeleteRolePolicy", url.Values{"PolicyName": {name}}, nil)
	}
	return restore, s.putRolePolicy(ctx, name, json.RawMessage(deny))
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
		var policy struct {
			Statement []struct {
				Effect string
				Action any // a string or a list
			}
		}
		if err := json.Unmarshal(document, &policy); err != nil {
			return nil, fmt.Errorf("policy %s: %w", name, err)
		}
		for _, statement := range policy.Statement {
			if statement.Effect == "Allow" {
				actions = append(actions, strings.Fields(strings.Trim(fmt.Sprint(statement.Action), "[]"))...)
			}
		}
	}
	slices.Sort(actions)
	return slices.Compact(actions), nil
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
	maps.Copy(values, in)
	return callQuery(ctx, s.cfg, "iam", "2010-05-08", action, values, out)
}
