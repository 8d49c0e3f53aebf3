// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"

	"flotilla.dev/manager/charts/fetcher/fetchv1"
)

// sink takes the files of a chart. Names are checked and cleaned before.
type sink interface {
	add(name string, content []byte) error
}

type outcome struct {
	version   string
	immutable bool
}

// fetcher lives as long as the process; it keeps indexes for revalidation.
type fetcher struct {
	indexes *indexCache
}

func newFetcher() *fetcher { return &fetcher{indexes: newIndexCache()} }

// fetchSafely turns a panic into an error of this request. The panic's text
// may hold what the request held, so it is dropped.
func (f *fetcher) fetchSafely(ctx context.Context, request *fetchv1.FetchRequest, out sink) (result outcome, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = failure(internal, "the fetcher failed on this chart (%T)", p)
		}
	}()
	return f.fetch(ctx, request, out)
}

func (f *fetcher) fetch(ctx context.Context, request *fetchv1.FetchRequest, out sink) (outcome, error) {
	c, err := newClient(request.Credentials)
	if err != nil {
		return outcome{}, err
	}
	defer c.close()
	d := &download{ctx: ctx, client: c, indexes: f.indexes, budget: newBudget()}
	if len(request.ChartYaml) > 0 {
		return outcome{}, d.dependencies(request, out)
	}
	archive, result, err := d.find(request.Repo, request.Chart, request.Version)
	if err != nil {
		return outcome{}, err
	}
	return result, d.budget.unpack(archive, "", out)
}

// download is one request under way.
type download struct {
	ctx     context.Context
	client  *client
	indexes *indexCache
	budget  *budget
}

// find gives the archive that helm.repo, helm.chart and helm.version mean.
// Credentials go to the host that `repo` names, or `chart` when it is empty.
func (d *download) find(repo, chart, version string) (*packed, outcome, error) {
	repo, chart = strings.TrimSpace(repo), strings.TrimSpace(chart)
	version = strings.TrimSpace(version)
	switch {
	case isOCI(repo):
		return d.findInRegistry(repo, chart, version)
	case repo != "":
		return d.findInRepository(repo, chart, version)
	case isOCI(chart):
		return d.findInRegistry(chart, "", version)
	case chart != "":
		return d.findByURL(chart)
	default:
		return nil, outcome{}, failure(invalidArgument, "neither helm.repo nor helm.chart says where the chart is")
	}
}

func isOCI(text string) bool {
	return len(text) > len("oci://") && strings.EqualFold(text[:len("oci://")], "oci://")
}

// checkChartName refuses names that are places: a chart called "." or "../x"
// would lie where it should not (CVE-2026-35206).
func checkChartName(name string) error {
	if name == "" {
		return failure(invalidArgument, "the chart has no name")
	}
	if len(name) > 250 || name == "." || name == ".." || strings.ContainsAny(name, "/\\\x00") || hasControl(name) {
		return failure(invalidArgument, "%q is not the name of a chart", name)
	}
	return nil
}
