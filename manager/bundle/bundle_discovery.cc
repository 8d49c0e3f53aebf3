// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/bundle_discovery.h"

#include <cstdint>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "manager/bundle/glob.h"
#include "manager/documents/field_reader.h"
#include "manager/gitsync/tree_path.h"

namespace flotilla::manager {
namespace {

using storage::v1::GitRepoSpec;

// Directories that patterns may look into.
constexpr size_t kMaxListed = 20000;
// Paths in one problem.
constexpr size_t kMaxShown = 20;

bool IsFleetYaml(absl::string_view name) {
  return name == "fleet.yaml" || name == "fleet.yml";
}

bool IsYaml(absl::string_view name) {
  return !absl::StartsWith(name, ".") &&
         (absl::EndsWith(name, ".yaml") || absl::EndsWith(name, ".yml"));
}

// Whether a directory between `root` and `directory` has its own options.
bool IsBelowNested(absl::string_view root, absl::string_view directory,
                   const std::set<std::string>& with_options) {
  while (directory != root) {
    if (with_options.count(std::string(directory)) > 0) return true;
    if (directory.empty()) return false;
    directory = TreeParent(directory);
  }
  return false;
}

class Discovery {
 public:
  Discovery(FileTree& tree, const GitRepoSpec& spec, const BuildLimits& limits,
            ProblemSink& problems)
      : tree_(tree),
        spec_(spec),
        limits_(limits),
        problems_(problems),
        match_steps_(limits.max_match_steps) {}

  DiscoveredBundles Find();

 private:
  // Takes what spec.bundles lists.
  void TakeListed();
  // Directories that spec.paths names.
  std::set<std::string> Roots();
  // Adds the directories that `pattern` matches in `directory`.
  void Expand(const std::string& directory, absl::string_view pattern,
              std::set<std::string>& roots);
  // Whether `directory`, which a user wrote as `path` of `key`, is one.
  bool CheckDirectory(absl::string_view path, absl::string_view key,
                      const std::string& directory);
  // Takes the bundles at and below a root.
  void TakeBelow(const std::string& root);
  // Everything below a directory, sorted by path; null after an error, or with
  // max_walked reached.
  const std::vector<TreeEntry>* Walk(const std::string& directory);
  void Take(const BundlePlace& place,
            std::shared_ptr<const DirectoryEntries> entries);
  void CheckLimits();

  // Not owned.
  FileTree& tree_;
  const GitRepoSpec& spec_;
  const BuildLimits& limits_;
  ProblemSink& problems_;

