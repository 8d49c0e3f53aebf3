// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"

	"flotilla.dev/manager/render/worker/renderv1"
)

// Charts, values and kustomizations that mean harm, given to one real worker
// process. Each must be an error of its own request, and the next one of the
// same process must work. Those that the kernel has to end are in
// worker_renderer_test.cc.
func TestHostileRequestsFailAlone(t *testing.T) {
	chart := func(template string) *renderv1.RenderRequest {
		return request(map[string]string{"templates/a.yaml": template})
	}
	with := func(files map[string]string, change func(*renderv1.RenderRequest)) *renderv1.RenderRequest {
		r := request(files)
		if change != nil {
			change(r)
		}
		return r
	}
	kustomized := func(files map[string]string) *renderv1.RenderRequest { return kustomizing("", files) }
	deep := strings.Repeat("[", 100000) + strings.Repeat("]", 100000)

	for _, test := range []struct {
		name, words string
		request     *renderv1.RenderRequest
	}{
		{"include of itself", "nested reference", chart(`{{ define "r" }}{{ include "r" . }}{{ end }}{{ include "r" . }}`)},
		{"template of itself", "exceeded maximum template depth", chart(`{{ define "r" }}{{ template "r" . }}{{ end }}{{ template "r" . }}`)},
		{"two that include each other", "nested reference", chart(`{{ define "a" }}{{ include "b" . }}{{ end }}{{ define "b" }}{{ include "a" . }}{{ end }}{{ include "a" . }}`)},
		{"schema of a device", "not followed", with(map[string]string{"values.schema.json": `{"$ref":"file:///dev/zero"}`}, nil)},
		{"schema of a server", "not followed", with(map[string]string{"values.schema.json": `{"$ref":"http://169.254.169.254/latest/meta-data"}`}, nil)},
		{"schema of itself", "", with(map[string]string{"values.schema.json": `{"$ref":"#"}`}, nil)},
		{"deep schema", "nested deeper", with(map[string]string{"values.schema.json": strings.Repeat(`{"not":`, 100000) + "{}" + strings.Repeat("}", 100000)}, nil)},
		{"schema with a slow pattern", "must match", with(map[string]string{
			"values.yaml":        "a: " + strings.Repeat("a", 5000) + "!\n",
			"values.schema.json": `{"properties":{"a":{"pattern":"^(a+)+$"}}}`}, nil)},
		{"output without end", "limit", chart(configMap(`{{ repeat 70000000 "x" }}`))},
		{"objects without end", "more than 20000 objects", chart(`{{ range until 30000 }}` + "---\n" + configMap("x") + `{{ end }}`)},
		{"documents without end", "not an object", chart(`{{ range until 2000000 }}` + "---\nx\n" + `{{ end }}`)},
		{"deep output of brackets", "depth", chart("a: " + `{{ repeat 100000 "[" }}`)},
		{"deep output of dashes", "depth", chart(`{{ repeat 100000 "- " }}`)},
		{"deep output of keys", "depth", chart(`{{ repeat 100000 "{a: " }}`)},
		{"aliases in the output", "excessive aliasing", chart(aliasBomb)},
		{"aliases in values.yaml", "excessive aliasing", with(map[string]string{"values.yaml": aliasBomb}, nil)},
		{"aliases in Chart.yaml", "excessive aliasing", with(map[string]string{"Chart.yaml": aliasBomb}, nil)},
		{"depth in values.yaml", "depth", with(map[string]string{"values.yaml": "a: " + deep}, nil)},
		{"depth in values", "nested deeper", with(nil, func(r *renderv1.RenderRequest) { r.ValuesJson = []byte(`{"a":` + deep + `}`) })},
		{"bomb in a packed chart", "more than 64 MiB", with(map[string]string{"charts/x.tgz": gzipBomb(t, 1<<30)}, nil)},
		{"many files in a packed chart", "files", with(map[string]string{"charts/x.tgz": manyFiles(t, 30000)}, nil)},
		{"bombs in bombs", "nested deeper", with(map[string]string{"charts/x.tgz": nestedCharts(t, 8)}, nil)},
		{"a link in a packed chart", "", with(map[string]string{"charts/x.tgz": linkedChart(t)}, nil)},
		{"a name above", "no file name", with(map[string]string{"../../etc/passwd": "x"}, nil)},
		{"an absolute name", "no file name", with(map[string]string{"/etc/passwd": "x"}, nil)},
		{"a name of Windows", "no file name", with(map[string]string{`..\..\x`: "x"}, nil)},
		{"a chart called ..", "name", with(map[string]string{"Chart.yaml": "apiVersion: v2\nname: ../../x\nversion: 1.0.0\n"}, nil)},
		{"a file of the machine", "", with(map[string]string{"templates/a.yaml": `a: {{ .Files.Get "/etc/passwd" | required "nothing" }}`}, nil)},
		{"files of the machine", "nothing", with(map[string]string{"templates/a.yaml": `a: {{ range $name, $text := .Files.Glob "/etc/*" }}{{ $text }}{{ end }}{{ required "nothing" "" }}`}, nil)},
		{"lines of the machine", "nothing", with(map[string]string{"templates/a.yaml": `a: {{ range .Files.Lines "../../../etc/passwd" }}{{ . }}{{ end }}{{ required "nothing" "" }}`}, nil)},
		{"the environment", "not defined", chart(`a: {{ env "PATH" }}`)},
		{"a key of a huge size", "", chart(configMap(`{{ genPrivateKey "rsa" | len | fail }}`))},
		{"remote base", "nothing is fetched", kustomized(map[string]string{"kustomization.yaml": "resources: ['https://example.com/x//y']\n"})},
		{"aliases in a kustomization", "aliases", kustomized(map[string]string{"kustomization.yaml": aliasBomb})},
		{"aliases in a resource", "aliases", kustomized(map[string]string{"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": aliasBomb})},
		{"depth in a resource", "depth", kustomized(map[string]string{"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": "a: " + deep})},
		{"depth in JSON that Kustomize gets", "", func() *renderv1.RenderRequest {
			r := kustomized(map[string]string{"kustomization.yaml": "namePrefix: x\n"})
			r.ObjectsJson = [][]byte{[]byte(`{"apiVersion":"v1","kind":"X","metadata":{"name":"x"},"a":` + deep + `}`)}
			return r
		}()},
		{"a chain of bases without end", "cycle", func() *renderv1.RenderRequest {
			files := map[string]string{}
			for i := range 300 {
				files[fmt.Sprintf("b%d/kustomization.yaml", i)] = fmt.Sprintf("resources: [../b%d]\n", (i+1)%300)
			}
			return kustomizing("b0", files)
		}()},
		{"a base that doubles again and again", "more than 2000 kustomizations", func() *renderv1.RenderRequest {
			files := map[string]string{"b20/kustomization.yaml": "resources: [a.yaml]\n", "b20/a.yaml": named("a")}
			for i := range 20 {
				files[fmt.Sprintf("b%d/kustomization.yaml", i)] = fmt.Sprintf("resources: [../b%d, ../c%d]\n", i+1, i+1)
				files[fmt.Sprintf("c%d/kustomization.yaml", i+1)] = fmt.Sprintf("namePrefix: x%d-\nresources: [../b%d]\n", i, i+1)
			}
			return kustomizing("b0", files)
		}()},
		{"a patch without end", "nested deeper", &renderv1.RenderRequest{Patches: []*renderv1.Patch{{OriginalJson: []byte(`{"a":` + deep + `}`), PatchJson: []byte(`{}`)}}}},
		{"values without end", "more than 16 MiB", templating(`{"a":"${ range until 20000 }${ repeat 2000 \"x\" }${ end }"}`, nil)},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ask(t, []string{"--max-cpu=8s", "--max-memory-mib=512"}, test.request, request(map[string]string{"templates/a.yaml": configMap("x")}))
			if len(got) == 0 || got[0].Error == nil || !strings.Contains(got[0].Error.Message, test.words) {
				t.Fatalf("got %.500v, want an error with %q", fmt.Sprint(got), test.words)
			}
			t.Logf("said: %.300s", got[0].Error.Message)
			if len(got) != 2 || got[1].Error != nil || len(got[1].Objects) != 1 {
				t.Errorf("the next request: %.500v", fmt.Sprint(got[1:]))
			}
		})
	}
}

