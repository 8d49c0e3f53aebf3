// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/bundle_reader.h"

#include <algorithm>
#include <cstdint>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/bundle/bundle_charts.h"
#include "manager/bundle/glob.h"
#include "manager/bundle/problem_sink.h"
#include "manager/bundle/values_files.h"
#include "manager/documents/field_reader.h"
#include "manager/documents/fleet_yaml.h"
#include "manager/gitsync/file_tree.h"
#include "manager/gitsync/tree_path.h"

namespace flotilla::manager {
namespace {

using storage::v1::HelmOptions;
using storage::v1::Target;

// What `valuesFiles` names: paths relative to the bundle, and base names.
struct ValuesFileNames {
  std::set<std::string> paths;
  std::set<std::string> names;

  void Add(const HelmOptions& helm) {
    for (const std::string& file : helm.values_files()) {
      absl::StatusOr<std::string> path = NormalizeTreePath(file);
      if (path.ok()) paths.insert(*path);
      names.insert(std::string(TreeName(file)));
    }
  }
};

class Reading {
 public:
  Reading(BundleFileReader& reader, const std::string& subject,
          const DirectoryEntries& entries, BundleContent& content)
      : reader_(reader),
        entries_(entries),
        content_(content),
        problems_(subject, content.yaml.errors, content.yaml.warnings) {}

  void ReadAll();

 private:
  // The file that says how the bundle is deployed, as a path in the tree; ""
  // for none.
  std::string FindOptions();
  // Reads it and the values files that it names. Returns its path.
  std::string ReadOptions();
  void ReadFiles();
  // Whether the bundle ships no such file, because helm.valuesFiles names it.
  bool IsValuesFile(const ValuesFileNames& values, const std::string& path,
                    const TreeEntry& entry);
  // False after an error.
  bool ReadIgnoreRules(IgnoreRules& rules);

  // Not owned.
  BundleFileReader& reader_;
  const DirectoryEntries& entries_;
  BundleContent& content_;

