// SPDX-License-Identifier: Apache-2.0

#include "agent/health/health_rules.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace flotilla::agent {

using core::v1::HEALTH_DEGRADED;
using core::v1::HEALTH_HEALTHY;
using core::v1::HEALTH_NOT_TRACKABLE;
using core::v1::HEALTH_PROGRESSING;
using core::v1::HEALTH_SUSPENDED;
using nlohmann::json;

namespace {

// A member, or null when there is none or `object` is no map.
const json& At(const json& object, const char* key) {
  static const json* const kNull = new json();
  if (!object.is_object()) return *kNull;
  const auto it = object.find(key);
  return it == object.end() ? *kNull : *it;
}

std::string Text(const json& value) {
  return value.is_string() ? value.get<std::string>() : std::string();
}

std::optional<int64_t> Number(const json& value) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX) {
    return std::nullopt;
  }
  return value.get<int64_t>();
}

int64_t NumberOr(const json& value, int64_t otherwise) {
  return Number(value).value_or(otherwise);
}

bool True(const json& value) { return value.is_boolean() && value.get<bool>(); }

// The condition of a type, or null.
const json& Condition(const json& object, absl::string_view type) {
  static const json* const kNull = new json();
  const json& conditions = At(At(object, "status"), "conditions");
  if (!conditions.is_array()) return *kNull;
  for (const json& condition : conditions) {
    if (Text(At(condition, "type")) == type) return condition;
  }
  return *kNull;
}

bool ConditionIs(const json& object, absl::string_view type,
                 absl::string_view status) {
  return Text(At(Condition(object, type), "status")) == status;
}

HealthVerdict Healthy() { return {HEALTH_HEALTHY, "", ""}; }

HealthVerdict Progressing(std::string reason, std::string message) {
  return {HEALTH_PROGRESSING, std::move(reason), std::move(message)};
}

HealthVerdict Degraded(std::string reason, std::string message) {
  return {HEALTH_DEGRADED, std::move(reason), std::move(message)};
}

// The words of a condition, or `fallback`.
HealthVerdict FromCondition(core::v1::Health health, const json& condition,
                            std::string fallback) {
  std::string reason = Text(At(condition, "reason"));
  std::string message = Text(At(condition, "message"));
  if (reason.empty()) reason = fallback;
  if (message.empty()) message = reason;
  return {health, std::move(reason), std::move(message)};
}

// Workloads always write observedGeneration: without it nothing is known.
std::optional<HealthVerdict> NotObserved(const json& object) {
  const auto generation = Number(At(At(object, "metadata"), "generation"));
  const auto observed = Number(At(At(object, "status"), "observedGeneration"));
  if (generation.has_value() && observed == generation) return std::nullopt;
  return Progressing("LatestGenerationNotObserved",
                     "its controller has not seen this generation yet");
}

