// Package strictjson reads JSON objects without encoding/json's leniency: names match exactly, each stands once, and
// nothing follows the object.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
)

// ErrNotObject and ErrRepeated are the ways an object can be wrong; neither tells a value.
var (
	ErrNotObject = errors.New("not a valid JSON object")
	ErrRepeated  = errors.New("a field stands twice")
)

// Object returns the members of the one JSON object in data.
func Object(data []byte) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if open, _ := dec.Token(); open != json.Delim('{') || !json.Valid(data) {
		return nil, ErrNotObject
	}
	members := map[string]json.RawMessage{}
	for dec.More() {
		name, _ := dec.Token() // no error: the object is valid
		var value json.RawMessage
		_ = dec.Decode(&value)
		if _, twice := members[name.(string)]; twice {
			return nil, ErrRepeated
		}
		members[name.(string)] = value
	}
	return members, nil
}

// String returns the string in raw; ok is false where it holds anything else, null included.
func String(raw json.RawMessage) (s string, ok bool) {
	ok = json.Unmarshal(raw, &s) == nil && !Null(raw)
	return s, ok
}

// Null reports whether raw is the literal null.
func Null(raw json.RawMessage) bool { return string(bytes.TrimSpace(raw)) == "null" }
