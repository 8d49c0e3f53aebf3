// SPDX-License-Identifier: Apache-2.0

#include "tools/ctl/render_command.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "common/status/status_macros.h"
#include "common/yaml/documents.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/render/v1/render.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/gitsync/directory_tree.h"
#include "manager/gitsync/local_revision.h"
#include "manager/render/deployment_input.h"
#include "manager/render/effective_values.h"
#include "manager/render/manifest_builder.h"
#include "manager/render/render_input.h"
#include "manager/targeting/render_inputs.h"
#include "manager/targeting/target_clusters.h"
#include "nlohmann/json.hpp"
#include "tools/ctl/cluster_files.h"
#include "tools/ctl/local_stages.h"
#include "tools/ctl/object_diff.h"

namespace flotilla::ctl {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Marks that core.proto names; put in by the builder for the agent's sake.
constexpr char kMarkPrefix[] = "flotilla.dev/";
// A download may bring charts whose dependencies are to be fetched.
constexpr int kMaxDownloadRounds = 5;

// Of a chart's random functions: the manager's own seed is a secret.
std::string RandomSeed() { return std::string(32, '\0'); }

void RemoveMarks(json& object, const char* map) {
  json& metadata = object["metadata"];
  if (!metadata.is_object() || !metadata.contains(map)) return;
  json& entries = metadata[map];
  for (auto it = entries.begin(); it != entries.end();) {
    if (it.key().rfind(kMarkPrefix, 0) == 0) {
      it = entries.erase(it);
    } else {
      ++it;
    }
  }
  if (entries.empty()) metadata.erase(map);
}

// A rendering for one cluster.
struct Target {
  manager::RenderSubject subject;
  core::v1::ClusterFacts facts;
};

std::string RepositoryName(const RenderOptions& options) {
  std::error_code error;
  const fs::path path = fs::canonical(options.directory, error);
  return error ? "repository" : path.filename().string();
}

absl::StatusOr<Target> ReadTarget(const RenderOptions& options,
                                  std::ostream& warnings) {
  Target target;
  manager::RenderSubject& subject = target.subject;
  ASSIGN_OR_RETURN(ClusterFile file,
                   ReadClusterFile(options.cluster_file, warnings));
  subject.cluster = std::move(file.cluster);
  if (options.git_repo_file.empty()) {
    subject.git_repo = manager::PlainGitRepo(subject.cluster.workspace(),
                                             RepositoryName(options));
  } else {
    ASSIGN_OR_RETURN(GitRepoFile git_repo,
                     ReadGitRepoFile(options.git_repo_file, warnings));
    subject.git_repo = std::move(git_repo.git_repo);
    subject.policies = std::move(git_repo.policies);
    if (options.cluster_file.empty()) {
      subject.cluster.set_workspace(subject.git_repo.workspace());
    }
  }
  if (!options.repo_name.empty()) subject.git_repo.set_name(options.repo_name);
  if (!options.cluster.empty()) subject.cluster.set_name(options.cluster);
  std::map<std::string, std::string> labels;
  for (const auto& label : subject.cluster.labels()) {
    labels[label.key()] = label.value();
  }
  for (const auto& [key, value] : options.labels) labels[key] = value;
  subject.cluster.clear_labels();
  for (const auto& [key, value] : labels) {
    core::v1::LabelPair* label = subject.cluster.add_labels();
    label->set_key(key);
    label->set_value(value);
  }
  std::vector<const storage::v1::Document*> groups;
  for (const auto& group : file.groups) groups.push_back(&group);
  subject.target = manager::MakeTargetCluster(subject.cluster, groups);
  for (const std::string& group : options.groups) {
    subject.target.groups.push_back({group, {}});
  }
  subject.commit.mutable_time()->set_seconds(
      manager::FindLocalCommit(options.directory)
          .value_or(manager::LocalCommit())
          .seconds);
  ASSIGN_OR_RETURN(target.facts, ReadFactsFile(options.facts_file));
  return target;
}

// Fills the cluster's templates into the options.
absl::Status FillIn(const storage::v1::Desired& desired, LocalStages& stages,
                    manager::RenderInput& input, std::ostream& warnings) {
  const absl::optional<render::v1::RenderRequest> request =
      manager::ValuesRequest(desired, input.random_seed,
                             input.now_unix_seconds);
  if (request.has_value()) {
    ASSIGN_OR_RETURN(const render::v1::RenderResponse response,
                     stages.Render(*request),
                     _ << "bundle " << desired.bundle_name());
    if (response.has_error()) {
      return absl::InvalidArgumentError(
          absl::StrCat("bundle ", desired.bundle_name(), ": ",
                       response.error().message()));
    }
    input.options = manager::WithValues(input.options, response);
  }
  for (const core::v1::ValuesRef& ref : manager::AskedValues(input.options)) {
    warnings << "warning: bundle " << Safe(desired.bundle_name())
             << " takes values of "
             << (ref.kind() == core::v1::ValuesRef::KIND_SECRET ? "Secret "
                                                                : "ConfigMap ")
             << Safe(ref.namespace_()) << "/" << Safe(ref.name())
             << " from the cluster; it is rendered without them\n";
  }
  return absl::OkStatus();
}

// Says what a manager would put in the place of something.
void WarnOfStandIns(const std::string& bundle,
                    const manager::BuiltManifest& built, bool knows_time,
                    std::ostream& warnings) {
  if (built.uses_random) {
    warnings << "warning: bundle " << Safe(bundle)
             << " draws random values; a manager draws others, from its own "
                "key\n";
  }
  if (built.uses_now && !knows_time) {
    warnings << "warning: bundle " << Safe(bundle)
             << " asks for the time; a manager takes the commit's, and the "
                "directory is in no Git repository, so it is 1970 here\n";
  }
}

absl::StatusOr<std::vector<json>> RenderBundle(
    const manager::BundleInput& bundle, const core::v1::ClusterFacts& facts,
    LocalStages& stages, std::ostream& warnings) {
  const std::string& name = bundle.desired.bundle_name();
  manager::RenderInput input = manager::MakeDeploymentInput(
      bundle.desired, bundle.revision, facts, RandomSeed());
  RETURN_IF_ERROR(
      manager::LoadFiles(stages.blobs(), bundle.revision, input))
      << "bundle " << name;
  RETURN_IF_ERROR(FillIn(bundle.desired, stages, input, warnings));
  manager::BundleRender render(std::move(input));
  while (absl::optional<render::v1::RenderRequest> request = render.Next()) {
    ASSIGN_OR_RETURN(render::v1::RenderResponse response,
                     stages.Render(*request), _ << "bundle " << name);
    render.Answer(std::move(response));
  }
  manager::BuiltManifest built = render.Finish();
  if (!built.problems.empty()) return ProblemsError(built.problems);
  PrintWarnings(built.warnings, warnings);
  WarnOfStandIns(name, built, bundle.desired.commit().time().seconds() != 0,
                 warnings);
  std::vector<json> objects;
  for (const auto& entry : built.manifest.entries()) {
    // A namespace that is only to be there is not the user's object.
    if (entry.ensure_namespace()) continue;
    const auto blob = std::lower_bound(
        built.blobs.begin(), built.blobs.end(), entry.blob_digest(),
        [](const manager::ManifestBlob& b, const std::string& digest) {
          return b.digest < digest;
        });
    json object = json::parse(blob->bytes, nullptr, false);
    RemoveMarks(object, "labels");
    RemoveMarks(object, "annotations");
    objects.push_back(std::move(object));
  }
  const auto text = [](const json& object, const char* key) {
    const auto found = object["metadata"].find(key);
    return found == object["metadata"].end() || !found->is_string()
               ? std::string()
               : found->get<std::string>();
  };
  std::stable_sort(objects.begin(), objects.end(),
                   [&text](const json& a, const json& b) {
                     return std::make_tuple(a["kind"].get<std::string>(),
                                            text(a, "namespace"),
                                            text(a, "name")) <
                            std::make_tuple(b["kind"].get<std::string>(),
                                            text(b, "namespace"),
                                            text(b, "name"));
                   });
  return objects;
}

// All objects of a tree, bundle after bundle.
absl::StatusOr<std::vector<json>> RenderTree(manager::FileTree& tree,
                                             const Target& target,
                                             LocalStages& stages,
                                             std::ostream& warnings) {
  manager::FetchedCharts charts;
  manager::RenderInputList list;
  for (int round = 0;; ++round) {
    list = manager::ReadRenderInputs(tree, target.subject, stages.blobs(),
                                     charts);
    if (!list.errors.empty() || list.needs.empty()) break;
    if (round == kMaxDownloadRounds) {
      return absl::FailedPreconditionError(
          "charts ask for ever more charts; check their dependencies");
    }
    RETURN_IF_ERROR(stages.FetchCharts(list.needs, charts));
  }
  PrintWarnings(list.warnings, warnings);
  if (!list.errors.empty()) return ProblemsError(list.errors);
  for (const std::string& bundle : list.not_deployed) {
    warnings << "bundle " << Safe(bundle)
             << " does not go to this cluster: no target means it, or one has "
                "doNotDeploy\n";
  }
  std::vector<json> all;
  for (const manager::BundleInput& bundle : list.bundles) {
    ASSIGN_OR_RETURN(std::vector<json> objects,
                     RenderBundle(bundle, target.facts, stages, warnings));
    for (json& object : objects) all.push_back(std::move(object));
  }
  return all;
}

}  // namespace

