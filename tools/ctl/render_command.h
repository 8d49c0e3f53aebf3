// SPDX-License-Identifier: Apache-2.0
//
// `flotilla render` and `flotilla diff`: take a directory as a repository and
// make the objects that a cluster would get of it, with the code that the
// manager renders with (docs/adr, 0008). Need no manager. Ownership marks are
// left out. With the manager's documents and facts these are its bytes, but
// for random values, which it draws from a key of its own, and for values that
// lie in the cluster; a warning says where that is so.

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
  // A file with a GitRepo document, and GitRepoRestrictions and Policies if
  // wanted; empty means a GitRepo with one target that matches.
  std::string git_repo_file;
  // Name of the GitRepo; empty means the file's, or else the directory's own.
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
