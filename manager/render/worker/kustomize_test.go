// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"testing"

	"flotilla.dev/manager/render/worker/renderv1"
)

// kustomizing asks for a kustomization alone.
func kustomizing(dir string, files map[string]string) *renderv1.RenderRequest {
	settings := &renderv1.Kustomize{Dir: dir}
	for _, name := range sortedKeys(anyMap(files)) {
		settings.Files = append(settings.Files, &renderv1.File{Name: name, Content: []byte(files[name])})
	}
	return &renderv1.RenderRequest{Kustomize: settings}
}

func named(name string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: " + name + "\ndata: {v: x}\n"
}

// told gives name and source of each object.
func told(response *renderv1.RenderResponse) string {
	var out []string
	for _, o := range response.Objects {
		text := string(o.Json)
		_, after, _ := strings.Cut(text, `"name":"`)
		name, _, _ := strings.Cut(after, `"`)
		where := "chart"
		if o.FromBundle {
			where = "bundle"
		}
		out = append(out, fmt.Sprintf("%s(%s:%s)", name, where, o.SourceFile))
	}
	return strings.Join(out, " ")
}

func TestKustomizesAFolderWithItsBases(t *testing.T) {
	r := kustomizing("overlays/dev", map[string]string{
		"base/kustomization.yml":          "resources: [a.yaml, sub]\n",
		"base/a.yaml":                     named("a"),
		"base/sub/Kustomization":          "configMapGenerator:\n- name: gen\n  literals: [k=v]\n",
		"overlays/dev/kustomization.yaml": "namePrefix: dev-\nresources: [../../base, own.json]\npatches:\n- path: patch.yaml\n",
		"overlays/dev/own.json":           `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"own","annotations":{}}}`,
		"overlays/dev/patch.yaml":         "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {v: patched}\n",
		"a file that no one names.txt":    "x",
	})
	response := mustRender(t, r)
	want := "dev-a(bundle:base/a.yaml) dev-gen-" // and a hash
	if got := told(response); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "(bundle:base/sub/Kustomization) dev-own(bundle:overlays/dev/own.json)") {
		t.Errorf("got %s", got)
	}
	for _, o := range response.Objects {
		if strings.Contains(string(o.Json), "origin") || strings.Contains(string(o.Json), "internal.") {
			t.Errorf("an annotation of ours is left: %s", o.Json)
		}
	}
	if got := dataOf(t, response.Objects[0]); got != "patched" {
		t.Errorf("got %q", got)
	}
}

func TestKustomizesWhatHelmGave(t *testing.T) {
	r := request(map[string]string{
		"templates/a.yaml": configMap("9007199254740993"),
		"templates/b.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, annotations: {x: y}}\n",
		"crds/c.yaml":      "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: c.example.com}\n",
	})
	r.Kustomize = kustomizing("k", map[string]string{
		"k/kustomization.yaml": "namespace: there\nresources:\n- own.yaml\ncommonAnnotations: {z: w}\n",
		"k/own.yaml":           named("own"),
	}).Kustomize
	response := mustRender(t, r)
	want := "c.example.com(chart:crds/c.yaml) a(chart:templates/a.yaml) b(chart:templates/b.yaml) own(bundle:k/own.yaml)"
	if got := told(response); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := string(response.Objects[1].Json), `{"apiVersion":"v1","data":{"v":9007199254740993},"kind":"ConfigMap","metadata":{"annotations":{"z":"w"},"name":"a","namespace":"there"}}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestKustomizesObjectsThatAreGiven(t *testing.T) {
	r := kustomizing("", map[string]string{
		"kustomization.yaml": "nameSuffix: -x\nresources: [fleet-manifests.yaml]\n",
	})
	r.ObjectsJson = [][]byte{[]byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","annotations":{}}}`)}
	r.ObjectFiles = []string{"raw/a.yaml"}
	response := mustRender(t, r)
	if got, want := told(response), "a-x(bundle:raw/a.yaml)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := string(response.Objects[0].Json), `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"annotations":{},"name":"a-x"}}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAnEmptyKustomizationTakesWhatHelmGave(t *testing.T) {
	r := request(map[string]string{"templates/a.yaml": configMap("x")})
	r.Kustomize = kustomizing("", map[string]string{"kustomization.yaml": "# nothing\n"}).Kustomize
	if got, want := told(mustRender(t, r)), "a(chart:templates/a.yaml)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPassesObjectsThroughWithoutKustomizationYaml(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"other spelling": {"k/kustomization.yml": "namePrefix: x-\n"},
		"other folder":   {"kustomization.yaml": "namePrefix: x-\n"},
		"other case":     {"k/Kustomization.yaml": "namePrefix: x-\n"},
		"no files":       {},
	} {
		r := request(map[string]string{"templates/a.yaml": configMap("x")})
		r.Kustomize = kustomizing("k", files).Kustomize
		response := mustRender(t, r)
		if got, want := told(response), "a(chart:templates/a.yaml)"; got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
		if warned := len(response.Warnings) == 1; warned != (name == "other spelling") {
			t.Errorf("%s: warnings %v", name, response.Warnings)
		}
	}
}

