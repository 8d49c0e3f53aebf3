// SPDX-License-Identifier: Apache-2.0

#include "tools/ctl/bundle_command.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "common/status/status_macros.h"
#include "common/yaml/documents.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/bundle/bundle_builder.h"
#include "manager/bundle/bundle_revision.h"
#include "manager/bundle/chart_needs.h"
#include "manager/documents/deploy_fields.h"
#include "manager/documents/document_json.h"
#include "manager/gitsync/directory_tree.h"
#include "manager/gitsync/local_revision.h"
#include "nlohmann/json.hpp"
#include "tools/ctl/local_stages.h"
#include "tools/ctl/target_files.h"

namespace flotilla::ctl {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr char kCommitLabel[] = "fleet.cattle.io/commit";

absl::StatusOr<storage::v1::Document> MakeGitRepo(
    const BundleOptions& options, std::ostream& warnings) {
  storage::v1::Document document;
  document.set_kind("GitRepo");
  document.set_workspace(options.workspace);
  std::string name = options.repo_name;
  if (name.empty()) {
    std::error_code error;
    name = fs::canonical(options.directory, error).filename().string();
  }
  document.set_name(name);
  storage::v1::GitRepoSpec& spec = *document.mutable_git_repo();
  spec.set_target_namespace(options.target_namespace);
  spec.set_service_account(options.service_account);
  spec.set_paused(options.paused);
  spec.set_keep_resources(options.keep_resources);
  if (!options.targets_file.empty()) {
    ASSIGN_OR_RETURN(TargetsFile targets,
                     ReadTargetsFile(options.targets_file, warnings));
    *spec.mutable_targets() = std::move(targets.targets);
  }
  return document;
}

// As `fleet apply` does without targets: those of fleet.yaml say where, and
// there is no restriction (spec 4.3.1).
void TakeOwnTargets(storage::v1::BundleRevision& revision) {
  if (revision.customizations().empty()) return;
  revision.mutable_targets()->Swap(revision.mutable_customizations());
  revision.clear_customizations();
}

// Those of `fleet apply`: it knows of no GitRepo, and tells the commit.
void SetOwnLabels(const std::string& commit, storage::v1::Document& bundle) {
  auto& labels = *bundle.mutable_labels();
  labels.erase(std::remove_if(labels.begin(), labels.end(),
                              [](const core::v1::LabelPair& label) {
                                return label.key() == manager::kRepoNameLabel ||
                                       label.key() == kCommitLabel;
                              }),
               labels.end());
  if (commit.empty()) return;
  core::v1::LabelPair& label = *labels.Add();
  label.set_key(kCommitLabel);
  label.set_value(commit);
}

absl::StatusOr<std::string> CommitOf(const BundleOptions& options) {
  std::string commit = options.commit;
  if (commit.empty()) {
    absl::optional<manager::LocalCommit> found =
        manager::FindLocalCommit(options.directory);
    if (found.has_value()) commit = std::move(found->id);
  }
  const std::string problem = manager::LabelValueProblem(commit);
  if (problem.empty()) return commit;
  return absl::InvalidArgumentError(absl::StrCat(
      "--commit (or COMMIT in the environment): ", problem));
}

}  // namespace

absl::StatusOr<std::string> MakeBundles(const BundleOptions& options,
                                        std::ostream& warnings) {
  ASSIGN_OR_RETURN(std::unique_ptr<manager::DirectoryTree> tree,
                   manager::DirectoryTree::Open(options.directory));
  ASSIGN_OR_RETURN(const storage::v1::Document git_repo,
                   MakeGitRepo(options, warnings));
  ASSIGN_OR_RETURN(const std::string commit, CommitOf(options));
  manager::BuildResult built = manager::BuildBundles(*tree, git_repo);
  PrintWarnings(built.warnings, warnings);
  if (!built.errors.empty()) return ProblemsError(built.errors);

  LocalStages stages;
  json all = json::array();
  for (manager::BuiltBundle& bundle : built.bundles) {
    std::vector<std::string> contents;
    for (manager::ContentFile& file : bundle.fresh->files) {
      contents.push_back(std::move(file.bytes));
    }
    ASSIGN_OR_RETURN(std::vector<std::string> digests,
                     stages.blobs().PutAll(contents));
    auto digest = digests.begin();
    for (manager::ContentFile& file : bundle.fresh->files) {
      file.digest = std::move(*digest++);
    }
    storage::v1::BundleRevision revision =
        manager::MakeRevision(bundle, git_repo);
    manager::FetchedCharts charts;
    RETURN_IF_ERROR(stages.FetchCharts(bundle.content->charts, charts));
    RETURN_IF_ERROR(manager::AttachCharts(bundle.content->charts, charts,
                                          manager::BuildLimits().bundle(),
                                          revision));
    std::vector<std::string> files;
    for (const storage::v1::BundleFile& file : revision.files()) {
      ASSIGN_OR_RETURN(std::string bytes,
                       stages.blobs().Get(file.blob_digest()));
      files.push_back(std::move(bytes));
    }
    const bool restricted =
        !options.targets_file.empty() ||
        bundle.content->yaml.override_targets.has_value();
    if (!restricted) TakeOwnTargets(revision);
    storage::v1::Document document =
        manager::BundleDocument(options.workspace, bundle.name, revision);
    SetOwnLabels(commit, document);
    if (!restricted) {
      document.mutable_bundle()->clear_target_restrictions();
    }
    all.push_back(manager::DocumentToJson(
        document, &files,
        options.compress ? manager::FileEncoding::kCompressed
                         : manager::FileEncoding::kText));
  }
  if (options.format == Format::kJson) {
    // As kubectl prints several.
    return (all.size() == 1 ? all[0]
                            : json({{"apiVersion", "v1"},
                                    {"kind", "List"},
                                    {"items", all}}))
               .dump(2) +
           "\n";
  }
  std::string text;
  for (const json& document : all) {
    absl::StrAppend(&text, "---\n", ToYaml(document));
  }
  return text;
}

}  // namespace flotilla::ctl
