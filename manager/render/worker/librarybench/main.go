// SPDX-License-Identifier: Apache-2.0

// librarybench measures how long Helm's library alone takes for a chart: load
// it, merge values, render, read the objects. e2e/bench/render_bench.py
// compares the pool of workers with it.
//
//	librarybench FOLDER ROUNDS
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/yaml"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "librarybench:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 3 {
		return fmt.Errorf("usage: librarybench FOLDER ROUNDS")
	}
	rounds, err := strconv.Atoi(os.Args[2])
	if err != nil || rounds < 1 {
		return fmt.Errorf("%q is no number of rounds", os.Args[2])
	}
	var files []*archive.BufferedFile
	err = filepath.Walk(os.Args[1], func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(os.Args[1], path)
		files = append(files, &archive.BufferedFile{Name: filepath.ToSlash(name), Data: data})
		return err
	})
	if err != nil {
		return err
	}
	took := make([]time.Duration, rounds)
	objects := 0
	for i := range took {
		began := time.Now()
		if objects, err = render(files); err != nil {
			return err
		}
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	fmt.Printf("{\"median_us\": %.1f, \"objects\": %d}\n", float64(took[rounds/2].Nanoseconds())/1000, objects)
	return nil
}

func render(files []*archive.BufferedFile) (objects int, err error) {
	c, err := loader.LoadFiles(files)
	if err != nil {
		return 0, err
	}
	values := map[string]any{}
	if err := chartutil.ProcessDependencies(c, values); err != nil {
		return 0, err
	}
	all, err := util.ToRenderValues(c, values, common.ReleaseOptions{
		Name: "bench", Namespace: "bench", Revision: 1, IsInstall: true}, common.DefaultCapabilities)
	if err != nil {
		return 0, err
	}
	rendered, err := (engine.Engine{}).Render(c, all)
	if err != nil {
		return 0, err
	}
	for _, text := range rendered {
		for _, document := range strings.Split(text, "\n---\n") {
			encoded, err := yaml.YAMLToJSON([]byte(document))
			if err != nil {
				return 0, err
			}
			if string(encoded) != "null" {
				objects++
			}
		}
	}
	return objects, nil
}
