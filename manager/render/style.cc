// SPDX-License-Identifier: Apache-2.0

#include "manager/render/style.h"

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "common/crypto/sha256.h"

namespace flotilla::manager {
namespace {

constexpr char kChartFile[] = "Chart.yaml";
constexpr char kKustomization[] = "kustomization.yaml";

using Names = absl::flat_hash_set<absl::string_view>;

// `directory` has no slash at its end.
std::string In(absl::string_view directory, absl::string_view name) {
  return directory.empty() ? std::string(name)
                           : absl::StrCat(directory, "/", name);
}

bool IsAddress(absl::string_view chart) {
  return absl::StrContains(chart, "://") || absl::StrContains(chart, "::");
}

// The chart's own directory may be the prefix, or one below it.
bool FindDownloaded(const RenderInput& input, Style* style) {
  const std::string prefix = DownloadedChartPrefix(input.options.helm());
  for (const RenderFile& file : input.files) {
    if (!absl::StartsWith(file.name, prefix) ||
        BaseOf(file.name) != kChartFile) {
      continue;
    }
    const absl::string_view rest =
        absl::string_view(file.name).substr(prefix.size());
    const size_t slash = rest.find('/');
    if (slash != absl::string_view::npos &&
        rest.find('/', slash + 1) != absl::string_view::npos) {
      continue;
    }
    // The shorter one wins: a chart may hold a folder with a chart.
    const std::string directory = DirectoryOf(file.name);
    if (!style->helm || directory.size() < style->chart_directory.size()) {
      style->helm = true;
      style->downloaded = true;
      style->chart_directory = directory;
    }
  }
  return style->helm;
}

bool FindLocal(const RenderInput& input, const Names& names, Style* style) {
  const storage::v1::HelmOptions& helm = input.options.helm();
  const std::string& chart =
      helm.chart().empty() ? helm.repo() : helm.chart();
  if (IsAddress(chart)) return false;
  const absl::optional<std::string> directory = CleanPath(chart);
  if (!directory.has_value() || !names.contains(In(*directory, kChartFile))) {
    return false;
  }
  style->helm = true;
  style->chart_directory = directory->empty() ? "" : *directory + "/";
  return true;
}

void FindChart(const RenderInput& input, const Names& names, Style* style) {
  const storage::v1::HelmOptions& helm = input.options.helm();
  if (helm.repo().empty()) {
    if (FindLocal(input, names, style) || FindDownloaded(input, style)) return;
  } else if (FindDownloaded(input, style) || FindLocal(input, names, style)) {
    return;
  }
  if (helm.chart().empty() && helm.repo().empty()) return;
  std::string what = absl::StrCat("helm.chart \"", helm.chart(), "\"");
  if (!helm.repo().empty()) absl::StrAppend(&what, " of ", helm.repo());
  if (!helm.version().empty()) {
    absl::StrAppend(&what, ", version ", helm.version(), ",");
  }
  style->problems.push_back(MakeProblem(
      input, "fleet.yaml", 0,
      absl::StrCat(what, " was not downloaded, and the bundle has no file ",
                   In(helm.chart(), kChartFile),
                   ": correct helm.chart, helm.repo and helm.version"),
      "", absl::StatusCode::kNotFound));
}

void FindKustomization(const RenderInput& input, const Names& names,
                       Style* style) {
  const std::string& option = input.options.kustomize_dir();
  const absl::optional<std::string> directory = CleanPath(option);
  if (!directory.has_value()) {
    style->problems.push_back(MakeProblem(
        input, "fleet.yaml", 0,
        absl::StrCat("kustomize.dir \"", option,
                     "\" leads out of the bundle: name a folder in it")));
    return;
  }
  style->kustomize_dir = *directory;
  if (names.contains(In(*directory, kKustomization))) {
    style->kustomize = true;
    return;
  }
  for (const char* name : {"kustomization.yml", "Kustomization"}) {
    const std::string file = In(*directory, name);
    if (!names.contains(file)) continue;
    style->warnings.push_back(MakeProblem(
        input, file, 0,
        absl::StrCat("Kustomize is not run: the file must be called ",
                     kKustomization)));
    return;
  }
  if (option.empty() || directory->empty()) return;
  style->warnings.push_back(MakeProblem(
      input, "fleet.yaml", 0,
      absl::StrCat("Kustomize is not run: kustomize.dir is ", option,
                   ", and the bundle has no file ",
                   In(*directory, kKustomization))));
}

}  // namespace

std::string DownloadedChartPrefix(const storage::v1::HelmOptions& helm) {
  return absl::StrCat(kDownloadedCharts,
                      absl::BytesToHexString(Sha256(
                          absl::StrCat(helm.chart(), ":", helm.repo(), ":",
                                       helm.version()))),
                      "/");
}

Style DetectStyle(const RenderInput& input) {
  Names names;
  for (const RenderFile& file : input.files) names.insert(file.name);
  Style style;
  FindChart(input, names, &style);
  FindKustomization(input, names, &style);
  return style;
}

}  // namespace flotilla::manager
