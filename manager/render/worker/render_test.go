// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"flotilla.dev/manager/render/worker/renderv1"
)

const chartYAML = "apiVersion: v2\nname: app\nversion: 1.0.0\n"

func request(files map[string]string) *renderv1.RenderRequest {
	r := &renderv1.RenderRequest{
		Id: 7, ReleaseName: "rel", Namespace: "web", KubeVersion: "v1.36.3",
		ApiVersions: []string{"v1", "apps/v1", "apps/v1/Deployment"},
		RandomSeed:  bytes.Repeat([]byte{1}, 32), NowUnixSeconds: 1700000000,
	}
	if _, ok := files["Chart.yaml"]; !ok {
		r.Files = append(r.Files, &renderv1.File{Name: "Chart.yaml", Content: []byte(chartYAML)})
	}
	for _, name := range sortedKeys(anyMap(files)) {
		r.Files = append(r.Files, &renderv1.File{Name: name, Content: []byte(files[name])})
	}
	return r
}

func anyMap(files map[string]string) map[string]any {
	out := map[string]any{}
	for k, v := range files {
		out[k] = v
	}
	return out
}

func configMap(value string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  v: " + value + "\n"
}

func mustRender(t *testing.T, r *renderv1.RenderRequest) *renderv1.RenderResponse {
	t.Helper()
	response := render(r)
	if response.Error != nil {
		t.Fatalf("render: %v", response.Error)
	}
	return response
}

// value renders one template expression and gives what it became.
func value(t *testing.T, expression string) string {
	t.Helper()
	response := mustRender(t, request(map[string]string{
		"templates/a.yaml": configMap("{{ " + expression + " | quote }}"),
	}))
	return dataOf(t, response.Objects[0])
}

func dataOf(t *testing.T, object *renderv1.RenderedObject) string {
	t.Helper()
	var parsed struct{ Data map[string]string }
	if err := json.Unmarshal(object.Json, &parsed); err != nil {
		t.Fatal(err)
	}
	return parsed.Data["v"]
}

func TestRendersReleaseValuesAndCapabilities(t *testing.T) {
	r := request(map[string]string{
		"values.yaml":      "a: chart\nb: chart\n",
		"templates/a.yaml": configMap("'{{ .Release.Name }} {{ .Release.Namespace }} {{ .Release.IsInstall }} {{ .Release.Revision }} {{ .Values.a }} {{ .Values.b }} {{ .Capabilities.KubeVersion.Version }} {{ .Capabilities.APIVersions.Has \"apps/v1/Deployment\" }}'"),
	})
	r.ValuesJson = []byte(`{"b":"user"}`)

	response := mustRender(t, r)

	if got, want := dataOf(t, response.Objects[0]), "rel web true 1 chart user v1.36.3 true"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if response.Id != 7 || !response.UsesCapabilities || response.UsesRandom {
		t.Errorf("got %v", response)
	}
	if got := response.Objects[0].SourceFile; got != "templates/a.yaml" {
		t.Errorf("source file %q", got)
	}
}

func TestSkipsNotesPartialsAndEmptyDocuments(t *testing.T) {
	response := mustRender(t, request(map[string]string{
		"templates/NOTES.txt":    "Hello {{ .Release.Name }}: not: yaml",
		"templates/_helpers.tpl": `{{ define "x" }}from-x{{ end }}`,
		"templates/empty.yaml":   "{{ if false }}a: b{{ end }}\n---\n# only words\n---\n",
		"templates/a.yaml":       configMap(`{{ include "x" . }}`) + "---\n" + strings.Replace(configMap("z"), "name: a", "name: b", 1),
	}))
	if len(response.Objects) != 2 || dataOf(t, response.Objects[0]) != "from-x" || dataOf(t, response.Objects[1]) != "z" {
		t.Errorf("got %v", response.Objects)
	}
}

func TestGivesHooksAsObjects(t *testing.T) {
	response := mustRender(t, request(map[string]string{
		"templates/job.yaml": "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: j\n  annotations:\n    helm.sh/hook: pre-install,test\n",
	}))
	if len(response.Objects) != 1 || !strings.Contains(string(response.Objects[0].Json), `"helm.sh/hook":"pre-install,test"`) {
		t.Errorf("got %v", response.Objects)
	}
}

