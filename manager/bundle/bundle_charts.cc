// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/bundle_charts.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/yaml/documents.h"
#include "manager/bundle/directory_entries.h"
#include "manager/documents/field_reader.h"
#include "manager/gitsync/file_tree.h"
#include "manager/gitsync/tree_path.h"

namespace flotilla::manager {
namespace {

using storage::v1::HelmOptions;

// Charts with dependencies in one bundle.
constexpr size_t kMaxCharts = 1000;
constexpr char kRequirements[] = "requirements.yaml";
// Of charts in charts/ of charts.
constexpr int kMaxNesting = 16;

}  // namespace

void InheritChart(FleetYaml& yaml) {
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

void BundleCharts::TakeAll(const std::string& file) {
  const FleetYaml& yaml = content_.yaml;
  const HelmOptions& root = yaml.options.helm();
  if (root.chart().empty() && root.repo().empty()) used_.insert("");
  Take(file, root, yaml.lines);
  for (int i = 0; i < yaml.customizations.size(); ++i) {
    Take(file, yaml.customizations[i].options().helm(),
         yaml.customization_lines[static_cast<size_t>(i)]);
  }
}

void BundleCharts::AddDependencies() {
  for (const std::string& chart : used_) AddDependenciesBelow(chart);
}

void BundleCharts::Take(const std::string& file, const HelmOptions& helm,
                        const OptionLines& lines) {
  if (helm.chart().empty() && helm.repo().empty()) return;
  if (helm.repo().empty() && !IsChartAddress(helm.chart())) {
    TakeLocal(file, helm, lines);
    return;
  }
  const int line = helm.chart().empty() ? lines.helm_repo : lines.helm_chart;
  if (helm.chart().empty() && !absl::StartsWith(helm.repo(), "oci://")) {
    problems_.Error(
        "INVALID_ARGUMENT", file, line,
        "helm.repo: helm.chart must name a chart of this repository");
    return;
  }
  const std::string prefix =
      ChartPrefix(helm.chart(), helm.repo(), helm.version());
  for (const ChartNeed& known : content_.charts) {
    if (known.prefix == prefix) return;
  }
  ChartNeed& need = content_.charts.emplace_back();
  need.chart = helm.chart();
  need.repo = helm.repo();
  need.version = helm.version();
  need.prefix = prefix;
  need.directory = content_.directory;
  need.file = file;
  need.line = line;
}

void BundleCharts::TakeLocal(const std::string& file, const HelmOptions& helm,
                             const OptionLines& lines) {
  const std::string& directory = content_.directory;
  std::string problem;
  absl::string_view code = "INVALID_ARGUMENT";
  absl::string_view written = helm.chart();
  absl::StatusOr<std::string> chart = JoinTreePath(directory, written);
  absl::StatusOr<TreeEntry> entry =
      chart.ok() ? reader_.tree().Stat(*chart) : chart.status();
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
  } else if (!IsWithin(directory, *chart)) {
    problem = absl::StrCat("must lie in the bundle's directory, ",
                           ShownDirectory(directory));
  } else if (!reader_.tree().Stat(TreeChild(*chart, "Chart.yaml")).ok()) {
    problem = "has no Chart.yaml";
  }
  if (problem.empty()) {
    used_.insert(
        *chart == directory ? "" : std::string(RelativeTo(directory, *chart)));
    return;
  }
  problems_.Error(
      code, file, lines.helm_chart,
      absl::StrCat("helm.chart: \"", ShownText(helm.chart()), "\" ", problem));
}

void BundleCharts::AddDependenciesBelow(const std::string& chart) {
  std::vector<LocalChart> todo;
  std::set<std::string> done;
  const std::string below =
      chart.empty() ? "charts/" : absl::StrCat(chart, "/charts/");
  for (const ContentFile& file : content_.files) {
    if (TreeName(file.name) != "Chart.yaml") continue;
    const std::string parent(TreeParent(file.name));
    if (parent != chart && !absl::StartsWith(file.name, below)) continue;
    todo.push_back({parent,
                    parent.empty() ? content_.directory
                                   : TreeChild(content_.directory, parent),
                    0});
  }
  while (!todo.empty()) {
    const LocalChart next = std::move(todo.back());
    todo.pop_back();
    if (!done.insert(next.directory).second) continue;
    if (next.depth > kMaxNesting || done.size() > kMaxCharts) {
      problems_.Error(
          "RESOURCE_EXHAUSTED", TreeChild(next.origin, "Chart.yaml"), 0,
          "the dependencies of this chart lead in a circle, or there are "
          "too many of them");
      return;
    }
    AddDependenciesOf(next, todo);
  }
}

void BundleCharts::AddDependenciesOf(const LocalChart& local_chart,
                                     std::vector<LocalChart>& todo) {
  const std::string& directory = local_chart.directory;
  const std::string& origin = local_chart.origin;
  // Helm takes the dependencies of requirements.yaml where there is one.
  const bool old = FindFile(TreeChild(directory, kRequirements)) != nullptr;
  const char* const name = old ? kRequirements : "Chart.yaml";
  const std::string path = TreeChild(origin, name);
  const ContentFile* chart = FindFile(TreeChild(directory, name));
  if (chart == nullptr) return;
  const std::string text = chart->bytes;
  absl::StatusOr<std::vector<ChartDependency>> dependencies =
      ReadChartDependencies(text);
  if (!dependencies.ok()) {
    problems_.Error(absl::StatusCodeToString(dependencies.status().code()),
                    path, YamlErrorLine(dependencies.status()),
                    YamlErrorText(dependencies.status()));
    return;
  }
  std::vector<bool> missing(dependencies->size(), false);
  bool any = false;
  for (size_t i = 0; i < dependencies->size(); ++i) {
    const ChartDependency& dependency = (*dependencies)[i];
    if (dependency.name.empty() || HasDependency(directory, dependency.name)) {
      continue;
    }
    if (dependency.repository.empty()) {
      problems_.Error(
          "NOT_FOUND", path, 0,
          absl::StrCat("the dependency \"", ShownText(dependency.name),
                       "\" has no repository and is not in charts/: commit it "
                       "there, or say where it is"));
      continue;
    }
    absl::string_view local = dependency.repository;
    if (absl::ConsumePrefix(&local, "file://")) {
      CopyDependency(path, local_chart, dependency.name, local, todo);
      continue;
    }
    missing[i] = true;
    any = true;
  }
  if (!any) return;
  ChartNeed& need = content_.charts.emplace_back();
  need.chart_yaml = KeepDependencies(text, missing);
  if (const ContentFile* lock = FindFile(
          TreeChild(directory, old ? "requirements.lock" : "Chart.lock"));
      lock != nullptr) {
    need.chart_lock = lock->bytes;
  }
  need.prefix = directory;
  need.directory = content_.directory;
  need.file = path;
}

void BundleCharts::CopyDependency(const std::string& chart_file,
                                  const LocalChart& chart,
                                  const std::string& name,
                                  absl::string_view path,
                                  std::vector<LocalChart>& todo) {
  const absl::StatusOr<std::string> plain = NormalizeTreePath(name);
  absl::StatusOr<std::string> from = JoinTreePath(chart.origin, path);
  if (!plain.ok() || *plain != name || absl::StrContains(name, '/')) {
    problems_.Error(
        "INVALID_ARGUMENT", chart_file, 0,
        absl::StrCat("\"", ShownText(name),
                     "\" is not a name that a dependency may have"));
    return;
  }
  absl::StatusOr<std::vector<TreeEntry>> walked =
      from.ok() ? reader_.tree().Walk(*from) : from.status();
  if (!walked.ok()) {
    problems_.Error(absl::StatusCodeToString(walked.status().code()),
                    chart_file, 0,
                    absl::StrCat("dependency \"", ShownText(name),
                                 "\": ", walked.status().message()));
    return;
  }
  reader_.NoteRead(*from, content_);
  const std::string to =
      TreeChild(chart.directory, absl::StrCat("charts/", name));
  uint64_t total = 0;
  for (const ContentFile& file : content_.files) total += file.size;
  std::vector<ContentFile> copies;
  const DirectoryEntries entries = EntriesBelow(*from, *walked);
  for (const DirectoryEntry& entry : entries) {
    const TreeEntry& raw = *entry.entry;
    if (IsHiddenPath(entry.path) || raw.kind == TreeEntry::Kind::kDirectory ||
        !CheckReadable(raw, problems_)) {
      continue;
    }
    if (!reader_.Fits(content_.files.size() + copies.size(), total + raw.size,
                      content_.directory, problems_)) {
      return;
    }
    if (reader_.AddFile(raw, TreeChild(to, entry.path), copies, problems_)) {
      total += raw.size;
    }
  }
  for (ContentFile& file : copies) {
    content_.files.push_back(std::move(file));
  }
  SortByName(content_.files);
  todo.push_back({to, *from, chart.depth + 1});
}

const ContentFile* BundleCharts::FindFile(const std::string& name) const {
  const auto it = std::lower_bound(
      content_.files.begin(), content_.files.end(), name,
      [](const ContentFile& f, const std::string& n) { return f.name < n; });
  return it == content_.files.end() || it->name != name ? nullptr : &*it;
}

bool BundleCharts::HasDependency(const std::string& chart,
                                 const std::string& dependency) const {
  const std::string prefix = chart.empty() ? "" : chart + "/";
  return std::any_of(content_.files.begin(), content_.files.end(),
                     [&](const ContentFile& file) {
                       absl::string_view name = file.name;
                       return absl::ConsumePrefix(&name, prefix) &&
                              IsVendored(name, dependency);
                     });
}

}  // namespace flotilla::manager