HealthVerdict Deployment(const json& object) {
  if (auto verdict = NotObserved(object)) return *verdict;
  const json& spec = At(object, "spec");
  const json& status = At(object, "status");
  if (True(At(spec, "paused"))) {
    return {HEALTH_SUSPENDED, "Paused", "spec.paused is set"};
  }
  if (ConditionIs(object, "ReplicaFailure", "True")) {
    return FromCondition(HEALTH_DEGRADED, Condition(object, "ReplicaFailure"),
                         "ReplicaFailure");
  }
  const json& progressing = Condition(object, "Progressing");
  if (Text(At(progressing, "reason")) == "ProgressDeadlineExceeded") {
    return FromCondition(HEALTH_DEGRADED, progressing,
                         "ProgressDeadlineExceeded");
  }
  const int64_t wanted = NumberOr(At(spec, "replicas"), 1);
  const int64_t replicas = NumberOr(At(status, "replicas"), 0);
  const int64_t updated = NumberOr(At(status, "updatedReplicas"), 0);
  const int64_t ready = NumberOr(At(status, "readyReplicas"), 0);
  const int64_t available = NumberOr(At(status, "availableReplicas"), 0);
  if (wanted > updated) {
    return Progressing("RollingOut",
                       absl::StrFormat("%d of %d replicas are updated", updated,
                                       wanted));
  }
  if (replicas > updated) {
    return Progressing("RollingOut",
                       absl::StrFormat("%d old replicas are still there",
                                       replicas - updated));
  }
  if (replicas > wanted) {
    return Progressing("ScalingDown",
                       absl::StrFormat("%d replicas are still there, %d wanted",
                                       replicas, wanted));
  }
  if (updated > available || wanted > ready || wanted > available) {
    return Progressing("NotAvailable",
                       absl::StrFormat("%d of %d replicas are available",
                                       available, wanted));
  }
  if (progressing.is_object() &&
      Text(At(progressing, "reason")) != "NewReplicaSetAvailable") {
    return FromCondition(HEALTH_PROGRESSING, progressing, "RollingOut");
  }
  if (!ConditionIs(object, "Available", "True")) {
    return FromCondition(HEALTH_PROGRESSING, Condition(object, "Available"),
                         "NotAvailable");
  }
  return Healthy();
}

HealthVerdict StatefulSet(const json& object) {
  if (auto verdict = NotObserved(object)) return *verdict;
  const json& spec = At(object, "spec");
  const json& status = At(object, "status");
  const int64_t wanted = NumberOr(At(spec, "replicas"), 1);
  const int64_t replicas = NumberOr(At(status, "replicas"), 0);
  const int64_t ready = NumberOr(At(status, "readyReplicas"), 0);
  if (wanted > replicas || wanted > ready) {
    return Progressing(
        "NotReady",
        absl::StrFormat("%d of %d replicas are ready", ready, wanted));
  }
  if (replicas > wanted) {
    return Progressing("ScalingDown",
                       absl::StrFormat("%d replicas are still there, %d wanted",
                                       replicas, wanted));
  }
  const json& strategy = At(spec, "updateStrategy");
  if (Text(At(strategy, "type")) == "OnDelete") return Healthy();
  const int64_t updated = NumberOr(At(status, "updatedReplicas"), 0);
  const int64_t partition =
      NumberOr(At(At(strategy, "rollingUpdate"), "partition"), 0);
  if (partition > 0) {
    if (updated < wanted - partition) {
      return Progressing("RollingOut",
                         absl::StrFormat("%d of %d replicas are updated",
                                         updated, wanted - partition));
    }
    return Healthy();
  }
  if (Text(At(status, "currentRevision")) !=
      Text(At(status, "updateRevision"))) {
    return Progressing("RollingOut",
                       absl::StrFormat("%d of %d replicas are updated", updated,
                                       wanted));
  }
  return Healthy();
}

HealthVerdict DaemonSet(const json& object) {
  if (auto verdict = NotObserved(object)) return *verdict;
  const json& status = At(object, "status");
  const auto wanted = Number(At(status, "desiredNumberScheduled"));
  if (!wanted.has_value()) {
    return Progressing("NotScheduled", "not scheduled yet");
  }
  const int64_t current = NumberOr(At(status, "currentNumberScheduled"), 0);
  const int64_t updated = NumberOr(At(status, "updatedNumberScheduled"), 0);
  const int64_t available = NumberOr(At(status, "numberAvailable"), 0);
  const int64_t ready = NumberOr(At(status, "numberReady"), 0);
  const bool on_delete =
      Text(At(At(At(object, "spec"), "updateStrategy"), "type")) == "OnDelete";
  if (!on_delete && updated < *wanted) {
    return Progressing(
        "RollingOut",
        absl::StrFormat("%d of %d pods are updated", updated, *wanted));
  }
  if (current < *wanted || available < *wanted || ready < *wanted) {
    return Progressing("NotAvailable",
                       absl::StrFormat("%d of %d pods are available", available,
                                       *wanted));
  }
  return Healthy();
}