func TestKeepsOriginsThatAreAskedFor(t *testing.T) {
	response := mustRender(t, kustomizing("", map[string]string{
		"kustomization.yaml": "buildMetadata: [originAnnotations]\nresources: [a.yaml]\n",
		"a.yaml":             named("a"),
	}))
	if got := string(response.Objects[0].Json); !strings.Contains(got, `"config.kubernetes.io/origin":"path: a.yaml\n"`) {
		t.Errorf("got %s", got)
	}
}

func TestKustomizeRefusesAndSaysWhere(t *testing.T) {
	for name, test := range map[string]struct {
		dir   string
		files map[string]string
		file  string
		line  uint32
		words string
	}{
		"remote base": {"", map[string]string{"kustomization.yaml": "namePrefix: x\nresources:\n- https://user:canary@example.com/x.git//base?ref=v1\n"},
			"kustomization.yaml", 3, "names https://example.com/x.git//base, and nothing is fetched"},
		"GitHub":       {"", map[string]string{"kustomization.yaml": "resources:\n- github.com/a/b//base?ref=v1\n"}, "kustomization.yaml", 2, "nothing is fetched"},
		"git over ssh": {"", map[string]string{"kustomization.yaml": "resources: ['git@github.com:a/b.git']\n"}, "kustomization.yaml", 1, "nothing is fetched"},
		"remote file": {"", map[string]string{"kustomization.yaml": "resources: [a.yaml]\npatches:\n- path: http://127.0.0.1:1/x.yaml\n", "a.yaml": named("a")},
			"kustomization.yaml", 3, "nothing is fetched"},
		"remote in a base": {"o", map[string]string{"o/kustomization.yaml": "resources: [../b]\n", "b/kustomization.yaml": "components:\n- https://example.com/c\n"},
			"b/kustomization.yaml", 2, "nothing is fetched"},
		"helm charts":     {"", map[string]string{"kustomization.yaml": "\nhelmCharts:\n- name: x\n"}, "kustomization.yaml", 2, "helmCharts is not done"},
		"helm generator":  {"", map[string]string{"kustomization.yaml": "helmChartInflationGenerator:\n- chartName: x\n"}, "kustomization.yaml", 1, "is not done"},
		"no such file":    {"", map[string]string{"kustomization.yaml": "resources:\n- a.yaml\n- b.yaml\n", "a.yaml": named("a")}, "kustomization.yaml", 3, "names b.yaml, and there is no such file or folder"},
		"no such patch":   {"", map[string]string{"kustomization.yaml": "patches:\n- path: p.yaml\n"}, "kustomization.yaml", 2, "names p.yaml"},
		"no such env":     {"", map[string]string{"kustomization.yaml": "secretGenerator:\n- name: x\n  envs: [e.env]\n"}, "kustomization.yaml", 3, "names e.env"},
		"no such content": {"", map[string]string{"kustomization.yaml": "configMapGenerator:\n- name: x\n  files: [a=b.txt]\n"}, "kustomization.yaml", 3, "names b.txt"},
		"/etc/passwd":     {"", map[string]string{"kustomization.yaml": "configMapGenerator:\n- name: x\n  files: [/etc/passwd]\n"}, "kustomization.yaml", 3, "no such file in the bundle"},
		"above":           {"", map[string]string{"kustomization.yaml": "configMapGenerator:\n- name: x\n  files: [../../../etc/passwd]\n"}, "kustomization.yaml", 3, "no such file in the bundle"},
		"outside of the folder": {"o", map[string]string{"o/kustomization.yaml": "resources:\n- ../a.yaml\n", "a.yaml": named("a")},
			"o/kustomization.yaml", 2, "outside of the kustomization's folder"},
		"a base without a kustomization": {"", map[string]string{"kustomization.yaml": "resources: [b]\n", "b/a.yaml": named("a")},
			"kustomization.yaml", 1, "the folder b has no kustomization.yaml"},
		"two kustomizations": {"", map[string]string{"kustomization.yaml": "resources: []\n", "Kustomization": "resources: []\n"}, "Kustomization", 0, "two kustomizations"},
		"cycle":              {"a", map[string]string{"a/kustomization.yaml": "resources: [../b]\n", "b/kustomization.yaml": "resources: [../a]\n"}, "b/kustomization.yaml", 1, "cycle"},
		"itself":             {"a", map[string]string{"a/kustomization.yaml": "resources: [.]\n"}, "a/kustomization.yaml", 1, "cycle"},
		"not YAML":           {"", map[string]string{"kustomization.yaml": "a: b\n  c: d\n"}, "kustomization.yaml", 2, "mapping values"},
		"no map":             {"", map[string]string{"kustomization.yaml": "- a\n"}, "kustomization.yaml", 1, "must be a map"},
		"empty":              {"", map[string]string{"kustomization.yaml": ""}, "kustomization.yaml", 1, "empty"},
		"unknown field":      {"", map[string]string{"kustomization.yaml": "resource: [a.yaml]\n"}, "kustomization.yaml", 0, `unknown field "resource"`},
		"resource not YAML":  {"", map[string]string{"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": "a: b\n  c: d\n"}, "a.yaml", 2, "mapping values"},
		"resource no object": {"", map[string]string{"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": "a: b\n"}, "kustomization.yaml", 0, "a.yaml"},
		"twice":              {"", map[string]string{"kustomization.yaml": "resources: [a.yaml, b.yaml]\n", "a.yaml": named("a"), "b.yaml": named("a")}, "kustomization.yaml", 0, "already registered id"},
		"patch of nothing":   {"", map[string]string{"kustomization.yaml": "resources: [a.yaml]\npatches:\n- patch: '{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"z\"}}'\n", "a.yaml": named("a")}, "kustomization.yaml", 0, "no resource matches"},
		"exec plugin": {"", map[string]string{"kustomization.yaml": "generators: [g.yaml]\n",
			"g.yaml": "apiVersion: someteam.example.com/v1\nkind: Exec\nmetadata:\n  name: x\n  annotations:\n    config.kubernetes.io/function: |\n      exec: {path: /bin/sh}\n"}, "kustomization.yaml", 0, "plugin"},
		"container function": {"", map[string]string{"kustomization.yaml": "resources: [a.yaml]\ntransformers: [g.yaml]\n", "a.yaml": named("a"),
			"g.yaml": "apiVersion: v1\nkind: Fn\nmetadata:\n  name: x\n  annotations:\n    config.kubernetes.io/function: |\n      container: {image: x, network: true}\n"}, "kustomization.yaml", 0, "plugin"},
		"helm plugin": {"", map[string]string{"kustomization.yaml": "generators: [g.yaml]\n",
			"g.yaml": "apiVersion: builtin\nkind: HelmChartInflationGenerator\nmetadata: {name: x}\nname: x\n"}, "kustomization.yaml", 0, "Kustomize fails"},
		"directory above":               {"../x", nil, "", 0, "no folder of the bundle"},
		"absolute folder":               {"/x", nil, "", 0, "no folder of the bundle"},
		"name above":                    {"", map[string]string{"../kustomization.yaml": ""}, "", 0, "no file name"},
		"odd name":                      {"", map[string]string{"kustomization.yaml": "resources: [a b.yaml]\n", "a b.yaml": named("a")}, "kustomization.yaml", 1, "letters, digits"},
		"aliases":                       {"", map[string]string{"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": aliasBomb}, "a.yaml", 2, "aliases"},
		"own aliases":                   {"", map[string]string{"kustomization.yaml": "vars: &a [*a]\n"}, "kustomization.yaml", 1, "aliases"},
		"brackets":                      {"", map[string]string{"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": "a: " + strings.Repeat("[", 100000)}, "a.yaml", 1, "depth"},
		"deep indents":                  {"", map[string]string{"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": strings.Repeat("- ", 100000)}, "a.yaml", 1, "depth"},
		"brackets in the kustomization": {"", map[string]string{"kustomization.yaml": "a: " + strings.Repeat("{a: ", 100000)}, "kustomization.yaml", 1, "depth"},
	} {
		t.Run(name, func(t *testing.T) {
			response := render(kustomizing(test.dir, test.files))
			e := response.Error
			if e == nil {
				t.Fatalf("no error: %v", response.Objects)
			}
			if e.File != test.file || e.Line != test.line || !strings.Contains(e.Message, test.words) || strings.Contains(e.Message, "canary") {
				t.Errorf("got %s:%d: %q, want %s:%d with %q", e.File, e.Line, e.Message, test.file, test.line, test.words)
			}
			if e.FromBundle != (test.file != "") {
				t.Errorf("from bundle: %v", e.FromBundle)
			}
		})
	}
}

