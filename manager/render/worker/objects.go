// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"flotilla.dev/manager/render/worker/renderv1"
)

const (
	maxObjects   = 20000
	maxFileBytes = 32 << 20
	yamlPrefix   = "error converting YAML to JSON: "
	duplicateKey = "already set in map"
)

// objectReader turns rendered files into objects.
type objectReader struct {
	objects  []*renderv1.RenderedObject
	warnings []*problem
}

// read adds the objects of one file.
func (r *objectReader) read(file, content string, crd bool) error {
	if len(content) > maxFileBytes {
		return problemAt(file, 0, "the template renders to more than the limit of %d MiB", maxFileBytes>>20)
	}
	for _, doc := range splitDocuments(content) {
		object, err := r.parse(file, doc)
		if err != nil {
			return err
		}
		if object == nil {
			continue
		}
		if err := r.add(file, object, crd); err != nil {
			return err
		}
	}
	return nil
}

// parse gives a document's JSON; nil for one with nothing in it.
func (r *objectReader) parse(file string, doc document) (json.RawMessage, error) {
	text := []byte(doc.text)
	if isBlank(text) {
		return nil, nil
	}
	encoded, err := yaml.YAMLToJSONStrict(text)
	if err != nil && strings.Contains(err.Error(), duplicateKey) {
		// Helm takes the last one. Keys that merge keys give are said to be
		// double, too, and are not.
		if !bytes.Contains(text, []byte("<<")) {
			r.warnings = append(r.warnings, problemAt(file, 0, "%s; the last one counts", outputProblem(err, doc.line)))
		}
		encoded, err = yaml.YAMLToJSON(text)
	}
	if err != nil {
		return nil, problemAt(file, 0, "what the template renders to is not YAML: %s", outputProblem(err, doc.line))
	}
	if bytes.Equal(encoded, []byte("null")) {
		return nil, nil
	}
	if !bytes.HasPrefix(encoded, []byte("{")) {
		return nil, problemAt(file, 0, "line %d of what the template renders to is not an object", doc.line)
	}
	return encoded, nil
}

// isBlank says whether there are only spaces and comments.
func isBlank(text []byte) bool {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' {
			return false
		}
	}
	return true
}

// add takes an object as compact JSON.
func (r *objectReader) add(file string, object json.RawMessage, crd bool) error {
	var head struct {
		Kind     string `json:"kind"`
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	// A field of another type is the manifest builder's to refuse.
	_ = json.Unmarshal(object, &head)
	if strings.HasSuffix(head.Kind, "List") && head.Metadata.Name == "" {
		var list struct {
			Items []json.RawMessage `json:"items"`
		}
		if json.Unmarshal(object, &list) == nil && list.Items != nil {
			for _, item := range list.Items {
				if !bytes.HasPrefix(item, []byte("{")) {
					return problemAt(file, 0, "an item of the %s is not an object", head.Kind)
				}
				if err := r.add(file, item, crd); err != nil {
					return err
				}
			}
			return nil
		}
	}

	if len(r.objects) >= maxObjects {
		return problemAt(file, 0, "the chart renders to more than %d objects", maxObjects)
	}
	r.objects = append(r.objects, &renderv1.RenderedObject{Json: object, SourceFile: file, Crd: crd})
	return nil
}

type document struct {
	text string
	line int
}

// splitDocuments cuts at lines that begin with "---" and white space.
func splitDocuments(content string) []document {
	docs := []document{{line: 1}}
	var current strings.Builder
	line := 0
	for text := range strings.Lines(content) {
		line++
		if rest, ok := strings.CutPrefix(text, "---"); ok && (strings.TrimSpace(rest) == "" || rest[0] == ' ' || rest[0] == '\t') {
			docs[len(docs)-1].text = current.String()
			current.Reset()
			docs = append(docs, document{line: line})
			// What follows on the same line belongs to the new document.
			current.WriteString("   " + rest)
			continue
		}
		current.WriteString(text)
	}
	docs[len(docs)-1].text = current.String()
	return docs
}

var (
	outputLine = regexp.MustCompile(`line (\d+)`)
	// An alias or a key that is no text may be a value.
	anchorName  = regexp.MustCompile(`anchor '[^']*'`)
	keyAndValue = regexp.MustCompile(`(?s)(?:, key: .*, value|(invalid map key)): .*`)
)

// outputProblem words an error of the YAML reader with lines of the whole
// output, and without values.
func outputProblem(err error, first int) string {
	text := strings.TrimPrefix(err.Error(), yamlPrefix)
	text = strings.TrimPrefix(text, "yaml: ")
	text = strings.TrimPrefix(text, "unmarshal errors:")
	text = strings.Join(strings.Fields(text), " ")
	text = backtick.ReplaceAllString(text, "a value")
	text = anchorName.ReplaceAllString(text, "anchor (a value)")
	text = keyAndValue.ReplaceAllString(text, "$1")
	return outputLine.ReplaceAllStringFunc(text, func(s string) string {
		n, _ := strconv.Atoi(strings.TrimPrefix(s, "line "))
		return "line " + strconv.Itoa(n+first-1)
	})
}
