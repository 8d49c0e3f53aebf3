// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/bundle_builder.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "manager/bundle/bundle_discovery.h"
#include "manager/bundle/bundle_file_reader.h"
#include "manager/bundle/bundle_name.h"
#include "manager/bundle/bundle_reader.h"
#include "manager/bundle/directory_entries.h"
#include "manager/bundle/problem_sink.h"
#include "manager/documents/field_reader.h"
#include "manager/gitsync/tree_path.h"

namespace flotilla::manager {
namespace {

using core::v1::Problem;
using storage::v1::Document;

// The directory, with the options file without its ending (spec 3.7).
std::string PathForName(const BundlePlace& place) {
  const auto& [directory, options] = place;
  if (options.empty()) return directory;
  absl::string_view stem = options;
  const size_t dot = TreeName(stem).rfind('.');
  if (dot != absl::string_view::npos) {
    stem.remove_suffix(TreeName(stem).size() - dot);
  }
  absl::StatusOr<std::string> path = JoinTreePath(directory, stem);
  return path.ok() ? *std::move(path) : directory;
}

void AddProblems(const std::vector<Problem>& from, std::vector<Problem>& to) {
  for (const Problem& problem : from) {
    if (to.size() >= ProblemLog::kMaxProblems) return;
    to.push_back(problem);
  }
}

class Builder {
 public:
  Builder(FileTree& tree, const Document& git_repo, const BundleCache& cache,
          const BuildLimits& limits)
      : tree_(tree),
        git_repo_(git_repo),
        cache_(cache),
        limits_(limits),
        reader_(tree, limits),
        problems_(absl::StrCat("GitRepo ", git_repo.workspace(), "/",
                               git_repo.name()),
                  result_.errors, result_.warnings) {}

  BuildResult Build() {
    const DiscoveredBundles found =
        DiscoverBundles(tree_, git_repo_.git_repo(), limits_, problems_);
    for (const auto& [place, entries] : found.places) {
      AddBundle(place, *entries);
    }
    CheckNames();
    if (result_.bundles.empty() && problems_.ok()) {
      problems_.Error(
          "NOT_FOUND", "", 0,
          absl::StrCat(
              "no resource found at the following paths to deploy: [",
              absl::StrJoin(ShownPaths(git_repo_.git_repo()), ", "),
              "]; a path needs a fleet.yaml or at least one YAML file"));
    }
    return std::move(result_);
  }

 private:
  void AddBundle(const BundlePlace& place, const DirectoryEntries& entries) {
    const std::string& directory = place.first;
    const std::string fingerprint = FingerprintOf(entries);
    std::shared_ptr<const BundleContent> content;
    std::shared_ptr<BundleContent> fresh;
    const auto cached = cache_.find(place);
    if (cached != cache_.end() &&
        reader_.IsCurrent(*cached->second, fingerprint)) {
      content = cached->second;
    } else {
      fresh =
          ReadBundle(reader_, problems_.subject(), place, entries, fingerprint);
      content = fresh;
      ++result_.read_directories;
    }
    AddProblems(content->yaml.warnings, result_.warnings);
    if (!content->yaml.errors.empty()) {
      AddProblems(content->yaml.errors, result_.errors);
      return;
    }
    if (content->files.empty() && content->charts.empty()) {
      problems_.Warning(
          directory, 0,
          absl::StrCat("there is no file to deploy in ",
                       ShownDirectory(directory), ", so it is no bundle"));
      return;
    }
    BuiltBundle bundle;
    bundle.name = content->yaml.name.empty()
                      ? BundleName(git_repo_.name(), PathForName(place))
                      : content->yaml.name;
    bundle.content = std::move(content);
    bundle.fresh = std::move(fresh);
    result_.bundles.push_back(std::move(bundle));
  }

  void CheckNames() {
    std::sort(result_.bundles.begin(), result_.bundles.end(),
              [](const BuiltBundle& a, const BuiltBundle& b) {
                return std::tie(a.name, a.content->directory,
                                a.content->options_file) <
                       std::tie(b.name, b.content->directory,
                                b.content->options_file);
              });
    for (size_t i = 1; i < result_.bundles.size(); ++i) {
      const BuiltBundle& a = result_.bundles[i - 1];
      const BuiltBundle& b = result_.bundles[i];
      if (a.name != b.name) continue;
      problems_.Error(
          "ALREADY_EXISTS", b.content->directory, 0,
          absl::StrCat("the bundles of ", ShownPlace(a.content->place()),
                       " and ", ShownPlace(b.content->place()),
                       " have the same name, \"", ShownText(a.name),
                       "\"; give one of them a name in its fleet.yaml"));
    }
  }

  // Constant after construction.
  FileTree& tree_;
  const Document& git_repo_;
  const BundleCache& cache_;
  const BuildLimits& limits_;

  BundleFileReader reader_;
  BuildResult result_;
  ProblemSink problems_;
};

}  // namespace

BuildResult BuildBundles(FileTree& tree, const Document& git_repo,
                         const BundleCache& cache, const BuildLimits& limits) {
  return Builder(tree, git_repo, cache, limits).Build();
}

}  // namespace flotilla::manager
