// SPDX-License-Identifier: Apache-2.0

#include "tools/ctl/render_command.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/optional.h"
#include "common/env/posix/posix_subprocess.h"
#include "common/event/real_loop.h"
#include "common/status/status_macros.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/render/v1/render.pb.h"
#include "common/yaml/documents.h"
#include "manager/gitsync/directory_tree.h"
#include "manager/render/default_facts.h"
#include "manager/render/manifest_builder.h"
#include "manager/render/worker_path.h"
#include "manager/render/worker_renderer.h"
#include "manager/targeting/render_inputs.h"
#include "nlohmann/json.hpp"

namespace flotilla::ctl {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Marks that core.proto names; put in by the builder for the agent's sake.
constexpr char kMarkPrefix[] = "flotilla.dev/";

absl::Status ProblemsError(const std::vector<core::v1::Problem>& problems) {
  std::vector<std::string> lines;
  for (const auto& problem : problems) lines.push_back(ProblemLine(problem));
  return absl::InvalidArgumentError(absl::StrJoin(lines, "\n"));
}

void Warn(const std::vector<core::v1::Problem>& warnings, std::ostream& out) {
  for (const auto& warning : warnings) {
    out << "warning: " << ProblemLine(warning) << "\n";
  }
}

void RemoveMarks(json& object, const char* map) {
  json& metadata = object["metadata"];
  if (!metadata.is_object() || !metadata.contains(map)) return;
  json& entries = metadata[map];
  for (auto it = entries.begin(); it != entries.end();) {
    if (it.key().rfind(kMarkPrefix, 0) == 0) {
      it = entries.erase(it);
    } else {
      ++it;
    }
  }
  if (entries.empty()) metadata.erase(map);
}

// Renders charts one after another on a loop of its own.
class ChartRenderer {
 public:
  ChartRenderer() {
    manager::WorkerRendererOptions options;
    std::error_code ignored;
    options.worker_path = manager::FindRenderWorker(
        fs::read_symlink("/proc/self/exe", ignored).string());
    options.max_workers = 1;
    renderer_ = std::make_unique<manager::WorkerRenderer>(loop_, subprocesses_,
                                                          options);
  }

  absl::StatusOr<render::v1::RenderResponse> Render(
      const render::v1::RenderRequest& request) {
    absl::StatusOr<render::v1::RenderResponse> result =
        absl::InternalError("no answer");
    renderer_->Render(
        request, [&](absl::StatusOr<render::v1::RenderResponse> answer) {
          result = std::move(answer);
          loop_.Stop();
        });
    loop_.RunUntilStopped();
    return result;
  }

 private:
  RealLoop loop_;
  PosixSubprocesses subprocesses_;
  // Declared last: destroyed first.
  std::unique_ptr<manager::WorkerRenderer> renderer_;
};

manager::TargetCluster ClusterOf(const RenderOptions& options) {
  manager::TargetCluster cluster;
  cluster.name = options.cluster;
  cluster.labels = options.labels;
  for (const std::string& group : options.groups) {
    cluster.groups.push_back({group, {}});
  }
  return cluster;
}

absl::StatusOr<std::vector<json>> RenderBundle(manager::BundleInput& bundle,
                                               ChartRenderer& charts,
                                               std::ostream& warnings) {
  manager::RenderInput input;
  input.workspace = "fleet-default";
  input.bundle_name = bundle.bundle;
  input.directory = bundle.directory;
  for (auto& file : bundle.files) {
    input.files.push_back({file.name, std::move(file.bytes)});
  }
  input.options = bundle.options;
  input.facts = manager::DefaultClusterFacts();
  input.random_seed = std::string(32, '\0');
  manager::BundleRender render(std::move(input));
  while (absl::optional<render::v1::RenderRequest> request = render.Next()) {
    ASSIGN_OR_RETURN(render::v1::RenderResponse response,
                     charts.Render(*request), _ << "bundle " << bundle.bundle);
    render.Answer(std::move(response));
  }
  manager::BuiltManifest built = render.Finish();
  if (!built.problems.empty()) return ProblemsError(built.problems);
  Warn(built.warnings, warnings);
  std::vector<json> objects;
  for (const auto& entry : built.manifest.entries()) {
    // A namespace that is only to be there is not the user's object.
    if (entry.ensure_namespace()) continue;
    const auto blob = std::lower_bound(
        built.blobs.begin(), built.blobs.end(), entry.blob_digest(),
        [](const manager::ManifestBlob& b, const std::string& digest) {
          return b.digest < digest;
        });
    json object = json::parse(blob->bytes, nullptr, false);
    RemoveMarks(object, "labels");
    RemoveMarks(object, "annotations");
    objects.push_back(std::move(object));
  }
  const auto text = [](const json& object, const char* key) {
    const auto found = object["metadata"].find(key);
    return found == object["metadata"].end() || !found->is_string()
               ? std::string()
               : found->get<std::string>();
  };
  std::stable_sort(objects.begin(), objects.end(),
                   [&text](const json& a, const json& b) {
                     return std::make_tuple(a["kind"].get<std::string>(),
                                            text(a, "namespace"),
                                            text(a, "name")) <
                            std::make_tuple(b["kind"].get<std::string>(),
                                            text(b, "namespace"),
                                            text(b, "name"));
                   });
  return objects;
}

}  // namespace

absl::Status Render(const RenderOptions& options, std::ostream& out,
                    std::ostream& warnings) {
  ASSIGN_OR_RETURN(std::unique_ptr<manager::DirectoryTree> tree,
                   manager::DirectoryTree::Open(options.directory));
  std::string name = options.repo_name;
  if (name.empty()) {
    std::error_code error;
    fs::path path = fs::canonical(options.directory, error);
    name = error ? "repository" : path.filename().string();
  }
  manager::RenderInputList list =
      manager::ReadRenderInputs(*tree, name, ClusterOf(options));
  Warn(list.warnings, warnings);
  if (!list.errors.empty()) return ProblemsError(list.errors);
  for (const std::string& bundle : list.not_deployed) {
    warnings << "bundle " << Safe(bundle)
             << " is kept from this cluster by doNotDeploy\n";
  }
  ChartRenderer charts;
  json all = json::array();
  std::string text;
  for (manager::BundleInput& bundle : list.bundles) {
    ASSIGN_OR_RETURN(std::vector<json> objects,
                     RenderBundle(bundle, charts, warnings));
    for (json& object : objects) {
      if (options.format == Format::kJson) {
        all.push_back(std::move(object));
      } else {
        absl::StrAppend(&text, "---\n", ToYaml(object));
      }
    }
  }
  // Printed at once: an error in one bundle prints nothing.
  if (options.format == Format::kJson) text = all.dump(2) + "\n";
  out << text;
  return absl::OkStatus();
}

}  // namespace flotilla::ctl
