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
#include "common/status/status_macros.h"
#include "manager/bundle/bundle_name.h"
#include "manager/bundle/glob.h"
#include "manager/bundle/values_files.h"
#include "manager/documents/documents.h"
#include "manager/documents/field_reader.h"
#include "manager/documents/secret_scan.h"

namespace flotilla::manager {
namespace {

using core::v1::Problem;
using storage::v1::BundleRevision;
using storage::v1::Document;
using storage::v1::HelmOptions;
using storage::v1::Target;

constexpr uint64_t kMaxIgnoreFile = 1 << 20;
constexpr size_t kMaxListed = 20000;
constexpr char kRepoName[] = "fleet.cattle.io/repo-name";

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
    for (const std::string& root : Roots()) {
      if (listed_ <= kMaxListed) Discover(root);
    }
    for (const auto& [directory, entries] : directories_) {
      if (result_.bundles.size() >= limits_.max_bundles) {
        Error("RESOURCE_EXHAUSTED", "", 0,
              absl::StrCat("there are more than ", limits_.max_bundles,
                           " bundles; split the GitRepo by its paths"));
        break;
      }
      AddBundle(directory, entries);
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
  // An entry with its path relative to a bundle's directory.
  struct Entry {
    std::string path;
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
    problem.set_file(std::string(file));
    problem.set_line(static_cast<uint32_t>(std::max(0, line)));
    problem.set_message(std::string(message));
  }
  void Error(const absl::Status& status, absl::string_view file) {
    Error(absl::StatusCodeToString(status.code()), file, 0, status.message());
  }

  std::vector<std::string> ShownPaths() const {
    std::vector<std::string> shown;
    for (const std::string& path : git_repo_.git_repo().paths()) {
      shown.push_back(ShownText(path));
    }
    if (shown.empty()) shown.emplace_back("/");
    return shown;
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
        Expand("", relative, roots);
        continue;
      }
      absl::StatusOr<std::string> directory = NormalizeTreePath(relative);
      if (!directory.ok()) {
        Error(directory.status(), "");
        continue;
      }
      AddRoot(path, *directory, roots);
    }
    return roots;
  }

