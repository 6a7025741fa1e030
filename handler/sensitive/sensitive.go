// Package sensitive holds values that must never be printed.
package sensitive

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/url"
	"regexp"
	"strings"
)

const redacted = "[redacted]"

// Text is a secret value. It prints as "[redacted]" with every verb of fmt, in slog and in JSON. The value stands
// behind a pointer because fmt calls no method on an unexported field: there, the address is all it can print.
type Text struct{ value *string }

// New guards s.
func New(s string) Text { return Text{&s} }

// Reveal returns the value. Its callers are the places to review.
func (t Text) Reveal() string {
	if t.value == nil {
		return ""
	}
	return *t.value
}

func (t Text) Equal(o Text) bool { return t.Reveal() == o.Reveal() }

func (Text) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, redacted) }
func (Text) String() string               { return redacted }
func (Text) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// In reports whether s contains the value raw, percent-encoded, escaped for JSON or HTML, in hex, or in base64 at any
// alignment (as in a Basic authorization header). An empty value is in nothing.
func (t Text) In(s string) bool {
	value := t.Reveal()
	if value == "" || len(s) < len(value) { // no form is shorter, and most texts are
		return false
	}
	for _, plain := range []string{s, percentDecoded(s), percentDecoded(strings.ReplaceAll(s, "+", " ")),
		jsonDecoded(s), html.UnescapeString(s)} {
		if strings.Contains(plain, value) {
			return true
		}
	}
	if strings.Contains(strings.ToLower(s), hex.EncodeToString([]byte(value))) {
		return true
	}
	standard := strings.NewReplacer("-", "+", "_", "/").Replace(s)
	for shift := range 3 {
		for _, plain := range []string{value, url.QueryEscape(value)} { // OAuth escapes first: RFC 6749 §2.3.1
			if form := base64At(shift, plain); form != "" && strings.Contains(standard, form) {
				return true
			}
		}
	}
	return false
}

// PartlyIn reports whether s repeats 8 bytes or more of the value: 8 in a row as they are, so that an answer cut short
// counts, or a whole value of that length in a form that In knows. Fewer may be there by chance.
func (t Text) PartlyIn(s string) bool {
	const run = 8
	value := t.Reveal()
	if len(value) >= run && t.In(s) {
		return true
	}
	for i := range len(value) - run + 1 {
		if strings.Contains(s, value[i:i+run]) {
			return true
		}
	}
	return false
}

var (
	percentEscape = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
	jsonEscape    = regexp.MustCompile(`(\\u[0-9A-Fa-f]{4})+|\\.`)
)

// percentDecoded is s with every percent escape decoded; a percent sign that begins none stays.
func percentDecoded(s string) string {
	return percentEscape.ReplaceAllStringFunc(s, func(escape string) string {
		plain, _ := hex.DecodeString(escape[1:])
		return string(plain)
	})
}

// jsonDecoded is s with every escape of a JSON string decoded; what is none is left out.
func jsonDecoded(s string) string {
	return jsonEscape.ReplaceAllStringFunc(s, func(escape string) (plain string) {
		_ = json.Unmarshal([]byte(`"`+escape+`"`), &plain)
		return plain
	})
}

// base64At is the part of the base64 form of value that does not depend on its neighbours, when it starts shift bytes
// into a group of three; empty for a value too short to be told from chance.
func base64At(shift int, value string) string {
	form := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), value...))
	first := []int{0, 2, 3}[shift]
	last := (shift + len(value)) * 8 / 6
	if last-first < 4 {
		return ""
	}
	return form[first:last]
}
