// SPDX-License-Identifier: Apache-2.0

#include "tools/ctl/cluster_files.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"
#include "common/yaml/documents.h"
#include "google/protobuf/util/json_util.h"
#include "manager/render/default_facts.h"
#include "tools/ctl/commands.h"
#include "tools/ctl/local_stages.h"

namespace flotilla::ctl {

absl::StatusOr<std::vector<manager::ParsedDocument>> ReadDocumentsFile(
    const std::string& path, std::ostream& warnings) {
  ASSIGN_OR_RETURN(std::vector<admin::v1::DocumentFile> files,
                   ReadDocumentFiles({path}));
  std::vector<manager::NamedText> texts;
  for (admin::v1::DocumentFile& file : files) {
    texts.push_back(
        {file.name(), std::move(*file.mutable_content())});
  }
  manager::ParsedDocuments parsed =
      manager::ParseDocuments(texts, manager::kDefaultWorkspace);
  PrintWarnings(parsed.warnings, warnings);
  if (!parsed.errors.empty()) return ProblemsError(parsed.errors);
  return std::move(parsed.documents);
}

absl::StatusOr<ClusterFile> ReadClusterFile(const std::string& path,
                                            std::ostream& warnings) {
  ClusterFile out;
  out.cluster.set_kind("Cluster");
  out.cluster.set_workspace(manager::kDefaultWorkspace);
  out.cluster.mutable_cluster();
  if (path.empty()) return out;
  ASSIGN_OR_RETURN(std::vector<manager::ParsedDocument> documents,
                   ReadDocumentsFile(path, warnings));
  int clusters = 0;
  for (manager::ParsedDocument& parsed : documents) {
    if (parsed.document.kind() == "Cluster") {
      out.cluster = std::move(parsed.document);
      ++clusters;
    } else if (parsed.document.kind() == "ClusterGroup") {
      out.groups.push_back(std::move(parsed.document));
    }
  }
  if (clusters != 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, " holds ", clusters, " Cluster documents; one is wanted"));
  }
  return out;
}

absl::StatusOr<GitRepoFile> ReadGitRepoFile(const std::string& path,
                                            std::ostream& warnings) {
  ASSIGN_OR_RETURN(std::vector<manager::ParsedDocument> documents,
                   ReadDocumentsFile(path, warnings));
  GitRepoFile out;
  int git_repos = 0;
  for (manager::ParsedDocument& parsed : documents) {
    storage::v1::Document& document = parsed.document;
    if (document.has_git_repo()) {
      out.git_repo = std::move(document);
      ++git_repos;
    } else if (document.has_git_repo_restriction() || document.has_policy()) {
      out.policies.push_back(std::move(document));
    }
  }
  if (git_repos != 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, " holds ", git_repos, " GitRepo documents; one is wanted"));
  }
  return out;
}

absl::StatusOr<core::v1::ClusterFacts> ReadFactsFile(const std::string& path) {
  if (path.empty()) return manager::DefaultClusterFacts();
  ASSIGN_OR_RETURN(const std::vector<admin::v1::DocumentFile> files,
                   ReadDocumentFiles({path}));
  if (files.size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is a directory; a file is wanted"));
  }
  ASSIGN_OR_RETURN(const YamlDocument document,
                   ParseYaml(files[0].content()), _ << path);
  core::v1::ClusterFacts facts;
  const auto read = google::protobuf::util::JsonStringToMessage(
      document.value.dump(-1, ' ', false,
                          nlohmann::json::error_handler_t::replace),
      &facts);
  if (!read.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": these are no facts of a cluster (", read.message().as_string(),
        "); write {kubeVersion, kinds: [{group, version, kind, plural, "
        "namespaced}]}"));
  }
  return facts;
}

}  // namespace flotilla::ctl