func TestShipsCRDsOfTheChartAndOfSubcharts(t *testing.T) {
	crd := "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: x.example.com\n"
	response := mustRender(t, request(map[string]string{
		"crds/x.yaml":                crd + "# {{ not a template }}\n",
		"charts/sub/Chart.yaml":      "apiVersion: v2\nname: sub\nversion: 1.0.0\n",
		"charts/sub/crds/y.yaml":     crd,
		"charts/sub/templates/a.yml": configMap("{{ .Chart.Name }}"),
	}))
	if len(response.Objects) != 3 || !response.Objects[0].Crd || !response.Objects[1].Crd || response.Objects[2].Crd {
		t.Fatalf("got %v", response.Objects)
	}
	if got := response.Objects[0].SourceFile; got != "charts/sub/crds/y.yaml" {
		t.Errorf("source file %q", got)
	}
	if got := response.Objects[2].SourceFile; got != "charts/sub/templates/a.yml" {
		t.Errorf("source file %q", got)
	}
}

func TestHonoursConditionsOfSubcharts(t *testing.T) {
	files := map[string]string{
		"Chart.yaml":                  chartYAML + "dependencies:\n- name: sub\n  version: 1.x.x\n  condition: sub.enabled\n",
		"values.yaml":                 "sub:\n  enabled: false\n",
		"charts/sub/Chart.yaml":       "apiVersion: v2\nname: sub\nversion: 1.0.0\n",
		"charts/sub/templates/a.yaml": configMap("x"),
	}
	if got := mustRender(t, request(files)).Objects; len(got) != 0 {
		t.Errorf("disabled: got %v", got)
	}
	r := request(files)
	r.ValuesJson = []byte(`{"sub":{"enabled":true}}`)
	if got := mustRender(t, r).Objects; len(got) != 1 {
		t.Errorf("enabled: got %v", got)
	}
}

func TestRendersWithoutDependenciesThatAreNotThere(t *testing.T) {
	files := map[string]string{
		"Chart.yaml": chartYAML + `dependencies:
- {name: redis, version: 1.0.0, repository: "https://example.com"}
- {name: idle, version: 1.0.0, repository: "https://example.com", condition: idle.enabled}
- {name: sub, version: 1.x.x, alias: other}
`,
		"values.yaml":                 "idle: {enabled: false}\n",
		"templates/a.yaml":            configMap("a"),
		"charts/sub/Chart.yaml":       "apiVersion: v2\nname: sub\nversion: 1.0.0\n",
		"charts/sub/templates/b.yaml": configMap("b"),
	}
	response := mustRender(t, request(files))
	if got := len(response.Objects); got != 2 {
		t.Errorf("%d objects", got)
	}
	if len(response.Warnings) != 1 || response.Warnings[0].File != "Chart.yaml" ||
		!strings.Contains(response.Warnings[0].Message, "redis") {
		t.Errorf("warnings: %v", response.Warnings)
	}
}

func pack(t *testing.T, files map[string]string) string {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	tarred := tar.NewWriter(zipped)
	for _, name := range sortedKeys(anyMap(files)) {
		if err := tarred.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tarred.Write([]byte(files[name])); err != nil {
			t.Fatal(err)
		}
	}
	tarred.Close()
	zipped.Close()
	return out.String()
}

