// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"sort"
	"strings"
	"sync/atomic"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"

	"flotilla.dev/manager/render/worker/renderv1"
)

// render answers one request.
func render(request *renderv1.RenderRequest) *renderv1.RenderResponse {
	response := &renderv1.RenderResponse{Id: request.Id}
	if err := renderInto(request, response); err != nil {
		var p *problem
		if !errors.As(err, &p) {
			p = &problem{message: err.Error()}
		}
		response.Objects = nil
		response.Error = p.proto()
	}
	return response
}

// stage is what the worker does now, for the watch over its time.
var stage atomic.Value

func renderInto(request *renderv1.RenderRequest, response *renderv1.RenderResponse) error {
	values := request.ValuesJson
	if request.ValuesTemplate != nil {
		stage.Store("filling in helm.values")
		filled, err := fillValues(request, response)
		if err != nil {
			return err
		}
		response.ValuesJson = filled
		values = filled
	}
	if len(request.Files) > 0 {
		stage.Store("rendering the chart")
		if err := renderChart(request, values, response); err != nil {
			return err
		}
	}
	for i, object := range request.ObjectsJson {
		given := &renderv1.RenderedObject{Json: object, FromBundle: true}
		if i < len(request.ObjectFiles) {
			given.SourceFile = request.ObjectFiles[i]
		}
		response.Objects = append(response.Objects, given)
	}
	if request.Kustomize != nil {
		stage.Store("running Kustomize")
		objects, warnings, err := kustomize(request.Kustomize, response.Objects)
		for _, w := range warnings {
			response.Warnings = append(response.Warnings, w.proto())
		}
		if err != nil {
			return err
		}
		response.Objects = objects
	}
	for i, patch := range request.Patches {
		stage.Store("patching objects")
		patched, err := applyPatch(patch)
		if err != nil {
			return &problem{message: err.Error(), path: fmt.Sprintf("patches[%d]", i)}
		}
		response.Patched = append(response.Patched, patched)
	}
	return nil
}

// renderChart appends the objects of the chart to the response.
func renderChart(request *renderv1.RenderRequest, valuesJSON []byte, response *renderv1.RenderResponse) error {
	values := map[string]any{}
	if len(valuesJSON) > 0 {
		if nesting(valuesJSON) > maxValuesNesting {
			return valueProblem(valuesPath, "the values are nested deeper than %d", maxValuesNesting)
		}
		// Numbers become float64, as everywhere in Helm.
		if err := json.Unmarshal(valuesJSON, &values); err != nil || values == nil {
			return problemAt("", 0, "the values are not a JSON object")
		}
	}
	c, err := loadChart(request.Files)
	if err != nil {
		return err
	}
	response.UsesCapabilities = usesCapabilities(c, valuesJSON)
	if c.Metadata.Deprecated {
		response.Warnings = append(response.Warnings, problemAt("Chart.yaml", 0, "the chart says that it is deprecated").proto())
	}

	capabilities, err := capabilitiesOf(request)
	if err != nil {
		return err
	}
	if wanted := c.Metadata.KubeVersion; wanted != "" &&
		!chartutil.IsCompatibleRange(wanted, capabilities.KubeVersion.String()) {
		return problemAt("Chart.yaml", 0, "the chart wants Kubernetes %s, and the cluster is %s",
			wanted, capabilities.KubeVersion.Version)
	}
	if err := chartutil.ProcessDependencies(c, values); err != nil {
		return chartProblem(err)
	}
	for _, w := range missingDependencies(c) {
		response.Warnings = append(response.Warnings, w.proto())
	}
	all, err := util.ToRenderValuesWithSchemaValidation(c, values, common.ReleaseOptions{
		Name:      request.ReleaseName,
		Namespace: request.Namespace,
		Revision:  1,
		IsInstall: true,
	}, capabilities, true)
	if err != nil {
		return chartProblem(err)
	}
	if !request.SkipSchemaValidation {
		merged, err := all.Table("Values")
		if err != nil {
			return err
		}
		if err := validateSchemas(c, merged, ""); err != nil {
			return err
		}
	}

	world := newWorld(request.RandomSeed, request.NowUnixSeconds)
	world.disableDNS = request.DisableDns
	rendered, err := engine.Engine{CustomTemplateFuncs: world.functions()}.Render(c, all)
	response.UsesRandom = response.UsesRandom || world.usedRandom
	response.UsesNow = response.UsesNow || world.usedNow
	if world.lookups > 0 {
		for _, w := range lookupWarnings(c) {
			response.Warnings = append(response.Warnings, w.proto())
		}
	}
	for _, w := range world.warnings {
		response.Warnings = append(response.Warnings, (&problem{message: w}).proto())
	}
	if err != nil {
		p := templateProblem(err, c.Name())
		if world.lookups > 0 {
			p.message += "; the chart uses `lookup`, which finds nothing here: it must be ready for that"
		}
		return p
	}

	reader := &objectReader{}
	defer func() {
		for _, w := range reader.warnings {
			response.Warnings = append(response.Warnings, w.proto())
		}
	}()
	crds := c.CRDObjects()
	sort.Slice(crds, func(i, j int) bool { return crds[i].Filename < crds[j].Filename })
	for _, crd := range crds {
		file := relative(crd.Filename, c.Name())
		if err := reader.read(file, string(crd.File.Data), true); err != nil {
			return err
		}
	}
	names := make([]string, 0, len(rendered))
	for name := range rendered {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if strings.HasSuffix(name, "/NOTES.txt") || strings.HasPrefix(path.Base(name), "_") {
			continue
		}
		if err := reader.read(relative(name, c.Name()), rendered[name], false); err != nil {
			return err
		}
	}
	response.Objects = append(response.Objects, reader.objects...)
	return nil
}

