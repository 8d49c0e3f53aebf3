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

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/render/v1/render.pb.h"
#include "manager/render/render_input.h"
#include "manager/render/style.h"

namespace flotilla::manager {

class OverlayMerge;

// What has to be done to render a bundle.
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

// One object's bytes.
struct ManifestBlob {
  // SHA-256 of `bytes`, raw.
  std::string digest;
  std::string bytes;
};

// Group and kind.
using GroupKind = std::pair<std::string, std::string>;

struct BuiltManifest {
  core::v1::Manifest manifest;
  // Distinct blobs that the manifest names, sorted by digest.
  std::vector<ManifestBlob> blobs;
  // Not empty: the rest is not to be used.
  std::vector<core::v1::Problem> problems;
  std::vector<core::v1::Problem> warnings;
  // What the result depends on besides bundle, options and time. Kinds whose
  // scope was asked of the facts, sorted.
  std::vector<GroupKind> kinds_asked;
  bool uses_capabilities = false;
  bool uses_random = false;
  bool uses_now = false;
};

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

// The last step of BundleRender, overlays laid over the files already: decides
// the style (spec 3.9) and what the worker has to do.
RenderPlan PlanRender(const RenderInput& input);

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