func TestUnpacksPackedSubchartsInPackedSubcharts(t *testing.T) {
	inner := pack(t, map[string]string{
		"inner/Chart.yaml":       "apiVersion: v2\nname: inner\nversion: 1.0.0\n",
		"inner/templates/i.yaml": configMap("inner"),
	})
	outer := pack(t, map[string]string{
		"outer/Chart.yaml":             "apiVersion: v2\nname: outer\nversion: 1.0.0\n",
		"outer/templates/o.yaml":       configMap("outer"),
		"outer/charts/inner-1.0.0.tgz": inner,
	})
	response := mustRender(t, request(map[string]string{"charts/outer-1.0.0.tgz": outer}))
	var got []string
	for _, o := range response.Objects {
		got = append(got, o.SourceFile)
	}
	want := "[charts/outer/charts/inner/templates/i.yaml charts/outer/templates/o.yaml]"
	if fmt.Sprint(got) != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRefusesBombsAndPathsOutOfPackedCharts(t *testing.T) {
	bomb := pack(t, map[string]string{"x/Chart.yaml": "a: b", "x/big": strings.Repeat("0", maxArchiveBytes+1)})
	for name, test := range map[string]struct{ archive, words string }{
		"bomb":     {bomb, "more than 64 MiB"},
		"outside":  {pack(t, map[string]string{"x/../../etc/passwd": "x"}), "no file name"},
		"absolute": {pack(t, map[string]string{"x//etc/passwd": "x"}), "no file name"},
		"no chart": {"hello", "cannot be read"},
	} {
		response := render(request(map[string]string{"charts/x.tgz": test.archive}))
		if response.Error == nil || !strings.Contains(response.Error.Message, test.words) {
			t.Errorf("%s: got %v", name, response.Error)
		}
	}
}

func TestErrorsSayFileAndLine(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		file  string
		line  uint32
		words string
	}{
		"parse": {map[string]string{"templates/a.yaml": "a: b\nc: {{ if }}\n"},
			"templates/a.yaml", 2, "missing value for if"},
		"nil pointer": {map[string]string{"templates/a.yaml": "a: b\nc: d\ne: {{ .Values.x.y }}\n"},
			"templates/a.yaml", 3, "nil pointer"},
		"fail": {map[string]string{"templates/a.yaml": "\n{{ fail \"choose a colour\" }}\n"},
			"templates/a.yaml", 2, "choose a colour"},
		"required": {map[string]string{"templates/a.yaml": "x: {{ required \"colour is needed\" .Values.colour }}\n"},
			"templates/a.yaml", 1, "colour is needed"},
		"helper": {map[string]string{
			"templates/a.yaml":       "x: {{ include \"h\" . }}\n",
			"templates/_helpers.tpl": "\n{{- define \"h\" -}}\n{{ .Values.x.y }}\n{{- end }}",
		}, "templates/_helpers.tpl", 3, "included from templates/a.yaml:1"},
		"no such template": {map[string]string{"templates/a.yaml": "\nx: {{ include \"h\" . }}\n"},
			"templates/a.yaml", 2, "no template"},
		"output": {map[string]string{"templates/a.yaml": "a: b\n  c: d\n"},
			"templates/a.yaml", 0, "line 2"},
		"output of the second document": {map[string]string{"templates/a.yaml": configMap("x") + "---\na: b\n  c: d\n"},
			"templates/a.yaml", 0, "line 9"},
		"no object": {map[string]string{"templates/a.yaml": "hello\n"},
			"templates/a.yaml", 0, "not an object"},
		"values": {map[string]string{"values.yaml": "a: b\n  c: d\n"},
			"values.yaml", 2, "mapping values"},
		"broken Chart.yaml": {map[string]string{"Chart.yaml": "{"}, "Chart.yaml", 1, "expected node"},
		"library": {map[string]string{"Chart.yaml": chartYAML + "type: library\n"},
			"Chart.yaml", 0, "library"},
		"kubernetes too old": {map[string]string{"Chart.yaml": chartYAML + "kubeVersion: '>=1.99'\n"},
			"Chart.yaml", 0, "wants Kubernetes >=1.99"},
		"environment": {map[string]string{"templates/a.yaml": "a: {{ env \"HOME\" }}\n"},
			"templates/a.yaml", 1, "env"},
		"host name": {map[string]string{"templates/a.yaml": "a: {{ getHostByName \"example.com\" }}\n"},
			"templates/a.yaml", 1, "no network"},
		"endless recursion": {map[string]string{"templates/a.yaml": "{{ define \"r\" }}{{ include \"r\" . }}{{ end }}{{ include \"r\" . }}"},
			"templates/a.yaml", 1, "nested reference"},
	} {
		t.Run(name, func(t *testing.T) {
			response := render(request(test.files))
			e := response.Error
			if e == nil || len(response.Objects) != 0 {
				t.Fatalf("no error: %v", response)
			}
			if e.File != test.file || e.Line != test.line || !strings.Contains(e.Message, test.words) {
				t.Errorf("got %s:%d: %q, want %s:%d with %q", e.File, e.Line, e.Message, test.file, test.line, test.words)
			}
		})
	}
}