HealthVerdict ReplicaSet(const json& object) {
  if (auto verdict = NotObserved(object)) return *verdict;
  if (ConditionIs(object, "ReplicaFailure", "True")) {
    return FromCondition(HEALTH_DEGRADED, Condition(object, "ReplicaFailure"),
                         "ReplicaFailure");
  }
  const json& status = At(object, "status");
  const int64_t wanted = NumberOr(At(At(object, "spec"), "replicas"), 1);
  const int64_t available = NumberOr(At(status, "availableReplicas"), 0);
  const int64_t replicas = NumberOr(At(status, "replicas"), 0);
  if (available < wanted || replicas != wanted) {
    return Progressing("NotAvailable",
                       absl::StrFormat("%d of %d replicas are available",
                                       available, wanted));
  }
  return Healthy();
}

HealthVerdict Job(const json& object) {
  if (ConditionIs(object, "Failed", "True")) {
    return FromCondition(HEALTH_DEGRADED, Condition(object, "Failed"),
                         "Failed");
  }
  if (ConditionIs(object, "Complete", "True")) return Healthy();
  if (True(At(At(object, "spec"), "suspend"))) {
    return {HEALTH_SUSPENDED, "Suspended", "spec.suspend is set"};
  }
  const json& status = At(object, "status");
  return Progressing(
      "Running", absl::StrFormat("%d active, %d succeeded, %d failed",
                                 NumberOr(At(status, "active"), 0),
                                 NumberOr(At(status, "succeeded"), 0),
                                 NumberOr(At(status, "failed"), 0)));
}

HealthVerdict CronJob(const json& object) {
  if (True(At(At(object, "spec"), "suspend"))) {
    return {HEALTH_SUSPENDED, "Suspended", "spec.suspend is set"};
  }
  return Healthy();
}

// The waiting reason of a container that will not come by itself.
std::string ContainerTrouble(const json& statuses) {
  if (!statuses.is_array()) return "";
  for (const json& container : statuses) {
    const json& waiting = At(At(container, "state"), "waiting");
    const std::string reason = Text(At(waiting, "reason"));
    if (absl::StartsWith(reason, "Err") || absl::EndsWith(reason, "Error") ||
        absl::EndsWith(reason, "BackOff") || reason == "InvalidImageName") {
      const std::string message = Text(At(waiting, "message"));
      return absl::StrCat("container ", Text(At(container, "name")), ": ",
                          reason, message.empty() ? "" : ": ", message);
    }
  }
  return "";
}

std::string PodReason(const json& object) {
  const json& status = At(object, "status");
  for (const char* list : {"initContainerStatuses", "containerStatuses"}) {
    const std::string trouble = ContainerTrouble(At(status, list));
    if (!trouble.empty()) return trouble;
  }
  return "";
}

HealthVerdict Pod(const json& object) {
  const json& status = At(object, "status");
  const std::string phase = Text(At(status, "phase"));
  if (phase == "Succeeded") return Healthy();
  if (phase == "Failed") {
    std::string message = Text(At(status, "message"));
    if (message.empty()) message = "the pod failed";
    return Degraded("Failed", message);
  }
  const std::string trouble = PodReason(object);
  if (!trouble.empty()) return Degraded("ContainerNotRunning", trouble);
  if (phase == "Running" && ConditionIs(object, "Ready", "True")) {
    return Healthy();
  }
  if (ConditionIs(object, "PodScheduled", "False")) {
    return FromCondition(HEALTH_PROGRESSING, Condition(object, "PodScheduled"),
                         "Unschedulable");
  }
  return Progressing(phase.empty() ? "Pending" : phase,
                     "the pod is not ready yet");
}

HealthVerdict Service(const json& object) {
  const json& spec = At(object, "spec");
  if (Text(At(spec, "type")) != "LoadBalancer") return Healthy();
  const json& ingress =
      At(At(At(object, "status"), "loadBalancer"), "ingress");
  if (ingress.is_array() && !ingress.empty()) return Healthy();
  return Progressing("Pending", "no load balancer address yet");
}

