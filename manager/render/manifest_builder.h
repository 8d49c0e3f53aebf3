// SPDX-License-Identifier: Apache-2.0
//
// Turns a bundle's files and effective options into the manifest of one
// deployment, in two steps around the render worker:
//
//   RenderPlan plan = PlanRender(input);
//   if (plan.chart.has_value()) response = <ask the worker>;
//   BuiltManifest built = BuildManifest(input, plan, &response);
//
// The same input gives the same bytes. Every problem names the file (with the
// bundle's directory before it) and the line where there is one, and never
// holds a value of a Secret. A manifest with problems is not to be used.

#ifndef FLOTILLA_MANAGER_RENDER_MANIFEST_BUILDER_H_
#define FLOTILLA_MANAGER_RENDER_MANIFEST_BUILDER_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/render/v1/render.pb.h"
#include "flotilla/storage/v1/storage.pb.h"

namespace flotilla::manager {

// A file of a bundle, with its content.
struct RenderFile {
  std::string name;
  std::string bytes;
};

// What a render depends on.
struct RenderInput {
  std::string workspace;
  std::string bundle_name;
  std::string bundle_id;
  // Revision of the bundle, for the version of a chart that is made up.
  std::string revision;
  // Directory in the repository, put before file names in problems.
  std::string directory;
  std::vector<RenderFile> files;
  // Effective options of the deployment.
  storage::v1::DeployOptions options;
  storage::v1::TriState source_correct_drift =
      storage::v1::TRI_STATE_UNSPECIFIED;
  core::v1::ClusterFacts facts;
  // Of the random functions: 32 bytes.
  std::string random_seed;
  // The commit's time.
  int64_t now_unix_seconds = 0;
};

// What has to be done to render a bundle.
struct RenderPlan {
  // Not empty: the bundle cannot be rendered.
  std::vector<core::v1::Problem> problems;
  // For the worker; absent when there are no templates.
  absl::optional<render::v1::RenderRequest> chart;
  // Directory of the chart in the bundle, with a slash at its end; "" for the
  // root.
  std::string chart_directory;
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
  bool secret = false;
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
};

// Decides the style (spec 3.9) and what the worker has to do.
RenderPlan PlanRender(const RenderInput& input);

// Makes the manifest. `response` is the worker's answer; null when
// plan.chart is absent.
// REQUIRES: plan.problems is empty.
BuiltManifest BuildManifest(const RenderInput& input, const RenderPlan& plan,
                            const render::v1::RenderResponse* response);

// Namespace of objects that carry none (spec 6.3).
std::string ReleaseNamespace(const storage::v1::DeployOptions& options);

// Digest of the part of `facts` that a result depends on: equal digests, equal
// results.
std::string FactsDigest(const core::v1::ClusterFacts& facts,
                        const std::vector<GroupKind>& kinds_asked,
                        bool uses_capabilities);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_RENDER_MANIFEST_BUILDER_H_
