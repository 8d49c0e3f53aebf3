// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	chart "helm.sh/helm/v4/pkg/chart/v2"
)

const (
	maxSchemaBytes   = 2 << 20
	maxSchemaNesting = 200
)

// sealedLoader refuses every reference out of the schema: Helm's own loader
// would read files and URLs.
type sealedLoader struct{}

func (sealedLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("a reference out of the schema is not followed: %s", url)
}

// validateSchemas checks the values of a chart and of its subcharts, as Helm
// does, but sealed off, and with no value in the error's text.
func validateSchemas(c *chart.Chart, values map[string]any, prefix string) error {
	file := prefix + "values.schema.json"
	if len(c.Schema) > 0 {
		if err := validateSchema(c.Schema, values); err != nil {
			return problemAt(file, 0, "the values do not fit the chart's schema: %v", err)
		}
	}
	for _, sub := range c.Dependencies() {
		raw := values[sub.Name()]
		if raw == nil {
			continue
		}
		inner, ok := raw.(map[string]any)
		if !ok {
			return problemAt(file, 0, "values.%s must be a map, for it holds a subchart's values", sub.Name())
		}
		if err := validateSchemas(sub, inner, prefix+"charts/"+sub.Name()+"/"); err != nil {
			return err
		}
	}
	return nil
}

func validateSchema(schema []byte, values map[string]any) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the schema cannot be used (%T)", p)
		}
	}()
	if len(schema) > maxSchemaBytes {
		return fmt.Errorf("the schema is larger than %d bytes", maxSchemaBytes)
	}
	if nesting(schema) > maxSchemaNesting {
		return fmt.Errorf("the schema is nested deeper than %d", maxSchemaNesting)
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return fmt.Errorf("the schema is not JSON: %v", err)
	}
	const url = "chart:///values.schema.json"
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(sealedLoader{})
	if err := compiler.AddResource(url, parsed); err != nil {
		return err
	}
	compiled, err := compiler.Compile(url)
	if err != nil {
		return err
	}
	err = compiled.Validate(values)
	var failed *jsonschema.ValidationError
	if errors.As(err, &failed) {
		var said []string
		collect(failed, &said)
		sort.Strings(said)
		const most = 5
		if len(said) > most {
			said = append(said[:most], fmt.Sprintf("and %d more", len(said)-most))
		}
		return errors.New(strings.Join(said, "; "))
	}
	return err
}

// collect words the leaves of a validation error with names only.
func collect(e *jsonschema.ValidationError, said *[]string) {
	if len(e.Causes) > 0 {
		for _, cause := range e.Causes {
			collect(cause, said)
		}
		return
	}
	at := "values"
	if len(e.InstanceLocation) > 0 {
		at += "." + strings.Join(e.InstanceLocation, ".")
	}
	var what string
	switch k := e.ErrorKind.(type) {
	case *kind.Type:
		what = "is of type " + k.Got + ", must be " + strings.Join(k.Want, " or ")
	case *kind.Required:
		what = "lacks " + strings.Join(k.Missing, ", ")
	case *kind.AdditionalProperties:
		what = "has unknown keys " + strings.Join(k.Properties, ", ")
	case *kind.Enum:
		what = fmt.Sprintf("must be one of %v", k.Want)
	case *kind.Pattern:
		what = "must match " + k.Want
	default:
		what = "breaks the rule " + strings.Join(e.ErrorKind.KeywordPath(), "/")
	}
	*said = append(*said, at+" "+what)
}

// nesting is the depth of brackets, strings aside.
func nesting(json []byte) int {
	depth, deepest := 0, 0
	inString := false
	for i := 0; i < len(json); i++ {
		switch c := json[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}
