// SPDX-License-Identifier: Apache-2.0

#include "manager/documents/document_json.h"

#include <cstdint>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/time/time.h"
#include "common/yaml/documents.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/gzip_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/timestamp.pb.h"
#include "manager/documents/documents.h"
#include "manager/documents/field_reader.h"
#include "manager/documents/go_duration.h"

namespace flotilla::manager {
namespace {

using core::v1::LabelRequirement;
using core::v1::LabelSelector;
using google::protobuf::RepeatedPtrField;
using nlohmann::json;
using storage::v1::BundleSpec;
using storage::v1::DeployOptions;
using storage::v1::Document;
using storage::v1::HelmOptions;
using storage::v1::Target;
using storage::v1::TriState;

constexpr size_t kCompressAll = 1000000;

void Put(json& out, const char* key, const std::string& text) {
  if (!text.empty()) out[key] = text;
}

void Put(json& out, const char* key, bool value) {
  if (value) out[key] = true;
}

void Put(json& out, const char* key, int64_t value) {
  if (value != 0) out[key] = value;
}

void Put(json& out, const char* key, int32_t value) {
  if (value != 0) out[key] = value;
}

void Put(json& out, const char* key, TriState value) {
  if (value != storage::v1::TRI_STATE_UNSPECIFIED) {
    out[key] = value == storage::v1::TRI_STATE_TRUE;
  }
}

void Put(json& out, const char* key,
         const RepeatedPtrField<std::string>& texts) {
  for (const std::string& text : texts) out[key].push_back(text);
}

void Put(json& out, const char* key,
         const RepeatedPtrField<core::v1::LabelPair>& pairs) {
  if (!pairs.empty()) out[key] = PairsToJson(pairs);
}

void Put(json& out, const char* key, const LabelSelector& selector,
         bool present) {
  if (present) out[key] = LabelSelectorToJson(selector);
}

void Put(json& out, const char* key, const google::protobuf::Duration& value) {
  const absl::Duration duration =
      absl::Seconds(value.seconds()) + absl::Nanoseconds(value.nanos());
  if (duration > absl::ZeroDuration()) out[key] = FormatGoDuration(duration);
}

// An object when it holds something.
void PutObject(json& out, const char* key, json object) {
  if (!object.empty()) out[key] = std::move(object);
}

void PutJsonText(json& out, const char* key, const std::string& text) {
  if (text.empty()) return;
  json value = json::parse(text, nullptr, false);
  if (!value.is_discarded()) out[key] = std::move(value);
}

// A number or a percentage.
void PutAmount(json& out, const char* key, const std::string& text) {
  int32_t number = 0;
  if (absl::SimpleAtoi(text, &number)) {
    out[key] = number;
  } else {
    Put(out, key, text);
  }
}

json CorrectDriftToJson(TriState enabled, bool force, bool keep_fail_history) {
  json out = json::object();
  Put(out, "enabled", enabled);
  Put(out, "force", force);
  Put(out, "keepFailHistory", keep_fail_history);
  return out;
}

json HelmToJson(const HelmOptions& helm) {
  json out = json::object();
  Put(out, "chart", helm.chart());
  Put(out, "repo", helm.repo());
  Put(out, "version", helm.version());
  Put(out, "releaseName", helm.release_name());
  PutJsonText(out, "values", helm.values_json());
  Put(out, "valuesFiles", helm.values_files());
  for (const core::v1::ValuesRef& ref : helm.values_from()) {
    json entry = json::object();
    Put(entry, "name", ref.name());
    Put(entry, "namespace", ref.namespace_());
    Put(entry, "key", ref.key());
    json wrapped = json::object();
    wrapped[ref.kind() == core::v1::ValuesRef::KIND_SECRET
                ? "secretKeyRef"
                : "configMapKeyRef"] = std::move(entry);
    out["valuesFrom"].push_back(std::move(wrapped));
  }
  Put(out, "templateValues", helm.template_values());
  Put(out, "timeoutSeconds", helm.timeout_seconds());
  Put(out, "force", helm.force());
  Put(out, "takeOwnership", helm.take_ownership());
  Put(out, "maxHistory", helm.max_history());
  Put(out, "waitForJobs", helm.wait_for_jobs());
  Put(out, "atomic", helm.atomic());
  Put(out, "disablePreProcess", helm.disable_pre_process());
  Put(out, "disableDNS", helm.disable_dns());
  Put(out, "skipSchemaValidation", helm.skip_schema_validation());
  Put(out, "disableDependencyUpdate", helm.disable_dependency_update());
  return out;
}

json ComparePatchToJson(const core::v1::ComparePatch& patch) {
  json out = json::object();
  Put(out, "apiVersion", patch.api_version());
  Put(out, "kind", patch.kind());
  Put(out, "namespace", patch.namespace_());
  Put(out, "name", patch.name());
  Put(out, "jsonPointers", patch.json_pointers());
  for (const core::v1::JsonPatchOperation& operation : patch.operations()) {
    json one = json::object();
    Put(one, "op", operation.op());
    Put(one, "path", operation.path());
    PutJsonText(one, "value", operation.value_json());
    out["operations"].push_back(std::move(one));
  }
  return out;
}

// The criteria alone.
json CriteriaToJson(const Target& target) {
  json out = json::object();
  Put(out, "name", target.name());
  Put(out, "clusterName", target.cluster_name());
  Put(out, "clusterSelector", target.cluster_selector(),
      target.has_cluster_selector());
  Put(out, "clusterGroup", target.cluster_group());
  Put(out, "clusterGroupSelector", target.cluster_group_selector(),
      target.has_cluster_group_selector());
  return out;
}

json RolloutToJson(const storage::v1::RolloutStrategy& rollout) {
  json out = json::object();
  PutAmount(out, "maxUnavailable", rollout.max_unavailable());
  PutAmount(out, "maxUnavailablePartitions",
            rollout.max_unavailable_partitions());
  PutAmount(out, "autoPartitionSize", rollout.auto_partition_size());
  if (rollout.has_auto_partition_threshold()) {
    out["autoPartitionThreshold"] = rollout.auto_partition_threshold();
  }
  Put(out, "maxNew", rollout.max_new());
  for (const storage::v1::Partition& partition : rollout.partitions()) {
    json one = CriteriaToJson(partition.target());
    PutAmount(one, "maxUnavailable", partition.max_unavailable());
    out["partitions"].push_back(std::move(one));
  }
  return out;
}

// Everything but the files.
json BundleSpecToJson(const BundleSpec& spec) {
  json out = DeployOptionsToJson(spec.options());
  for (const Target& target : spec.targets()) {
    out["targets"].push_back(TargetToJson(target));
  }
  for (const Target& target : spec.target_restrictions()) {
    out["targetRestrictions"].push_back(CriteriaToJson(target));
  }
  for (const core::v1::Dependency& dependency : spec.depends_on()) {
    json one = json::object();
    Put(one, "name", dependency.name());
    Put(one, "selector", dependency.selector(), dependency.has_selector());
    Put(one, "acceptedStates", dependency.accepted_states());
    out["dependsOn"].push_back(std::move(one));
  }
  Put(out, "paused", spec.paused());
  if (spec.all_matches()) out["targetCustomizationMode"] = "AllMatches";
  if (spec.has_rollout()) {
    out["rolloutStrategy"] = RolloutToJson(spec.rollout());
  }
  return out;
}

json FilesToJson(const BundleSpec& spec,
                 const std::vector<std::string>* contents,
                 FileEncoding encoding) {
  json out = json::array();
  for (int i = 0; i < spec.resources_size(); ++i) {
    json file = json::object();
    file["name"] = spec.resources(i).name();
    const auto at = static_cast<size_t>(i);
    if (contents != nullptr && at < contents->size()) {
      const std::string& bytes = (*contents)[at];
      if (encoding == FileEncoding::kCompressed || !IsUtf8(bytes)) {
        file["content"] = EncodeContent(bytes);
        file["encoding"] = "base64+gz";
      } else {
        Put(file, "content", bytes);
      }
    }
    out.push_back(std::move(file));
  }
  return out;
}

json GitRepoToJson(const storage::v1::GitRepoSpec& spec) {
  json out = json::object();
  Put(out, "repo", spec.repo());
  Put(out, "branch", spec.branch());
  Put(out, "revision", spec.revision());
  Put(out, "paths", spec.paths());
  for (const storage::v1::ExplicitBundle& bundle : spec.bundles()) {
    json one = json::object();
    Put(one, "base", bundle.base());
    Put(one, "options", bundle.options());
    out["bundles"].push_back(std::move(one));
  }
  for (const Target& target : spec.targets()) {
    out["targets"].push_back(CriteriaToJson(target));
  }
  Put(out, "targetNamespace", spec.target_namespace());
  Put(out, "serviceAccount", spec.service_account());
  Put(out, "clientSecretName", spec.client_secret_name());
  Put(out, "helmSecretName", spec.helm_secret_name());
  Put(out, "helmSecretNameForPaths", spec.helm_secret_name_for_paths());
  Put(out, "helmRepoURLRegex", spec.helm_repo_url_regex());
  Put(out, "webhookSecret", spec.webhook_secret());
  Put(out, "caBundle", absl::Base64Escape(spec.ca_bundle()));
  Put(out, "insecureSkipTLSVerify", spec.insecure_skip_tls_verify());
  Put(out, "pollingInterval", spec.polling_interval());
  Put(out, "disablePolling", spec.disable_polling());
  Put(out, "forceSyncGeneration", spec.force_sync_generation());
  Put(out, "paused", spec.paused());
  Put(out, "keepResources", spec.keep_resources());
  Put(out, "deleteNamespace", spec.delete_namespace());
  PutObject(out, "correctDrift",
            CorrectDriftToJson(spec.correct_drift(),
                               spec.correct_drift_force(),
                               spec.correct_drift_keep_fail_history()));
  return out;
}

json HelmOpToJson(const storage::v1::HelmOpSpec& spec) {
  json out = BundleSpecToJson(spec.bundle());
  Put(out, "labels", spec.labels());
  Put(out, "pollingInterval", spec.polling_interval());
  Put(out, "helmSecretName", spec.helm_secret_name());
  Put(out, "insecureSkipTLSVerify", spec.insecure_skip_tls_verify());
  return out;
}

json ClusterToJson(const storage::v1::ClusterSpec& spec) {
  json out = json::object();
  Put(out, "paused", spec.paused());
  Put(out, "clientID", spec.client_id());
  PutJsonText(out, "templateValues", spec.template_values_json());
  return out;
}

void RestrictionToJson(const storage::v1::GitRepoRestrictionSpec& spec,
                       json& out) {
  Put(out, "defaultServiceAccount", spec.default_service_account());
  Put(out, "allowedServiceAccounts", spec.allowed_service_accounts());
  Put(out, "allowedRepoPatterns", spec.allowed_repo_patterns());
  Put(out, "defaultClientSecretName", spec.default_client_secret_name());
  Put(out, "allowedClientSecretNames", spec.allowed_client_secret_names());
  Put(out, "allowedTargetNamespaces", spec.allowed_target_namespaces());
  Put(out, "allowedTargetNamespaceSelector",
      spec.allowed_target_namespace_selector(),
      spec.has_allowed_target_namespace_selector());
}

void PolicyToJson(const storage::v1::PolicySpec& spec, json& out) {
  Put(out, "requireServiceAccount", spec.require_service_account());
  Put(out, "allowedServiceAccounts", spec.allowed_service_accounts());
  Put(out, "allowNamespaceCreation", spec.allow_namespace_creation());
  if (spec.has_git_repo()) {
    const storage::v1::SourcePolicy& policy = spec.git_repo();
    json one = json::object();
    Put(one, "defaultServiceAccount", policy.default_service_account());
    Put(one, "defaultClientSecretName", policy.default_secret_name());
    Put(one, "allowedClientSecretNames", policy.allowed_secret_names());
    Put(one, "allowedRepoPatterns", policy.allowed_repo_patterns());
    out["gitRepo"] = std::move(one);
  }
  if (spec.has_helm_op()) {
    const storage::v1::SourcePolicy& policy = spec.helm_op();
    json one = json::object();
    Put(one, "defaultServiceAccount", policy.default_service_account());
    Put(one, "defaultHelmSecretName", policy.default_secret_name());
    Put(one, "allowedHelmSecretNames", policy.allowed_secret_names());
    Put(one, "allowedHelmRepoPatterns", policy.allowed_repo_patterns());
    Put(one, "allowedChartPatterns", policy.allowed_chart_patterns());
    out["helmOp"] = std::move(one);
  }
}

void PutTime(json& out, const char* key,
             const google::protobuf::Timestamp& time, bool present) {
  if (!present) return;
  out[key] = absl::FormatTime("%Y-%m-%d%ET%H:%M:%SZ",
                              absl::FromUnixSeconds(time.seconds()),
                              absl::UTCTimeZone());
}

json MetadataToJson(const Document& document) {
  json out = json::object();
  Put(out, "name", document.name());
  if (document.kind() != "Namespace") {
    Put(out, "namespace", document.workspace());
  }
  Put(out, "labels", document.labels());
  Put(out, "annotations", document.annotations());
  Put(out, "uid", document.uid());
  Put(out, "generation", document.generation());
  PutTime(out, "creationTimestamp", document.create_time(),
          document.has_create_time());
  PutTime(out, "deletionTimestamp", document.delete_time(),
          document.has_delete_time());
  return out;
}

// Puts the specification into `out`, below "spec" where the kind has one.
void PutSpec(const Document& document,
             const std::vector<std::string>* contents, FileEncoding encoding,
             json& out) {
  switch (document.spec_case()) {
    case Document::kGitRepo:
      out["spec"] = GitRepoToJson(document.git_repo());
      break;
    case Document::kHelmOp:
      out["spec"] = HelmOpToJson(document.helm_op());
      break;
    case Document::kCluster:
      PutObject(out, "spec", ClusterToJson(document.cluster()));
      break;
    case Document::kClusterGroup: {
      json spec = json::object();
      Put(spec, "selector", document.cluster_group().selector(),
          document.cluster_group().has_selector());
      out["spec"] = std::move(spec);
      break;
    }
    case Document::kBundle:
      out["spec"] = BundleSpecToJson(document.bundle());
      out["spec"]["resources"] =
          FilesToJson(document.bundle(), contents, encoding);
      break;
    case Document::kSecret:
      Put(out, "type", document.secret().type());
      break;
    case Document::kGitRepoRestriction:
      RestrictionToJson(document.git_repo_restriction(), out);
      break;
    case Document::kPolicy:
      PolicyToJson(document.policy(), out);
      break;
    case Document::kBundleNamespaceMapping: {
      const auto& spec = document.bundle_namespace_mapping();
      Put(out, "bundleSelector", spec.bundle_selector(),
          spec.has_bundle_selector());
      Put(out, "namespaceSelector", spec.namespace_selector(),
          spec.has_namespace_selector());
      break;
    }
    case Document::kClusterRegistrationToken: {
      json spec = json::object();
      Put(spec, "ttl", document.cluster_registration_token().ttl());
      out["spec"] = std::move(spec);
      break;
    }
    case Document::kConfigMap:
      Put(out, "data", document.config_map().data());
      break;
    case Document::kNamespace:
    case Document::SPEC_NOT_SET:
      break;
  }
}

// What they say is in the values, and they are no files of the bundle.
void DropValuesFiles(DeployOptions& options) {
  if (options.has_helm()) options.mutable_helm()->clear_values_files();
}

}  // namespace

json PairsToJson(const RepeatedPtrField<core::v1::LabelPair>& pairs) {
  json out = json::object();
  for (const core::v1::LabelPair& pair : pairs) out[pair.key()] = pair.value();
  return out;
}

json LabelSelectorToJson(const LabelSelector& selector) {
  json out = json::object();
  Put(out, "matchLabels", selector.match_labels());
  for (const LabelRequirement& requirement : selector.match_expressions()) {
    json one = json::object();
    one["key"] = requirement.key();
    switch (requirement.operator_()) {
      case LabelRequirement::OPERATOR_IN:
        one["operator"] = "In";
        break;
      case LabelRequirement::OPERATOR_NOT_IN:
        one["operator"] = "NotIn";
        break;
      case LabelRequirement::OPERATOR_EXISTS:
        one["operator"] = "Exists";
        break;
      default:
        one["operator"] = "DoesNotExist";
        break;
    }
    Put(one, "values", requirement.values());
    out["matchExpressions"].push_back(std::move(one));
  }
  return out;
}

json DeployOptionsToJson(const DeployOptions& options) {
  json out = json::object();
  Put(out, "defaultNamespace", options.default_namespace());
  Put(out, "namespace", options.namespace_());
  if (options.has_helm()) out["helm"] = HelmToJson(options.helm());
  PutObject(out, "correctDrift",
            CorrectDriftToJson(options.correct_drift(),
                               options.correct_drift_force(),
                               options.correct_drift_keep_fail_history()));
  Put(out, "keepResources", options.keep_resources());
  Put(out, "deleteNamespace", options.delete_namespace());
  Put(out, "deleteCRDResources", options.delete_crd_resources());
  Put(out, "forceSyncGeneration", options.force_sync_generation());
  Put(out, "serviceAccount", options.service_account());
  json kustomize = json::object();
  Put(kustomize, "dir", options.kustomize_dir());
  PutObject(out, "kustomize", std::move(kustomize));
  json yaml = json::object();
  Put(yaml, "overlays", options.yaml_overlays());
  PutObject(out, "yaml", std::move(yaml));
  for (const core::v1::ComparePatch& patch : options.compare_patches()) {
    out["diff"]["comparePatches"].push_back(ComparePatchToJson(patch));
  }
  for (const core::v1::ConditionPattern& pattern :
       options.ignore_conditions()) {
    out["ignore"]["conditions"].push_back(PairsToJson(pattern.fields()));
  }
  for (const core::v1::HealthRule& rule : options.health_rules()) {
    out["healthRules"].push_back({{"group", rule.group()},
                                  {"kind", rule.kind()},
                                  {"script", rule.script()}});
  }
  Put(out, "namespaceLabels", options.namespace_labels());
  Put(out, "namespaceAnnotations", options.namespace_annotations());
  for (const storage::v1::DownstreamResource& resource :
       options.downstream_resources()) {
    out["downstreamResources"].push_back(
        {{"kind", resource.kind()}, {"name", resource.name()}});
  }
  Put(out, "createNamespace", options.create_namespace());
  Put(out, "allowedTargetNamespaceSelector",
      options.allowed_target_namespace_selector(),
      options.has_allowed_target_namespace_selector());
  return out;
}

json TargetToJson(const Target& target) {
  json out = DeployOptionsToJson(target.options());
  out.update(CriteriaToJson(target));
  Put(out, "doNotDeploy", target.do_not_deploy());
  return out;
}

std::string EncodeContent(absl::string_view bytes) {
  std::string packed;
  {
    google::protobuf::io::StringOutputStream output(&packed);
    google::protobuf::io::GzipOutputStream gzip(&output);
    google::protobuf::io::CodedOutputStream coded(&gzip);
    coded.WriteRaw(bytes.data(), static_cast<int>(bytes.size()));
  }
  return absl::Base64Escape(packed);
}

json DocumentToJson(const Document& document,
                    const std::vector<std::string>* contents,
                    FileEncoding encoding) {
  json out = json::object();
  out["apiVersion"] = ApiVersionOf(document.kind());
  out["kind"] = document.kind();
  out["metadata"] = MetadataToJson(document);
  size_t bytes = 0;
  if (contents != nullptr) {
    for (const std::string& content : *contents) bytes += content.size();
  }
  if (bytes >= kCompressAll) encoding = FileEncoding::kCompressed;
  PutSpec(document, contents, encoding, out);
  return out;
}

std::string DocumentToYaml(const Document& document,
                           const std::vector<std::string>* contents,
                           FileEncoding encoding) {
  return ToYaml(DocumentToJson(document, contents, encoding));
}

Document BundleDocument(absl::string_view workspace, absl::string_view name,
                        const storage::v1::BundleRevision& revision) {
  Document document;
  document.set_kind("Bundle");
  document.set_workspace(std::string(workspace));
  document.set_name(std::string(name));
  *document.mutable_labels() = revision.labels();
  *document.mutable_annotations() = revision.annotations();
  BundleSpec& spec = *document.mutable_bundle();
  *spec.mutable_resources() = revision.files();
  *spec.mutable_options() = revision.options();
  for (const Target& target : revision.customizations()) {
    *spec.add_targets() = target;
  }
  for (const Target& target : revision.targets()) {
    *spec.add_targets() = target;
    if (!revision.restrictions().empty()) continue;
    Target& restriction = *spec.add_target_restrictions();
    restriction = target;
    restriction.clear_options();
    restriction.clear_do_not_deploy();
  }
  for (const Target& target : revision.restrictions()) {
    *spec.add_target_restrictions() = target;
  }
  DropValuesFiles(*spec.mutable_options());
  for (Target& target : *spec.mutable_targets()) {
    DropValuesFiles(*target.mutable_options());
  }
  *spec.mutable_depends_on() = revision.depends_on();
  spec.set_paused(revision.paused());
  spec.set_all_matches(revision.all_matches());
  if (revision.has_rollout()) *spec.mutable_rollout() = revision.rollout();
  return document;
}

}  // namespace flotilla::manager
