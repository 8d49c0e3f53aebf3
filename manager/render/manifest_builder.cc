// SPDX-License-Identifier: Apache-2.0

#include "manager/render/manifest_builder.h"

#include "absl/container/btree_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/crypto/sha256.h"
#include "common/yaml/documents.h"
#include "manager/render/overlays.h"
#include "manager/render/style.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

// File of the bundle for a file that the worker names.
std::string InBundle(const RenderPlan& plan, const std::string& file,
                     bool from_bundle) {
  if (file.empty() || from_bundle) return file;
  const auto it = plan.renamed.find(file);
  if (it != plan.renamed.end()) return it->second;
  return absl::StrCat(plan.style.chart_directory, file);
}

ObjectSource SourceOf(const RenderPlan& plan,
                      const render::v1::RenderError& error) {
  ObjectSource source;
  source.file = InBundle(plan, error.file(), error.from_bundle());
  // Values are written in fleet.yaml.
  if (source.file.empty() && absl::StartsWith(error.path(), "helm.")) {
    source.file = "fleet.yaml";
  }
  source.line = static_cast<int>(error.line());
  return source;
}

void AddRendered(const RenderPlan& plan,
                 const render::v1::RenderedObject& rendered,
                 ManifestMaker& maker) {
  ObjectSource source;
  source.file = InBundle(plan, rendered.source_file(), rendered.from_bundle());
  source.crd = rendered.crd();
  absl::StatusOr<nlohmann::json> object =
      ParseJson(rendered.json(), ObjectLimits());
  if (!object.ok()) {
    maker.Fail(source, absl::StrCat("an object that the template renders to "
                                    "cannot be used: ",
                                    YamlErrorText(object.status())));
    return;
  }
  maker.Add(*std::move(object), source);
}

}  // namespace

BuiltManifest BuildManifest(const RenderInput& input, const RenderPlan& plan,
                            const render::v1::RenderResponse* response) {
  ManifestMaker maker(input);
  maker.result().warnings = plan.warnings;
  if (response != nullptr) {
    maker.result().uses_capabilities = response->uses_capabilities();
    maker.result().uses_random = response->uses_random();
    maker.result().uses_now = response->uses_now();
    for (const render::v1::RenderError& warning : response->warnings()) {
      maker.Warn(SourceOf(plan, warning), warning.message());
    }
    if (response->has_error()) {
      maker.Fail(SourceOf(plan, response->error()),
                 response->error().message());
    }
    for (const render::v1::RenderedObject& object : response->objects()) {
      AddRendered(plan, object, maker);
    }
  }
  for (size_t index : plan.raw_files) maker.AddFile(input.files[index]);
  // Of a chart that can be meant: values turn things off.
  if (plan.style.kustomize && !plan.style.helm && maker.empty() &&
      maker.result().problems.empty()) {
    ObjectSource source;
    source.file = plan.style.kustomize_dir.empty()
                      ? "kustomization.yaml"
                      : absl::StrCat(plan.style.kustomize_dir,
                                     "/kustomization.yaml");
    maker.Fail(source,
               "Kustomize gives no object at all, so nothing is changed: list "
               "resources in it, or remove the directory to remove what it "
               "made");
  }
  return maker.Finish();
}

BundleRender::BundleRender(RenderInput input) : input_(std::move(input)) {
  const Style style = DetectStyle(input_);
  if (style.problems.empty() && style.raw() &&
      input_.options.yaml_overlays_size() > 0) {
    overlays_ = std::make_unique<OverlayMerge>(input_);
  }
}

BundleRender::~BundleRender() = default;

absl::optional<render::v1::RenderRequest> BundleRender::Next() {
  if (overlays_ != nullptr) {
    std::vector<render::v1::Patch> patches = overlays_->NextPatches();
    if (!patches.empty()) {
      render::v1::RenderRequest request;
      for (render::v1::Patch& patch : patches) {
        *request.add_patches() = std::move(patch);
      }
      return request;
    }
    problems_ = overlays_->problems();
    warnings_ = overlays_->warnings();
    std::vector<RenderFile> files = overlays_->TakeFiles();
    overlays_.reset();
    input_.files = std::move(files);
  }
  if (planned_) return absl::nullopt;
  planned_ = true;
  if (!problems_.empty()) return absl::nullopt;
  plan_ = PlanRender(input_);
  problems_ = plan_.problems;
  if (!problems_.empty() || !plan_.request.has_value()) return absl::nullopt;
  absl::optional<render::v1::RenderRequest> request = std::move(plan_.request);
  plan_.request.reset();
  return request;
}

void BundleRender::Answer(render::v1::RenderResponse response) {
  if (overlays_ != nullptr) {
    overlays_->TakePatched(response);
    return;
  }
  response_ = std::move(response);
}

BuiltManifest BundleRender::Finish() {
  BuiltManifest built;
  if (problems_.empty()) {
    built = BuildManifest(input_, plan_,
                          response_.has_value() ? &*response_ : nullptr);
  } else {
    built.problems = std::move(problems_);
  }
  built.warnings.insert(built.warnings.begin(), warnings_.begin(),
                        warnings_.end());
  return built;
}

std::string FactsDigest(const core::v1::ClusterFacts& facts,
                        const std::vector<GroupKind>& kinds_asked,
                        bool uses_capabilities) {
  absl::btree_map<GroupKind, bool> scopes;
  for (const core::v1::KindFact& kind : facts.kinds()) {
    scopes[{kind.group(), kind.kind()}] = kind.namespaced();
  }
  std::string text;
  for (const GroupKind& kind : kinds_asked) {
    const auto it = scopes.find(kind);
    absl::StrAppend(&text, kind.first, "/", kind.second, "=",
                    it == scopes.end() || it->second ? "namespaced" : "cluster",
                    "\n");
  }
  if (uses_capabilities) {
    absl::StrAppend(&text, facts.kube_version(), "\n");
    for (const core::v1::KindFact& kind : facts.kinds()) {
      absl::StrAppend(&text, kind.group(), "/", kind.version(), "/",
                      kind.kind(), "\n");
    }
  }
  return Sha256(text);
}

}  // namespace flotilla::manager