func TestErrorsOfKustomizeHoldNoValues(t *testing.T) {
	const canary = "s3cr3t-canary"
	secret := "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {p: " + canary + "}\n"
	for name, files := range map[string]map[string]string{
		"literal":     {"kustomization.yaml": "secretGenerator:\n- name: x\n  literals: [" + canary + "]\n"},
		"bad env":     {"kustomization.yaml": "secretGenerator:\n- name: x\n  envs: [e]\n", "e": "a=\xff" + canary + "\n"},
		"patch":       {"kustomization.yaml": "resources: [a.yaml]\npatches:\n- patch: '" + canary + "'\n", "a.yaml": secret},
		"json patch":  {"kustomization.yaml": "resources: [a.yaml]\npatches:\n- patch: '[{\"op\": \"test\", \"path\": \"/stringData/p\", \"value\": \"" + canary + "\"}]'\n", "a.yaml": secret},
		"replacement": {"kustomization.yaml": "resources: [a.yaml]\nreplacements:\n- source: {kind: Secret, name: a, fieldPath: stringData.p, options: {delimiter: x, index: 7}}\n  targets:\n  - select: {kind: Secret}\n    fieldPaths: [metadata.z]\n", "a.yaml": secret},
		"malformed":   {"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": secret + "x: *" + canary + "\n"},
	} {
		response := render(kustomizing("", files))
		if response.Error == nil {
			t.Errorf("%s: no error: %v", name, response.Objects)
		} else if strings.Contains(response.Error.String(), canary) {
			t.Errorf("%s leaks: %v", name, response.Error)
		}
	}
}
