// SPDX-License-Identifier: Apache-2.0
//
// A directory of a repository, read as a bundle: where it lies, what its
// fleet.yaml says, its files, and the charts that it needs.

#ifndef FLOTILLA_MANAGER_BUNDLE_BUNDLE_CONTENT_H_
#define FLOTILLA_MANAGER_BUNDLE_BUNDLE_CONTENT_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "manager/bundle/chart_needs.h"
#include "manager/documents/fleet_yaml.h"

namespace flotilla::manager {

struct ContentFile {
  std::string name;  // Relative to the bundle's directory.
  uint64_t size = 0;
  // Empty once `digest` is known.
  std::string bytes;
  // SHA-256, raw; the caller's to fill in when it has stored the bytes.
  std::string digest;
};

// Where a bundle lies: its directory ("" is the root), and the file that stands
// for fleet.yaml as GitRepo.spec.bundles names it, relative to the directory;
// empty for fleet.yaml.
using BundlePlace = std::pair<std::string, std::string>;

// A directory, read. What it holds depends on the directory alone, and on what
// `outside` names.
struct BundleContent {
  std::string directory;  // "" is the root.
  std::string options_file;  // As in BundlePlace.
  // Equal when nothing in the directory has changed; empty when not known.
  std::string fingerprint;
  // Paths outside the directory that were read, with a fingerprint each.
  std::vector<std::pair<std::string, std::string>> outside;
  // With values files merged into the values, and the root's chart inherited
  // by targets (spec 2.3.1).
  FleetYaml yaml;
  // Sorted by name.
  std::vector<ContentFile> files;
  // What is to be downloaded, in the order in which it is asked for.
  std::vector<ChartNeed> charts;

  BundlePlace place() const { return {directory, options_file}; }
};

void SortByName(std::vector<ContentFile>& files);

// For people: "\"a/b\"", or "the root of the repository".
std::string ShownDirectory(absl::string_view directory);

// The directory, with its options file when it names one.
std::string ShownPlace(const BundlePlace& place);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_BUNDLE_BUNDLE_CONTENT_H_
