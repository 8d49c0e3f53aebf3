// SPDX-License-Identifier: Apache-2.0

#include "manager/render/render_plan.h"

#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "manager/bundle/bundle_name.h"

namespace flotilla::manager {
namespace {

constexpr char kChartFile[] = "Chart.yaml";

bool IsYamlName(absl::string_view name) {
  return absl::EndsWith(name, ".yaml") || absl::EndsWith(name, ".yml") ||
         absl::EndsWith(name, ".json");
}

bool IsFleetYaml(absl::string_view name) {
  return BaseOf(name) == "fleet.yaml" || BaseOf(name) == "fleet.yml";
}

bool IsUnderTemplates(absl::string_view name) {
  return absl::StartsWith(name, "templates/") ||
         absl::StrContains(DirectoryOf(name), "/templates/");
}

void FillRequest(const RenderInput& input, render::v1::RenderRequest* request) {
  request->set_release_name(input.options.helm().release_name().empty()
                                ? ReleaseName(input.bundle_name)
                                : input.options.helm().release_name());
  request->set_namespace_(ReleaseNamespace(input.options));
  request->set_values_json(input.options.helm().values_json());
  request->set_skip_schema_validation(
      input.options.helm().skip_schema_validation());
  request->set_disable_dns(input.options.helm().disable_dns());
  request->set_kube_version(input.facts.kube_version());
  std::set<std::string> versions;
  for (const core::v1::KindFact& kind : input.facts.kinds()) {
    const std::string version =
        kind.group().empty() ? kind.version()
                             : absl::StrCat(kind.group(), "/", kind.version());
    versions.insert(version);
    versions.insert(absl::StrCat(version, "/", kind.kind()));
  }
  for (const std::string& version : versions) {
    request->add_api_versions(version);
  }
  request->set_random_seed(input.random_seed);
  request->set_now_unix_seconds(input.now_unix_seconds);
}

void AddFile(absl::string_view name, absl::string_view bytes,
             render::v1::RenderRequest* request) {
  render::v1::File* file = request->add_files();
  file->set_name(std::string(name));
  file->set_content(std::string(bytes));
}

// Directories that are bundles or charts of their own (spec 6.7), "x/".
std::set<std::string> ForeignDirectories(const RenderInput& input) {
  std::set<std::string> directories;
  for (const RenderFile& file : input.files) {
    if (DirectoryOf(file.name).empty()) continue;
    if (IsFleetYaml(file.name) || BaseOf(file.name) == kChartFile) {
      directories.insert(DirectoryOf(file.name));
    }
  }
  return directories;
}

bool IsInside(const std::set<std::string>& directories,
              absl::string_view name) {
  for (size_t slash = name.find('/'); slash != absl::string_view::npos;
       slash = name.find('/', slash + 1)) {
    if (directories.count(std::string(name.substr(0, slash + 1))) > 0) {
      return true;
    }
  }
  return false;
}

void PlanRaw(const RenderInput& input, RenderPlan* plan) {
  const std::set<std::string> foreign = ForeignDirectories(input);
  bool has_template = false;
  render::v1::RenderRequest request;
  for (size_t i = 0; i < input.files.size(); ++i) {
    const RenderFile& file = input.files[i];
    if (absl::StartsWith(file.name, "overlays/") || IsFleetYaml(file.name) ||
        IsInside(foreign, file.name)) {
      continue;
    }
    if (IsUnderTemplates(file.name)) {
      const bool partial = absl::EndsWith(file.name, ".tpl");
      if (!IsYamlName(file.name) && !partial) continue;
      has_template = has_template || !partial;
      std::string name = file.name;
      if (!absl::StartsWith(name, "templates/")) {
        name = absl::StrCat("templates/", name);
      }
      if (name != file.origin()) plan->renamed[name] = file.origin();
      AddFile(name, file.bytes, &request);
    } else if (IsYamlName(file.name)) {
      plan->raw_files.push_back(i);
    }
  }
  if (!has_template) {
    plan->renamed.clear();
    return;
  }
  const std::string build =
      input.revision.empty() ? "0" : input.revision.substr(0, 12);
  AddFile(kChartFile,
          absl::StrCat("apiVersion: v2\nname: ",
                       ReleaseName(input.bundle_name),
                       "\nversion: v0.0.0+", build, "\n"),
          &request);
  FillRequest(input, &request);
  plan->request = std::move(request);
}

}  // namespace

RenderPlan PlanRender(const RenderInput& input) {
  RenderPlan plan;
  const std::string name_space = ReleaseNamespace(input.options);
  if (!IsNamespaceName(name_space)) {
    plan.problems.push_back(MakeProblem(
        input, "fleet.yaml", 0,
        absl::StrCat("\"", name_space,
                     "\" is no name of a namespace: up to 63 small letters, "
                     "digits and dashes")));
    return plan;
  }
  plan.style = DetectStyle(input);
  plan.problems = plan.style.problems;
  plan.warnings = plan.style.warnings;
  if (!plan.problems.empty()) return plan;
  if (plan.style.raw()) {
    PlanRaw(input, &plan);
    return plan;
  }
  if (input.options.yaml_overlays_size() > 0) {
    plan.warnings.push_back(MakeProblem(
        input, "fleet.yaml", 0,
        "yaml.overlays means nothing here: it is for raw YAML, and the bundle "
        "is rendered with Helm or Kustomize"));
  }
  render::v1::RenderRequest request;
  if (plan.style.helm) {
    for (const RenderFile& file : input.files) {
      absl::string_view name = file.name;
      if (!absl::ConsumePrefix(&name, plan.style.chart_directory)) continue;
      // Charts of other targets.
      if (absl::StartsWith(name, kDownloadedCharts)) continue;
      AddFile(name, file.bytes, &request);
    }
  }
  if (plan.style.kustomize) {
    render::v1::Kustomize* kustomize = request.mutable_kustomize();
    kustomize->set_dir(plan.style.kustomize_dir);
    for (const RenderFile& file : input.files) {
      if (absl::StartsWith(file.name, kDownloadedCharts)) continue;
      render::v1::File* copy = kustomize->add_files();
      copy->set_name(file.name);
      copy->set_content(file.bytes);
    }
  }
  FillRequest(input, &request);
  plan.request = std::move(request);
  return plan;
}

}  // namespace flotilla::manager
