// SPDX-License-Identifier: Apache-2.0
//
// Decides from file names and options how a bundle is rendered (spec 3.9):
// with Helm, with Kustomize, with both, or as raw YAML when neither applies.

#ifndef FLOTILLA_MANAGER_RENDER_STYLE_H_
#define FLOTILLA_MANAGER_RENDER_STYLE_H_

#include <string>
#include <vector>

#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/render/render_input.h"

namespace flotilla::manager {

// Prefix of all charts that were downloaded into a bundle.
inline constexpr char kDownloadedCharts[] = ".chart/";

struct Style {
  // Not empty: the bundle cannot be rendered.
  std::vector<core::v1::Problem> problems;
  std::vector<core::v1::Problem> warnings;
  // There is a chart.
  bool helm = false;
  // Its directory, with a slash at its end; "" for the bundle's root.
  std::string chart_directory;
  // The chart was downloaded: its files are none of the repository.
  bool downloaded = false;
  // There is a kustomization.
  bool kustomize = false;
  // Its directory, no slash at its end; "" for the bundle's root.
  std::string kustomize_dir;

  bool raw() const { return !helm && !kustomize; }
};

Style DetectStyle(const RenderInput& input);

// ".chart/<digest>/": where the chart that `helm` names lies when it was
// downloaded (spec 3.8).
std::string DownloadedChartPrefix(const storage::v1::HelmOptions& helm);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_RENDER_STYLE_H_
