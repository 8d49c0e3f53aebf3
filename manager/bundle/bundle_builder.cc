// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/bundle_builder.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/crypto/sha256.h"
#include "common/yaml/documents.h"
#include "manager/bundle/bundle_name.h"
#include "manager/bundle/glob.h"
#include "manager/bundle/values_files.h"
#include "manager/documents/field_reader.h"
#include "manager/documents/secret_scan.h"
#include "manager/gitsync/display_text.h"

namespace flotilla::manager {
namespace {

using core::v1::Problem;
using storage::v1::Document;
using storage::v1::HelmOptions;
using storage::v1::Target;

constexpr uint64_t kMaxIgnoreFile = 1 << 20;
constexpr size_t kMaxListed = 20000;
// Charts with dependencies in one bundle.
constexpr size_t kMaxCharts = 1000;
// Of charts in charts/ of charts.
constexpr int kMaxNesting = 16;
// Bytes of a problem's text.
constexpr size_t kMaxText = 4000;
// Paths in one.
constexpr size_t kMaxShown = 20;

std::string Join(absl::string_view directory, absl::string_view name) {
  return directory.empty() ? std::string(name)
                           : absl::StrCat(directory, "/", name);
}

absl::string_view Parent(absl::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == absl::string_view::npos ? "" : path.substr(0, slash);
}

absl::string_view BaseName(absl::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == absl::string_view::npos ? path : path.substr(slash + 1);
}

bool IsFleetYaml(absl::string_view name) {
  return name == "fleet.yaml" || name == "fleet.yml";
}

bool IsYaml(absl::string_view name) {
  return !absl::StartsWith(name, ".") &&
         (absl::EndsWith(name, ".yaml") || absl::EndsWith(name, ".yml"));
}

bool IsHidden(absl::string_view path) {
  return absl::StartsWith(path, ".") || absl::StrContains(path, "/.");
}

// "in directory \"x\"", for people.
std::string ShownDirectory(absl::string_view directory) {
  return directory.empty() ? "the root of the repository"
                           : absl::StrCat("\"", ShownText(directory), "\"");
}

// Builds the bundles of one tree.
class Builder {
 public:
  Builder(FileTree& tree, const Document& git_repo, const BundleCache& cache,
          const BuildLimits& limits)
      : tree_(tree),
        git_repo_(git_repo),
        cache_(cache),
        limits_(limits),
        subject_(absl::StrCat("GitRepo ", git_repo.workspace(), "/",
                              git_repo.name())) {}

  BuildResult Build() {
    if (git_repo_.git_repo().bundles_size() > 0) {
      TakeExplicit();
    } else {
      for (const std::string& root : Roots()) {
        if (listed_ <= kMaxListed) Discover(root);
      }
    }
    if (places_.size() > limits_.max_bundles) {
      Error("RESOURCE_EXHAUSTED", "", 0,
            absl::StrCat("there are ", places_.size(), " bundles; a GitRepo "
                         "has at most ", limits_.max_bundles,
                         ", so split it by its paths"));
    } else if (entry_count_ > limits_.max_entries) {
      Error("RESOURCE_EXHAUSTED", "", 0,
            absl::StrCat("the bundles have more than ", limits_.max_entries,
                         " files and directories together, those of nested "
                         "bundles included; split the GitRepo by its paths"));
    } else {
      for (const auto& [place, entries] : places_) AddBundle(place, *entries);
    }
    CheckNames();
    if (result_.bundles.empty() && result_.errors.empty()) {
      Error("NOT_FOUND", "", 0,
            absl::StrCat(
                "no resource found at the following paths to deploy: [",
                absl::StrJoin(ShownPaths(), ", "),
                "]; a path needs a fleet.yaml or at least one YAML file"));
    }
    return std::move(result_);
  }

 private:
  // An entry with its path relative to a bundle's directory, which is part of
  // the entry's own path.
  struct Entry {
    absl::string_view path;
    const TreeEntry* entry;
  };
  using Entries = std::vector<Entry>;

  void Error(absl::string_view code, absl::string_view file, int line,
             absl::string_view message) {
    Add(result_.errors, code, file, line, message);
  }
  void Warning(absl::string_view file, int line, absl::string_view message) {
    Add(result_.warnings, "WARNING", file, line, message);
  }
  void Add(std::vector<Problem>& list, absl::string_view code,
           absl::string_view file, int line, absl::string_view message) const {
    if (list.size() >= ProblemLog::kMaxProblems) return;
    Problem& problem = list.emplace_back();
    problem.set_code(std::string(code));
    problem.set_subject(subject_);
    problem.set_file(ToDisplayText(file, kMaxText));
    problem.set_line(static_cast<uint32_t>(std::max(0, line)));
    problem.set_message(ToDisplayText(message, kMaxText));
  }
  void Error(const absl::Status& status, absl::string_view file) {
    Error(absl::StatusCodeToString(status.code()), file, 0, status.message());
  }

