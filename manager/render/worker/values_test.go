// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"flotilla.dev/manager/render/worker/renderv1"
)

// templating asks for values alone.
func templating(values string, change func(*renderv1.ValuesTemplate)) *renderv1.RenderRequest {
	settings := &renderv1.ValuesTemplate{
		ClusterNamespace: "fleet-default",
		ClusterName:      "paris-1",
		ClusterLabels: map[string]string{
			"env": "prod", "region": "eu", "number": "3",
			"management.cattle.io/cluster-name": "c-1",
			"objectset.rio.cattle.io/hash":      "hidden",
			"kubectl.kubernetes.io/x":           "hidden",
		},
		ClusterAnnotations: map[string]string{"team": "a", "fleet.cattle.io/x": "hidden"},
		ClusterValuesJson:  []byte(`{"replicas":3,"zones":["a","b"],"deep":{"x":"y"}}`),
	}
	if change != nil {
		change(settings)
	}
	return &renderv1.RenderRequest{
		ValuesJson: []byte(values), ValuesTemplate: settings,
		RandomSeed: []byte(strings.Repeat("s", 32)), NowUnixSeconds: 1700000000,
	}
}

func TestFillsValuesIn(t *testing.T) {
	for name, test := range map[string]struct {
		values, want string
		change       func(*renderv1.ValuesTemplate)
	}{
		"context": {
			`{"a":"${ .ClusterName } ${ .ClusterNamespace } ${ .ClusterLabels.env } ${ .ClusterAnnotations.team } ${ .ClusterValues.deep.x }"}`,
			`{"a":"paris-1 fleet-default prod a y"}`, nil},
		"types change": {
			`{"a":"${ .ClusterValues.replicas }","b":"${ .ClusterLabels.number }","c":"\"${ .ClusterLabels.number }\"","d":"${ list 1 2 | toJson }","e":"${ eq .ClusterLabels.env \"prod\" }"}`,
			`{"a":3,"b":3,"c":"\"3\"","d":[1,2],"e":true}`, nil},
		"keys": {`{"${ .ClusterName }":{"x":1}}`, `{"paris-1":{"x":1}}`, nil},
		"whole blocks of text": {
			`{"a":"first: ${ .ClusterName }\n${ if true }second: 2${ end }\n"}`,
			`{"a":"first: paris-1\nsecond: 2\n"}`, nil},
		"literal": {"{\"a\":\"${ `${X}` }\"}", `{"a":"${X}"}`, nil},
		"labels": {
			`{"a":"global.fleet.clusterLabels.env","b":"global.fleet.clusterLabels.none","c":[{"d":"global.fleet.clusterLabels.region"},"global.fleet.clusterLabels.env",[{"e":"global.fleet.clusterLabels.env"}]],"f":"x global.fleet.clusterLabels.env"}`,
			`{"a":"prod","b":"","c":[{"d":"eu"},"global.fleet.clusterLabels.env",[{"e":"global.fleet.clusterLabels.env"}]],"f":"x global.fleet.clusterLabels.env"}`, nil},
		"Rancher's own labels are seen": {
			`{"a":"${ get .ClusterLabels \"management.cattle.io/cluster-name\" }${ get .ClusterLabels \"objectset.rio.cattle.io/hash\" }${ get .ClusterAnnotations \"fleet.cattle.io/x\" }"}`,
			`{"a":"c-1"}`, nil},
		"labels only": {
			`{"a":"global.fleet.clusterLabels.env","b":"${ .ClusterName }"}`, `{"a":"prod","b":"${ .ClusterName }"}`,
			func(s *renderv1.ValuesTemplate) {
				s.LabelsOnly = true
				s.TemplateValues = map[string]string{"c": "1"}
			}},
		"no usable label": {
			`{"a":"global.fleet.clusterLabels.env","b":"${ .ClusterName }"}`,
			`{"a":"global.fleet.clusterLabels.env","b":"${ .ClusterName }"}`,
			func(s *renderv1.ValuesTemplate) { s.ClusterLabels = map[string]string{"x.cattle.io/y": "z"} }},
		"templateValues": {
			`{"a":1,"b":2}`, `{"a":{"x":["a","b"]},"b":2,"c":"paris-1"}`,
			func(s *renderv1.ValuesTemplate) {
				s.TemplateValues = map[string]string{
					"a": "x:\n${ range .ClusterValues.zones }- ${ . }\n${ end }", "c": "${ .ClusterName }"}
			}},
		"templateValues without values": {
			``, `{"c":null}`,
			func(s *renderv1.ValuesTemplate) { s.TemplateValues = map[string]string{"c": ""} }},
		"nothing at all":        {``, `{}`, nil},
		"large integers":        {`{"a":9007199254740993,"b":"${ 1 }"}`, `{"a":9007199254740993,"b":1}`, nil},
		"the clock":             {`{"a":"${ now | date \"2006\" }"}`, `{"a":2023}`, nil},
		"texts that look odd":   {`{"a":"3","b":"true","c":"null","d":"1e3","e":"0755","f":"${ 1 }"}`, `{"a":"3","b":"true","c":"null","d":"1e3","e":"0755","f":1}`, nil},
		"braces that are plain": {`{"a":"{{ .Values.x }} $x {y}","b":"${ 1 }"}`, `{"a":"{{ .Values.x }} $x {y}","b":1}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			response := mustRender(t, templating(test.values, test.change))
			if got := string(response.ValuesJson); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if len(response.Objects) != 0 {
				t.Errorf("objects: %v", response.Objects)
			}
		})
	}
}

func TestTemplatedValuesReachTheChart(t *testing.T) {
	r := request(map[string]string{"templates/a.yaml": configMap("{{ .Values.cluster }}")})
	r.ValuesJson = []byte(`{"cluster":"${ .ClusterName }"}`)
	r.ValuesTemplate = templating("", nil).ValuesTemplate
	response := mustRender(t, r)
	if got := dataOf(t, response.Objects[0]); got != "paris-1" || string(response.ValuesJson) != `{"cluster":"paris-1"}` {
		t.Errorf("got %q, %s", got, response.ValuesJson)
	}
}

func TestRandomValuesRepeatThemselvesAndAreReported(t *testing.T) {
	values := `{"a":"${ randAlphaNum 12 }"}`
	first, second := mustRender(t, templating(values, nil)), mustRender(t, templating(values, nil))
	if string(first.ValuesJson) != string(second.ValuesJson) || !first.UsesRandom || first.UsesNow {
		t.Errorf("got %v and %v", first, second)
	}
	if r := mustRender(t, templating(`{"a":"${ now | unixEpoch }"}`, nil)); !r.UsesNow || r.UsesRandom {
		t.Errorf("got %v", r)
	}
}

func TestErrorsOfValuesNameTheValue(t *testing.T) {
	for name, test := range map[string]struct {
		values, path, words string
		change              func(*renderv1.ValuesTemplate)
	}{
		"missing label":      {`{"a":1,"b":{"c":[1,{"d":"${ .ClusterLabels.none }"}]}}`, "helm.values.b.c[1].d", `no entry for key "none"`, nil},
		"missing value":      {`{"a":1,"b":"x\n${ .ClusterValues.x.y }"}`, "helm.values.b", `no entry for key "x"`, nil},
		"does not parse":     {`{"a":1,"b":"${ if }"}`, "helm.values.b", "missing value for if", nil},
		"unknown function":   {`{"b":"${ nothing }"}`, "helm.values.b", `function "nothing" not defined`, nil},
		"env":                {`{"b":"${ env \"HOME\" }"}`, "helm.values.b", `function "env" not defined`, nil},
		"expandenv":          {`{"b":"${ expandenv \"$HOME\" }"}`, "helm.values.b", `function "expandenv" not defined`, nil},
		"include":            {`{"b":"${ include \"x\" . }"}`, "helm.values.b", `function "include" not defined`, nil},
		"tpl":                {`{"b":"${ tpl \"x\" . }"}`, "helm.values.b", `function "tpl" not defined`, nil},
		"getHostByName":      {`{"b":"${ getHostByName \"x\" }"}`, "helm.values.b", `function "getHostByName" not defined`, nil},
		"lookup":             {`{"b":"${ lookup \"v1\" \"Secret\" \"a\" \"b\" }"}`, "helm.values.b", `function "lookup" not defined`, nil},
		"fail":               {`{"b":"${ fail \"choose\" }"}`, "helm.values.b", "error calling fail", nil},
		"not YAML afterward": {`{"a":1,"b":"${ list \"x:\" \"y:\" \"z\" | join \" \" }"}`, "helm.values.b", "mapping values", nil},
		"range over a text":  {`{"b":"${ range .ClusterName }${ end }"}`, "helm.values.b", "iterate", nil},
		"templateValues": {`{}`, "helm.templateValues.x", "no entry",
			func(s *renderv1.ValuesTemplate) { s.TemplateValues = map[string]string{"x": "${ .ClusterValues.no }"} }},
		"templateValues not YAML": {`{}`, "helm.templateValues.x", "line 2",
			func(s *renderv1.ValuesTemplate) { s.TemplateValues = map[string]string{"x": "a: b\n  c: d\n"} }},
		"too deep for labels": {strings.Repeat(`{"a":`, 60) + "1" + strings.Repeat("}", 60), "helm.values" + strings.Repeat(".a", 51), "deeper than 50", nil},
		"bomb of brackets":    {strings.Repeat("[", 100000) + strings.Repeat("]", 100000), "helm.values", "deeper than 200", nil},
		"no object":           {"[1]", "helm.values", "not a JSON object", nil},
		"output without end":  {`{"b":"${ range until 20000 }${ repeat 2000 \"x\" }${ end }"}`, "helm.values.b", "more than 16 MiB", nil},
		"bomb of aliases": {`{}`, "helm.templateValues.x", "excessive aliasing",
			func(s *renderv1.ValuesTemplate) { s.TemplateValues = map[string]string{"x": aliasBomb} }},
		"depth made by a template": {`{}`, "helm.templateValues.x", "depth",
			func(s *renderv1.ValuesTemplate) { s.TemplateValues = map[string]string{"x": `${ repeat 100000 "[" }`} }},
	} {
		t.Run(name, func(t *testing.T) {
			response := render(templating(test.values, test.change))
			e := response.Error
			if e == nil {
				t.Fatalf("no error: %s", response.ValuesJson)
			}
			if e.Path != test.path || !strings.Contains(e.Message, test.words) || !strings.Contains(e.Message, e.Path) {
				t.Errorf("got %s: %q, want %s with %q", e.Path, e.Message, test.path, test.words)
			}
		})
	}
}

const aliasBomb = `
a: &a [x,x,x,x,x,x,x,x,x,x]
b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]
c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]
d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]
e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]
f: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]
g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f,*f]
h: &h [*g,*g,*g,*g,*g,*g,*g,*g,*g,*g]
i: &i [*h,*h,*h,*h,*h,*h,*h,*h,*h,*h]
`

func TestErrorsOfValuesHoldNoValues(t *testing.T) {
	const canary = "s3cr3t-canary"
	for _, template := range []string{
		`${ .ClusterValues.p | mustToDate \"2006\" }`,
		`${ range .ClusterValues.p }${ end }`,
		`${ mustRegexMatch (printf \"(%s\" .ClusterValues.p) \"x\" }`,
		`${ printf \"*%s\" .ClusterValues.p }`,
		`${ printf \"!!int %s\" .ClusterValues.p }`,
		`${ printf \"!!binary %s\" .ClusterValues.p }`,
		`${ list \"{\" .ClusterValues.p \"]\" | join \"\" }`,
		`${ list \"x:\" \"y:\" .ClusterValues.p | join \" \" }`,
		`${ .ClusterValues.p.q.r }`,
		`${ index .ClusterValues.p \"a\" }`,
		`${ eq .ClusterValues.p 1 }`,
		`${ urlParse (printf \"%%zz%s\" .ClusterValues.p) }`,
	} {
		response := render(templating(`{"a":"`+template+`"}`, func(s *renderv1.ValuesTemplate) {
			s.ClusterValuesJson = []byte(`{"p":"` + canary + `"}`)
		}))
		if response.Error == nil {
			t.Errorf("%s is no error: %s", template, response.ValuesJson)
		} else if strings.Contains(response.Error.String(), canary) {
			t.Errorf("%s leaks: %v", template, response.Error)
		}
	}
	response := render(templating("{}", func(s *renderv1.ValuesTemplate) {
		s.ClusterValuesJson = []byte(`{"p":"` + canary + `"}`)
		s.TemplateValues = map[string]string{"x": "[${ .ClusterValues.p }]: 1\n"}
	}))
	if response.Error == nil || strings.Contains(response.Error.String(), canary) {
		t.Errorf("key: got %v", response)
	}
}