HealthVerdict PersistentVolumeClaim(const json& object) {
  const std::string phase = Text(At(At(object, "status"), "phase"));
  if (phase == "Bound") return Healthy();
  if (phase == "Lost") return Degraded("Lost", "its volume is lost");
  return Progressing(phase.empty() ? "Pending" : phase,
                     "no volume is bound yet");
}

HealthVerdict CustomResourceDefinition(const json& object) {
  if (ConditionIs(object, "NamesAccepted", "False")) {
    return FromCondition(HEALTH_DEGRADED, Condition(object, "NamesAccepted"),
                         "NamesNotAccepted");
  }
  const json& established = Condition(object, "Established");
  if (Text(At(established, "status")) == "True") return Healthy();
  if (Text(At(established, "status")) == "False" &&
      Text(At(established, "reason")) != "Installing") {
    return FromCondition(HEALTH_DEGRADED, established, "NotEstablished");
  }
  return Progressing("Installing", "not established yet");
}

HealthVerdict Namespace(const json& object) {
  if (Text(At(At(object, "status"), "phase")) == "Active") return Healthy();
  return Progressing("NotActive", "not active yet");
}

HealthVerdict ApiService(const json& object) {
  const json& available = Condition(object, "Available");
  if (Text(At(available, "status")) == "True") return Healthy();
  return FromCondition(HEALTH_PROGRESSING, available, "NotAvailable");
}

HealthVerdict PodDisruptionBudget(const json& object) {
  if (auto verdict = NotObserved(object)) return *verdict;
  return Healthy();
}

using Rule = HealthVerdict (*)(const json&);

// By "<group>/<kind>".
Rule RuleOf(absl::string_view group, absl::string_view kind) {
  static const auto* const kRules =
      new absl::flat_hash_map<std::string, Rule>({
          {"apps/Deployment", Deployment},
          {"apps/StatefulSet", StatefulSet},
          {"apps/DaemonSet", DaemonSet},
          {"apps/ReplicaSet", ReplicaSet},
          {"batch/Job", Job},
          {"batch/CronJob", CronJob},
          {"/Pod", Pod},
          {"/Service", Service},
          {"/PersistentVolumeClaim", PersistentVolumeClaim},
          {"/Namespace", Namespace},
          {"policy/PodDisruptionBudget", PodDisruptionBudget},
          {"apiregistration.k8s.io/APIService", ApiService},
          {"apiextensions.k8s.io/CustomResourceDefinition",
           CustomResourceDefinition},
      });
  const auto rule = kRules->find(absl::StrCat(group, "/", kind));
  return rule == kRules->end() ? nullptr : rule->second;
}

// Steps 1 to 3 of kstatus.
std::optional<HealthVerdict> Generic(const json& object) {
  const json& metadata = At(object, "metadata");
  if (metadata.is_object() && metadata.contains("deletionTimestamp")) {
    return Progressing("Terminating", "it is being deleted");
  }
  const auto generation = Number(At(metadata, "generation"));
  const auto observed = Number(At(At(object, "status"), "observedGeneration"));
  if (generation.has_value() && observed.has_value() &&
      generation != observed) {
    return Progressing("LatestGenerationNotObserved",
                       "its controller has not seen this generation yet");
  }
  if (ConditionIs(object, "Reconciling", "True")) {
    return FromCondition(HEALTH_PROGRESSING, Condition(object, "Reconciling"),
                         "Reconciling");
  }
  if (ConditionIs(object, "Stalled", "True")) {
    return FromCondition(HEALTH_DEGRADED, Condition(object, "Stalled"),
                         "Stalled");
  }
  return std::nullopt;
}

std::string GroupOf(const json& object) {
  const std::string api_version = Text(At(object, "apiVersion"));
  const size_t slash = api_version.find('/');
  return slash == std::string::npos ? "" : api_version.substr(0, slash);
}

}  // namespace

