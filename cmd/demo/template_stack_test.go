package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

type (
	fields  = map[string]any
	noValue struct{}
)

// stack is what becomes of template.yaml for one set of parameters: functions evaluated, what a condition excludes left
// out. A reference to a resource comes out as its name, an attribute as Name.Attribute, but for the one ARN that the
// template takes apart.
type stack struct {
	t    *testing.T
	root *yaml.Node
	refs fields // of parameters and pseudo parameters
}

func evaluate(t *testing.T, given map[string]string) stack {
	t.Helper()
	// A partition that differs from the usual one in every part, so that none can be spelt out.
	s := stack{t: t, refs: fields{"AWS::NoValue": noValue{}, "AWS::StackName": "sync", "AWS::AccountId": "111122223333",
		"AWS::Partition": "aws-cn", "AWS::Region": "cn-north-1", "AWS::URLSuffix": "amazonaws.com.cn", "NoticeRule.Arn": noticeRule}}
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(readText(t, "template.yaml")), &document); err != nil {
		t.Fatal(err)
	}
	s.root = document.Content[0]
	for name, definition := range s.section("Parameters") {
		value, ok := given[name]
		if fallback := definition.(fields)["Default"]; !ok && fallback != nil {
			value = fmt.Sprint(fallback)
		}
		s.refs[name] = value
	}
	return s
}

func (s stack) section(name string) fields { return s.eval(s.under(name)).(fields) }

// under is what stands under the keys of maps in maps, nil if there is nothing.
func (s stack) under(keys ...string) *yaml.Node {
	n := s.root
	for _, key := range keys {
		pairs := slices.Collect(slices.Chunk(n.Content, 2))
		at := slices.IndexFunc(pairs, func(pair []*yaml.Node) bool { return pair[0].Value == key })
		if at < 0 {
			return nil
		}
		n = pairs[at][1]
	}
	return n
}

// broken are the assertions of Rules that do not hold, in the template's own words.
func (s stack) broken() (texts []string) {
	for _, rule := range s.section("Rules") {
		for _, assertion := range rule.(fields)["Assertions"].([]any) {
			if !assertion.(fields)["Assert"].(bool) {
				texts = append(texts, assertion.(fields)["AssertDescription"].(string))
			}
		}
	}
	return texts
}

func (s stack) properties(name string) fields {
	s.t.Helper()
	resource, ok := s.section("Resources")[name].(fields)
	if !ok {
		s.t.Fatalf("there is no resource %s", name)
	}
	properties, _ := resource["Properties"].(fields)
	return properties
}

func (s stack) eval(n *yaml.Node) any {
	argument := func(i int) any { return s.eval(n.Content[i]) }
	switch n.Tag {
	case "!Ref", "!GetAtt":
		return s.ref(n.Value)
	case "!If":
		if s.holds(n.Content[0].Value) {
			return argument(1)
		}
		return argument(2)
	case "!Condition":
		return s.holds(n.Value)
	case "!Not":
		return !argument(0).(bool)
	case "!And":
		return argument(0).(bool) && argument(1).(bool)
	case "!Or":
		return argument(0).(bool) || argument(1).(bool)
	case "!Equals":
		return argument(0) == argument(1)
	case "!Select":
		return argument(1).([]any)[argument(0).(int)]
	case "!Split":
		items := []any{}
		for item := range strings.SplitSeq(argument(1).(string), argument(0).(string)) {
			items = append(items, item)
		}
		return items
	case "!Sub":
		if n.Kind == yaml.ScalarNode {
			return s.sub(n.Value, nil)
		}
		return s.sub(n.Content[0].Value, argument(1).(fields))
	case "!!seq":
		items := []any{}
		for _, item := range n.Content {
			if value := s.eval(item); value != (noValue{}) {
				items = append(items, value)
			}
		}
		return items
	case "!!map":
		object := fields{}
		for pair := range slices.Chunk(n.Content, 2) {
			if value := s.eval(pair[1]); value != (noValue{}) {
				object[pair[0].Value] = value
			}
		}
		if name, ok := object["Condition"].(string); ok && !s.holds(name) {
			return noValue{}
		}
		return object
	case "!!str", "!!int", "!!bool":
		var value any
		_ = n.Decode(&value) // cannot fail: the tag is what the text was resolved to
		return value
	}
	s.t.Fatalf("template.yaml:%d: %q is not known here", n.Line, n.Tag)
	return nil
}

func (s stack) holds(condition string) bool { return s.eval(s.under("Conditions", condition)).(bool) }

var variable = regexp.MustCompile(`\$\{([A-Za-z:.]+)\}`)

func (s stack) sub(text string, own fields) string {
	return variable.ReplaceAllStringFunc(text, func(match string) string {
		name := match[2 : len(match)-1]
		if value, ok := own[name]; ok {
			return value.(string)
		}
		return s.ref(name).(string)
	})
}

func (s stack) ref(name string) any {
	if value, ok := s.refs[name]; ok {
		return value
	}
	resource, _, _ := strings.Cut(name, ".")
	event, named := strings.CutPrefix(resource, "Function") // as SAM names its rule
	isRule := named && s.under("Resources", "Function", "Properties", "Events", event) != nil
	if s.under("Resources", resource) == nil && !isRule {
		s.t.Fatalf("%s is neither a parameter nor of a resource", name)
	}
	return name
}
