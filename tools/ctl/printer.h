// SPDX-License-Identifier: Apache-2.0
//
// Turns admin.v1 messages into what people read: aligned tables, JSON or YAML.
// Strings that came from outside are made safe for a terminal: control and
// bidirectional characters are escaped, lines of a table stay one line.

#ifndef FLOTILLA_TOOLS_CTL_PRINTER_H_
#define FLOTILLA_TOOLS_CTL_PRINTER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "flotilla/admin/v1/admin.pb.h"
#include "google/protobuf/message.h"

namespace flotilla::ctl {

enum class Format { kTable, kJson, kYaml };

// "", "table", "json" or "yaml"; INVALID_ARGUMENT names the choices.
absl::StatusOr<Format> ParseFormat(absl::string_view text);

// Escapes what a terminal would act on. Tabs and line breaks become spaces
// when `one_line`.
std::string Safe(absl::string_view text, bool one_line = true);

// Columns under headers, two spaces apart, no space at line ends. Rows may be
// shorter than the header.
std::string Table(const std::vector<std::string>& header,
                  const std::vector<std::vector<std::string>>& rows);

// The message as JSON (lower camel case, default values left out) or YAML.
// REQUIRES: format is not kTable.
absl::StatusOr<std::string> Structured(const google::protobuf::Message& message,
                                       Format format);

// Tables. `now` is for ages.
std::string GitRepoTable(const admin::v1::ListGitReposResponse& list);
std::string HelmOpTable(const admin::v1::ListHelmOpsResponse& list);
std::string ClusterGroupTable(const admin::v1::ListClusterGroupsResponse& list);
std::string BundleTable(const admin::v1::ListBundlesResponse& list);
std::string ClusterTable(const admin::v1::ListClustersResponse& list);
std::string DeploymentTable(const admin::v1::ListDeploymentsResponse& list);
std::string ResourceTable(const admin::v1::ListResourcesResponse& list);
std::string DriftTable(const admin::v1::ListDriftResponse& list,
                       absl::Time now);

// Paragraphs for `describe`.
std::string DescribeGitRepo(const admin::v1::GitRepo& repo);
std::string DescribeBundle(const admin::v1::Bundle& bundle);
std::string DescribeCluster(const admin::v1::Cluster& cluster);
std::string DescribeDeployment(const admin::v1::Deployment& deployment);

// "file:line: message".
std::string ProblemLine(const core::v1::Problem& problem);

// "deployment.apps fleet-sample/web".
std::string KeyText(const core::v1::ResourceKey& key);

}  // namespace flotilla::ctl

#endif  // FLOTILLA_TOOLS_CTL_PRINTER_H_
