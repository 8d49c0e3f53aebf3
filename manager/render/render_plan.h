// SPDX-License-Identifier: Apache-2.0
//
// What has to be done to render a bundle, overlays laid over its files already:
// its style (spec 3.9), what is for the render worker and what is plain YAML.

#ifndef FLOTILLA_MANAGER_RENDER_RENDER_PLAN_H_
#define FLOTILLA_MANAGER_RENDER_RENDER_PLAN_H_

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "absl/types/optional.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/render/v1/render.pb.h"
#include "manager/render/render_input.h"
#include "manager/render/style.h"

namespace flotilla::manager {

struct RenderPlan {
  // Not empty: the bundle cannot be rendered.
  std::vector<core::v1::Problem> problems;
  std::vector<core::v1::Problem> warnings;
  Style style;
  // For the worker; absent when there is nothing for it.
  absl::optional<render::v1::RenderRequest> request;
  // Names of the chart's files that differ from the bundle's, to those.
  std::map<std::string, std::string> renamed;
  // Indices in RenderInput::files of plain YAML and JSON.
  std::vector<size_t> raw_files;
};

RenderPlan PlanRender(const RenderInput& input);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_RENDER_RENDER_PLAN_H_
