// SPDX-License-Identifier: Apache-2.0

#include "manager/targeting/render_inputs.h"

#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "manager/bundle/bundle_revision.h"
#include "manager/documents/documents.h"
#include "manager/targeting/target_resolver.h"

namespace flotilla::manager {

RenderInputList ReadRenderInputs(FileTree& tree, absl::string_view repository,
                                 const TargetCluster& cluster,
                                 const FetchedCharts& charts) {
  storage::v1::Document git_repo;
  git_repo.set_kind("GitRepo");
  git_repo.set_workspace(kDefaultWorkspace);
  git_repo.set_name(std::string(repository));
  storage::v1::Target& all = *git_repo.mutable_git_repo()->add_targets();
  all.set_name("all");
  all.mutable_cluster_selector();

  BuildResult built = BuildBundles(tree, git_repo);
  RenderInputList result;
  result.errors = std::move(built.errors);
  result.warnings = std::move(built.warnings);
  if (!result.errors.empty()) return result;
  for (BuiltBundle& bundle : built.bundles) {
    const std::string& directory = bundle.content->directory;
    storage::v1::BundleRevision downloads;
    for (const ChartNeed& need : bundle.content->charts) {
      if (charts.count(ChartNeedKey(need)) == 0) {
        result.needs.push_back(need);
        continue;
      }
      const absl::Status attached =
          AttachCharts({need}, charts, BuildLimits().bundle(), downloads);
      if (attached.ok()) continue;
      core::v1::Problem& problem = result.errors.emplace_back();
      problem.set_code(absl::StatusCodeToString(attached.code()));
      problem.set_file(need.file);
      problem.set_line(static_cast<uint32_t>(need.line));
      problem.set_message(std::string(attached.message()));
    }
    std::optional<ResolvedTarget> resolved =
        ResolveTarget(MakeRevision(bundle, git_repo), cluster);
    if (!resolved.has_value()) {
      result.not_deployed.push_back(bundle.name);
      continue;
    }
    BundleInput& input = result.bundles.emplace_back();
    input.bundle = bundle.name;
    input.directory = directory;
    input.target_name = std::move(resolved->target_name);
    input.options = std::move(resolved->options);
    // Nothing is cached here, so everything is fresh.
    if (bundle.fresh != nullptr) input.files = std::move(bundle.fresh->files);
    for (const storage::v1::BundleFile& file : downloads.files()) {
      ContentFile& out = input.files.emplace_back();
      out.name = file.name();
      out.size = file.size();
      out.digest = file.blob_digest();
    }
  }
  return result;
}

}  // namespace flotilla::manager