  void AddRoot(absl::string_view path, const std::string& directory,
               std::set<std::string>& roots) {
    absl::StatusOr<TreeEntry> entry = tree_.Stat(directory);
    if (absl::IsNotFound(entry.status())) {
      Error("NOT_FOUND", "", 0,
            absl::StrCat("no resource found at the following paths to deploy: "
                         "[",
                         ShownText(path),
                         "]: there is no such directory in the commit; put it "
                         "back, or take it out of spec.paths"));
    } else if (!entry.ok()) {
      Error(entry.status(), directory);
    } else if (entry->kind != TreeEntry::Kind::kDirectory) {
      Error("INVALID_ARGUMENT", directory, 0,
            absl::StrCat("spec.paths names \"", ShownText(path),
                         "\", which is not a directory"));
    } else {
      roots.insert(directory);
    }
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

  // Finds the bundles below a root and notes their entries.
  void Discover(const std::string& root) {
    absl::StatusOr<std::vector<TreeEntry>> walked = tree_.Walk(root);
    if (!walked.ok()) {
      Error(walked.status(), root);
      return;
    }
    std::sort(
        walked->begin(), walked->end(),
        [](const TreeEntry& a, const TreeEntry& b) { return a.path < b.path; });
    walks_.push_back(
        std::make_unique<std::vector<TreeEntry>>(*std::move(walked)));
    const std::vector<TreeEntry>& entries = *walks_.back();
    const auto in_git = [](absl::string_view path) {
      return path == ".git" || absl::StartsWith(path, ".git/") ||
             absl::StrContains(path, "/.git/");
    };

    std::set<std::string> with_options;
    for (const TreeEntry& entry : entries) {
      if (entry.kind == TreeEntry::Kind::kFile &&
          IsFleetYaml(entry.name()) && !in_git(entry.path)) {
        with_options.insert(std::string(Parent(entry.path)));
      }
    }
    bool root_is_bundle = with_options.count(root) > 0;
    for (const TreeEntry& entry : entries) {
      if (root_is_bundle) break;
      const absl::string_view path = entry.path;
      root_is_bundle =
          entry.kind == TreeEntry::Kind::kFile && IsYaml(entry.name()) &&
          !IsHidden(Relative(root, path)) && !in_git(path) &&
          !IsBelowNested(root, Parent(path), with_options);
    }
    if (root_is_bundle) with_options.insert(root);
    for (const std::string& directory : with_options) {
      if (directories_.count(directory) > 0) continue;
      Entries& own = directories_[directory];
      // Sorted by path: what lies below stands together.
      const std::string prefix = directory.empty() ? "" : directory + "/";
      auto it = std::lower_bound(entries.begin(), entries.end(), prefix,
                                 [](const TreeEntry& e, const std::string& p) {
                                   return e.path < p;
                                 });
      for (; it != entries.end() && absl::StartsWith(it->path, prefix); ++it) {
        if (in_git(it->path)) continue;
        own.push_back({it->path.substr(prefix.size()), &*it});
      }
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

  void AddBundle(const std::string& directory, const Entries& entries) {
    const std::string fingerprint = Fingerprint(entries);
    std::shared_ptr<const BundleContent> content;
    std::shared_ptr<BundleContent> fresh;
    const auto cached = cache_.find(directory);
    if (cached != cache_.end() && !fingerprint.empty() &&
        cached->second->fingerprint == fingerprint) {
      content = cached->second;
    } else {
      fresh = ReadContent(directory, entries, fingerprint);
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
    if (content->files.empty()) {
      Warning(directory, 0,
              absl::StrCat("there is no file to deploy in ",
                           ShownDirectory(directory), ", so it is no bundle"));
      return;
    }
    BuiltBundle bundle;
    bundle.name = content->yaml.name.empty()
                      ? BundleName(git_repo_.name(), directory)
                      : content->yaml.name;
    bundle.content = std::move(content);
    bundle.fresh = std::move(fresh);
    result_.bundles.push_back(std::move(bundle));
  }

  std::shared_ptr<BundleContent> ReadContent(const std::string& directory,
                                             const Entries& entries,
                                             const std::string& fingerprint) {
    auto content = std::make_shared<BundleContent>();
    content->directory = directory;
    content->fingerprint = fingerprint;
    const std::string options_file = ReadOptions(directory, entries, *content);
    // A remote chart has said so already.
    if (!content->yaml.errors.empty()) return content;
    CheckChart(directory, options_file, content->yaml.options.helm(),
               content->yaml.lines, *content);
    for (int i = 0; i < content->yaml.customizations.size(); ++i) {
      CheckChart(directory, options_file,
                 content->yaml.customizations[i].options().helm(),
                 content->yaml.customization_lines[static_cast<size_t>(i)],
                 *content);
    }
    if (content->yaml.errors.empty()) ReadFiles(entries, *content);
    return content;
  }

  // Reads fleet.yaml and the values files that it names. Returns its path.
  std::string ReadOptions(const std::string& directory, const Entries& entries,
                          BundleContent& content) {
    std::string name;
    for (const char* candidate : {"fleet.yaml", "fleet.yml"}) {
      const bool there = std::any_of(
          entries.begin(), entries.end(), [candidate](const Entry& entry) {
            return entry.path == candidate &&
                   entry.entry->kind == TreeEntry::Kind::kFile;
          });
      if (there) {
        name = candidate;
        break;
      }
    }
    if (name.empty()) return "";
    const std::string path = Join(directory, name);
    absl::StatusOr<std::string> text = Read(path);
    if (!text.ok()) {
      Add(content.yaml.errors,
          absl::StatusCodeToString(text.status().code()), path, 0,
          text.status().message());
      return path;
    }
    content.yaml = ParseFleetYaml(*text, path, subject_);
    if (!content.yaml.errors.empty()) return path;
    MergeValuesFiles(
        path, subject_,
        [&](const std::string& file) -> absl::StatusOr<ValuesFile> {
          absl::StatusOr<std::string> joined = JoinTreePath(directory, file);
          if (!joined.ok()) return joined.status();
          if (!directory.empty() &&
              !absl::StartsWith(*joined, directory + "/")) {
            // Not part of the fingerprint.
            content.fingerprint.clear();
          }
          absl::StatusOr<std::string> read = Read(*joined);
          if (!read.ok()) return read.status();
          return ValuesFile{*joined, *std::move(read)};
        },
        content.yaml);
    return path;
  }

  void CheckChart(const std::string& directory, const std::string& file,
                  const HelmOptions& helm, const OptionLines& lines,
                  BundleContent& content) {
    if (helm.chart().empty()) return;
    std::string problem;
    absl::string_view code = "INVALID_ARGUMENT";
    absl::StatusOr<std::string> chart =
        absl::StrContains(helm.chart(), "://") ||
                absl::StrContains(helm.chart(), "::")
            ? absl::NotFoundError("an address")
            : JoinTreePath(directory, helm.chart());
    absl::StatusOr<TreeEntry> entry =
        chart.ok() ? tree_.Stat(*chart) : chart.status();
    if (absl::IsNotFound(entry.status())) {
      code = "UNIMPLEMENTED";
      problem =
          "is not a directory of the repository; charts from elsewhere are not "
          "supported yet";
    } else if (!entry.ok()) {
      problem = std::string(entry.status().message());
    } else if (entry->kind != TreeEntry::Kind::kDirectory) {
      code = "UNIMPLEMENTED";
      problem = "is not a directory; packed charts are not supported yet";
    } else if (!directory.empty() && *chart != directory &&
               !absl::StartsWith(*chart, directory + "/")) {
      problem = absl::StrCat("must lie in the bundle's directory, ",
                             ShownDirectory(directory));
    } else if (!tree_.Stat(Join(*chart, "Chart.yaml")).ok()) {
      problem = "has no Chart.yaml";
    }
    if (problem.empty()) return;
    Add(content.yaml.errors, code, file, lines.helm_chart,
        absl::StrCat("helm.chart: \"", ShownText(helm.chart()), "\" ",
                     problem));
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

    std::set<std::string> ignored_directories;
    uint64_t total = 0;
    for (const Entry& entry : entries) {
      const std::string& path = entry.path;
      const TreeEntry& raw = *entry.entry;
      const bool is_directory = raw.kind == TreeEntry::Kind::kDirectory;
      if (IsHidden(path)) continue;
      // Sorted by path: a directory comes before what is in it.
      if (ignored_directories.count(std::string(Parent(path))) > 0 ||
          rules.Ignores(path, is_directory)) {
        if (is_directory) ignored_directories.insert(path);
        continue;
      }
      if (is_directory || path == "fleet.yaml") continue;
      if (values_paths.count(path) > 0) continue;
      if (values_names.count(std::string(BaseName(path))) > 0) {
        Add(content.yaml.warnings, "WARNING", raw.path, 0,
            "is left out of the bundle, because helm.valuesFiles names a file "
            "of the same name (as in Fleet); rename one of them to keep it");
        continue;
      }
      if (!CheckKind(raw, errors)) continue;
      if (content.files.size() >= limits_.max_bundle_files ||
          total + raw.size > limits_.max_bundle_bytes) {
        Add(errors, "RESOURCE_EXHAUSTED", content.directory, 0,
            absl::StrCat("a bundle has at most ", limits_.max_bundle_files,
                         " files and ", limits_.max_bundle_bytes,
                         " bytes; split the directory, or leave files out "
                         "with .fleetignore"));
        break;
      }
      absl::StatusOr<std::string> bytes = Read(raw.path);
      if (!bytes.ok()) {
        Add(errors, absl::StatusCodeToString(bytes.status().code()), raw.path,
            0, bytes.status().message());
        continue;
      }
      total += bytes->size();
      ContentFile& file = content.files.emplace_back();
      file.name = path;
      file.size = bytes->size();
      file.secret = MayHoldSecret(*bytes);
      file.bytes = *std::move(bytes);
    }
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
                return std::tie(a.name, a.content->directory) <
                       std::tie(b.name, b.content->directory);
              });
    for (size_t i = 1; i < result_.bundles.size(); ++i) {
      const BuiltBundle& a = result_.bundles[i - 1];
      const BuiltBundle& b = result_.bundles[i];
      if (a.name != b.name) continue;
      Error("ALREADY_EXISTS", b.content->directory, 0,
            absl::StrCat("the bundles of ",
                         ShownDirectory(a.content->directory), " and ",
                         ShownDirectory(b.content->directory),
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

  // What the roots' walks found; `directories_` points into it.
  std::vector<std::unique_ptr<std::vector<TreeEntry>>> walks_;
  std::map<std::string, Entries> directories_;
  uint64_t read_bytes_ = 0;
  // Directories that patterns have looked into.
  size_t listed_ = 0;
  BuildResult result_;
};

// The chart that a Bundle document names must be among its files.
absl::Status CheckDocumentChart(const Document& bundle,
                                const HelmOptions& helm) {
  if (helm.chart().empty()) return absl::OkStatus();
  absl::StatusOr<std::string> chart = NormalizeTreePath(helm.chart());
  const std::string wanted = chart.ok() ? Join(*chart, "Chart.yaml") : "";
  const bool there =
      std::any_of(bundle.bundle().resources().begin(),
                  bundle.bundle().resources().end(),
                  [&wanted](const storage::v1::BundleFile& file) {
                    return file.name() == wanted;
                  });
  if (there) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat(
      "spec.helm.chart: \"", ShownText(helm.chart()),
      "\" has no Chart.yaml in spec.resources; charts from elsewhere are not "
      "supported yet"));
}

}  // namespace

BuildResult BuildBundles(FileTree& tree, const Document& git_repo,
                         const BundleCache& cache, const BuildLimits& limits) {
  return Builder(tree, git_repo, cache, limits).Build();
}

BundleRevision MakeRevision(const BuiltBundle& bundle,
                            const Document& git_repo) {
  const BundleContent& content = *bundle.content;
  const storage::v1::GitRepoSpec& spec = git_repo.git_repo();
  BundleRevision revision;
  for (const ContentFile& file : content.files) {
    storage::v1::BundleFile& out = *revision.add_files();
    out.set_name(file.name);
    out.set_blob_digest(file.digest);
    out.set_size(file.size);
  }
  *revision.mutable_options() = content.yaml.options;
  *revision.mutable_customizations() = content.yaml.customizations;
  if (!spec.target_namespace().empty()) {
    revision.mutable_options()->set_namespace_(spec.target_namespace());
    for (Target& target : *revision.mutable_customizations()) {
      target.mutable_options()->set_namespace_(spec.target_namespace());
    }
  }
  if (spec.keep_resources()) {
    revision.mutable_options()->set_keep_resources(true);
  }
  *revision.mutable_targets() = spec.targets();
  if (spec.targets().empty()) {
    Target& target = *revision.add_targets();
    target.set_name("default");
    target.set_cluster_group("default");
  }
  std::map<std::string, std::string> labels;
  for (const auto& label : git_repo.labels()) {
    labels[label.key()] = label.value();
  }
  labels[kRepoName] = git_repo.name();
  for (const auto& label : content.yaml.labels) {
    labels[label.key()] = label.value();
  }
  for (const auto& [key, value] : labels) {
    auto& label = *revision.add_labels();
    label.set_key(key);
    label.set_value(value);
  }
  revision.set_directory(content.directory);
  revision.set_source_correct_drift(spec.correct_drift());
  return revision;
}

absl::StatusOr<BundleRevision> MakeDocumentRevision(
    const Document& bundle,
    absl::FunctionRef<absl::StatusOr<std::string>(const std::string&)> read) {
  FleetYaml yaml;
  yaml.options = bundle.bundle().options();
  yaml.customizations = bundle.bundle().targets();
  MergeValuesFiles(
      "", absl::StrCat("Bundle ", bundle.workspace(), "/", bundle.name()),
      [&read](const std::string& name) -> absl::StatusOr<ValuesFile> {
        absl::StatusOr<std::string> text = read(name);
        if (!text.ok()) return text.status();
        return ValuesFile{name, *std::move(text)};
      },
      yaml);
  if (!yaml.errors.empty()) {
    return absl::InvalidArgumentError(DescribeProblems(yaml.errors));
  }
  RETURN_IF_ERROR(CheckDocumentChart(bundle, yaml.options.helm()));
  for (const Target& target : yaml.customizations) {
    RETURN_IF_ERROR(CheckDocumentChart(bundle, target.options().helm()));
  }
  BundleRevision revision;
  *revision.mutable_files() = bundle.bundle().resources();
  *revision.mutable_options() = yaml.options;
  *revision.mutable_targets() = yaml.customizations;
  *revision.mutable_labels() = bundle.labels();
  return revision;
}

}  // namespace flotilla::manager
