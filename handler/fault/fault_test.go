package fault_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/fault"
)

// TestTable: status and retryable stand in docs/reference.md, which cmd/demo compares with the table.
func TestTable(t *testing.T) {
	for _, r := range fault.Table {
		if r.Means == "" || r.Hint == "" {
			t.Errorf("%s: means %q, hint %q", r.Code, r.Means, r.Hint)
		}
		e := fault.New(r.Code, "said %d", 1)
		changed := e.Because(io.EOF).WithRetry(!r.Retryable)
		if e.Status() != r.Status || e.Error() != string(r.Code)+": said 1" || e.Retryable != r.Retryable || e.Hint != r.Hint || e.Unwrap() != nil {
			t.Errorf("New gives %+v with status %d", e, e.Status())
		}
		if changed.Error() != e.Error() || changed.Retryable == r.Retryable || !errors.Is(changed, io.EOF) {
			t.Errorf("Because and WithRetry give %+v", changed)
		}
	}
}

// TestConstants: a code in the source without a row would panic when it is first needed.
func TestConstants(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "fault.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var codes, rows []string
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && fmt.Sprint(spec.Type) == "Code" {
			code, _ := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			codes = append(codes, code)
		}
		return true
	})
	for _, r := range fault.Table {
		rows = append(rows, string(r.Code))
	}
	slices.Sort(codes)
	slices.Sort(rows)
	if diff := cmp.Diff(codes, rows); diff != "" {
		t.Errorf("(-constants +rows):\n%s", diff)
	}
}

func TestFrom(t *testing.T) {
	ours := fault.New(fault.SecretInvalid, "wrong")
	for name, tc := range map[string]struct {
		err  error
		code fault.Code // "" = itself
	}{
		"ours":              {ours, ""},
		"ours, wrapped":     {fmt.Errorf("more: %w", ours), ""},
		"ours over a cause": {ours.Because(context.Canceled), fault.SecretInvalid},
		"deadline":          {context.DeadlineExceeded, fault.Deadline},
		"cancelled":         {fmt.Errorf("x: %w", context.Canceled), fault.Deadline},
		"anything":          {errors.New("canary of a third party"), fault.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			got := fault.From(tc.err)
			if tc.code == "" && got != ours || tc.code != "" && got.Code != tc.code {
				t.Errorf("got %v", got)
			}
			out, err := json.Marshal(got)
			if err != nil || strings.Contains(string(out)+got.Error(), "canary") {
				t.Errorf("outward: %s, %v", out, got)
			}
			if tc.code == fault.Internal && !errors.Is(got, tc.err) {
				t.Error("the cause is lost")
			}
		})
	}
	if fault.From(nil) != nil {
		t.Error("nil is a failure")
	}
}
