// SPDX-License-Identifier: Apache-2.0

// yamljson says what Kubernetes makes of YAML, for the test that compares our
// own reader with it. Each line of its input is the base64 of a text; for each
// it writes a line of JSON: {"json": ...} or {"error": "..."}.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	yamlv2 "go.yaml.in/yaml/v2"
	"sigs.k8s.io/yaml"
)

type answer struct {
	JSON  json.RawMessage `json:"json,omitempty"`
	Error string          `json:"error,omitempty"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 256<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for lines.Scan() {
		text, err := base64.StdEncoding.DecodeString(lines.Text())
		if err != nil {
			fmt.Fprintf(os.Stderr, "yamljson: a line is not base64: %v\n", err)
			os.Exit(1)
		}
		encoded, err := json.Marshal(convert(text))
		if err != nil {
			fmt.Fprintf(os.Stderr, "yamljson: %v\n", err)
			os.Exit(1)
		}
		out.Write(encoded)
		out.WriteByte('\n')
		out.Flush()
	}
}

func convert(text []byte) (said answer) {
	defer func() {
		if p := recover(); p != nil {
			said = answer{Error: fmt.Sprint(p)}
		}
	}()
	encoded, err := yaml.YAMLToJSON(text)
	if err == nil && !bytes.Contains(text, []byte("<<")) {
		// It takes keys that merge keys give for given twice.
		_, err = yaml.YAMLToJSONStrict(text)
	}
	if err != nil {
		return answer{Error: err.Error()}
	}
	// YAMLToJSON stops reading after the first document.
	documents := yamlv2.NewDecoder(bytes.NewReader(text))
	for n := 0; ; n++ {
		var document any
		err := documents.Decode(&document)
		if errors.Is(err, io.EOF) {
			return answer{JSON: encoded}
		}
		if err != nil {
			return answer{Error: err.Error()}
		}
		if n > 0 {
			return answer{Error: "there is a second document"}
		}
	}
}