func capabilitiesOf(request *renderv1.RenderRequest) (*common.Capabilities, error) {
	version, err := common.ParseKubeVersion(request.KubeVersion)
	if err != nil {
		return nil, problemAt("", 0, "%q is no version of Kubernetes", request.KubeVersion)
	}
	capabilities := common.DefaultCapabilities.Copy()
	capabilities.KubeVersion = *version
	capabilities.APIVersions = common.VersionSet(request.ApiVersions)
	return capabilities, nil
}

// eachTemplate calls f with every template's full name and text.
func eachTemplate(c *chart.Chart, f func(name, text string)) {
	for _, t := range c.Templates {
		f(path.Join(c.ChartFullPath(), t.Name), string(t.Data))
	}
	for _, sub := range c.Dependencies() {
		eachTemplate(sub, f)
	}
}

// usesCapabilities looks at the text only, so it may say yes once too often:
// then clusters share fewer renders.
func usesCapabilities(c *chart.Chart, values []byte) bool {
	const word = "Capabilities"
	if strings.Contains(string(values), word) {
		return true
	}
	var inChart func(c *chart.Chart) bool
	inChart = func(c *chart.Chart) bool {
		if c.Metadata.KubeVersion != "" {
			return true
		}
		for _, f := range c.Raw {
			if strings.Contains(string(f.Data), word) {
				return true
			}
		}
		for _, sub := range c.Dependencies() {
			if inChart(sub) {
				return true
			}
		}
		return false
	}
	return inChart(c)
}

var lookupWord = regexp.MustCompile(`\blookup\b`)

// lookupWarnings names the places that mention `lookup`; the engine does not
// say which of them called it.
func lookupWarnings(c *chart.Chart) []*problem {
	const most = 10
	var places []*problem
	eachTemplate(c, func(name, text string) {
		for i, line := range strings.Split(text, "\n") {
			if lookupWord.MatchString(line) {
				places = append(places, problemAt(relative(name, c.Name()), i+1,
					"`lookup` finds nothing: charts are rendered away from the cluster"))
			}
		}
	})
	sort.SliceStable(places, func(i, j int) bool {
		return fmt.Sprintf("%s %09d", places[i].file, places[i].line) <
			fmt.Sprintf("%s %09d", places[j].file, places[j].line)
	})
	if len(places) > most {
		places = places[:most]
	}
	return places
}
