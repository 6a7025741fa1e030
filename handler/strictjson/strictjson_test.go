package strictjson_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"datadog-webhook-auth-sync/handler/strictjson"
)

func TestObject(t *testing.T) {
	type members = map[string]json.RawMessage
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	for name, tc := range map[string]struct {
		in   string
		want members
		err  error
	}{
		"empty":                  {`{}`, members{}, nil},
		"values as they stand":   {" {\"a\": [1 ,2],\n\"b\":null,\"c\":\"x\"}\t\n", members{"a": raw(`[1 ,2]`), "b": raw(`null`), "c": raw(`"x"`)}, nil},
		"case tells names apart": {`{"a":1,"A":2}`, members{"a": raw(`1`), "A": raw(`2`)}, nil},
		"an escaped name":        {`{"\u0061":1}`, members{"a": raw(`1`)}, nil},
		"repeated inside":        {`{"a":{"b":1,"b":2}}`, members{"a": raw(`{"b":1,"b":2}`)}, nil},
		"repeated":               {`{"a":1,"a":1}`, nil, strictjson.ErrRepeated},
		"repeated by an escape":  {`{"a":1,"\u0061":2}`, nil, strictjson.ErrRepeated},
		"no object":              {`[{}]`, nil, strictjson.ErrNotObject},
		"a second object":        {`{} {}`, nil, strictjson.ErrNotObject},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := strictjson.Object([]byte(tc.in))
			if diff := cmp.Diff(tc.want, got); diff != "" || !errors.Is(err, tc.err) {
				t.Errorf("error %v; want %v; members (-want +got):\n%s", err, tc.err, diff)
			}
		})
	}
}

func TestStringAndNull(t *testing.T) {
	for in, want := range map[string]struct {
		s        string
		ok, null bool
	}{
		`"a\u0062"`: {"ab", true, false}, `""`: {"", true, false}, `"null"`: {"null", true, false}, ` null `: {"", false, true},
		`1`: {}, `true`: {}, `["a"]`: {}, `{}`: {}, ``: {}, `"a`: {},
	} {
		t.Run(in, func(t *testing.T) {
			s, ok := strictjson.String(json.RawMessage(in))
			if null := strictjson.Null(json.RawMessage(in)); s != want.s || ok != want.ok || null != want.null {
				t.Errorf("got %q, %v, null %v; want %+v", s, ok, null, want)
			}
		})
	}
}

// FuzzObject: an object that is accepted is valid JSON, encodes to what encoding/json reads out of it, and is one object.
func FuzzObject(f *testing.F) {
	for _, seed := range []string{`{"a":1}`, `{"a":1,"a":2}`, `{"a":{"b":[null]}} `, `{"\ud800":"x"}`,
		``, `null`, `[]`, `"{}"`, `{"a":1`, `{"a`, `{1:1}`, `{"a" 1}`, `{"a":1 "b":2}`, `{"a":1,}`, `{"a":1]`, `{}{}`, `{}x`, `{}}`,
		`{} // ok`, `{"a":` + strings.Repeat("[", 20_000)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := strictjson.Object(data)
		var lenient map[string]json.RawMessage
		lax := json.Unmarshal(data, &lenient)
		switch {
		case err == nil && (lax != nil || lenient == nil):
			t.Fatalf("accepts what is no object: %v", lax)
		case err == nil && !cmp.Equal(got, lenient):
			t.Fatal(cmp.Diff(lenient, got))
		case errors.Is(err, strictjson.ErrNotObject) && lax == nil && lenient != nil:
			t.Fatal("refuses an object")
		case err != nil && (got != nil || err != strictjson.ErrNotObject && err != strictjson.ErrRepeated):
			t.Fatalf("members %v with error %v", got, err)
		}
	})
}
