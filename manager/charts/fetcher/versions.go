// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"github.com/Masterminds/semver/v3"
)

// pickVersion gives the place in `versions` of what `wanted` means: the exact
// text if it is there, else the newest that satisfies it as a constraint; with
// nothing wanted, the newest that is no pre-release. -1: none does.
func pickVersion(versions []string, wanted string) (int, error) {
	if wanted != "" {
		for i, version := range versions {
			if version == wanted {
				return i, nil
			}
		}
	} else {
		wanted = "*"
	}
	constraint, err := semver.NewConstraint(wanted)
	if err != nil {
		return -1, failure(invalidArgument, "helm.version %q is neither a version nor a constraint such as \"^1.2\" or \">=1.0 <2.0\"", wanted)
	}
	best := -1
	var newest *semver.Version
	for i, text := range versions {
		version, err := semver.NewVersion(text)
		if err != nil || !constraint.Check(version) {
			continue
		}
		if newest == nil || newest.LessThan(version) {
			best, newest = i, version
		}
	}
	return best, nil
}

// isExact tells a version from a constraint: "1.2.3", "v1.2.3-rc.1", not "1.2".
func isExact(version string) bool {
	_, err := semver.StrictNewVersion(strings.TrimPrefix(version, "v"))
	return err == nil
}

// noVersion is the error for a constraint that nothing satisfies.
func noVersion(where, wanted string, versions []string) error {
	if len(versions) == 0 {
		return failure(notFound, "%s has no versions", where)
	}
	newest := versions[0]
	for _, text := range versions {
		a, errA := semver.NewVersion(text)
		b, errB := semver.NewVersion(newest)
		if errB != nil || (errA == nil && b.LessThan(a)) {
			newest = text
		}
	}
	if wanted == "" {
		return failure(notFound, "%s has no stable version; the newest is %q: ask for it in helm.version", where, newest)
	}
	return failure(notFound, "%s has no version %q; the newest of %d is %q", where, wanted, len(versions), newest)
}
