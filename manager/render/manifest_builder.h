// SPDX-License-Identifier: Apache-2.0
//
// Turns a bundle's files and effective options into the manifest of one
// deployment, in steps around the render worker:
//
//   BundleRender render(std::move(input));
//   while (auto request = render.Next()) render.Answer(<ask the worker>);
//   BuiltManifest built = render.Finish();
//
// The same input gives the same bytes. Every problem names the file (with the
// bundle's directory before it) and the line where there is one, and never
// holds a value of a Secret. A manifest with problems is not to be used.

#ifndef FLOTILLA_MANAGER_RENDER_MANIFEST_BUILDER_H_
#define FLOTILLA_MANAGER_RENDER_MANIFEST_BUILDER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/types/optional.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/render/v1/render.pb.h"
#include "manager/render/manifest_maker.h"
#include "manager/render/render_input.h"
#include "manager/render/render_plan.h"

namespace flotilla::manager {

class OverlayMerge;

// One render of a bundle. It asks for nothing itself: who owns it carries the
// requests to the worker, one after the other.
//
// Thread-compatible.
class BundleRender {
 public:
  explicit BundleRender(RenderInput input);
  ~BundleRender();
  BundleRender(const BundleRender&) = delete;
  BundleRender& operator=(const BundleRender&) = delete;

  // The next request; nothing when there is none and Finish() is to be called.
  absl::optional<render::v1::RenderRequest> Next();
  // The answer to the last request.
  void Answer(render::v1::RenderResponse response);
  // Once, after Next() gave nothing.
  BuiltManifest Finish();

  const RenderInput& input() const { return input_; }

 private:
  RenderInput input_;
  std::unique_ptr<OverlayMerge> overlays_;
  std::vector<core::v1::Problem> problems_;
  std::vector<core::v1::Problem> warnings_;
  bool planned_ = false;
  RenderPlan plan_;
  absl::optional<render::v1::RenderResponse> response_;
};

// Makes the manifest. `response` is the worker's answer; null when
// plan.request is absent.
// REQUIRES: plan.problems is empty.
BuiltManifest BuildManifest(const RenderInput& input, const RenderPlan& plan,
                            const render::v1::RenderResponse* response);

// Digest of the part of `facts` that a result depends on: equal digests, equal
// results.
std::string FactsDigest(const core::v1::ClusterFacts& facts,
                        const std::vector<GroupKind>& kinds_asked,
                        bool uses_capabilities);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_RENDER_MANIFEST_BUILDER_H_