  DiscoveredBundles found_;
  size_t entry_count_ = 0;
  // Directories that patterns have looked into.
  size_t listed_ = 0;
  // Entries that were looked at to find the bundles.
  size_t walked_ = 0;
  // What patterns may still cost.
  uint64_t match_steps_;
};

DiscoveredBundles Discovery::Find() {
  if (spec_.bundles_size() > 0) {
    TakeListed();
  } else {
    for (const std::string& root : Roots()) {
      if (listed_ <= kMaxListed && match_steps_ > 0) TakeBelow(root);
    }
  }
  CheckLimits();
  return std::move(found_);
}

void Discovery::CheckLimits() {
  if (walked_ > limits_.max_walked) {
    problems_.Error(
        "RESOURCE_EXHAUSTED", "", 0,
        absl::StrCat("the GitRepo's paths have more than ", limits_.max_walked,
                     " files and directories together, those that lie in "
                     "several paths counted for each; split it by its paths"));
    found_ = DiscoveredBundles();
  } else if (match_steps_ == 0) {
    problems_.Error("RESOURCE_EXHAUSTED", "", 0,
                    "the patterns in spec.paths take too long to match; name "
                    "the directories");
    found_ = DiscoveredBundles();
  } else if (found_.places.size() > limits_.max_bundles) {
    problems_.Error(
        "RESOURCE_EXHAUSTED", "", 0,
        absl::StrCat("there are ", found_.places.size(),
                     " bundles; a GitRepo has at most ", limits_.max_bundles,
                     ", so split it by its paths"));
    found_ = DiscoveredBundles();
  } else if (entry_count_ > limits_.max_entries) {
    problems_.Error(
        "RESOURCE_EXHAUSTED", "", 0,
        absl::StrCat("the bundles have more than ", limits_.max_entries,
                     " files and directories together, those of "
                     "nested bundles included; split the GitRepo "
                     "by its paths"));
    found_ = DiscoveredBundles();
  }
}

void Discovery::TakeListed() {
  std::map<std::string, std::shared_ptr<const DirectoryEntries>> walked;
  for (const storage::v1::ExplicitBundle& bundle : spec_.bundles()) {
    absl::string_view base = bundle.base();
    while (absl::ConsumePrefix(&base, "/")) {
    }
    absl::StatusOr<std::string> directory = NormalizeTreePath(base);
    if (!directory.ok()) {
      problems_.Error(directory.status(), "");
      continue;
    }
    absl::StatusOr<std::string> options =
        JoinTreePath(*directory, bundle.options());
    if (!options.ok()) {
      problems_.Error(options.status(), "");
      continue;
    }
    const BundlePlace place(*directory, bundle.options());
    if (found_.places.count(place) > 0) {
      problems_.Error("ALREADY_EXISTS", *directory, 0,
                      absl::StrCat("spec.bundles has ", ShownPlace(place),
                                   " twice; take one of them out"));
      continue;
    }
    const auto known = walked.find(*directory);
    if (known != walked.end()) {
      if (known->second != nullptr) Take(place, known->second);
      continue;
    }
    std::shared_ptr<const DirectoryEntries>& entries = walked[*directory];
    if (!CheckDirectory(bundle.base(), "spec.bundles", *directory)) continue;
    const std::vector<TreeEntry>* all = Walk(*directory);
    if (all == nullptr) continue;
    entries = std::make_shared<const DirectoryEntries>(
        EntriesBelow(*directory, *all));
    Take(place, entries);
  }
}

std::set<std::string> Discovery::Roots() {
  std::set<std::string> roots;
  if (spec_.paths().empty()) roots.insert("");
  for (const std::string& path : spec_.paths()) {
    absl::string_view relative = path;
    while (absl::ConsumePrefix(&relative, "/")) {
    }
    if (HasGlobMeta(relative)) {
      std::set<std::string> found;
      Expand("", relative, found);
      if (found.empty()) {
        problems_.Warning(
            "", 0,
            absl::StrCat("the pattern \"", ShownText(path),
                         "\" in spec.paths matches no directory"));
      }
      roots.insert(found.begin(), found.end());
      continue;
    }
    absl::StatusOr<std::string> directory = NormalizeTreePath(relative);
    if (!directory.ok()) {
      problems_.Error(directory.status(), "");
      continue;
    }
    if (CheckDirectory(path, "spec.paths", *directory)) {
      roots.insert(*directory);
    }
  }
  return roots;
}

void Discovery::Expand(const std::string& directory, absl::string_view pattern,
                       std::set<std::string>& roots) {
  const size_t slash = pattern.find('/');
  const absl::string_view part = pattern.substr(0, slash);
  const absl::string_view rest =
      slash == absl::string_view::npos ? "" : pattern.substr(slash + 1);
  if (part.empty() || part == ".") {
    if (!rest.empty()) {
      Expand(directory, rest, roots);
    } else {
      roots.insert(directory);
    }
    return;
  }
  // Links may make a small tree look like a large one.
  if (walked_ > limits_.max_walked) return;  // CheckLimits() says so.
  if (++listed_ > kMaxListed) {
    if (listed_ == kMaxListed + 1) {
      problems_.Error(
          "RESOURCE_EXHAUSTED", "", 0,
          "the patterns in spec.paths look into too many directories; "
          "name the directories");
    }
    return;
  }
  absl::StatusOr<std::vector<TreeEntry>> entries = tree_.List(directory);
  if (!entries.ok()) {
    problems_.Error(entries.status(), directory);
    return;
  }
  walked_ += entries->size();
  const Glob glob(part);
  for (const TreeEntry& entry : *entries) {
    if (entry.kind != TreeEntry::Kind::kDirectory || entry.name() == ".git" ||
        !glob.Matches(entry.name(), match_steps_)) {
      continue;
    }
    if (rest.empty()) {
      roots.insert(entry.path);
    } else {
      Expand(entry.path, rest, roots);
    }
  }
}

bool Discovery::CheckDirectory(absl::string_view path, absl::string_view key,
                               const std::string& directory) {
  absl::StatusOr<TreeEntry> entry = tree_.Stat(directory);
  if (absl::IsNotFound(entry.status())) {
    problems_.Error(
        "NOT_FOUND", "", 0,
        absl::StrCat("no resource found at the following paths to deploy: "
                     "[",
                     ShownText(path),
                     "]: there is no such directory in the commit; put it "
                     "back, or take it out of ",
                     key));
  } else if (!entry.ok()) {
    problems_.Error(entry.status(), directory);
  } else if (entry->kind != TreeEntry::Kind::kDirectory) {
    problems_.Error("INVALID_ARGUMENT", directory, 0,
                    absl::StrCat(key, " names \"", ShownText(path),
                                 "\", which is not a directory"));
  } else {
    return true;
  }
  return false;
}

void Discovery::TakeBelow(const std::string& root) {
  const std::vector<TreeEntry>* walked = Walk(root);
  if (walked == nullptr) return;
  const std::vector<TreeEntry>& entries = *walked;

  std::set<std::string> with_options;
  for (const TreeEntry& entry : entries) {
    if (entry.kind == TreeEntry::Kind::kFile && IsFleetYaml(entry.name()) &&
        !IsInGit(entry.path)) {
      with_options.insert(std::string(TreeParent(entry.path)));
    }
  }
  bool root_is_bundle = with_options.count(root) > 0;
  for (const TreeEntry& entry : entries) {
    if (root_is_bundle) break;
    const absl::string_view path = entry.path;
    root_is_bundle = entry.kind == TreeEntry::Kind::kFile &&
                     IsYaml(entry.name()) &&
                     !IsHiddenPath(RelativeTo(root, path)) && !IsInGit(path) &&
                     !IsBelowNested(root, TreeParent(path), with_options);
  }
  if (root_is_bundle) with_options.insert(root);
  for (const std::string& directory : with_options) {
    const BundlePlace place(directory, "");
    if (found_.places.count(place) > 0) continue;
    if (found_.places.size() > limits_.max_bundles ||
        entry_count_ > limits_.max_entries) {
      return;  // CheckLimits() says so.
    }
    Take(place, std::make_shared<const DirectoryEntries>(
                    EntriesBelow(directory, entries)));
  }
}

const std::vector<TreeEntry>* Discovery::Walk(const std::string& directory) {
  if (walked_ > limits_.max_walked) return nullptr;  // CheckLimits() says so.
  absl::StatusOr<std::vector<TreeEntry>> walked = tree_.Walk(directory);
  if (!walked.ok()) {
    problems_.Error(walked.status(), directory);
    return nullptr;
  }
  walked_ += walked->size();
  found_.walks.push_back(
      std::make_unique<const std::vector<TreeEntry>>(*std::move(walked)));
  return found_.walks.back().get();
}

void Discovery::Take(const BundlePlace& place,
                     std::shared_ptr<const DirectoryEntries> entries) {
  entry_count_ += entries->size();
  found_.places[place] = std::move(entries);
}

}  // namespace

DiscoveredBundles DiscoverBundles(FileTree& tree, const GitRepoSpec& spec,
                                  const BuildLimits& limits,
                                  ProblemSink& problems) {
  return Discovery(tree, spec, limits, problems).Find();
}

std::vector<std::string> ShownPaths(const GitRepoSpec& spec) {
  std::vector<std::string> shown;
  size_t more = 0;
  const auto show = [&](const std::string& path) {
    if (shown.size() < kMaxShown) {
      shown.push_back(ShownText(path));
    } else {
      ++more;
    }
  };
  for (const auto& bundle : spec.bundles()) show(bundle.base());
  if (shown.empty()) {
    for (const std::string& path : spec.paths()) show(path);
  }
  if (shown.empty()) shown.emplace_back("/");
  if (more > 0) shown.push_back(absl::StrCat(more, " more"));
  return shown;
}

}  // namespace flotilla::manager
