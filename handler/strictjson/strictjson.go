// Package strictjson reads JSON objects without encoding/json's leniency: names match exactly, each stands once, and
// nothing follows the object.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// ErrNotObject and ErrRepeated are the ways an object can be wrong; neither tells a value.
var (
	ErrNotObject = errors.New("not a valid JSON object")
	ErrRepeated  = errors.New("a field stands twice")
)

// Object returns the members of the one JSON object in data.
func Object(data []byte) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil, ErrNotObject
	}
	members := map[string]json.RawMessage{}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, ErrNotObject
		}
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			return nil, ErrNotObject
		}
		if _, twice := members[name.(string)]; twice {
			return nil, ErrRepeated
		}
		members[name.(string)] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, ErrNotObject
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, ErrNotObject
	}
	return members, nil
}

// String returns the string in raw; ok is false where it holds anything else, null included.
func String(raw json.RawMessage) (s string, ok bool) {
	var p *string
	if json.Unmarshal(raw, &p) != nil || p == nil {
		return "", false
	}
	return *p, true
}

// Null reports whether raw is the literal null.
func Null(raw json.RawMessage) bool { return string(bytes.TrimSpace(raw)) == "null" }
