// SPDX-License-Identifier: Apache-2.0
//
// `flotilla bundle`: the Bundles of a directory as documents, with the code
// that the manager builds with (docs/adr, 0008). Charts are downloaded into
// them.

#ifndef FLOTILLA_TOOLS_CTL_BUNDLE_COMMAND_H_
#define FLOTILLA_TOOLS_CTL_BUNDLE_COMMAND_H_

#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/ctl/printer.h"

namespace flotilla::ctl {

struct BundleOptions {
  std::string directory;
  // Name of the repository, from which bundles get theirs; empty means the
  // directory's own name.
  std::string repo_name;
  std::string workspace;
  // As those of a GitRepo: a file with `targets`. Empty: the targets of
  // fleet.yaml say where, or ClusterGroup "default" where it has none.
  std::string targets_file;
  // Settings of a GitRepo that go into its bundles.
  std::string target_namespace;
  std::string service_account;
  // Goes into a label of each. Empty: what is checked out where the directory
  // lies, if anything is.
  std::string commit;
  bool paused = false;
  bool keep_resources = false;
  // base64+gz for all files.
  bool compress = false;
  Format format = Format::kYaml;
};

// The documents as one text, sorted by name.
// Errors: INVALID_ARGUMENT with every problem, file and line.
absl::StatusOr<std::string> MakeBundles(const BundleOptions& options,
                                        std::ostream& warnings);

}  // namespace flotilla::ctl

#endif  // FLOTILLA_TOOLS_CTL_BUNDLE_COMMAND_H_
