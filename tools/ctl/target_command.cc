// SPDX-License-Identifier: Apache-2.0

#include "tools/ctl/target_command.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/optional.h"
#include "common/labels/label_selector.h"
#include "common/status/status_macros.h"
#include "common/yaml/documents.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/render/v1/render.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "google/protobuf/util/message_differencer.h"
#include "manager/bundle/bundle_revision.h"
#include "manager/documents/document_json.h"
#include "manager/documents/documents.h"
#include "manager/render/effective_values.h"
#include "manager/targeting/bundle_reach.h"
#include "manager/targeting/target_clusters.h"
#include "manager/targeting/target_resolver.h"
#include "manager/targeting/template_context.h"
#include "nlohmann/json.hpp"
#include "tools/ctl/cluster_files.h"
#include "tools/ctl/local_stages.h"
#include "tools/ctl/target_files.h"

namespace flotilla::ctl {
namespace {

using nlohmann::json;
using storage::v1::Document;

// The clusters of the files and what decides about them.
struct World {
  std::vector<Document> clusters;  // Sorted by workspace and name.
  std::vector<Document> groups;
  manager::BundleReach reach;
};

absl::StatusOr<World> ReadWorld(const std::vector<std::string>& paths,
                                std::ostream& warnings) {
  World world;
  for (const std::string& path : paths) {
    ASSIGN_OR_RETURN(std::vector<manager::ParsedDocument> documents,
                     ReadDocumentsFile(path, warnings));
    for (manager::ParsedDocument& parsed : documents) {
      Document& document = parsed.document;
      if (document.has_cluster()) {
        world.reach.AddWorkspace(document.workspace());
        world.clusters.push_back(std::move(document));
      } else if (document.has_cluster_group()) {
        world.groups.push_back(std::move(document));
      } else if (document.has_bundle_namespace_mapping()) {
        world.reach.SetMapping(document);
      } else if (document.has_namespace_()) {
        world.reach.SetNamespace(document.workspace(),
                                 ToLabelMap(document.labels()));
      }
    }
  }
  std::sort(world.clusters.begin(), world.clusters.end(),
            [](const Document& a, const Document& b) {
              return std::make_pair(a.workspace(), a.name()) <
                     std::make_pair(b.workspace(), b.name());
            });
  return world;
}

bool IsDefault(
    const google::protobuf::RepeatedPtrField<storage::v1::Target>& targets) {
  if (targets.size() != 1) return false;
  storage::v1::Target target = targets[0];
  if (target.options().ByteSizeLong() == 0) target.clear_options();
  return google::protobuf::util::MessageDifferencer::Equals(
      target, manager::DefaultTargets()[0]);
}

absl::StatusOr<manager::ParsedDocument> ReadBundle(
    const TargetOptions& options, std::ostream& warnings) {
  ASSIGN_OR_RETURN(std::vector<manager::ParsedDocument> documents,
                   ReadDocumentsFile(options.bundle_file, warnings));
  std::vector<manager::ParsedDocument> bundles;
  for (manager::ParsedDocument& parsed : documents) {
    if (parsed.document.has_bundle()) bundles.push_back(std::move(parsed));
  }
  if (bundles.size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.bundle_file, " holds ", bundles.size(),
                     " Bundle documents; one is wanted"));
  }
  if (!options.targets_file.empty()) {
    ASSIGN_OR_RETURN(const TargetsFile targets,
                     ReadTargetsFile(options.targets_file, warnings));
    storage::v1::BundleSpec& spec = *bundles[0].document.mutable_bundle();
    // Where it goes so far are its last targets; without restrictions that is
    // the one that stands for no word about it.
    const int own =
        spec.target_restrictions().empty() && IsDefault(spec.targets())
            ? 1
            : std::min(spec.target_restrictions_size(), spec.targets_size());
    spec.mutable_targets()->DeleteSubrange(spec.targets_size() - own, own);
    spec.mutable_targets()->MergeFrom(targets.targets);
    *spec.mutable_target_restrictions() = targets.restrictions;
  }
  return std::move(bundles[0]);
}

