// SPDX-License-Identifier: Apache-2.0
//
// The commands of `flotilla` that speak to a manager: one function each. Each
// writes what it has to say to `out` and returns an error for stderr; the
// caller turns it into the exit code.

#ifndef FLOTILLA_TOOLS_CTL_COMMANDS_H_
#define FLOTILLA_TOOLS_CTL_COMMANDS_H_

#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "flotilla/admin/v1/admin.grpc.pb.h"
#include "tools/ctl/printer.h"

namespace flotilla::ctl {

// What all commands share.
struct Session {
  admin::v1::AdminService::StubInterface& manager;
  std::ostream& out;
  // Address, for messages.
  std::string server;
};

// What narrows a list.
struct Filter {
  std::string workspace;
  std::string name;
  std::string cluster;
  std::string bundle;
  std::string git_repo;
};

// "k=v,k=v"; INVALID_ARGUMENT names the pair that is not of that form.
absl::StatusOr<std::map<std::string, std::string>> ParseLabels(
    absl::string_view text);

// *.yaml, *.yml and *.json below each path, or the file itself, or standard
// input for "-". NOT_FOUND for a path that is not there or holds no such file.
absl::StatusOr<std::vector<admin::v1::DocumentFile>> ReadDocumentFiles(
    const std::vector<std::string>& paths);

// Applies documents that are at hand; `name` is for messages.
absl::Status ApplyText(Session& session, const std::string& name,
                       const std::string& text, const std::string& workspace);

// A document as Fleet writes it, with its status; YAML unless JSON is asked
// for.
absl::Status GetDocument(Session& session, const std::string& kind,
                         const std::string& workspace, const std::string& name,
                         Format format);

absl::Status Apply(Session& session, const std::vector<std::string>& paths,
                   const std::string& workspace);
absl::Status Delete(Session& session, const std::vector<std::string>& paths,
                    const std::string& kind, const std::string& name,
                    const std::string& workspace, bool ignore_not_found);
// `what` is gitrepos, bundles, clusters, deployments, resources or drift; the
// singular is understood.
absl::Status Get(Session& session, absl::string_view what, const Filter& filter,
                 Format format);
absl::Status Describe(Session& session, absl::string_view what,
                      const Filter& filter);
absl::Status Sync(Session& session, const std::string& workspace,
                  const std::string& name);
absl::Status CreateToken(Session& session, const std::string& workspace,
                         const std::string& name, const std::string& labels,
                         absl::Duration ttl);
absl::Status Version(Session& session);

}  // namespace flotilla::ctl

#endif  // FLOTILLA_TOOLS_CTL_COMMANDS_H_
