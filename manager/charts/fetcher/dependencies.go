// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"strings"

	"github.com/Masterminds/semver/v3"
	"go.yaml.in/yaml/v3"

	"flotilla.dev/manager/charts/fetcher/fetchv1"
)

const (
	maxDependencies = 200
	maxChartYAML    = 1 << 20
)

type dependency struct {
	Name       string `yaml:"name"`
	Version    string `yaml:"version"`
	Repository string `yaml:"repository"`
}

type dependencyList struct {
	Dependencies []dependency `yaml:"dependencies"`
}

var byteOrderMark = []byte("\xEF\xBB\xBF")

func chartVersion(in io.Reader) string {
	var chart struct {
		Version string `yaml:"version"`
	}
	content, err := io.ReadAll(io.LimitReader(in, maxChartYAML))
	if err != nil || yaml.Unmarshal(bytes.TrimPrefix(content, byteOrderMark), &chart) != nil {
		return ""
	}
	return chart.Version
}

func parseDependencies(text []byte, file string) ([]dependency, error) {
	if len(text) > maxChartYAML {
		return nil, failure(resourceExhausted, "%s has more than %d KiB", file, maxChartYAML>>10)
	}
	var list dependencyList
	if err := yaml.Unmarshal(bytes.TrimPrefix(text, byteOrderMark), &list); err != nil {
		return nil, failure(invalidArgument, "the dependencies of %s cannot be read", file)
	}
	if len(list.Dependencies) > maxDependencies {
		return nil, failure(resourceExhausted, "%s has more than %d dependencies", file, maxDependencies)
	}
	return list.Dependencies, nil
}

// dependencies downloads what Chart.yaml lists: the versions of Chart.lock
// where these still fit, else the newest that do. What has no repository, or a
// local one, is the chart's own.
func (d *download) dependencies(request *fetchv1.FetchRequest, out sink) error {
	wanted, err := parseDependencies(request.ChartYaml, "the chart")
	if err != nil {
		return err
	}
	locked, err := parseDependencies(request.ChartLock, "the lock")
	if err != nil {
		// The lock is a hint; `helm dependency update` writes it anew.
		locked = nil
	}
	// With several versions of a chart under different aliases, each has a
	// folder of its own.
	versions := map[string]map[string]bool{}
	for i := range wanted {
		dep := &wanted[i]
		if err := checkChartName(dep.Name); err != nil {
			return within("dependencies", err)
		}
		if !remote(dep.Repository) {
			continue
		}
		if versions[dep.Name] == nil {
			versions[dep.Name] = map[string]bool{}
		}
		versions[dep.Name][dep.Version] = true
	}
	done := map[dependency]bool{}
	for _, dep := range wanted {
		if !remote(dep.Repository) || done[dep] {
			continue
		}
		done[dep] = true
		if err := d.dependency(dep, locked, len(versions[dep.Name]) > 1, request.Credentials, out); err != nil {
			return within("dependency "+quoted(dep.Name), err)
		}
	}
	return nil
}

func remote(repository string) bool {
	return repository != "" && !strings.HasPrefix(repository, "file:")
}

func (d *download) dependency(dep dependency, locked []dependency, several bool, creds *fetchv1.FetchCredentials, out sink) error {
	if strings.HasPrefix(dep.Repository, "@") || strings.HasPrefix(dep.Repository, "alias:") {
		return failure(invalidArgument, "repository %q is a name of somebody's Helm configuration: write its URL", dep.Repository)
	}
	// Each repository has its own credentials, or none.
	own := &fetchv1.FetchCredentials{
		CaBundle:              creds.GetCaBundle(),
		InsecureSkipTlsVerify: creds.GetInsecureSkipTlsVerify(),
		BasicHttp:             creds.GetBasicHttp(),
	}
	for _, allowed := range creds.GetDependencyRepos() {
		if allowed == dep.Repository {
			own.Username, own.Password = creds.GetUsername(), creds.GetPassword()
		}
	}
	c, err := newClient(own)
	if err != nil {
		return err
	}
	defer c.close()
	one := &download{ctx: d.ctx, client: c, indexes: d.indexes, budget: d.budget}
	repo, chart := dep.Repository, dep.Name
	if isOCI(repo) {
		// Here the URL is always the folder that the chart is in.
		repo, chart = strings.TrimRight(repo, "/")+"/"+dep.Name, ""
	}
	archive, result, err := one.find(repo, chart, lockedVersion(dep, locked))
	if err != nil {
		return err
	}
	folder := dep.Name
	if several {
		folder += "-" + strings.Map(plain, result.version)
	}
	return d.budget.unpack(archive, "charts/"+folder+"/", out)
}

// plain keeps what may be in a folder's name.
func plain(r rune) rune {
	if strings.ContainsRune(".+-", r) || (r >= '0' && r <= '9') || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z') {
		return r
	}
	return '_'
}

// lockedVersion is what Chart.lock says, as long as Chart.yaml agrees.
func lockedVersion(dep dependency, locked []dependency) string {
	constraint, err := semver.NewConstraint(dep.Version)
	if err != nil {
		return dep.Version
	}
	for _, lock := range locked {
		if lock.Name != dep.Name || strings.TrimRight(lock.Repository, "/") != strings.TrimRight(dep.Repository, "/") {
			continue
		}
		version, err := semver.NewVersion(lock.Version)
		if err == nil && (constraint.Check(version) || lock.Version == dep.Version) {
			return lock.Version
		}
	}
	return dep.Version
}