func TestErrorsHoldNoValues(t *testing.T) {
	const canary = "s3cr3t-canary"
	for name, files := range map[string]map[string]string{
		"tpl that does not parse": {"templates/a.yaml": `{{ tpl (printf "%s {{" .Values.p) . }}`},
		"tpl that fails":          {"templates/a.yaml": `{{ tpl (printf "%s {{ fail \"x\" }}" .Values.p) . }}`},
		"function":                {"templates/a.yaml": `{{ mustToDuration .Values.p }}`},
		"number":                  {"templates/a.yaml": `{{ semverCompare .Values.p "1.0.0" }}`},
		"date":                    {"templates/a.yaml": `{{ mustToDate "2006" .Values.p }}`},
		"output":                  {"templates/a.yaml": "a: !!int {{ .Values.p }}\n"},
		"schema type": {"templates/a.yaml": "a: b\n",
			"values.schema.json": `{"properties":{"p":{"type":"integer"}}}`},
		"schema pattern": {"templates/a.yaml": "a: b\n",
			"values.schema.json": `{"properties":{"p":{"pattern":"^[0-9]+$"}}}`},
		"schema format": {"templates/a.yaml": "a: b\n",
			"values.schema.json": `{"properties":{"p":{"maxLength":3}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			r := request(files)
			r.ValuesJson = []byte(`{"p":"` + canary + `"}`)
			response := render(r)
			if response.Error == nil {
				t.Fatalf("no error: %v", response)
			}
			if strings.Contains(response.String(), canary) {
				t.Errorf("leaks: %v", response)
			}
		})
	}
}

func TestSchemaFollowsNoReference(t *testing.T) {
	for _, ref := range []string{"file:///etc/passwd", "file:///dev/zero", "http://127.0.0.1:1/x"} {
		response := render(request(map[string]string{
			"values.schema.json": `{"$ref":"` + ref + `"}`,
		}))
		if response.Error == nil || !strings.Contains(response.Error.Message, "not followed") {
			t.Errorf("%s: got %v", ref, response.Error)
		}
	}
	deep := strings.Repeat(`{"not":`, 5000) + "{}" + strings.Repeat("}", 5000)
	if e := render(request(map[string]string{"values.schema.json": deep})).Error; e == nil || !strings.Contains(e.Message, "nested") {
		t.Errorf("deep: got %v", e)
	}
	r := request(map[string]string{"values.schema.json": `{"required":["a"]}`})
	if e := render(r).Error; e == nil || !strings.Contains(e.Message, "values lacks a") {
		t.Errorf("got %v", e)
	}
	r.SkipSchemaValidation = true
	mustRender(t, r)
}

func TestRandomFunctionsRepeatThemselves(t *testing.T) {
	for _, expression := range []string{
		"randAlphaNum 16", "randAlpha 8", "randAscii 8", "randNumeric 8", "randBytes 8",
		"randInt 0 1000000", "uuidv4", "shuffle \"abcdefghijklmnop\"", "bcrypt \"pw\"",
		"htpasswd \"u\" \"pw\"", "encryptAES \"key\" \"text\"", "genPrivateKey \"ecdsa\"",
		"genPrivateKey \"ed25519\"", "(genCA \"ca\" 365).Key",
		"(genCA \"ca\" 365).Cert", "(genSelfSignedCert \"c\" nil (list \"a.b\") 365).Cert",
		"(genSignedCert \"c\" (list \"10.0.0.1\") (list \"a.b\") 365 (genCA \"ca\" 365)).Cert",
		"(genCAWithKey \"ca\" 365 (genPrivateKey \"ecdsa\")).Cert",
		"now", "date \"2006-01-02\" now", "ago now", "htmlDate \"x\"",
		"keys (dict \"a\" 1 \"b\" 2 \"c\" 3 \"d\" 4)", "values (dict \"a\" 1 \"b\" 2 \"c\" 3 \"d\" 4)",
	} {
		first, second := value(t, expression), value(t, expression)
		if first == "" || first != second {
			t.Errorf("%s: got %q, then %q", expression, first, second)
		}
	}
	if value(t, "randAlphaNum 16") == value(t, "randAlphaNum 17 | trunc 16") {
		t.Error("two lengths share a stream")
	}
	twice := value(t, "printf \"%s %s\" (randAlphaNum 16) (randAlphaNum 16)")
	if a, b, _ := strings.Cut(twice, " "); a == b || a != value(t, "randAlphaNum 16") {
		t.Errorf("two calls: %q", twice)
	}
}

func TestRandomFunctionsDependOnTheSeedAndAreReported(t *testing.T) {
	files := map[string]string{"templates/a.yaml": configMap("{{ randAlphaNum 16 }}")}
	a, b := request(files), request(files)
	b.RandomSeed = bytes.Repeat([]byte{2}, 32)
	first, second := mustRender(t, a), mustRender(t, b)
	if dataOf(t, first.Objects[0]) == dataOf(t, second.Objects[0]) {
		t.Error("two seeds give one password")
	}
	if !first.UsesRandom {
		t.Error("not reported")
	}
	a.RandomSeed = nil
	if e := render(a).Error; e == nil || !strings.Contains(e.Message, "no seed") {
		t.Errorf("no seed: got %v", e)
	}
}

func TestCertificatesVerify(t *testing.T) {
	text := value(t, `$ca := genCA "ca" 10 }}{{ $c := genSignedCert "c" nil (list "a.b") 10 $ca }}{{ printf "%s%s" $c.Cert $ca.Cert`)
	leafBlock, rest := pem.Decode([]byte(text))
	caBlock, _ := pem.Decode(rest)
	if leafBlock == nil || caBlock == nil {
		t.Fatalf("got %q", text)
	}
	leaf, err := x509.ParseCertificate(leafBlock.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := x509.ParseCertificate(caBlock.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "a.b", CurrentTime: leaf.NotBefore}); err != nil {
		t.Error(err)
	}
	if leaf.NotBefore.Unix() != 1700000000 {
		t.Errorf("valid from %v", leaf.NotBefore)
	}
}

func TestLookupFindsNothingAndSaysWhere(t *testing.T) {
	response := mustRender(t, request(map[string]string{
		"templates/a.yaml": "# first line\n{{ $s := lookup \"v1\" \"Secret\" .Release.Namespace \"x\" }}\n" + configMap("{{ if $s }}old{{ else }}new{{ end }}"),
	}))
	if got := dataOf(t, response.Objects[0]); got != "new" {
		t.Errorf("got %q", got)
	}
	if len(response.Warnings) != 1 || response.Warnings[0].File != "templates/a.yaml" || response.Warnings[0].Line != 2 {
		t.Errorf("got %v", response.Warnings)
	}
	failed := render(request(map[string]string{
		"templates/a.yaml": "\n{{ (lookup \"v1\" \"Secret\" \"a\" \"x\").data.password }}\n",
	}))
	if e := failed.Error; e == nil || e.Line != 2 || !strings.Contains(e.Message, "lookup") {
		t.Errorf("got %v", e)
	}
}

func TestDuplicateKeysAreAWarningAsInHelm(t *testing.T) {
	response := mustRender(t, request(map[string]string{
		"templates/a.yaml": configMap("x") + "  v: last\n",
	}))
	if got := dataOf(t, response.Objects[0]); got != "last" {
		t.Errorf("got %q", got)
	}
	if len(response.Warnings) != 1 || !strings.Contains(response.Warnings[0].Message, "line 7") {
		t.Errorf("got %v", response.Warnings)
	}
}

func TestListsAreFlattened(t *testing.T) {
	response := mustRender(t, request(map[string]string{
		"templates/a.yaml": "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n",
	}))
	if len(response.Objects) != 2 {
		t.Errorf("got %v", response.Objects)
	}
}

func TestKeepsIntegersOfManifestsExactly(t *testing.T) {
	response := mustRender(t, request(map[string]string{
		"templates/a.yaml": "apiVersion: v1\nkind: X\nmetadata: {name: a}\nspec: {i: 9007199254740993, b: yes, o: 0755, s: \"12\"}\n",
	}))
	if got := string(response.Objects[0].Json); !strings.Contains(got, `"spec":{"b":true,"i":9007199254740993,"o":493,"s":"12"}`) {
		t.Errorf("got %s", got)
	}
}

func frame(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func TestServesOneRequestAfterAnother(t *testing.T) {
	var in, out bytes.Buffer
	for id := range 3 {
		r := request(map[string]string{"templates/a.yaml": configMap("x")})
		r.Id = uint64(id)
		body, _ := proto.Marshal(r)
		in.Write(frame(body))
	}
	in.Write(frame([]byte("\xff\xff\xff")))

	if err := (&server{out: &out, maxAnswer: 1 << 20}).serve(&in); err != nil {
		t.Fatal(err)
	}

	for id := range 4 {
		body, err := readFrame(&out)
		if err != nil {
			t.Fatal(err)
		}
		response := &renderv1.RenderResponse{}
		if err := proto.Unmarshal(body, response); err != nil {
			t.Fatal(err)
		}
		if id == 3 {
			if response.Error == nil {
				t.Error("no error for garbage")
			}
		} else if response.Id != uint64(id) || len(response.Objects) != 1 {
			t.Errorf("got %v", response)
		}
	}
}

func TestRefusesFramesAndAnswersThatAreTooLarge(t *testing.T) {
	var out bytes.Buffer
	if err := (&server{out: &out}).serve(bytes.NewReader([]byte{0xff, 0, 0, 0})); err == nil {
		t.Error("a frame of 4 GiB was accepted")
	}
	if err := (&server{out: &out}).serve(bytes.NewReader([]byte{0, 0, 0, 9, 1})); err == nil {
		t.Error("a cut frame was accepted")
	}
	body, _ := proto.Marshal(request(map[string]string{
		"templates/a.yaml": configMap("{{ repeat 2000000 \"x\" }}"),
	}))
	response := &renderv1.RenderResponse{}
	var id atomic.Uint64
	if err := proto.Unmarshal(answer(body, 1<<20, &id), response); err != nil {
		t.Fatal(err)
	}
	if response.Error == nil || !strings.Contains(response.Error.Message, "limit") {
		t.Errorf("got %v", response.Error)
	}
}

func TestRenderingIsDeterministic(t *testing.T) {
	files := map[string]string{"values.yaml": "m: {d: 1, a: 2, c: 3, b: 4}\n"}
	for _, sub := range []string{"a", "b", "c", "d"} {
		files["charts/"+sub+"/Chart.yaml"] = "apiVersion: v2\nname: " + sub + "\nversion: 1.0.0\n"
		files["charts/"+sub+"/templates/x.yaml"] = configMap("{{ randAlphaNum 8 }}{{ toJson .Values }}")
		files["templates/"+sub+".yaml"] = configMap("{{ keys .Values.m | join \"\" }}")
	}
	marshal := proto.MarshalOptions{Deterministic: true}
	first, _ := marshal.Marshal(mustRender(t, request(files)))
	for range 20 {
		again, _ := marshal.Marshal(mustRender(t, request(files)))
		if !bytes.Equal(first, again) {
			t.Fatal("two renders differ")
		}
	}
}

// The generated code must be made from the proto of today. Bazel puts the
// descriptors there; plain `go test` has none.
func TestGeneratedCodeAgreesWithTheProto(t *testing.T) {
	raw, err := os.ReadFile("renderv1/testdata/render.binpb")
	if os.IsNotExist(err) {
		t.Log("no descriptors here: run it with Bazel")
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(raw, set); err != nil {
		t.Fatal(err)
	}
	want := set.File[len(set.File)-1]
	want.SourceCodeInfo = nil
	got := protodesc.ToFileDescriptorProto(renderv1.File_flotilla_render_v1_render_proto)
	if !proto.Equal(got, want) {
		t.Errorf("renderv1/render.pb.go is out of date: run manager/render/worker/generate.sh\ngot  %v\nwant %v", got, want)
	}
}
