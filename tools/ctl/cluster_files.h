// SPDX-License-Identifier: Apache-2.0
//
// Files that stand for clusters and sources where there is no manager to ask.

#ifndef FLOTILLA_TOOLS_CTL_CLUSTER_FILES_H_
#define FLOTILLA_TOOLS_CTL_CLUSTER_FILES_H_

#include <ostream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/documents/documents.h"

namespace flotilla::ctl {

// One cluster and groups of its workspace.
struct ClusterFile {
  storage::v1::Document cluster;
  std::vector<storage::v1::Document> groups;
};

// One GitRepo, and the GitRepoRestrictions and Policies of its file.
struct GitRepoFile {
  storage::v1::Document git_repo;
  std::vector<storage::v1::Document> policies;
};

// Reads and checks documents; "-" is standard input. INVALID_ARGUMENT with
// every problem.
absl::StatusOr<std::vector<manager::ParsedDocument>> ReadDocumentsFile(
    const std::string& path, std::ostream& warnings);

// An empty path gives a cluster without labels in the default workspace.
absl::StatusOr<ClusterFile> ReadClusterFile(const std::string& path,
                                            std::ostream& warnings);

absl::StatusOr<GitRepoFile> ReadGitRepoFile(const std::string& path,
                                            std::ostream& warnings);

// core.v1.ClusterFacts as YAML or JSON. An empty path gives a plain cluster.
absl::StatusOr<core::v1::ClusterFacts> ReadFactsFile(const std::string& path);

}  // namespace flotilla::ctl

#endif  // FLOTILLA_TOOLS_CTL_CLUSTER_FILES_H_