absl::Status Render(const RenderOptions& options, std::ostream& out,
                    std::ostream& warnings) {
  ASSIGN_OR_RETURN(std::unique_ptr<manager::DirectoryTree> tree,
                   manager::DirectoryTree::Open(options.directory));
  ASSIGN_OR_RETURN(const Target target, ReadTarget(options, warnings));
  LocalStages stages;
  ASSIGN_OR_RETURN(const std::vector<json> objects,
                   RenderTree(*tree, target, stages, warnings));
  // Printed at once: an error in one bundle prints nothing.
  std::string text;
  if (options.format == Format::kJson) {
    text = json(objects).dump(2) + "\n";
  } else {
    for (const json& object : objects) {
      absl::StrAppend(&text, "---\n", ToYaml(object));
    }
  }
  out << text;
  return absl::OkStatus();
}

absl::Status Diff(const RenderOptions& options, std::ostream& out,
                  std::ostream& warnings) {
  ASSIGN_OR_RETURN(std::unique_ptr<manager::DirectoryTree> now,
                   manager::DirectoryTree::Open(options.directory));
  ASSIGN_OR_RETURN(
      std::unique_ptr<manager::FileTree> then,
      manager::OpenLocalRevision(options.directory, options.against));
  ASSIGN_OR_RETURN(const Target target, ReadTarget(options, warnings));
  LocalStages stages;
  // Warnings of what is past help nobody.
  std::ostream nowhere(nullptr);
  ASSIGN_OR_RETURN(const std::vector<json> before,
                   RenderTree(*then, target, stages, nowhere),
                   _ << "at " << options.against);
  ASSIGN_OR_RETURN(const std::vector<json> after,
                   RenderTree(*now, target, stages, warnings));
  const std::vector<ObjectChange> changes = DiffObjects(before, after);
  switch (options.format) {
    case Format::kTable:
      out << DiffText(changes);
      break;
    case Format::kJson:
      out << DiffJson(changes).dump(2) << "\n";
      break;
    case Format::kYaml:
      out << ToYaml(DiffJson(changes));
      break;
  }
  return absl::OkStatus();
}

}  // namespace flotilla::ctl
