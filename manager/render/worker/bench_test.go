// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/yaml"

	"flotilla.dev/manager/render/worker/renderv1"
)

// benchChart is a chart of as many templates as ordinary ones have.
func benchChart(templates int) *renderv1.RenderRequest {
	files := map[string]string{
		"values.yaml":            "replicas: 2\nimage: {repository: nginx, tag: '1.27'}\nlabels: {a: b, c: d}\nresources: {limits: {cpu: 100m, memory: 64Mi}}\n",
		"templates/_helpers.tpl": "{{- define \"bench.labels\" -}}\napp.kubernetes.io/name: {{ .Chart.Name }}\napp.kubernetes.io/instance: {{ .Release.Name }}\n{{- range $k, $v := .Values.labels }}\n{{ $k }}: {{ $v | quote }}\n{{- end }}\n{{- end }}\n",
	}
	for i := range templates {
		files[fmt.Sprintf("templates/deployment-%d.yaml", i)] = strings.ReplaceAll(`apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}-@@
  labels: {{- include "bench.labels" . | nindent 4 }}
spec:
  replicas: {{ .Values.replicas }}
  selector:
    matchLabels: {{- include "bench.labels" . | nindent 6 }}
  template:
    metadata:
      labels: {{- include "bench.labels" . | nindent 8 }}
    spec:
      containers:
      - name: main
        image: "{{ .Values.image.repository }}:{{ .Values.image.tag }}"
        {{- with .Values.resources }}
        resources: {{- toYaml . | nindent 10 }}
        {{- end }}
        ports:
        - {containerPort: 80, name: http}
`, "@@", fmt.Sprint(i))
	}
	return request(files)
}

// BenchmarkLibrary is Helm alone: load the chart, merge values, render, read
// the objects.
func BenchmarkLibrary(b *testing.B) {
	for _, templates := range []int{4, 40} {
		b.Run(fmt.Sprint(templates), func(b *testing.B) {
			r := benchChart(templates)
			capabilities, _ := capabilitiesOf(r)
			for b.Loop() {
				var files []*archive.BufferedFile
				for _, f := range r.Files {
					files = append(files, &archive.BufferedFile{Name: f.Name, Data: f.Content})
				}
				c, err := loader.LoadFiles(files)
				if err != nil {
					b.Fatal(err)
				}
				values := map[string]any{}
				if err := chartutil.ProcessDependencies(c, values); err != nil {
					b.Fatal(err)
				}
				all, err := util.ToRenderValues(c, values, common.ReleaseOptions{Name: "rel", Namespace: "web", Revision: 1, IsInstall: true}, capabilities)
				if err != nil {
					b.Fatal(err)
				}
				rendered, err := (engine.Engine{}).Render(c, all)
				if err != nil {
					b.Fatal(err)
				}
				for name, text := range rendered {
					if _, err := yaml.YAMLToJSON([]byte(text)); err != nil {
						b.Fatal(name, err)
					}
				}
			}
		})
	}
}

// BenchmarkAnswer is what the worker does between reading a frame and writing
// one.
func BenchmarkAnswer(b *testing.B) {
	for _, templates := range []int{4, 40} {
		b.Run(fmt.Sprint(templates), func(b *testing.B) {
			frame, _ := proto.Marshal(benchChart(templates))
			server := &server{}
			for b.Loop() {
				if len(answer(frame, 64<<20, &server.requestID)) < 1000 {
					b.Fatal("no objects")
				}
			}
		})
	}
}

func BenchmarkValues(b *testing.B) {
	r := templating(`{"a":"${ .ClusterName }","b":{"c":[1,2,{"d":"${ .ClusterLabels.env }"}]}}`, nil)
	for b.Loop() {
		if response := render(r); response.Error != nil {
			b.Fatal(response.Error)
		}
	}
}

func BenchmarkKustomize(b *testing.B) {
	r := kustomizing("o", map[string]string{
		"base/kustomization.yaml": "resources: [a.yaml]\n", "base/a.yaml": named("a"),
		"o/kustomization.yaml": "namePrefix: x-\nresources: [../base]\n",
	})
	for b.Loop() {
		if response := render(r); response.Error != nil {
			b.Fatal(response.Error)
		}
	}
}
