// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"text/template"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"

	"flotilla.dev/manager/render/worker/renderv1"
)

const (
	labelPrefix = "global.fleet.clusterLabels."
	// Deepest nesting of maps that label substitution goes into.
	maxLabelDepth = 50
	// Deepest nesting of brackets in values.
	maxValuesNesting = 200
	maxValuesBytes   = 16 << 20
	valuesPath       = "helm.values"
)

// Functions of Sprig that values may not call.
var removedFromValues = []string{"env", "expandenv", "include", "tpl", "getHostByName", "lookup"}

// fillValues does the templating of values (2.4): labels, then the whole tree
// as one text, then templateValues. It gives the values as a JSON object.
func fillValues(request *renderv1.RenderRequest, response *renderv1.RenderResponse) ([]byte, error) {
	settings := request.ValuesTemplate
	values, err := parseValues(request.ValuesJson, valuesPath)
	if err != nil {
		return nil, err
	}
	labels := usableLabels(settings.ClusterLabels, true)
	if len(labels) == 0 || len(values) == 0 && len(settings.TemplateValues) == 0 {
		return encodeValues(values)
	}
	if err := substituteLabels(values, labels, valuesPath, 0); err != nil {
		return nil, err
	}
	if settings.LabelsOnly {
		return encodeValues(values)
	}

	clusterValues, err := parseValues(settings.ClusterValuesJson, "the cluster's templateValues")
	if err != nil {
		return nil, err
	}
	// Another stream than the chart's own random functions draw from.
	world := newWorld(request.RandomSeed, request.NowUnixSeconds)
	if len(request.RandomSeed) > 0 {
		mac := hmac.New(sha256.New, request.RandomSeed)
		mac.Write([]byte("values"))
		world.seed = mac.Sum(nil)
	}
	defer func() {
		response.UsesRandom = response.UsesRandom || world.usedRandom
		response.UsesNow = response.UsesNow || world.usedNow
	}()
	filler := &valuesFiller{
		world: world,
		context: map[string]any{
			"ClusterNamespace":   settings.ClusterNamespace,
			"ClusterName":        settings.ClusterName,
			"ClusterLabels":      toDict(labels),
			"ClusterAnnotations": toDict(usableLabels(settings.ClusterAnnotations, false)),
			"ClusterValues":      floats(clusterValues),
		},
	}
	text, err := yaml.Marshal(values)
	if err != nil {
		return nil, valueProblem(valuesPath, "the values cannot be written as YAML")
	}
	filled := values
	if bytes.Contains(text, []byte("${")) {
		filled, err = filler.tree(string(text))
		if err != nil {
			return nil, err
		}
	}
	for _, key := range sortedKeys(anyValues(settings.TemplateValues)) {
		value, err := filler.entry(key, settings.TemplateValues[key])
		if err != nil {
			return nil, err
		}
		filled[key] = value
	}
	for _, w := range filler.warnings {
		response.Warnings = append(response.Warnings, w.proto())
	}
	return encodeValues(filled)
}

func valueProblem(path, format string, args ...any) *problem {
	p := problemAt("", 0, format, args...)
	p.path = path
	p.message = path + ": " + p.message
	return p
}

// parseValues keeps numbers as they are written.
func parseValues(text []byte, path string) (map[string]any, error) {
	values := map[string]any{}
	if len(text) == 0 {
		return values, nil
	}
	if len(text) > maxValuesBytes {
		return nil, valueProblem(path, "the values have more than %d MiB", maxValuesBytes>>20)
	}
	if nesting(text) > maxValuesNesting {
		return nil, valueProblem(path, "the values are nested deeper than %d", maxValuesNesting)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&values); err != nil {
		return nil, valueProblem(path, "the values are not a JSON object")
	}
	if values == nil {
		values = map[string]any{}
	}
	return values, nil
}

func encodeValues(values map[string]any) ([]byte, error) {
	if values == nil {
		values = map[string]any{}
	}
	encoded, err := json.Marshal(values)
	if err != nil {
		return nil, valueProblem(valuesPath, "the values cannot be written as JSON")
	}
	return encoded, nil
}

// floats is what templates see: numbers as Helm and Fleet have them.
func floats(value any) any {
	switch v := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, item := range v {
			out[key] = floats(item)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = floats(item)
		}
		return out
	case json.Number:
		if f, err := v.Float64(); err == nil {
			return f
		}
		return v.String()
	default:
		return value
	}
}

// usableLabels drops what belongs to controllers. Labels of Fleet and Rancher
// themselves stay, annotations do not.
func usableLabels(all map[string]string, areLabels bool) map[string]string {
	usable := map[string]string{}
	for key, value := range all {
		hidden := strings.HasPrefix(key, "kubectl.kubernetes.io/") || strings.Contains(key, "cattle.io/")
		kept := areLabels && (strings.HasPrefix(key, "fleet.cattle.io/") || strings.HasPrefix(key, "management.cattle.io/"))
		if !hidden || kept {
			usable[key] = value
		}
	}
	return usable
}

// toDict: Sprig's functions on maps want this type.
func toDict(texts map[string]string) map[string]any {
	dict := make(map[string]any, len(texts))
	for key, value := range texts {
		dict[key] = value
	}
	return dict
}

func anyValues(texts map[string]string) map[string]any { return toDict(texts) }