// The options with the cluster's templates filled in.
absl::StatusOr<storage::v1::DeployOptions> FillIn(
    storage::v1::DeployOptions options, const Document& cluster,
    std::optional<LocalStages>& stages) {
  if (!manager::NeedsTemplateContext(options)) return options;
  std::optional<storage::v1::TemplateContext> context =
      manager::MakeTemplateContext(cluster);
  if (!context.has_value()) return options;
  storage::v1::Desired desired;
  *desired.mutable_options() = options;
  *desired.mutable_template_context() = *std::move(context);
  const absl::optional<render::v1::RenderRequest> request =
      manager::ValuesRequest(desired, std::string(32, '\0'), 0);
  if (!request.has_value()) return options;
  if (!stages.has_value()) stages.emplace();
  ASSIGN_OR_RETURN(const render::v1::RenderResponse response,
                   stages->Render(*request));
  if (response.has_error()) {
    return absl::InvalidArgumentError(response.error().message());
  }
  return manager::WithValues(options, response);
}

}  // namespace

absl::Status PrintTargets(const TargetOptions& options, std::ostream& out,
                          std::ostream& warnings) {
  ASSIGN_OR_RETURN(const manager::ParsedDocument bundle,
                   ReadBundle(options, warnings));
  ASSIGN_OR_RETURN(World world, ReadWorld(options.cluster_files, warnings));
  const auto& files = bundle.document.bundle().resources();
  const auto read =
      [&](const std::string& name) -> absl::StatusOr<std::string> {
    for (int i = 0; i < files.size(); ++i) {
      if (files[i].name() == name) {
        return bundle.contents[static_cast<size_t>(i)];
      }
    }
    return absl::NotFoundError("spec.resources has no such file");
  };
  ASSIGN_OR_RETURN(const manager::DraftRevision draft,
                   manager::MakeDocumentRevision(bundle.document, read));
  const std::string& workspace = bundle.document.workspace();
  const std::set<std::string> reached = world.reach.Of(
      workspace, ToLabelMap(draft.revision.labels()));

  std::optional<LocalStages> stages;
  std::vector<json> rows;
  std::vector<std::string> errors;
  for (const Document& cluster : world.clusters) {
    if (reached.count(cluster.workspace()) == 0) continue;
    std::vector<const Document*> groups;
    for (const Document& group : world.groups) {
      if (group.workspace() == cluster.workspace()) groups.push_back(&group);
    }
    std::optional<manager::ResolvedTarget> resolved = manager::ResolveTarget(
        draft.revision, manager::MakeTargetCluster(cluster, groups));
    if (!resolved.has_value()) continue;
    const absl::StatusOr<storage::v1::DeployOptions> filled =
        FillIn(std::move(resolved->options), cluster, stages);
    if (!filled.ok()) {
      // Such a cluster is blocked; the others are not.
      errors.push_back(absl::StrCat("cluster ", cluster.workspace(), "/",
                                    cluster.name(), ": ",
                                    filled.status().message()));
      continue;
    }
    rows.push_back({{"cluster", cluster.name()},
                    {"namespace", cluster.workspace()},
                    {"bundle", bundle.document.name()},
                    {"target", resolved->target_name},
                    {"options", manager::DeployOptionsToJson(*filled)}});
  }
  if (rows.empty() && errors.empty()) {
    warnings << "warning: none of the " << world.clusters.size()
             << " clusters gets bundle " << Safe(bundle.document.name())
             << "\n";
  }
  if (options.format == Format::kJson) {
    out << json(rows).dump(2) << "\n";
  } else {
    for (const json& row : rows) out << "---\n" << ToYaml(row);
  }
  return errors.empty()
             ? absl::OkStatus()
             : absl::InvalidArgumentError(absl::StrJoin(errors, "\n"));
}

}  // namespace flotilla::ctl