func gzipBomb(t *testing.T, size int64) string {
	t.Helper()
	var out bytes.Buffer
	zipped, _ := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	tarred := tar.NewWriter(zipped)
	if err := tarred.WriteHeader(&tar.Header{Name: "x/big", Mode: 0o644, Size: size}); err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 1<<20)
	for range size >> 20 {
		if _, err := tarred.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	tarred.Close()
	zipped.Close()
	return out.String()
}

func manyFiles(t *testing.T, count int) string {
	t.Helper()
	files := map[string]string{}
	for i := range count {
		files[fmt.Sprintf("x/templates/%d.yaml", i)] = ""
	}
	return pack(t, files)
}

func nestedCharts(t *testing.T, depth int) string {
	t.Helper()
	chart := "apiVersion: v2\nname: x\nversion: 1.0.0\n"
	inner := pack(t, map[string]string{"x/Chart.yaml": chart})
	for range depth {
		inner = pack(t, map[string]string{"x/Chart.yaml": chart, "x/charts/x.tgz": inner})
	}
	return inner
}

// linkedChart has links only where its files should be.
func linkedChart(t *testing.T) string {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	tarred := tar.NewWriter(zipped)
	for name, kind := range map[string]byte{"x/Chart.yaml": tar.TypeSymlink, "x/values.yaml": tar.TypeLink} {
		if err := tarred.WriteHeader(&tar.Header{Name: name, Typeflag: kind, Linkname: "/etc/passwd"}); err != nil {
			t.Fatal(err)
		}
	}
	tarred.Close()
	zipped.Close()
	return out.String()
}
