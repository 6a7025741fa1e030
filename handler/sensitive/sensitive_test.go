package sensitive_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"log/slog"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"datadog-webhook-auth-sync/handler/sensitive"
)

const canary = `ca"nary+of/the&secret<value>~é𝄞 ?`

type holder struct {
	Public  sensitive.Text
	private sensitive.Text
	deep    struct{ inner *sensitive.Text }
	list    []sensitive.Text
	byName  map[string]sensitive.Text
	any     any
}

func held() holder {
	text := sensitive.New(canary)
	h := holder{Public: text, private: text, list: []sensitive.Text{text}, byName: map[string]sensitive.Text{"a": text}, any: text}
	h.deep.inner = &text
	return h
}

// mustNotHold looks for the canary without the code under test, too.
func mustNotHold(t *testing.T, out string) {
	t.Helper()
	for _, form := range []string{canary, canary[1:8], fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), fmt.Sprint([]byte(canary))} {
		if strings.Contains(out, form) || sensitive.New(canary).In(out) {
			t.Errorf("the value is in %s", out)
		}
	}
}

func TestTextIsNeverPrinted(t *testing.T) {
	for _, verb := range strings.Fields("%v %+v %#v %s %q %+q %#q %x %X %#x %d %t %c %U %e %g %b %o %p %T %z %10s %-5v %.3s") {
		t.Run(verb, func(t *testing.T) {
			text, h := sensitive.New(canary), held()
			for _, arg := range []any{text, &text, []sensitive.Text{text}, map[string]any{"k": text}, h, &h, []any{h}, h.private, struct{ h holder }{h}} {
				mustNotHold(t, fmt.Sprintf(verb, arg))
			}
			if out := fmt.Sprintf(verb, text); out != "[redacted]" && verb != "%T" && verb != "%p" {
				t.Errorf("prints as %q", out)
			}
		})
	}
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"slog as text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"slog as JSON": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			text, h := sensitive.New(canary), held()
			slog.New(handler(&out)).With("always", text).Info("said", "text", text, "pointer", &text, "holder", h,
				"list", h.list, slog.Group("group", "text", text), "error", fmt.Errorf("wrong: %v", text))
			mustNotHold(t, out.String())
			if !strings.Contains(out.String(), "text=[redacted]") && !strings.Contains(out.String(), `"text":"[redacted]"`) {
				t.Errorf("not shown as redacted: %s", &out)
			}
		})
	}
	t.Run("JSON", func(t *testing.T) {
		out, err := json.Marshal(map[sensitive.Text]any{sensitive.New(canary): held()})
		if err != nil {
			t.Fatal(err)
		}
		mustNotHold(t, string(out))
		if string(out) != `{"[redacted]":{"Public":"[redacted]"}}` {
			t.Errorf("encodes as %s", out)
		}
	})
	var zero sensitive.Text
	if text := sensitive.New(canary); text.Reveal() != canary || !text.Equal(sensitive.New(canary)) || zero.Equal(text) || zero.Reveal() != "" {
		t.Error("the value is lost")
	}
}

func TestIn(t *testing.T) {
	percent := func(s string) string {
		return regexp.MustCompile(`(?s).`).ReplaceAllStringFunc(s, func(c string) (all string) {
			for _, b := range []byte(c) {
				all += fmt.Sprintf("%%%02x", b)
			}
			return all
		})
	}
	asJSON := func(html bool) string {
		var b strings.Builder
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(html)
		_ = e.Encode(map[string]string{"client_secret": canary})
		return b.String()
	}
	escapes := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(canary) }
	in := map[string]string{
		"raw": "a " + canary + " b", "alone": canary,
		"query-escaped":                        "x=" + url.QueryEscape(canary) + "&y=1",
		"path-escaped":                         "/" + url.PathEscape(canary) + "/",
		"percent-encoded, after a stray one":   "100% wrong: " + percent(canary),
		"in HTML":                              "<p>" + html.EscapeString(canary) + "</p>",
		"in JSON":                              asJSON(true),
		"in JSON, without escapes for HTML":    asJSON(false),
		"in JSON, as PHP and Python write it":  escapes(`"`, `\"`, "/", `\/`, "é", `\u00e9`, "𝄞", `\ud834\udd1e`),
		"in JSON, as .NET writes it":           escapes(`"`, `\u0022`, "+", `\u002B`, "&", `\u0026`, "<", `\u003C`, ">", `\u003E`, "é", `\u00E9`),
		"hex":                                  "0x" + hex.EncodeToString([]byte(canary)),
		"hex, upper case":                      strings.ToUpper(hex.EncodeToString([]byte(canary))),
		"Basic authorization":                  "Basic " + base64.StdEncoding.EncodeToString([]byte("client:"+canary)),
		"Basic authorization of OAuth, §2.3.1": "Basic " + base64.StdEncoding.EncodeToString([]byte("id:"+url.QueryEscape(canary))),
	}
	for name, encoding := range map[string]*base64.Encoding{"std": base64.StdEncoding, "url": base64.RawURLEncoding} {
		for before := range 3 {
			for after := range 3 {
				in[fmt.Sprintf("base64 %s, %d before, %d after", name, before, after)] =
					"x" + encoding.EncodeToString([]byte("???"[:before]+canary+"ÿÿ"[:after]))
			}
		}
	}
	for name, s := range in {
		t.Run(name, func(t *testing.T) {
			if text := sensitive.New(canary); !text.In(s) || !text.PartlyIn(s) {
				t.Errorf("not found in %s", s)
			}
		})
	}
	for name, tc := range map[string]struct{ value, s string }{
		"empty in something":   {"", "something"},
		"empty in empty":       {"", ""},
		"in empty":             {canary, ""},
		"base64 of another":    {canary, base64.StdEncoding.EncodeToString([]byte("client:another secret"))},
		"hex of another":       {canary, hex.EncodeToString([]byte("another"))},
		"short, by chance":     {"ab", "a base64 text such as YWI is nobody's"},
		"a text with percents": {canary, "100%, %zz and %41"},
		"a broken escape":      {canary, `\x \`},
	} {
		t.Run("not "+name, func(t *testing.T) {
			if text := sensitive.New(tc.value); text.In(tc.s) || text.PartlyIn(tc.s) {
				t.Errorf("found in %q", tc.s)
			}
		})
	}
}

func TestPartlyIn(t *testing.T) {
	for name, tc := range map[string]struct {
		value, s   string
		in, partly bool
	}{
		"8 bytes":              {"0123456789", "x23456789x", false, true},
		"7 bytes":              {"0123456789", "x3456789x0123456x", false, false},
		"8 bytes alone":        {"0123456789", "01234567", false, true},
		"7 bytes alone":        {"0123456789", "0123456", false, false},
		"a value of 8 bytes":   {"a+b/c=d&", "x a%2Bb%2Fc%3Dd%26 x", true, true},
		"a value of 7 bytes":   {"a+b/c=d", "x a%2Bb%2Fc%3Dd x", true, false},
		"7 bytes, as they are": {"1234567", "x1234567x", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			if text := sensitive.New(tc.value); text.In(tc.s) != tc.in || text.PartlyIn(tc.s) != tc.partly {
				t.Errorf("in %t, partly in %t", text.In(tc.s), text.PartlyIn(tc.s))
			}
		})
	}
}

// A listing has thousands of names, each of which is looked at for values of some kilobytes.
func TestAShorterTextCostsNothing(t *testing.T) {
	long := sensitive.New(strings.Repeat("proof", 500))
	if n := testing.AllocsPerRun(10, func() { long.In("payments") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