  ProblemSink problems_;
};

void Reading::ReadAll() {
  const std::string options_file = ReadOptions();
  // Nothing else may be used then.
  if (!problems_.ok()) return;
  BundleCharts charts(reader_, content_, problems_);
  charts.TakeAll(options_file);
  if (problems_.ok()) ReadFiles();
  if (problems_.ok() &&
      !content_.yaml.options.helm().disable_dependency_update()) {
    charts.AddDependencies();
  }
}

std::string Reading::FindOptions() {
  if (!content_.options_file.empty()) {
    absl::StatusOr<std::string> path =
        JoinTreePath(content_.directory, content_.options_file);
    const absl::StatusOr<TreeEntry> entry =
        path.ok() ? reader_.tree().Stat(*path) : path.status();
    if (entry.ok() && entry->kind == TreeEntry::Kind::kFile) return *path;
    problems_.Error("NOT_FOUND", path.ok() ? *path : content_.directory, 0,
                    absl::StrCat("spec.bundles names the options file \"",
                                 ShownText(content_.options_file), "\" of ",
                                 ShownDirectory(content_.directory),
                                 ", which is not there"));
    return "";
  }
  for (const char* name : {"fleet.yaml", "fleet.yml"}) {
    const bool there = std::any_of(
        entries_.begin(), entries_.end(), [name](const DirectoryEntry& entry) {
          return entry.path == name &&
                 entry.entry->kind == TreeEntry::Kind::kFile;
        });
    if (there) return TreeChild(content_.directory, name);
  }
  return "";
}

std::string Reading::ReadOptions() {
  const std::string path = FindOptions();
  if (path.empty()) return path;
  reader_.NoteRead(path, content_);
  absl::StatusOr<std::string> text = reader_.Read(path);
  if (!text.ok()) {
    problems_.Error(text.status(), path);
    return path;
  }
  content_.yaml = ParseFleetYaml(*text, path, problems_.subject());
  if (!content_.yaml.errors.empty()) return path;
  InheritChart(content_.yaml);
  MergeValuesFiles(
      path, problems_.subject(),
      [&](const std::string& file) -> absl::StatusOr<ValuesFile> {
        absl::StatusOr<std::string> joined =
            JoinTreePath(content_.directory, file);
        if (!joined.ok()) return joined.status();
        reader_.NoteRead(*joined, content_);
        absl::StatusOr<std::string> read = reader_.Read(*joined);
        if (!read.ok()) return read.status();
        return ValuesFile{*joined, *std::move(read)};
      },
      content_.yaml);
  return path;
}

void Reading::ReadFiles() {
  ValuesFileNames values;
  values.Add(content_.yaml.options.helm());
  for (const Target& target : content_.yaml.customizations) {
    values.Add(target.options().helm());
  }
  IgnoreRules rules(reader_.match_steps());
  if (!ReadIgnoreRules(rules)) return;

  const absl::StatusOr<std::string> options =
      NormalizeTreePath(content_.options_file);

  std::set<std::string> ignored_directories;
  uint64_t total = 0;
  for (const DirectoryEntry& entry : entries_) {
    const std::string path(entry.path);
    const TreeEntry& raw = *entry.entry;
    const bool is_directory = raw.kind == TreeEntry::Kind::kDirectory;
    if (IsHiddenPath(path)) continue;
    // Sorted by path: a directory comes before what is in it.
    absl::StatusOr<bool> ignored =
        ignored_directories.count(std::string(TreeParent(path))) > 0;
    if (!*ignored) ignored = rules.Ignores(path, is_directory);
    if (!ignored.ok()) {
      problems_.Error(ignored.status(), content_.directory);
      break;
    }
    if (*ignored) {
      if (is_directory) ignored_directories.insert(path);
      continue;
    }
    if (is_directory || path == "fleet.yaml") continue;
    if (options.ok() && path == *options) continue;
    if (IsValuesFile(values, path, raw)) continue;
    if (!CheckReadable(raw, problems_)) continue;
    if (!reader_.Fits(content_.files.size(), total + raw.size,
                      content_.directory, problems_)) {
      break;
    }
    if (reader_.AddFile(raw, path, content_.files, problems_)) {
      total += raw.size;
    }
  }
  SortByName(content_.files);
}

bool Reading::IsValuesFile(const ValuesFileNames& values,
                           const std::string& path, const TreeEntry& entry) {
  if (values.paths.count(path) > 0) return true;
  if (values.names.count(std::string(TreeName(path))) == 0) return false;
  problems_.Warning(
      entry.path, 0,
      "is left out of the bundle, because helm.valuesFiles names a file of the "
      "same name (as in Fleet); rename one of them to keep it");
  return true;
}

bool Reading::ReadIgnoreRules(IgnoreRules& rules) {
  for (const DirectoryEntry& entry : entries_) {
    if (TreeName(entry.path) != ".fleetignore" ||
        entry.entry->kind != TreeEntry::Kind::kFile ||
        IsHiddenPath(TreeParent(entry.path))) {
      continue;
    }
    const absl::StatusOr<std::string> text = reader_.Read(entry.entry->path);
    const absl::Status added =
        text.ok() ? rules.AddFile(TreeParent(entry.path), *text)
                  : text.status();
    if (!added.ok()) {
      problems_.Error(added, entry.entry->path);
      return false;
    }
  }
  return true;
}

}  // namespace

std::shared_ptr<BundleContent> ReadBundle(BundleFileReader& reader,
                                          const std::string& subject,
                                          const BundlePlace& place,
                                          const DirectoryEntries& entries,
                                          const std::string& fingerprint) {
  auto content = std::make_shared<BundleContent>();
  content->directory = place.first;
  content->options_file = place.second;
  content->fingerprint = fingerprint;
  Reading(reader, subject, entries, *content).ReadAll();
  return content;
}

}  // namespace flotilla::manager