// substituteLabels replaces strings that name a label, in maps and in maps that
// are items of lists.
func substituteLabels(values map[string]any, labels map[string]string, path string, depth int) error {
	if depth > maxLabelDepth {
		return valueProblem(path, "the values are nested deeper than %d", maxLabelDepth)
	}
	for _, key := range sortedKeys(values) {
		at := path + "." + key
		switch value := values[key].(type) {
		case string:
			if label, ok := strings.CutPrefix(value, labelPrefix); ok {
				values[key] = labels[label]
			}
		case map[string]any:
			if err := substituteLabels(value, labels, at, depth+1); err != nil {
				return err
			}
		case []any:
			for i, item := range value {
				inner, ok := item.(map[string]any)
				if !ok {
					continue
				}
				if err := substituteLabels(inner, labels, fmt.Sprintf("%s[%d]", at, i), depth+1); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// valuesFiller evaluates templates of values.
type valuesFiller struct {
	world     *world
	context   map[string]any
	functions template.FuncMap
	warnings  []*problem
}

// tree evaluates the whole tree as one text, so keys can be templates, and a
// template can give any type.
func (f *valuesFiller) tree(text string) (map[string]any, error) {
	paths := func(line int) string { return pathAtLine(text, line) }
	out, err := f.execute(text, paths)
	if err != nil {
		return nil, err
	}
	// Lines of the outcome are lines of the text while no template has changed
	// their number.
	if strings.Count(out, "\n") != strings.Count(text, "\n") {
		paths = func(int) string { return valuesPath }
	}
	value, err := f.parse(out, paths)
	if err != nil {
		return nil, err
	}
	switch v := value.(type) {
	case nil:
		return map[string]any{}, nil
	case map[string]any:
		return v, nil
	default:
		return nil, valueProblem(valuesPath, "after templating, the values are no longer a map")
	}
}

// entry evaluates one text of templateValues.
func (f *valuesFiller) entry(key, text string) (any, error) {
	at := "helm.templateValues." + key
	path := func(int) string { return at }
	out, err := f.execute(text, path)
	if err != nil {
		return nil, err
	}
	return f.parse(out, path)
}

var (
	valuesParseError = regexp.MustCompile(`^template: values:(\d+): (?s:(.*))$`)
	valuesExecError  = regexp.MustCompile(`(?s)^template: values:(\d+):\d+: executing "values" at (.*)$`)
)

func (f *valuesFiller) execute(text string, paths func(line int) string) (string, error) {
	if f.functions == nil {
		f.functions = f.world.sprig()
		for _, name := range removedFromValues {
			delete(f.functions, name)
		}
	}
	parsed, err := template.New("values").Funcs(f.functions).Option("missingkey=error").Delims("${", "}").Parse(text)
	if err != nil {
		if m := valuesParseError.FindStringSubmatch(err.Error()); m != nil {
			line, _ := strconv.Atoi(m[1])
			return "", valueProblem(paths(line), "the template cannot be parsed: %s", hideQuoted(m[2]))
		}
		return "", valueProblem(paths(1), "the template cannot be parsed")
	}
	out := &boundedText{left: maxValuesBytes}
	if err := parsed.Execute(out, f.context); err != nil {
		if m := valuesExecError.FindStringSubmatch(err.Error()); m != nil {
			line, _ := strconv.Atoi(m[1])
			return "", valueProblem(paths(line), "the template fails at %s", hideValues(m[2]))
		}
		return "", valueProblem(paths(1), "the template fails: %s", hideValues(err.Error()))
	}
	return out.text.String(), nil
}

func (f *valuesFiller) parse(text string, paths func(line int) string) (any, error) {
	encoded, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil && strings.Contains(err.Error(), duplicateKey) {
		f.warnings = append(f.warnings, valueProblem(paths(errorLine(err)), "%s; the last one counts", outputProblem(err, 1)))
		encoded, err = yaml.YAMLToJSON([]byte(text))
	}
	if err != nil {
		return nil, valueProblem(paths(errorLine(err)), "what the template gives is not YAML: %s", outputProblem(err, 1))
	}
	if nesting(encoded) > maxValuesNesting {
		return nil, valueProblem(valuesPath, "after templating, the values are nested deeper than %d", maxValuesNesting)
	}
	decoder := json.NewDecoder(bytes.NewReader(encoded))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, valueProblem(paths(1), "what the template gives cannot be read")
	}
	return value, nil
}

func errorLine(err error) int {
	if m := outputLine.FindStringSubmatch(err.Error()); m != nil {
		line, _ := strconv.Atoi(m[1])
		return line
	}
	return 1
}

// boundedText refuses more than it may hold.
type boundedText struct {
	text bytes.Buffer
	left int
}

func (b *boundedText) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, fmt.Errorf("it gives more than %d MiB", maxValuesBytes>>20)
	}
	return b.text.Write(p)
}

// pathAtLine names the value that stands in a line of YAML.
func pathAtLine(text string, line int) string {
	var root yamlv3.Node
	if err := yamlv3.Unmarshal([]byte(text), &root); err != nil {
		return valuesPath
	}
	best := valuesPath
	var walk func(node *yamlv3.Node, path string)
	walk = func(node *yamlv3.Node, path string) {
		if node.Line > line {
			return
		}
		switch node.Kind {
		case yamlv3.DocumentNode:
			for _, child := range node.Content {
				walk(child, path)
			}
		case yamlv3.MappingNode:
			for i := 0; i+1 < len(node.Content); i += 2 {
				key := node.Content[i]
				if key.Line > line {
					return
				}
				best = path + "." + key.Value
				walk(node.Content[i+1], best)
			}
		case yamlv3.SequenceNode:
			for i, child := range node.Content {
				if child.Line > line {
					return
				}
				best = fmt.Sprintf("%s[%d]", path, i)
				walk(child, best)
			}
		}
	}
	walk(&root, valuesPath)
	return best
}
