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

type row struct {
	Status    int
	Retryable bool
}

// contract is what consumers rely on.
var contract = map[fault.Code]row{
	"bad_request": {400, false}, "unsupported_event": {400, false}, "forbidden": {403, false}, "not_found": {404, false},
	"method_not_allowed": {405, false}, "payload_too_large": {413, false}, "unsupported_media_type": {415, false},
	"rotation_refused": {409, false}, "secret_out_of_scope": {403, false}, "secret_access_denied": {403, true},
	"secret_not_found": {404, false}, "secret_invalid": {422, false}, "credential_rejected": {422, true},
	"secrets_unavailable": {503, true}, "auth_method_not_found": {404, false}, "auth_method_mismatch": {409, false},
	"datadog_rejected": {502, false}, "datadog_unauthorized": {502, true}, "datadog_throttled": {503, true},
	"datadog_unavailable": {503, true}, "publish_failed": {502, true}, "deadline": {504, true}, "internal": {500, true},
}

func TestTable(t *testing.T) {
	got := map[fault.Code]row{}
	for _, r := range fault.Table {
		if _, twice := got[r.Code]; twice {
			t.Errorf("%s has two rows", r.Code)
		}
		got[r.Code] = row{r.Status, r.Retryable}
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
	if diff := cmp.Diff(contract, got); diff != "" {
		t.Errorf("(-contract +table):\n%s", diff)
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
