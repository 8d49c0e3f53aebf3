// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strconv"
	"strings"

	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"

	"flotilla.dev/manager/render/worker/renderv1"
)

// What a chart may hold, packed subcharts unpacked.
const (
	maxChartFiles     = 20000
	maxArchiveBytes   = 64 << 20
	maxArchiveNesting = 4
)

var bom = []byte("\xEF\xBB\xBF")

// loadChart builds the chart from the request's files. Packed subcharts are
// unpacked here, under limits, so that Helm's loader meets folders only.
func loadChart(files []*renderv1.File) (*chart.Chart, error) {
	budget := &unpackBudget{bytes: maxArchiveBytes, files: maxChartFiles}
	var buffered []*archive.BufferedFile
	for _, f := range files {
		if err := checkName(f.Name); err != nil {
			return nil, err
		}
		unpacked, err := budget.add(f.Name, f.Content, 0)
		if err != nil {
			return nil, err
		}
		buffered = append(buffered, unpacked...)
	}
	c, err := loader.LoadFiles(buffered)
	if err != nil {
		return nil, chartProblem(err)
	}
	switch c.Metadata.Type {
	case "", "application":
	default:
		return nil, problemAt("Chart.yaml", 0, "a chart of type %s cannot be deployed, only an application", c.Metadata.Type)
	}
	return c, nil
}

type unpackBudget struct {
	bytes int64
	files int
}

// add gives the file, or the files of the packed chart that it is.
func (b *unpackBudget) add(name string, content []byte, depth int) ([]*archive.BufferedFile, error) {
	if b.files--; b.files < 0 {
		return nil, problemAt("", 0, "the chart has more than %d files", maxChartFiles)
	}
	parent, base := path.Split(name)
	if path.Base(parent) != "charts" || path.Ext(base) != ".tgz" || strings.IndexAny(base, "_.") == 0 {
		return []*archive.BufferedFile{{Name: name, Data: bytes.TrimPrefix(content, bom)}}, nil
	}
	if depth >= maxArchiveNesting {
		return nil, problemAt(name, 0, "packed charts are nested deeper than %d", maxArchiveNesting)
	}
	unpacked, err := b.unpack(name, content, depth)
	var p *problem
	if err != nil && !errors.As(err, &p) {
		return nil, problemAt(name, 0, "the packed chart cannot be read: %v", err)
	}
	return unpacked, err
}

func (b *unpackBudget) unpack(name string, content []byte, depth int) ([]*archive.BufferedFile, error) {
	unzipped, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	// Headers count, too: a million empty files are a bomb.
	limited := &budgetReader{in: unzipped, budget: b}
	var files []*archive.BufferedFile
	for tr := tar.NewReader(limited); ; {
		header, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if header.Typeflag != tar.TypeReg {
			// Folders are implied by names; links are never followed.
			continue
		}
		_, inside, found := strings.Cut(header.Name, "/")
		if !found {
			return nil, fmt.Errorf("%q lies outside of the chart's folder", header.Name)
		}
		if err := checkName(inside); err != nil {
			return nil, err
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			return nil, err
		}
		// ".d": the name must not end like an archive's.
		more, err := b.add(name+".d/"+inside, data, depth+1)
		if err != nil {
			return nil, err
		}
		files = append(files, more...)
	}
	if len(files) == 0 {
		return nil, errors.New("it has no files")
	}
	return files, nil
}

type budgetReader struct {
	in     io.Reader
	budget *unpackBudget
}

func (r *budgetReader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	if r.budget.bytes -= int64(n); r.budget.bytes < 0 {
		return 0, problemAt("", 0, "packed charts unpack to more than %d MiB", maxArchiveBytes>>20)
	}
	return n, err
}

func checkName(name string) error {
	if name == "" || path.IsAbs(name) || path.Clean(name) != name || name == ".." ||
		strings.HasPrefix(name, "../") || strings.ContainsAny(name, "\\\x00") {
		return problemAt("", 0, "%q is no file name inside a chart", name)
	}
	return nil
}

// missingDependencies warns of dependencies that are enabled and not in charts/:
// Helm goes on without them. It is for a chart whose dependencies are processed.
func missingDependencies(c *chart.Chart) []*problem {
	var warnings []*problem
	for _, wanted := range c.Metadata.Dependencies {
		if wanted == nil {
			continue
		}
		found := false
		for _, have := range c.Dependencies() {
			found = found || have.Name() == wanted.Name
		}
		if !found {
			warnings = append(warnings, problemAt("Chart.yaml", 0,
				"the dependency %s is not in charts/, so the chart is rendered without it: run `helm dependency update` and commit the folder charts/, or do not set helm.disableDependencyUpdate",
				wanted.Name))
		}
	}
	return warnings
}

var (
	cannotLoad = regexp.MustCompile(`cannot load (\S+): `)
	yamlLine   = regexp.MustCompile(`line (\d+): `)
)

// chartProblem finds the file and the line in an error of Helm's loader.
func chartProblem(err error) error {
	var p *problem
	if errors.As(err, &p) {
		return p
	}
	text := backtick.ReplaceAllString(err.Error(), "a value")
	p = &problem{file: "Chart.yaml", message: text}
	if m := cannotLoad.FindStringSubmatch(text); m != nil {
		p.file = m[1]
	}
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		p.line, _ = strconv.Atoi(m[1])
	}
	return p
}