bool HasHealthRule(absl::string_view group, absl::string_view kind) {
  // A kind that we do not know may have the conditions of the generic rules.
  return !IsDataKind(group, kind);
}

bool IsDataKind(absl::string_view group, absl::string_view kind) {
  static const auto* const kKinds = new absl::flat_hash_set<std::string>({
      "/ConfigMap",
      "/Secret",
      "/ServiceAccount",
      "/LimitRange",
      "/ResourceQuota",
      "/Endpoints",
      "discovery.k8s.io/EndpointSlice",
      "rbac.authorization.k8s.io/Role",
      "rbac.authorization.k8s.io/RoleBinding",
      "rbac.authorization.k8s.io/ClusterRole",
      "rbac.authorization.k8s.io/ClusterRoleBinding",
      "admissionregistration.k8s.io/MutatingWebhookConfiguration",
      "admissionregistration.k8s.io/ValidatingWebhookConfiguration",
      "networking.k8s.io/NetworkPolicy",
      "networking.k8s.io/IngressClass",
      "scheduling.k8s.io/PriorityClass",
      "storage.k8s.io/StorageClass",
      "node.k8s.io/RuntimeClass",
      "coordination.k8s.io/Lease",
  });
  return kKinds->contains(absl::StrCat(group, "/", kind));
}

HealthVerdict JudgeHealth(const json& object) {
  const std::string kind = Text(At(object, "kind"));
  if (kind.empty() || !At(object, "metadata").is_object()) {
    return {core::v1::HEALTH_UNKNOWN, "Malformed",
            "the API server gave an object without kind or metadata"};
  }
  if (auto verdict = Generic(object)) return *verdict;
  const std::string group = GroupOf(object);
  if (const Rule rule = RuleOf(group, kind)) return rule(object);
  if (IsDataKind(group, kind)) return Healthy();
  const json& ready = Condition(object, "Ready");
  if (ready.is_object()) {
    if (Text(At(ready, "status")) == "True") return Healthy();
    return FromCondition(HEALTH_PROGRESSING, ready, "NotReady");
  }
  return {HEALTH_NOT_TRACKABLE, "NotTrackable",
          "its kind does not say whether it works"};
}

std::string PodTrouble(const json& pod) {
  std::string why = PodReason(pod);
  if (why.empty() && Text(At(At(pod, "status"), "phase")) == "Failed") {
    why = Text(At(At(pod, "status"), "message"));
    if (why.empty()) why = "failed";
  }
  if (why.empty() && ConditionIs(pod, "PodScheduled", "False")) {
    const json& scheduled = Condition(pod, "PodScheduled");
    why = absl::StrCat(Text(At(scheduled, "reason")), ": ",
                       Text(At(scheduled, "message")));
  }
  if (why.empty()) return "";
  return absl::StrCat("pod ", Text(At(At(pod, "metadata"), "name")), ": ", why);
}

void DropConditions(
    const google::protobuf::RepeatedPtrField<core::v1::ConditionPattern>&
        patterns,
    json* object) {
  if (patterns.empty() || !At(At(*object, "status"), "conditions").is_array()) {
    return;
  }
  json& conditions = (*object)["status"]["conditions"];
  json kept = json::array();
  for (json& condition : conditions) {
    const bool ignored = std::any_of(
        patterns.begin(), patterns.end(),
        [&condition](const core::v1::ConditionPattern& pattern) {
          return !pattern.fields().empty() &&
                 std::all_of(pattern.fields().begin(), pattern.fields().end(),
                             [&condition](const core::v1::LabelPair& field) {
                               const json& value =
                                   At(condition, field.key().c_str());
                               return value.is_string() &&
                                      value.get_ref<const std::string&>() ==
                                          field.value();
                             });
        });
    if (!ignored) kept.push_back(std::move(condition));
  }
  conditions = std::move(kept);
}

}  // namespace flotilla::agent
