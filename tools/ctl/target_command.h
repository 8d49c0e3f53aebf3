// SPDX-License-Identifier: Apache-2.0
//
// `flotilla target`: which clusters a Bundle goes to, by which target, and with
// which options, with the code that the manager targets with (docs/adr, 0008).

#ifndef FLOTILLA_TOOLS_CTL_TARGET_COMMAND_H_
#define FLOTILLA_TOOLS_CTL_TARGET_COMMAND_H_

#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tools/ctl/printer.h"

namespace flotilla::ctl {

struct TargetOptions {
  // A Bundle document; "-" is standard input.
  std::string bundle_file;
  // Cluster, ClusterGroup, Namespace and BundleNamespaceMapping documents.
  std::vector<std::string> cluster_files;
  // As a GitRepo's: the Bundle's own targets are then customizations. May be
  // empty.
  std::string targets_file;
  Format format = Format::kYaml;
};

// One document for each cluster that gets the bundle, sorted by workspace and
// name: {cluster, namespace, bundle, target, options}. Templates in the values
// are filled in.
// Errors: INVALID_ARGUMENT with every problem.
absl::Status PrintTargets(const TargetOptions& options, std::ostream& out,
                          std::ostream& warnings);

}  // namespace flotilla::ctl

#endif  // FLOTILLA_TOOLS_CTL_TARGET_COMMAND_H_
