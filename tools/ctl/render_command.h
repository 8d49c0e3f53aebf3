// SPDX-License-Identifier: Apache-2.0
//
// `flotilla render` and `flotilla diff`: take a directory as a repository with
// one target that matches, and make the objects that such a cluster would get,
// with the code that the manager renders with (docs/adr, 0008). Need no
// manager. Ownership marks are left out.

#ifndef FLOTILLA_TOOLS_CTL_RENDER_COMMAND_H_
#define FLOTILLA_TOOLS_CTL_RENDER_COMMAND_H_

#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tools/ctl/printer.h"

namespace flotilla::ctl {

struct RenderOptions {
  std::string directory;
  // Name of the GitRepo; empty means the directory's own name.
  std::string repo_name;
  // The cluster: name, labels and groups, over what `cluster_file` says.
  std::map<std::string, std::string> labels;
  std::string cluster;
  std::vector<std::string> groups;
  // A file with a Cluster document, and ClusterGroups if wanted; may be empty.
  std::string cluster_file;
  // A file with what the cluster serves, as `flotilla get facts` prints it;
  // empty means a plain cluster.
  std::string facts_file;
  Format format = Format::kYaml;
  // Of `diff`: a revision of the Git repository that the directory lies in.
  std::string against;
};

// Bundles in order of their names; within one, documents in order of kind,
// namespace, name. Warnings go to `warnings`.
// Errors: INVALID_ARGUMENT with every problem, file and line.
absl::Status Render(const RenderOptions& options, std::ostream& out,
                    std::ostream& warnings);

// What changes for the cluster from `options.against` to the directory as it
// is.
absl::Status Diff(const RenderOptions& options, std::ostream& out,
                  std::ostream& warnings);

}  // namespace flotilla::ctl

#endif  // FLOTILLA_TOOLS_CTL_RENDER_COMMAND_H_
