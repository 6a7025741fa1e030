package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"strings"
)

// sbom returns the program's bill of materials: Go and each module in it, as the linker recorded them.
// https://cyclonedx.org/docs/1.6/json/
func sbom(program []byte, version string) ([]byte, error) {
	info, err := buildinfo.Read(bytes.NewReader(program))
	if err != nil {
		return nil, err
	}
	type hash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	type component struct {
		Type    string `json:"type"`
		Ref     string `json:"bom-ref"`
		Name    string `json:"name"`
		Version string `json:"version"`
		URL     string `json:"purl"`
		Hashes  []hash `json:"hashes,omitempty"`
	}
	of := func(kind, path, version, sum string) (component, error) {
		url := "pkg:golang/" + path + "@" + version
		c := component{Type: kind, Ref: url, Name: path, Version: version, URL: url}
		if sum == "" {
			return c, nil
		}
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sum, "h1:"))
		if err != nil {
			return c, fmt.Errorf("checksum of %s: %w", path, err)
		}
		c.Hashes = []hash{{"SHA-256", fmt.Sprintf("%x", raw)}}
		return c, nil
	}
	main, _ := of("application", info.Main.Path, "v"+version, "")
	var components []component
	for _, module := range append([]*debug.Module{{Path: "std", Version: strings.TrimPrefix(info.GoVersion, "go")}}, info.Deps...) {
		c, err := of("library", module.Path, module.Version, module.Sum)
		if err != nil {
			return nil, err
		}
		components = append(components, c)
	}
	sum := sha256.Sum256(program)
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80                                                  // a UUID of one's own making: RFC 9562 §5.8
	serial := fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16]) // GitHub attests none without
	text, err := json.MarshalIndent(map[string]any{"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "serialNumber": serial,
		"metadata": map[string]any{"component": main}, "components": components}, "", "  ")
	return append(text, '\n'), err
}