  std::vector<std::string> ShownPaths() const {
    std::vector<std::string> shown;
    const storage::v1::GitRepoSpec& spec = git_repo_.git_repo();
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

  // What GitRepo.spec.bundles lists (spec 3.3).
  void TakeExplicit() {
    std::map<std::string, std::shared_ptr<Entries>> walked;
    for (const storage::v1::ExplicitBundle& bundle :
         git_repo_.git_repo().bundles()) {
      absl::string_view base = bundle.base();
      while (absl::ConsumePrefix(&base, "/")) {
      }
      absl::StatusOr<std::string> directory = NormalizeTreePath(base);
      if (!directory.ok()) {
        Error(directory.status(), "");
        continue;
      }
      absl::StatusOr<std::string> options =
          JoinTreePath(*directory, bundle.options());
      if (!options.ok()) {
        Error(options.status(), "");
        continue;
      }
      const BundlePlace place(*directory, bundle.options());
      if (places_.count(place) > 0) {
        Error("ALREADY_EXISTS", *directory, 0,
              absl::StrCat("spec.bundles has ", ShownPlace(place),
                           " twice; take one of them out"));
        continue;
      }
      const auto known = walked.find(*directory);
      if (known != walked.end()) {
        if (known->second != nullptr) AddPlace(place, known->second);
        continue;
      }
      std::shared_ptr<Entries>& entries = walked[*directory];
      if (!CheckDirectory(bundle.base(), "spec.bundles", *directory)) continue;
      const std::vector<TreeEntry>* all = Walk(*directory);
      if (all == nullptr) continue;
      entries = EntriesBelow(*directory, *all);
      AddPlace(place, entries);
    }
  }

  void AddPlace(const BundlePlace& place, std::shared_ptr<Entries> entries) {
    entry_count_ += entries->size();
    places_[place] = std::move(entries);
  }

  // Directories that the GitRepo's paths name.
  std::set<std::string> Roots() {
    std::set<std::string> roots;
    if (git_repo_.git_repo().paths().empty()) roots.insert("");
    for (const std::string& path : git_repo_.git_repo().paths()) {
      absl::string_view relative = path;
      while (absl::ConsumePrefix(&relative, "/")) {
      }
      if (HasGlobMeta(relative)) {
        std::set<std::string> found;
        Expand("", relative, found);
        if (found.empty()) {
          Warning("", 0,
                  absl::StrCat("the pattern \"", ShownText(path),
                               "\" in spec.paths matches no directory"));
        }
        roots.insert(found.begin(), found.end());
        continue;
      }
      absl::StatusOr<std::string> directory = NormalizeTreePath(relative);
      if (!directory.ok()) {
        Error(directory.status(), "");
        continue;
      }
      if (CheckDirectory(path, "spec.paths", *directory)) {
        roots.insert(*directory);
      }
    }
    return roots;
  }

  // Whether `directory`, which a user wrote as `path`, is one.
  bool CheckDirectory(absl::string_view path, absl::string_view key,
                      const std::string& directory) {
    absl::StatusOr<TreeEntry> entry = tree_.Stat(directory);
    if (absl::IsNotFound(entry.status())) {
      Error("NOT_FOUND", "", 0,
            absl::StrCat("no resource found at the following paths to deploy: "
                         "[",
                         ShownText(path),
                         "]: there is no such directory in the commit; put it "
                         "back, or take it out of ",
                         key));
    } else if (!entry.ok()) {
      Error(entry.status(), directory);
    } else if (entry->kind != TreeEntry::Kind::kDirectory) {
      Error("INVALID_ARGUMENT", directory, 0,
            absl::StrCat(key, " names \"", ShownText(path),
                         "\", which is not a directory"));
    } else {
      return true;
    }
    return false;
  }

  void Expand(const std::string& directory, absl::string_view pattern,
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
    if (++listed_ > kMaxListed) {
      if (listed_ == kMaxListed + 1) {
        Error("RESOURCE_EXHAUSTED", "", 0,
              "the patterns in spec.paths look into too many directories; "
              "name the directories");
      }
      return;
    }
    absl::StatusOr<std::vector<TreeEntry>> entries = tree_.List(directory);
    if (!entries.ok()) {
      Error(entries.status(), directory);
      return;
    }
    for (const TreeEntry& entry : *entries) {
      if (entry.kind != TreeEntry::Kind::kDirectory ||
          entry.name() == ".git" || !GlobMatches(part, entry.name())) {
        continue;
      }
      if (rest.empty()) {
        roots.insert(entry.path);
      } else {
        Expand(entry.path, rest, roots);
      }
    }
  }

  static bool InGit(absl::string_view path) {
    return path == ".git" || absl::StartsWith(path, ".git/") ||
           absl::StrContains(path, "/.git/");
  }

  // Everything below a directory, sorted by path; null after an error.
  const std::vector<TreeEntry>* Walk(const std::string& directory) {
    absl::StatusOr<std::vector<TreeEntry>> walked = tree_.Walk(directory);
    if (!walked.ok()) {
      Error(walked.status(), directory);
      return nullptr;
    }
    walks_.push_back(
        std::make_unique<std::vector<TreeEntry>>(*std::move(walked)));
    return walks_.back().get();
  }

  // Those of `entries`, sorted by path, that lie in `directory`.
  static std::shared_ptr<Entries> EntriesBelow(
      const std::string& directory, const std::vector<TreeEntry>& entries) {
    auto own = std::make_shared<Entries>();
    // Sorted by path: what lies below stands together.
    const std::string prefix = directory.empty() ? "" : directory + "/";
    auto it = std::lower_bound(entries.begin(), entries.end(), prefix,
                               [](const TreeEntry& e, const std::string& p) {
                                 return e.path < p;
                               });
    for (; it != entries.end() && absl::StartsWith(it->path, prefix); ++it) {
      if (InGit(it->path)) continue;
      own->push_back(
          {absl::string_view(it->path).substr(prefix.size()), &*it});
    }
    return own;
  }

  // Finds the bundles below a root and notes their entries.
  void Discover(const std::string& root) {
    const std::vector<TreeEntry>* walked = Walk(root);
    if (walked == nullptr) return;
    const std::vector<TreeEntry>& entries = *walked;

    std::set<std::string> with_options;
    for (const TreeEntry& entry : entries) {
      if (entry.kind == TreeEntry::Kind::kFile &&
          IsFleetYaml(entry.name()) && !InGit(entry.path)) {
        with_options.insert(std::string(Parent(entry.path)));
      }
    }
    bool root_is_bundle = with_options.count(root) > 0;
    for (const TreeEntry& entry : entries) {
      if (root_is_bundle) break;
      const absl::string_view path = entry.path;
      root_is_bundle =
          entry.kind == TreeEntry::Kind::kFile && IsYaml(entry.name()) &&
          !IsHidden(Relative(root, path)) && !InGit(path) &&
          !IsBelowNested(root, Parent(path), with_options);
    }
    if (root_is_bundle) with_options.insert(root);
    for (const std::string& directory : with_options) {
      const BundlePlace place(directory, "");
      if (places_.count(place) > 0) continue;
      if (places_.size() > limits_.max_bundles ||
          entry_count_ > limits_.max_entries) {
        return;  // Build() says so.
      }
      AddPlace(place, EntriesBelow(directory, entries));
    }
  }

  static absl::string_view Relative(absl::string_view directory,
                                    absl::string_view path) {
    return directory.empty() ? path : path.substr(directory.size() + 1);
  }

  // Whether a directory between `root` and `directory` has its own options.
  static bool IsBelowNested(absl::string_view root,
                            absl::string_view directory,
                            const std::set<std::string>& with_options) {
    while (directory != root) {
      if (with_options.count(std::string(directory)) > 0) return true;
      if (directory.empty()) return false;
      directory = Parent(directory);
    }
    return false;
  }

  static std::string Fingerprint(const Entries& entries) {
    std::string text;
    for (const Entry& entry : entries) {
      const TreeEntry& raw = *entry.entry;
      if (raw.kind == TreeEntry::Kind::kFile && raw.blob_id.empty()) return "";
      absl::StrAppend(&text, entry.path.size(), ":", entry.path, ":",
                      static_cast<int>(raw.kind), ":", raw.blob_id, "\n");
    }
    return Sha256(text);
  }

  // Of a file or of a directory; empty when not known.
  std::string FingerprintOf(const std::string& path) {
    const auto known = fingerprints_.find(path);
    if (known != fingerprints_.end()) return known->second;
    std::string& print = fingerprints_[path];
    absl::StatusOr<TreeEntry> entry = tree_.Stat(path);
    if (!entry.ok()) return print;
    if (entry->kind == TreeEntry::Kind::kFile) return print = entry->blob_id;
    if (entry->kind != TreeEntry::Kind::kDirectory) return print;
    absl::StatusOr<std::vector<TreeEntry>> walked = tree_.Walk(path);
    if (!walked.ok()) return print;
    return print = Fingerprint(*EntriesBelow(path, *walked));
  }

  // Notes that a path was read, if it lies outside the bundle's directory.
  void NoteRead(const std::string& path, BundleContent& content) {
    if (content.directory.empty() ||
        absl::StartsWith(path, content.directory + "/")) {
      return;
    }
    content.outside.emplace_back(path, FingerprintOf(path));
  }

  bool IsCurrent(const BundleContent& content,
                 const std::string& fingerprint) {
    if (fingerprint.empty() || content.fingerprint != fingerprint) {
      return false;
    }
    for (const auto& [path, print] : content.outside) {
      if (print.empty() || FingerprintOf(path) != print) return false;
    }
    return true;
  }

  void AddBundle(const BundlePlace& place, const Entries& entries) {
    const std::string& directory = place.first;
    const std::string fingerprint = Fingerprint(entries);
    std::shared_ptr<const BundleContent> content;
    std::shared_ptr<BundleContent> fresh;
    const auto cached = cache_.find(place);
    if (cached != cache_.end() && IsCurrent(*cached->second, fingerprint)) {
      content = cached->second;
    } else {
      fresh = ReadContent(place, entries, fingerprint);
      content = fresh;
      ++result_.read_directories;
    }
    for (const Problem& warning : content->yaml.warnings) {
      if (result_.warnings.size() < ProblemLog::kMaxProblems) {
        result_.warnings.push_back(warning);
      }
    }
    if (!content->yaml.errors.empty()) {
      for (const Problem& error : content->yaml.errors) {
        if (result_.errors.size() < ProblemLog::kMaxProblems) {
          result_.errors.push_back(error);
        }
      }
      return;
    }
    if (content->files.empty() && content->charts.empty()) {
      Warning(directory, 0,
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

  // The directory, with the options file without its ending (spec 3.7).
  static std::string PathForName(const BundlePlace& place) {
    const auto& [directory, options] = place;
    if (options.empty()) return directory;
    absl::string_view stem = options;
    const size_t dot = BaseName(stem).rfind('.');
    if (dot != absl::string_view::npos) {
      stem.remove_suffix(BaseName(stem).size() - dot);
    }
    absl::StatusOr<std::string> path = JoinTreePath(directory, stem);
    return path.ok() ? *std::move(path) : directory;
  }

  static std::string ShownPlace(const BundlePlace& place) {
    std::string shown = ShownDirectory(place.first);
    if (!place.second.empty()) {
      absl::StrAppend(&shown, " with ", ShownText(place.second));
    }
    return shown;
  }

  std::shared_ptr<BundleContent> ReadContent(const BundlePlace& place,
                                             const Entries& entries,
                                             const std::string& fingerprint) {
    auto content = std::make_shared<BundleContent>();
    const std::string& directory = place.first;
    content->directory = directory;
    content->options_file = place.second;
    content->fingerprint = fingerprint;
    const std::string options_file = ReadOptions(entries, *content);
    // Nothing else may be used then.
    if (!content->yaml.errors.empty()) return content;
    FleetYaml& yaml = content->yaml;
    // Directories of charts in the bundle that are used.
    std::set<std::string> used;
    if (yaml.options.helm().chart().empty() &&
        yaml.options.helm().repo().empty()) {
      used.insert("");
    }
    TakeChart(options_file, yaml.options.helm(), yaml.lines, *content, used);
    for (int i = 0; i < yaml.customizations.size(); ++i) {
      TakeChart(options_file, yaml.customizations[i].options().helm(),
                yaml.customization_lines[static_cast<size_t>(i)], *content,
                used);
    }
    if (yaml.errors.empty()) ReadFiles(entries, *content);
    if (yaml.errors.empty() &&
        !yaml.options.helm().disable_dependency_update()) {
      for (const std::string& chart : used) {
        AddDependencies(chart, *content);
      }
    }
    return content;
  }

  // The file that says how a bundle is deployed, as a path in the tree; "" for
  // none.
  std::string FindOptions(const Entries& entries, BundleContent& content) {
    if (!content.options_file.empty()) {
      absl::StatusOr<std::string> path =
          JoinTreePath(content.directory, content.options_file);
      const absl::StatusOr<TreeEntry> entry =
          path.ok() ? tree_.Stat(*path) : path.status();
      if (entry.ok() && entry->kind == TreeEntry::Kind::kFile) return *path;
      Add(content.yaml.errors, "NOT_FOUND",
          path.ok() ? *path : content.directory, 0,
          absl::StrCat("spec.bundles names the options file \"",
                       ShownText(content.options_file), "\" of ",
                       ShownDirectory(content.directory),
                       ", which is not there"));
      return "";
    }
    for (const char* name : {"fleet.yaml", "fleet.yml"}) {
      const bool there = std::any_of(
          entries.begin(), entries.end(), [name](const Entry& entry) {
            return entry.path == name &&
                   entry.entry->kind == TreeEntry::Kind::kFile;
          });
      if (there) return Join(content.directory, name);
    }
    return "";
  }

  // Reads fleet.yaml and the values files that it names. Returns its path.
  std::string ReadOptions(const Entries& entries, BundleContent& content) {
    const std::string path = FindOptions(entries, content);
    if (path.empty()) return path;
    NoteRead(path, content);
    absl::StatusOr<std::string> text = Read(path);
    if (!text.ok()) {
      Add(content.yaml.errors,
          absl::StatusCodeToString(text.status().code()), path, 0,
          text.status().message());
      return path;
    }
    content.yaml = ParseFleetYaml(*text, path, subject_);
    if (!content.yaml.errors.empty()) return path;
    InheritChart(content.yaml);
    MergeValuesFiles(
        path, subject_,
        [&](const std::string& file) -> absl::StatusOr<ValuesFile> {
          absl::StatusOr<std::string> joined =
              JoinTreePath(content.directory, file);
          if (!joined.ok()) return joined.status();
          NoteRead(*joined, content);
          absl::StatusOr<std::string> read = Read(*joined);
          if (!read.ok()) return read.status();
          return ValuesFile{*joined, *std::move(read)};
        },
        content.yaml);
    return path;
  }

  // A target's helm block that does not say where its chart is has the root's
  // (spec 2.3.1).
  static void InheritChart(FleetYaml& yaml) {
    if (!yaml.options.has_helm()) return;
    const HelmOptions& root = yaml.options.helm();
    for (int i = 0; i < yaml.customizations.size(); ++i) {
      storage::v1::DeployOptions& options =
          *yaml.customizations[i].mutable_options();
      if (!options.has_helm()) continue;
      HelmOptions& helm = *options.mutable_helm();
      OptionLines& lines = yaml.customization_lines[static_cast<size_t>(i)];
      if (helm.repo().empty() && !root.repo().empty()) {
        helm.set_repo(root.repo());
        lines.helm_repo = yaml.lines.helm_repo;
      }
      if (helm.chart().empty() && !root.chart().empty()) {
        helm.set_chart(root.chart());
        lines.helm_chart = yaml.lines.helm_chart;
      }
      if (helm.version().empty() && !root.version().empty()) {
        helm.set_version(root.version());
        if (lines.helm_version == 0) {
          lines.helm_version = yaml.lines.helm_version;
        }
      }
    }
  }

  // Notes which chart a helm block asks for: one to download, or a directory
  // of the bundle, which is checked and goes to `used`.
  void TakeChart(const std::string& file, const HelmOptions& helm,
                 const OptionLines& lines, BundleContent& content,
                 std::set<std::string>& used) {
    if (helm.chart().empty() && helm.repo().empty()) return;
    if (helm.repo().empty() && !IsChartAddress(helm.chart())) {
      CheckLocalChart(file, helm, lines, content, used);
      return;
    }
    const int line =
        helm.chart().empty() ? lines.helm_repo : lines.helm_chart;
    if (helm.chart().empty() && !absl::StartsWith(helm.repo(), "oci://")) {
      Add(content.yaml.errors, "INVALID_ARGUMENT", file, line,
          "helm.repo: helm.chart must name a chart of this repository");
      return;
    }
    const std::string prefix =
        ChartPrefix(helm.chart(), helm.repo(), helm.version());
    for (const ChartNeed& known : content.charts) {
      if (known.prefix == prefix) return;
    }
    ChartNeed& need = content.charts.emplace_back();
    need.chart = helm.chart();
    need.repo = helm.repo();
    need.version = helm.version();
    need.prefix = prefix;
    need.directory = content.directory;
    need.file = file;
    need.line = line;
  }

  void CheckLocalChart(const std::string& file, const HelmOptions& helm,
                       const OptionLines& lines, BundleContent& content,
                       std::set<std::string>& used) {
    const std::string& directory = content.directory;
    std::string problem;
    absl::string_view code = "INVALID_ARGUMENT";
    absl::string_view written = helm.chart();
    absl::StatusOr<std::string> chart = JoinTreePath(directory, written);
    absl::StatusOr<TreeEntry> entry =
        chart.ok() ? tree_.Stat(*chart) : chart.status();
    if (absl::IsNotFound(entry.status())) {
      code = "NOT_FOUND";
      problem =
          "is not a directory of the bundle; a chart from elsewhere needs "
          "helm.repo, or a URL as helm.chart";
    } else if (!entry.ok()) {
      problem = std::string(entry.status().message());
    } else if (entry->kind != TreeEntry::Kind::kDirectory) {
      problem =
          "is not a directory; unpack the chart, or name its URL, so that it "
          "is downloaded";
    } else if (!directory.empty() && *chart != directory &&
               !absl::StartsWith(*chart, directory + "/")) {
      problem = absl::StrCat("must lie in the bundle's directory, ",
                             ShownDirectory(directory));
    } else if (!tree_.Stat(Join(*chart, "Chart.yaml")).ok()) {
      problem = "has no Chart.yaml";
    }
    if (problem.empty()) {
      used.insert(*chart == directory
                      ? ""
                      : std::string(Relative(directory, *chart)));
      return;
    }
    Add(content.yaml.errors, code, file, lines.helm_chart,
        absl::StrCat("helm.chart: \"", ShownText(helm.chart()), "\" ",
                     problem));
  }

  // Dependencies of the chart in `chart`, a directory of the bundle, and of
  // those in its charts/, which are not there: local ones are copied, others
  // become needs.
  void AddDependencies(const std::string& chart, BundleContent& content) {
    std::vector<LocalChart> todo;
    std::set<std::string> done;
    const std::string below =
        chart.empty() ? "charts/" : absl::StrCat(chart, "/charts/");
    for (const ContentFile& file : content.files) {
      if (BaseName(file.name) != "Chart.yaml") continue;
      const std::string parent(Parent(file.name));
      if (parent != chart && !absl::StartsWith(file.name, below)) continue;
      todo.push_back({parent,
                      parent.empty() ? content.directory
                                     : Join(content.directory, parent),
                      0});
    }
    while (!todo.empty()) {
      const LocalChart next = std::move(todo.back());
      todo.pop_back();
      if (!done.insert(next.directory).second) continue;
      if (next.depth > kMaxNesting || done.size() > kMaxCharts) {
        Add(content.yaml.errors, "RESOURCE_EXHAUSTED",
            Join(next.origin, "Chart.yaml"), 0,
            "the dependencies of this chart lead in a circle, or there are "
            "too many of them");
        return;
      }
      AddDependenciesOf(next, content, todo);
    }
  }

  // A chart in a bundle.
  struct LocalChart {
    std::string directory;  // In the bundle.
    std::string origin;     // In the tree.
    int depth = 0;          // Of being a dependency.
  };

  void AddDependenciesOf(const LocalChart& local_chart,
                         BundleContent& content,
                         std::vector<LocalChart>& todo) {
    const std::string& directory = local_chart.directory;
    const std::string& origin = local_chart.origin;
    const std::string path = Join(origin, "Chart.yaml");
    const ContentFile* chart = Find(content, Join(directory, "Chart.yaml"));
    if (chart == nullptr) return;
    const std::string text = chart->bytes;
    absl::StatusOr<std::vector<ChartDependency>> dependencies =
        ReadChartDependencies(text);
    if (!dependencies.ok()) {
      Add(content.yaml.errors,
          absl::StatusCodeToString(dependencies.status().code()), path,
          YamlErrorLine(dependencies.status()),
          YamlErrorText(dependencies.status()));
      return;
    }
    std::vector<bool> missing(dependencies->size(), false);
    bool any = false;
    for (size_t i = 0; i < dependencies->size(); ++i) {
      const ChartDependency& dependency = (*dependencies)[i];
      if (dependency.name.empty() || dependency.repository.empty() ||
          HasDependency(content, directory, dependency.name)) {
        continue;
      }
      absl::string_view local = dependency.repository;
      if (absl::ConsumePrefix(&local, "file://")) {
        CopyDependency(path, local_chart, dependency.name, local, content,
                       todo);
        continue;
      }
      missing[i] = true;
      any = true;
    }
    if (!any) return;
    ChartNeed& need = content.charts.emplace_back();
    need.chart_yaml = KeepDependencies(text, missing);
    if (const ContentFile* lock =
            Find(content, Join(directory, "Chart.lock"));
        lock != nullptr) {
      need.chart_lock = lock->bytes;
    }
    need.prefix = directory;
    need.directory = content.directory;
    need.file = path;
  }

  static const ContentFile* Find(const BundleContent& content,
                                 const std::string& name) {
    const auto it = std::lower_bound(
        content.files.begin(), content.files.end(), name,
        [](const ContentFile& f, const std::string& n) { return f.name < n; });
    return it == content.files.end() || it->name != name ? nullptr : &*it;
  }

  static bool HasDependency(const BundleContent& content,
                            const std::string& chart,
                            const std::string& dependency) {
    const std::string prefix = chart.empty() ? "" : chart + "/";
    return std::any_of(content.files.begin(), content.files.end(),
                       [&](const ContentFile& file) {
                         absl::string_view name = file.name;
                         return absl::ConsumePrefix(&name, prefix) &&
                                IsVendored(name, dependency);
                       });
  }

  // A dependency that lies elsewhere in the repository ("file://../x").
  void CopyDependency(const std::string& chart_file, const LocalChart& chart,
                      const std::string& name, absl::string_view path,
                      BundleContent& content,
                      std::vector<LocalChart>& todo) {
    std::vector<Problem>& errors = content.yaml.errors;
    const absl::StatusOr<std::string> plain = NormalizeTreePath(name);
    absl::StatusOr<std::string> from = JoinTreePath(chart.origin, path);
    if (!plain.ok() || *plain != name || absl::StrContains(name, '/')) {
      Add(errors, "INVALID_ARGUMENT", chart_file, 0,
          absl::StrCat("\"", ShownText(name),
                       "\" is not a name that a dependency may have"));
      return;
    }
    absl::StatusOr<std::vector<TreeEntry>> walked =
        from.ok() ? tree_.Walk(*from) : from.status();
    if (!walked.ok()) {
      Add(errors, absl::StatusCodeToString(walked.status().code()),
          chart_file, 0,
          absl::StrCat("dependency \"", ShownText(name), "\": ",
                       walked.status().message()));
      return;
    }
    NoteRead(*from, content);
    const std::string to =
        Join(chart.directory, absl::StrCat("charts/", name));
    uint64_t total = 0;
    for (const ContentFile& file : content.files) total += file.size;
    std::vector<ContentFile> copies;
    const std::shared_ptr<Entries> entries = EntriesBelow(*from, *walked);
    for (const Entry& entry : *entries) {
      const TreeEntry& raw = *entry.entry;
      if (IsHidden(entry.path) || raw.kind == TreeEntry::Kind::kDirectory ||
          !CheckKind(raw, errors)) {
        continue;
      }
      if (!Fits(content.files.size() + copies.size(), total + raw.size,
                content)) {
        return;
      }
      if (!ReadFile(raw, Join(to, entry.path), copies, errors)) continue;
      total += raw.size;
    }
    for (ContentFile& file : copies) {
      content.files.push_back(std::move(file));
    }
    SortFiles(content);
    todo.push_back({to, *from, chart.depth + 1});
  }

  // Names in any `valuesFiles`: paths relative to the bundle, and base names.
  static void CollectValuesFiles(const HelmOptions& helm,
                                 std::set<std::string>& paths,
                                 std::set<std::string>& names) {
    for (const std::string& file : helm.values_files()) {
      absl::StatusOr<std::string> path = NormalizeTreePath(file);
      if (path.ok()) paths.insert(*path);
      names.insert(std::string(BaseName(file)));
    }
  }

  void ReadFiles(const Entries& entries, BundleContent& content) {
    std::set<std::string> values_paths;
    std::set<std::string> values_names;
    CollectValuesFiles(content.yaml.options.helm(), values_paths,
                       values_names);
    for (const Target& target : content.yaml.customizations) {
      CollectValuesFiles(target.options().helm(), values_paths, values_names);
    }
    std::vector<Problem>& errors = content.yaml.errors;
    const IgnoreRules rules = ReadIgnoreRules(entries, errors);

    std::string options;
    if (!content.options_file.empty()) {
      const absl::StatusOr<std::string> normal =
          NormalizeTreePath(content.options_file);
      if (normal.ok()) options = *normal;
    }

    std::set<std::string> ignored_directories;
    uint64_t total = 0;
    for (const Entry& entry : entries) {
      const std::string path(entry.path);
      const TreeEntry& raw = *entry.entry;
      const bool is_directory = raw.kind == TreeEntry::Kind::kDirectory;
      if (IsHidden(path)) continue;
      // Sorted by path: a directory comes before what is in it.
      if (ignored_directories.count(std::string(Parent(path))) > 0 ||
          rules.Ignores(path, is_directory)) {
        if (is_directory) ignored_directories.insert(path);
        continue;
      }
      if (is_directory || path == "fleet.yaml" || path == options) continue;
      if (values_paths.count(path) > 0) continue;
      if (values_names.count(std::string(BaseName(path))) > 0) {
        Add(content.yaml.warnings, "WARNING", raw.path, 0,
            "is left out of the bundle, because helm.valuesFiles names a file "
            "of the same name (as in Fleet); rename one of them to keep it");
        continue;
      }
      if (!CheckKind(raw, errors)) continue;
      if (!Fits(content.files.size(), total + raw.size, content)) break;
      if (!ReadFile(raw, path, content.files, errors)) continue;
      total += raw.size;
    }
    SortFiles(content);
  }

  // Whether a bundle of so many files may have one more.
  bool Fits(size_t files, uint64_t bytes, BundleContent& content) const {
    if (files < limits_.max_bundle_files &&
        bytes <= limits_.max_bundle_bytes) {
      return true;
    }
    Add(content.yaml.errors, "RESOURCE_EXHAUSTED", content.directory, 0,
        absl::StrCat("a bundle has at most ", limits_.max_bundle_files,
                     " files and ", limits_.max_bundle_bytes,
                     " bytes; split the directory, or leave files out "
                     "with .fleetignore"));
    return false;
  }

  bool ReadFile(const TreeEntry& raw, const std::string& name,
                std::vector<ContentFile>& files,
                std::vector<Problem>& errors) {
    absl::StatusOr<std::string> bytes = Read(raw.path);
    if (!bytes.ok()) {
      Add(errors, absl::StatusCodeToString(bytes.status().code()), raw.path,
          0, bytes.status().message());
      return false;
    }
    ContentFile& file = files.emplace_back();
    file.name = name;
    file.size = bytes->size();
    file.secret = MayHoldSecret(*bytes);
    file.bytes = *std::move(bytes);
    return true;
  }

  static void SortFiles(BundleContent& content) {
    std::sort(content.files.begin(), content.files.end(),
              [](const ContentFile& a, const ContentFile& b) {
                return a.name < b.name;
              });
  }

  bool CheckKind(const TreeEntry& entry, std::vector<Problem>& errors) const {
    switch (entry.kind) {
      case TreeEntry::Kind::kFile:
        return true;
      case TreeEntry::Kind::kBrokenLink:
        Add(errors, "INVALID_ARGUMENT", entry.path, 0,
            absl::StrCat("is a symbolic link that cannot be followed: ",
                         entry.problem));
        return false;
      case TreeEntry::Kind::kSubmodule:
        Add(errors, "UNIMPLEMENTED", entry.path, 0,
            "is a submodule; submodules are not fetched. Leave it out with "
            ".fleetignore, or make a GitRepo for its repository");
        return false;
      default:
        Add(errors, "INVALID_ARGUMENT", entry.path, 0, entry.problem);
        return false;
    }
  }

  IgnoreRules ReadIgnoreRules(const Entries& entries,
                              std::vector<Problem>& errors) {
    IgnoreRules rules;
    for (const Entry& entry : entries) {
      if (BaseName(entry.path) != ".fleetignore" ||
          entry.entry->kind != TreeEntry::Kind::kFile ||
          IsHidden(Parent(entry.path))) {
        continue;
      }
      absl::StatusOr<std::string> text =
          tree_.Read(entry.entry->path, kMaxIgnoreFile);
      if (!text.ok()) {
        Add(errors, absl::StatusCodeToString(text.status().code()),
            entry.entry->path, 0, text.status().message());
        continue;
      }
      rules.AddFile(Parent(entry.path), *text);
    }
    return rules;
  }

  absl::StatusOr<std::string> Read(const std::string& path) {
    absl::StatusOr<std::string> bytes =
        tree_.Read(path, limits_.max_file_bytes);
    if (!bytes.ok()) return bytes;
    read_bytes_ += bytes->size();
    if (read_bytes_ > limits_.max_read_bytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the GitRepo's bundles have more than ",
                       limits_.max_read_bytes,
                       " bytes together; split it by its paths"));
    }
    return bytes;
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
      Error("ALREADY_EXISTS", b.content->directory, 0,
            absl::StrCat("the bundles of ",
                         ShownPlace(a.content->place()), " and ",
                         ShownPlace(b.content->place()),
                         " have the same name, \"", ShownText(a.name),
                         "\"; give one of them a name in its fleet.yaml"));
    }
  }

  // Constant after construction.
  FileTree& tree_;
  const Document& git_repo_;
  const BundleCache& cache_;
  const BuildLimits& limits_;
  const std::string subject_;

  // What the roots' walks found; `places_` points into it.
  std::vector<std::unique_ptr<std::vector<TreeEntry>>> walks_;
  std::map<BundlePlace, std::shared_ptr<Entries>> places_;
  size_t entry_count_ = 0;
  // Of what bundles read outside their directories.
  std::map<std::string, std::string> fingerprints_;
  uint64_t read_bytes_ = 0;
  // Directories that patterns have looked into.
  size_t listed_ = 0;
  BuildResult result_;
};

}  // namespace

BuildResult BuildBundles(FileTree& tree, const Document& git_repo,
                         const BundleCache& cache, const BuildLimits& limits) {
  return Builder(tree, git_repo, cache, limits).Build();
}

}  // namespace flotilla::manager
