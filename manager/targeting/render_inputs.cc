// SPDX-License-Identifier: Apache-2.0

#include "manager/targeting/render_inputs.h"

#include <optional>
#include <utility>

#include "manager/documents/documents.h"
#include "manager/targeting/target_resolver.h"

namespace flotilla::manager {

RenderInputList ReadRenderInputs(FileTree& tree, absl::string_view repository,
                                 const TargetCluster& cluster) {
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
    std::optional<ResolvedTarget> resolved =
        ResolveTarget(MakeRevision(bundle, git_repo), cluster);
    if (!resolved.has_value()) {
      result.not_deployed.push_back(bundle.name);
      continue;
    }
    BundleInput& input = result.bundles.emplace_back();
    input.bundle = bundle.name;
    input.directory = bundle.content->directory;
    input.target_name = std::move(resolved->target_name);
    input.options = std::move(resolved->options);
    // Nothing is cached here, so everything is fresh.
    if (bundle.fresh != nullptr) input.files = std::move(bundle.fresh->files);
  }
  return result;
}

}  // namespace flotilla::manager
