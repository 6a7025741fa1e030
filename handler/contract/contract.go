// Package contract holds what consumers rely on: JSON Schemas of all documents, an OpenAPI description of the HTTP API, and
// sample events. It is for them, and for tests; the function does not use it.
package contract

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// Files are the contract: openapi.yaml, *.schema.json, and in events an EventBridge event for each kind of result.
//
//go:embed *.json openapi.yaml events/*.json
var Files embed.FS

// base is the URL under which the files refer to one another.
const base = "contract:///"

var schemas = sync.OnceValue(func() func(pointer string) (*jsonschema.Schema, error) {
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	names, _ := fs.Glob(Files, "*.schema.json")
	for _, name := range append(names, "openapi.yaml") {
		document, err := read(name)
		if err == nil {
			err = compiler.AddResource(base+name, document)
		}
		if err != nil {
			panic(err) // the files are part of the program
		}
	}
	var mu sync.Mutex
	return func(pointer string) (*jsonschema.Schema, error) {
		mu.Lock()
		defer mu.Unlock()
		return compiler.Compile(base + pointer) // which it remembers
	}
})

// read returns a file as the validator takes it.
func read(name string) (any, error) {
	text, err := Files.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var document any
	if err := yaml.Unmarshal(text, &document); err != nil { // JSON is YAML too
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if text, err = json.Marshal(document); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(text))
}

// Validate returns an error that says how document breaks the named schema: result, event, reconciliation, status or problem.
func Validate(schema string, document []byte) error { return validate(schema+".schema.json", document) }

func validate(pointer string, document []byte) error {
	schema, err := schemas()(pointer)
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		return fmt.Errorf("no JSON: %w: %q", err, document)
	}
	if err := schema.Validate(value); err != nil {
		return fmt.Errorf("%w\nof %s", err, document)
	}
	return nil
}

// ValidateHTTP returns an error that says how an answer breaks the OpenAPI description of the path, /sync or /status: by its
// status, media type, headers or body.
func ValidateHTTP(path string, status int, header http.Header, body []byte) error {
	kind, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		return fmt.Errorf("Content-Type %q: %w", header.Get("Content-Type"), err)
	}
	answer, pointer, err := responseOf(path, fmt.Sprint(status))
	if err != nil {
		return err
	}
	if _, known := answer.Content[kind]; !known {
		return fmt.Errorf("%s answers %d with %s", path, status, kind)
	}
	for _, name := range []string{"Allow", "Retry-After"} {
		described, known := answer.Headers[name]
		value := header.Get(name)
		if value == "" && described.Required || value != "" && !known {
			return fmt.Errorf("%s answers %d with %s %q", path, status, name, value)
		}
		if value == "" {
			continue
		}
		text, _ := json.Marshal(value)
		if _, err := strconv.Atoi(value); err == nil {
			text = []byte(value)
		}
		if err := validate(pointer+"/headers/"+name+"/schema", text); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return validate(pointer+"/content/"+escape(kind)+"/schema", body)
}

// response is a response object of OpenAPI.
type response struct {
	Ref     string `json:"$ref"`
	Headers map[string]struct{ Required bool }
	Content map[string]any
}

var description = sync.OnceValue(func() (d struct {
	Paths      map[string]map[string]struct{ Responses map[string]response }
	Components struct{ Responses map[string]response }
}) {
	document, err := read("openapi.yaml")
	if err != nil {
		panic(err)
	}
	text, _ := json.Marshal(document)
	if err := json.Unmarshal(text, &d); err != nil {
		panic(err)
	}
	return d
})

// responseOf returns the response that is described for a status of path, and its place in the files.
func responseOf(path, status string) (response, string, error) {
	for method, operation := range description().Paths[path] { // each path has one
		found, known := operation.Responses[status]
		if !known {
			continue
		}
		if name, elsewhere := strings.CutPrefix(found.Ref, "#/components/responses/"); elsewhere {
			return description().Components.Responses[name], "openapi.yaml#/components/responses/" + name, nil
		}
		return found, "openapi.yaml#/paths/" + escape(path) + "/" + method + "/responses/" + status, nil
	}
	return response{}, "", fmt.Errorf("no %s is described for %s", status, path)
}

// escape makes s one step of a JSON pointer.
func escape(s string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(s) }
