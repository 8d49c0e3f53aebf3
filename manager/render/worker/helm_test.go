// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"flotilla.dev/manager/render/worker/renderv1"
)

// What Helm does around templates: subcharts, libraries, files, names.

func subchart(name, more string) string {
	return "apiVersion: v2\nname: " + name + "\nversion: 1.0.0\n" + more
}

func TestDependenciesFollowConditionsTagsAndAliases(t *testing.T) {
	files := map[string]string{
		"Chart.yaml": chartYAML + `dependencies:
- {name: one, version: 1.x.x, condition: one.enabled}
- {name: two, version: 1.x.x, tags: [extra]}
- {name: three, version: 1.x.x, alias: first}
- {name: three, version: 1.x.x, alias: second}
- {name: four, version: 1.x.x, import-values: [{child: exported, parent: taken}]}
`,
		"values.yaml":                   "one: {enabled: true}\ntags: {extra: false}\nfirst: {v: a}\nsecond: {v: b}\n",
		"templates/a.yaml":              configMap("{{ .Values.taken.v }}"),
		"charts/one/Chart.yaml":         subchart("one", ""),
		"charts/one/templates/a.yaml":   configMap("one"),
		"charts/two/Chart.yaml":         subchart("two", ""),
		"charts/two/templates/a.yaml":   configMap("two"),
		"charts/three/Chart.yaml":       subchart("three", ""),
		"charts/three/templates/a.yaml": configMap("{{ .Chart.Name }}-{{ .Values.v }}"),
		"charts/four/Chart.yaml":        subchart("four", ""),
		"charts/four/values.yaml":       "exported: {v: imported}\n",
	}
	said := func(r *renderv1.RenderResponse) string {
		var values []string
		for _, o := range r.Objects {
			values = append(values, dataOf(t, o))
		}
		return strings.Join(values, " ")
	}
	if got, want := said(mustRender(t, request(files))), "first-a one second-b imported"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	r := request(files)
	r.ValuesJson = []byte(`{"one":{"enabled":false},"tags":{"extra":true}}`)
	if got, want := said(mustRender(t, r)), "first-a second-b two imported"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLibrariesGiveTemplatesToTheChart(t *testing.T) {
	response := mustRender(t, request(map[string]string{
		"Chart.yaml":                     chartYAML + "dependencies:\n- {name: lib, version: 1.x.x}\n",
		"templates/a.yaml":               `{{ include "lib.map" . }}`,
		"charts/lib/Chart.yaml":          subchart("lib", "type: library\n"),
		"charts/lib/templates/_map.tpl":  `{{ define "lib.map" }}` + configMap("{{ .Release.Name }}") + `{{ end }}`,
		"charts/lib/templates/more.yaml": configMap("never"),
	}))
	if len(response.Objects) != 1 || dataOf(t, response.Objects[0]) != "rel" {
		t.Errorf("got %v", response.Objects)
	}
}

func TestChartsReadTheirOwnFiles(t *testing.T) {
	response := mustRender(t, request(map[string]string{
		"conf/a.txt":  "alpha",
		"conf/b.txt":  "beta",
		"secret.yaml": "x: y",
		".helmignore": "secret.yaml\n",
		"templates/a.yaml": configMap(`{{ .Files.Get "conf/a.txt" }}-{{ range $n, $t := .Files.Glob "conf/*.txt" }}{{ $n | base }}{{ end }}` +
			`-{{ .Files.Get "templates/a.yaml" }}-{{ .Files.Get "/etc/passwd" }}-{{ (.Files.Glob "conf/b.txt").AsSecrets | fromYaml | values | first }}`),
	}))
	if got, want := dataOf(t, response.Objects[0]), "alpha-a.txtb.txt---YmV0YQ=="; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHostNamesAreNeverLookedUp(t *testing.T) {
	r := request(map[string]string{"templates/a.yaml": configMap(`"[{{ getHostByName "localhost" }}]"`)})
	if e := render(r).Error; e == nil || !strings.Contains(e.Message, "helm.disableDNS: true") || e.Line != 6 {
		t.Errorf("got %v", e)
	}
	r.DisableDns = true
	if got := dataOf(t, mustRender(t, r).Objects[0]); got != "[]" {
		t.Errorf("got %q", got)
	}
}

func TestSubchartsSeeGlobalsAndTheirOwnValuesOnly(t *testing.T) {
	r := request(map[string]string{
		"values.yaml":                 "global: {g: chart}\nsub: {own: x}\nother: secret\n",
		"charts/sub/Chart.yaml":       subchart("sub", ""),
		"charts/sub/values.yaml":      "own: default\nkept: k\n",
		"charts/sub/templates/a.yaml": configMap(`"{{ .Values.global.g }} {{ .Values.own }} {{ .Values.kept }} {{ .Values.other }}"`),
	})
	r.ValuesJson = []byte(`{"global":{"g":"user"}}`)
	if got, want := dataOf(t, mustRender(t, r).Objects[0]), "user x k "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNullTakesAValueAway(t *testing.T) {
	r := request(map[string]string{
		"values.yaml":      "a: {b: 1, c: 2}\n",
		"templates/a.yaml": configMap(`'{{ .Values.a | toJson }}'`),
	})
	r.ValuesJson = []byte(`{"a":{"b":null}}`)
	if got, want := dataOf(t, mustRender(t, r).Objects[0]), `{"c":2}`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNowIsReported(t *testing.T) {
	for text, want := range map[string]bool{"{{ now }}": true, "{{ date \"2006\" 0 }}": false, "{{ date \"2006\" nil }}": true, "x": false} {
		r := mustRender(t, request(map[string]string{"templates/a.yaml": configMap(text + " | x")}))
		if r.UsesNow != want {
			t.Errorf("%s: got %v", text, r.UsesNow)
		}
	}
}
