// SPDX-License-Identifier: Apache-2.0

#include "agent/health/kind_table.h"

#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/kube/object.h"

namespace flotilla::agent {
namespace {

using core::v1::Health;
using core::v1::HEALTH_DEGRADED;
using core::v1::HEALTH_HEALTHY;
using core::v1::HEALTH_NOT_TRACKABLE;
using core::v1::HEALTH_PROGRESSING;
using core::v1::HEALTH_SUSPENDED;
using nlohmann::json;

enum class From {
  kCondition,  // Of a type, with a status and perhaps a reason.
  kField,      // Of a path; "true" and "false" for booleans.
  kRoutes,     // kCondition of any parent of a route.
  kAlways,     // Every object: the last row of a kind.
};

constexpr char kAny[] = "*";  // Any value but none.

// Thread-compatible.
struct Row {
  From from;
  const char* name;    // Type of the condition or path of the field.
  const char* value;   // Status of the condition or value of the field.
  const char* reason;  // Of the condition; kAny for each. For people else.
  Health health;
};

// Thread-compatible.
struct Kind {
  const char* group_and_kinds;  // "group/Kind,Kind".
  std::vector<Row> rows;        // The first that fits.
};

// Of the kinds of Flux's toolkits.
const std::vector<Row>& FluxRows() {
  static const auto* const kRows = new std::vector<Row>({
      {From::kField, "spec.suspend", "true", "spec.suspend is set",
       HEALTH_SUSPENDED},
      // A repository of charts in a registry is not looked at before its use.
      {From::kField, "spec.type", "oci", "", HEALTH_NOT_TRACKABLE},
      {From::kCondition, "Ready", "True", kAny, HEALTH_HEALTHY},
      {From::kCondition, "Ready", "Unknown", kAny, HEALTH_PROGRESSING},
      {From::kCondition, "Ready", "False", "DependencyNotReady",
       HEALTH_PROGRESSING},
      {From::kCondition, "Ready", "False", kAny, HEALTH_DEGRADED},
      {From::kAlways, "", "", "its controller has not looked at it yet",
       HEALTH_PROGRESSING},
  });
  return *kRows;
}

const std::vector<Row>& RouteRows() {
  static const auto* const kRows = new std::vector<Row>({
      {From::kRoutes, "Accepted", "False", "Pending", HEALTH_PROGRESSING},
      {From::kRoutes, "Accepted", "False", kAny, HEALTH_DEGRADED},
      {From::kRoutes, "ResolvedRefs", "False", kAny, HEALTH_DEGRADED},
      {From::kRoutes, "Accepted", "True", kAny, HEALTH_HEALTHY},
      {From::kAlways, "", "", "no gateway has accepted it yet",
       HEALTH_PROGRESSING},
  });
  return *kRows;
}

const std::vector<Row>& IssuerRows() {
  static const auto* const kRows = new std::vector<Row>({
      {From::kCondition, "Ready", "True", kAny, HEALTH_HEALTHY},
      {From::kCondition, "Ready", "False", kAny, HEALTH_DEGRADED},
      {From::kAlways, "", "", "not initialised yet", HEALTH_PROGRESSING},
  });
  return *kRows;
}

const std::vector<Kind>& Kinds() {
  static const auto* const kKinds = new std::vector<Kind>({
      {"/Namespace",
       {{From::kField, "status.phase", "Active", "", HEALTH_HEALTHY},
        {From::kAlways, "", "", "it is not active", HEALTH_PROGRESSING}}},
      {"/PersistentVolume",
       {{From::kField, "status.phase", "Failed", "its volume failed",
         HEALTH_DEGRADED},
        {From::kField, "status.phase", "Pending", "it is not available yet",
         HEALTH_PROGRESSING},
        {From::kField, "status.phase", kAny, "", HEALTH_HEALTHY},
        {From::kAlways, "", "", "it is not available yet",
         HEALTH_PROGRESSING}}},
      {"apiregistration.k8s.io/APIService",
       {{From::kCondition, "Available", "True", kAny, HEALTH_HEALTHY},
        {From::kCondition, "Available", "False", kAny, HEALTH_PROGRESSING},
        {From::kAlways, "", "", "it is not available yet",
         HEALTH_PROGRESSING}}},
      {"autoscaling/HorizontalPodAutoscaler",
       {{From::kCondition, "ScalingActive", "False", "ScalingDisabled",
         HEALTH_SUSPENDED},
        {From::kCondition, "ScalingActive", "False", "InvalidSelector",
         HEALTH_DEGRADED},
        {From::kCondition, "ScalingActive", "False", "InvalidMetricSourceType",
         HEALTH_DEGRADED},
        {From::kCondition, "AbleToScale", "False", "FailedUpdateScale",
         HEALTH_DEGRADED},
        // Its target or the metrics of new pods may still come.
        {From::kCondition, "AbleToScale", "False", kAny, HEALTH_PROGRESSING},
        {From::kCondition, "ScalingActive", "False", kAny, HEALTH_PROGRESSING},
        {From::kCondition, "AbleToScale", "True", kAny, HEALTH_HEALTHY},
        {From::kAlways, "", "", "its controller has not looked at it yet",
         HEALTH_PROGRESSING}}},
      {"networking.k8s.io/Ingress",
       {{From::kCondition, "Accepted", "False", kAny, HEALTH_DEGRADED},
        {From::kCondition, "Programmed", "False", kAny, HEALTH_PROGRESSING},
        {From::kField, "status.loadBalancer.ingress", kAny, "",
         HEALTH_HEALTHY},
        {From::kCondition, "Accepted", "True", kAny, HEALTH_HEALTHY},
        // Many controllers never say a word.
        {From::kAlways, "", "", "", HEALTH_NOT_TRACKABLE}}},
      {"gateway.networking.k8s.io/Gateway",
       {{From::kCondition, "Accepted", "False", "Pending", HEALTH_PROGRESSING},
        {From::kCondition, "Accepted", "False", kAny, HEALTH_DEGRADED},
        {From::kCondition, "Programmed", "True", kAny, HEALTH_HEALTHY},
        {From::kCondition, "Programmed", "False", "Invalid", HEALTH_DEGRADED},
        {From::kCondition, "Programmed", "False", kAny, HEALTH_PROGRESSING},
        {From::kAlways, "", "", "it is not programmed yet",
         HEALTH_PROGRESSING}}},
      {"gateway.networking.k8s.io/GatewayClass",
       {{From::kCondition, "Accepted", "True", kAny, HEALTH_HEALTHY},
        {From::kCondition, "Accepted", "False", kAny, HEALTH_DEGRADED},
        {From::kAlways, "", "", "no controller has accepted it yet",
         HEALTH_PROGRESSING}}},
      {"gateway.networking.k8s.io/HTTPRoute,GRPCRoute,TLSRoute,TCPRoute,"
       "UDPRoute",
       RouteRows()},
      {"cert-manager.io/Certificate",
       {{From::kCondition, "Issuing", "True", kAny, HEALTH_PROGRESSING},
        {From::kCondition, "Issuing", "False", "Failed", HEALTH_DEGRADED},
        {From::kCondition, "Ready", "True", kAny, HEALTH_HEALTHY},
        {From::kCondition, "Ready", "False", "DoesNotExist",
         HEALTH_PROGRESSING},
        {From::kCondition, "Ready", "False", kAny, HEALTH_DEGRADED},
        {From::kAlways, "", "", "no certificate is issued yet",
         HEALTH_PROGRESSING}}},
      {"cert-manager.io/Issuer,ClusterIssuer", IssuerRows()},
      {"cert-manager.io/CertificateRequest",
       {{From::kCondition, "Denied", "True", kAny, HEALTH_DEGRADED},
        {From::kCondition, "InvalidRequest", "True", kAny, HEALTH_DEGRADED},
        {From::kCondition, "Ready", "True", kAny, HEALTH_HEALTHY},
        {From::kCondition, "Ready", "False", "Failed", HEALTH_DEGRADED},
        {From::kAlways, "", "", "no certificate is issued yet",
         HEALTH_PROGRESSING}}},
      {"acme.cert-manager.io/Order,Challenge",
       {{From::kField, "status.state", "valid", "", HEALTH_HEALTHY},
        {From::kField, "status.state", "invalid", "it is invalid",
         HEALTH_DEGRADED},
        {From::kField, "status.state", "expired", "it is expired",
         HEALTH_DEGRADED},
        {From::kField, "status.state", "errored", "it ended in an error",
         HEALTH_DEGRADED},
        {From::kAlways, "", "", "it is not valid yet", HEALTH_PROGRESSING}}},
      {"kustomize.toolkit.fluxcd.io/Kustomization", FluxRows()},
      {"helm.toolkit.fluxcd.io/HelmRelease", FluxRows()},
      {"source.toolkit.fluxcd.io/GitRepository,HelmRepository,HelmChart,"
       "Bucket,OCIRepository,ExternalArtifact",
       FluxRows()},
      {"image.toolkit.fluxcd.io/ImageRepository,ImagePolicy,"
       "ImageUpdateAutomation",
       FluxRows()},
      {"notification.toolkit.fluxcd.io/Receiver", FluxRows()},
      // Those that have no status since they are not reconciled.
      {"notification.toolkit.fluxcd.io/Provider,Alert",
       {{From::kField, "spec.suspend", "true", "spec.suspend is set",
         HEALTH_SUSPENDED},
        {From::kCondition, "Ready", "False", kAny, HEALTH_DEGRADED},
        {From::kAlways, "", "", "", HEALTH_NOT_TRACKABLE}}},
      {"argoproj.io/Rollout",
       {{From::kField, "status.phase", "Healthy", "", HEALTH_HEALTHY},
        {From::kField, "status.phase", "Paused", "the rollout is paused",
         HEALTH_SUSPENDED},
        {From::kField, "status.phase", "Degraded", "the rollout failed",
         HEALTH_DEGRADED},
        {From::kCondition, "InvalidSpec", "True", kAny, HEALTH_DEGRADED},
        {From::kAlways, "", "", "it is rolling out", HEALTH_PROGRESSING}}},
      {"argoproj.io/Application",
       {{From::kField, "status.health.status", "Healthy", "", HEALTH_HEALTHY},
        {From::kField, "status.health.status", "Suspended",
         "the application is suspended", HEALTH_SUSPENDED},
        {From::kField, "status.health.status", "Degraded",
         "the application is degraded", HEALTH_DEGRADED},
        {From::kField, "status.health.status", "Missing",
         "objects of the application are missing", HEALTH_DEGRADED},
        {From::kAlways, "", "", "it is not healthy yet",
         HEALTH_PROGRESSING}}},
      {"argoproj.io/Workflow",
       {{From::kField, "status.phase", "Succeeded", "", HEALTH_HEALTHY},
        {From::kField, "status.phase", "Failed", "the workflow failed",
         HEALTH_DEGRADED},
        {From::kField, "status.phase", "Error", "the workflow failed",
         HEALTH_DEGRADED},
        {From::kField, "spec.suspend", "true", "spec.suspend is set",
         HEALTH_SUSPENDED},
        {From::kAlways, "", "", "it is running", HEALTH_PROGRESSING}}},
      {"snapshot.storage.k8s.io/VolumeSnapshot",
       {{From::kField, "status.readyToUse", "true", "", HEALTH_HEALTHY},
        {From::kField, "status.error.message", kAny, "the snapshot failed",
         HEALTH_DEGRADED},
        {From::kAlways, "", "", "it is not ready to use yet",
         HEALTH_PROGRESSING}}},
  });
  return *kKinds;
}

const std::vector<Row>* RowsOf(absl::string_view group,
                               absl::string_view kind) {
  using Index = absl::flat_hash_map<std::string, const std::vector<Row>*>;
  static const Index* const kIndex = [] {
    auto* index = new Index();
    for (const Kind& entry : Kinds()) {
      const absl::string_view names = entry.group_and_kinds;
      const size_t slash = names.find('/');
      for (const absl::string_view name :
           absl::StrSplit(names.substr(slash + 1), ',')) {
        (*index)[absl::StrCat(names.substr(0, slash), "/", name)] =
            &entry.rows;
      }
    }
    return index;
  }();
  const auto found = kIndex->find(absl::StrCat(group, "/", kind));
  return found == kIndex->end() ? nullptr : found->second;
}

bool Fits(const Row& row, const json& condition) {
  return condition.is_object() &&
         TextOr(Member(condition, "type")) == row.name &&
         TextOr(Member(condition, "status")) == row.value &&
         (row.reason == absl::string_view(kAny) ||
          TextOr(Member(condition, "reason")) == row.reason);
}

// The first condition of a route's parents that fits; null: none.
const json& OfRoute(const Row& row, LiveFields& live) {
  static const json* const kNull = new json();
  for (const json* parent : live.Items("status.parents")) {
    LiveFields fields(*parent);
    for (const json* condition : fields.Items("conditions")) {
      if (Fits(row, *condition)) return *condition;
    }
  }
  return *kNull;
}

bool FieldFits(const Row& row, const json& value) {
  if (value.is_null()) return false;
  const absl::string_view wanted = row.value;
  if (wanted == kAny) return !value.is_structured() || !value.empty();
  if (value.is_boolean())
    return wanted == (value.get<bool>() ? "true" : "false");
  return value.is_string() && value.get_ref<const std::string&>() == wanted;
}

HealthVerdict InWords(const Row& row, const std::string& reason) {
  if (row.health == HEALTH_HEALTHY) return Healthy();
  HealthVerdict verdict = Progressing(reason, row.reason);
  verdict.health = row.health;
  if (row.health == HEALTH_NOT_TRACKABLE) {
    verdict.reason = "NotTrackable";
    verdict.message = "it does not say whether it works";
  }
  return verdict;
}

}  // namespace

absl::optional<HealthVerdict> JudgeByKindTable(absl::string_view group,
                                               absl::string_view kind,
                                               LiveFields& live) {
  const std::vector<Row>* const rows = RowsOf(group, kind);
  if (rows == nullptr) return absl::nullopt;
  for (const Row& row : *rows) {
    if (row.from == From::kAlways) return InWords(row, "NotReady");
    if (row.from == From::kField) {
      const json& value = live.Value(row.name);
      if (!FieldFits(row, value)) continue;
      HealthVerdict verdict = InWords(
          row, value.is_string() ? value.get<std::string>() : "NotReady");
      const std::string said = TextOr(live.Value("status.message"));
      if (row.health == HEALTH_DEGRADED && !said.empty()) {
        verdict.message = Degraded("", said).message;
      }
      return verdict;
    }
    const json& condition = row.from == From::kRoutes
                                ? OfRoute(row, live)
                                : live.Condition(row.name);
    if (!Fits(row, condition)) continue;
    if (row.health == HEALTH_HEALTHY) return Healthy();
    return live.Say(row.health, condition, row.name);
  }
  return Unknown("NotReady", "no rule of its kind fits");
}

bool IsDataKind(absl::string_view group, absl::string_view kind) {
  static const auto* const kKinds = new absl::flat_hash_set<std::string>({
      "/ConfigMap",
      "/Secret",
      "/ServiceAccount",
      "/LimitRange",
      "/ResourceQuota",
      "/Endpoints",
      "/PodTemplate",
      "apps/ControllerRevision",
      "discovery.k8s.io/EndpointSlice",
      "rbac.authorization.k8s.io/Role",
      "rbac.authorization.k8s.io/RoleBinding",
      "rbac.authorization.k8s.io/ClusterRole",
      "rbac.authorization.k8s.io/ClusterRoleBinding",
      "admissionregistration.k8s.io/MutatingWebhookConfiguration",
      "admissionregistration.k8s.io/ValidatingWebhookConfiguration",
      "admissionregistration.k8s.io/ValidatingAdmissionPolicyBinding",
      "admissionregistration.k8s.io/MutatingAdmissionPolicy",
      "admissionregistration.k8s.io/MutatingAdmissionPolicyBinding",
      "networking.k8s.io/NetworkPolicy",
      "networking.k8s.io/IngressClass",
      "scheduling.k8s.io/PriorityClass",
      "storage.k8s.io/StorageClass",
      "storage.k8s.io/CSIDriver",
      "storage.k8s.io/VolumeAttributesClass",
      "snapshot.storage.k8s.io/VolumeSnapshotClass",
      "node.k8s.io/RuntimeClass",
      "coordination.k8s.io/Lease",
  });
  return kKinds->contains(absl::StrCat(group, "/", kind));
}

}  // namespace flotilla::agent
