// SPDX-License-Identifier: Apache-2.0

#include "agent/health/health_rules.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "agent/health/health_script.h"
#include "agent/health/kind_table.h"
#include "agent/health/live_fields.h"
#include "agent/health/pod_rules.h"
#include "agent/health/workload_rules.h"
#include "common/kube/object.h"

namespace flotilla::agent {

using core::v1::HEALTH_DEGRADED;
using core::v1::HEALTH_NOT_TRACKABLE;
using core::v1::HEALTH_PROGRESSING;
using nlohmann::json;

namespace {

HealthVerdict JudgeService(LiveFields& live) {
  if (live.Text("spec.type") != "LoadBalancer" ||
      !live.Items("status.loadBalancer.ingress").empty()) {
    return Healthy();
  }
  HealthVerdict verdict =
      Progressing("Pending", "no load balancer address yet");
  // Nothing gives out addresses on many clusters, and the service works within
  // the cluster.
  verdict.lets_others_go_on = true;
  return verdict;
}

HealthVerdict JudgeClaim(LiveFields& live, const HealthContext& context) {
  const std::string phase = live.Text("status.phase");
  if (phase == "Bound") return Healthy();
  if (phase == "Lost") return Degraded("Lost", "its volume is lost");
  const std::string storage_class = live.Text("spec.storageClassName");
  if (phase == "Pending" && context.binds_late != nullptr &&
      !storage_class.empty() &&
      context.binds_late(storage_class).value_or(false)) {
    HealthVerdict verdict = Progressing(
        "WaitForFirstConsumer",
        absl::StrCat("waits for a pod that uses it: storage class ",
                     storage_class, " binds volumes then"));
    verdict.lets_others_go_on = true;
    return verdict;
  }
  return Progressing(phase.empty() ? "Pending" : phase,
                     "no volume is bound yet");
}

HealthVerdict JudgeCrd(LiveFields& live, const HealthContext& context) {
  if (live.ConditionIs("NamesAccepted", "False")) {
    return live.Say(HEALTH_DEGRADED, live.Condition("NamesAccepted"),
                    "NamesNotAccepted");
  }
  const json& established = live.Condition("Established");
  const std::string status = TextOr(Member(established, "status"));
  if (status == "False" &&
      TextOr(Member(established, "reason")) != "Installing") {
    return live.Say(HEALTH_DEGRADED, established, "NotEstablished");
  }
  if (status != "True") {
    return Progressing("Installing", "not established yet");
  }
  if (context.served == nullptr) return Healthy();
  const std::string group = live.Text("spec.group");
  const std::string kind = live.Text("spec.names.kind");
  for (const json* version : live.Items("spec.versions")) {
    LiveFields fields(*version);
    const std::string name = fields.Text("name");
    if (!fields.Flag("served") || context.served(group, name, kind)) continue;
    HealthVerdict verdict = Progressing(
        "NotServed", absl::StrCat("the API server does not list ", kind,
                                  " of ", group, "/", name, " yet"));
    // Who applies objects of the kind asks discovery once more.
    verdict.lets_others_go_on = true;
    return verdict;
  }
  return Healthy();
}

HealthVerdict JudgeBudget(LiveFields& live) {
  if (auto verdict = NotObserved(live)) return *verdict;
  return Healthy();
}

using Rule = HealthVerdict (*)(LiveFields&);

// By "<group>/<kind>".
Rule RuleOf(const std::string& group_and_kind) {
  static const auto* const kRules =
      new absl::flat_hash_map<std::string, Rule>({
          {"apps/Deployment", JudgeDeployment},
          {"apps/StatefulSet", JudgeStatefulSet},
          {"apps/DaemonSet", JudgeDaemonSet},
          {"apps/ReplicaSet", JudgeReplicaSet},
          {"/ReplicationController", JudgeReplicaSet},
          {"batch/Job", JudgeJob},
          {"batch/CronJob", JudgeCronJob},
          {"/Service", JudgeService},
          {"policy/PodDisruptionBudget", JudgeBudget},
      });
  const auto rule = kRules->find(group_and_kind);
  return rule == kRules->end() ? nullptr : rule->second;
}

// Some controllers write observedGeneration as text.
absl::optional<int64_t> Observed(const json& object) {
  const json& value =
      Member(Member(object, "status"), "observedGeneration");
  int64_t number = 0;
  if (value.is_string() &&
      absl::SimpleAtoi(value.get_ref<const std::string&>(), &number)) {
    return number;
  }
  LiveFields live(object);
  return live.Number("status.observedGeneration");
}

// Steps 1 to 3 of kstatus.
absl::optional<HealthVerdict> JudgeGenerically(const json& object,
                                               LiveFields& live) {
  if (!live.Value("metadata.deletionTimestamp").is_null()) {
    return Progressing("Terminating", "it is being deleted");
  }
  const auto generation = live.Number("metadata.generation");
  const auto observed = Observed(object);
  if (generation.has_value() && observed.has_value() &&
      generation != observed) {
    return Progressing("LatestGenerationNotObserved",
                       "its controller has not seen this generation yet");
  }
  if (live.ConditionIs("Reconciling", "True")) {
    return live.Say(HEALTH_PROGRESSING, live.Condition("Reconciling"),
                    "Reconciling");
  }
  if (live.ConditionIs("Stalled", "True")) {
    return live.Say(HEALTH_DEGRADED, live.Condition("Stalled"), "Stalled");
  }
  return absl::nullopt;
}

// Of a kind of which nothing is known and that has no condition Ready.
HealthVerdict JudgeSilent(LiveFields& live, const HealthContext& context) {
  const json& status = live.Value("status");
  absl::Time made;
  if (context.has_status && (status.is_null() || status.empty()) &&
      absl::ParseTime(absl::RFC3339_full,
                      live.Text("metadata.creationTimestamp"), &made,
                      nullptr)) {
    const absl::Time until =
        std::min(made, context.now) + context.first_status_within;
    if (context.now < until) {
      HealthVerdict verdict = Progressing(
          "NoStatusYet", "its controller has not written a status yet");
      verdict.until = until;
      return verdict;
    }
  }
  HealthVerdict verdict = Progressing(
      "NotTrackable", "its kind does not say whether it works");
  verdict.health = HEALTH_NOT_TRACKABLE;
  return verdict;
}

HealthVerdict JudgeByKind(const json& object, LiveFields& live,
                          const std::string& group, const std::string& kind,
                          const HealthContext& context) {
  if (context.rules != nullptr) {
    for (const core::v1::HealthRule& rule : *context.rules) {
      if (rule.group() == group && rule.kind() == kind) {
        return RunHealthScript(rule, object);
      }
    }
  }
  const std::string group_and_kind = absl::StrCat(group, "/", kind);
  if (const Rule rule = RuleOf(group_and_kind)) return rule(live);
  if (group_and_kind == "/Pod") return JudgePod(live, context);
  if (group_and_kind == "/PersistentVolumeClaim") {
    return JudgeClaim(live, context);
  }
  if (group_and_kind == "apiextensions.k8s.io/CustomResourceDefinition") {
    return JudgeCrd(live, context);
  }
  if (auto verdict = JudgeByKindTable(group, kind, live)) return *verdict;
  if (IsDataKind(group, kind)) return Healthy();
  const json& ready = live.Condition("Ready");
  if (ready.is_object()) {
    if (TextOr(Member(ready, "status")) == "True") return Healthy();
    return live.Say(HEALTH_PROGRESSING, ready, "NotReady");
  }
  return JudgeSilent(live, context);
}

}  // namespace

bool HasHealthRule(absl::string_view group, absl::string_view kind) {
  return !IsDataKind(group, kind);
}

HealthVerdict JudgeHealth(const json& object, const HealthContext& context) {
  LiveFields live(object);
  const std::string kind = TextOr(Member(object, "kind"));
  if (kind.empty() || !Member(object, "metadata").is_object()) {
    return Unknown("Malformed",
                   "the API server gave an object without kind or metadata");
  }
  if (auto verdict = JudgeGenerically(object, live)) return *verdict;
  const std::string api_version = TextOr(Member(object, "apiVersion"));
  const size_t slash = api_version.find('/');
  const std::string group =
      slash == std::string::npos ? "" : api_version.substr(0, slash);
  HealthVerdict verdict = JudgeByKind(object, live, group, kind, context);
  if (!live.malformed().empty() && verdict.health != HEALTH_PROGRESSING &&
      verdict.health != HEALTH_DEGRADED) {
    return Unknown("Malformed",
                   absl::StrCat(live.malformed(),
                                " has a shape that no controller writes"));
  }
  return verdict;
}

void DropConditions(
    const google::protobuf::RepeatedPtrField<core::v1::ConditionPattern>&
        patterns,
    json* object) {
  if (patterns.empty() ||
      !Member(Member(*object, "status"), "conditions").is_array()) {
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
                                   Member(condition, field.key().c_str());
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
