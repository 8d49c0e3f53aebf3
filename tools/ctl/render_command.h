// SPDX-License-Identifier: Apache-2.0
//
// `flotilla render`: takes a directory as a repository with one target that
// matches, and prints the objects that such a cluster would get, with the code
// that the manager renders with (docs/adr, 0008). Needs no manager. Ownership
// marks are left out.

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
  std::map<std::string, std::string> labels;
  std::string cluster;
  std::vector<std::string> groups;
  Format format = Format::kYaml;
};

// Bundles in order of their names; within one, documents in order of kind,
// namespace, name. Warnings go to `warnings`.
// Errors: INVALID_ARGUMENT with every problem, file and line.
absl::Status Render(const RenderOptions& options, std::ostream& out,
                    std::ostream& warnings);

}  // namespace flotilla::ctl

#endif  // FLOTILLA_TOOLS_CTL_RENDER_COMMAND_H_
