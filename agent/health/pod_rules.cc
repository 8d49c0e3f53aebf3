// SPDX-License-Identifier: Apache-2.0

#include "agent/health/pod_rules.h"

#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/kube/object.h"

namespace flotilla::agent {
namespace {

using core::v1::HEALTH_DEGRADED;
using core::v1::HEALTH_HEALTHY;
using core::v1::HEALTH_PROGRESSING;
using nlohmann::json;

// A container that has failed this often and is not ready does not just wait
// for something that starts up beside it.
constexpr int64_t kManyRestarts = 3;

// "exit code 137 (OOMKilled)"; empty when it ended well, or never.
std::string FailedExit(const json& state) {
  const json& terminated = Member(state, "terminated");
  const json& code = Member(terminated, "exitCode");
  if (!code.is_number_integer() || code == 0) return "";
  const std::string reason = TextOr(Member(terminated, "reason"));
  const std::string message = TextOr(Member(terminated, "message"));
  return absl::StrCat("exit code ", code.dump(),
                      reason.empty() ? "" : absl::StrCat(" (", reason, ")"),
                      message.empty() ? "" : ": ", message);
}

// What is wrong with one container that will not come by itself; empty:
// nothing.
std::string ContainerTrouble(const json& container, bool restarts) {
  const json& state = Member(container, "state");
  const std::string last = FailedExit(Member(container, "lastState"));
  const json& waiting = Member(state, "waiting");
  const std::string reason = TextOr(Member(waiting, "reason"));
  if (absl::StartsWith(reason, "Err") || absl::EndsWith(reason, "Error") ||
      absl::EndsWith(reason, "BackOff") || reason == "InvalidImageName") {
    const std::string message = TextOr(Member(waiting, "message"));
    return absl::StrCat(reason, message.empty() ? "" : ": ", message,
                        last.empty() ? "" : "; last ", last);
  }
  const std::string ended = FailedExit(state);
  if (!ended.empty() && !restarts) return ended;
  const json& ready = Member(container, "ready");
  if (ready.is_boolean() && ready.get<bool>()) return "";
  const std::string& exit = ended.empty() ? last : ended;
  if (exit.empty()) return "";
  const json& count = Member(container, "restartCount");
  const bool many = count.is_number_integer() && count >= kManyRestarts;
  if (!many && !absl::StrContains(exit, "OOMKilled")) return "";
  return absl::StrCat(exit, ", restarted ",
                      count.is_number_integer() ? count.dump() : "0",
                      " times");
}

std::string ContainersTrouble(LiveFields& live) {
  const std::string policy = live.Text("spec.restartPolicy");
  for (const char* list :
       {"status.initContainerStatuses", "status.containerStatuses"}) {
    for (const json* container : live.Items(list)) {
      const std::string trouble =
          ContainerTrouble(*container, policy != "Never");
      if (!trouble.empty()) {
        return absl::StrCat("container ", TextOr(Member(*container, "name")),
                            ": ", trouble);
      }
    }
  }
  return "";
}

// No node for it; HEALTHY: it has one.
HealthVerdict Scheduling(LiveFields& live, const HealthContext& context) {
  if (!live.ConditionIs("PodScheduled", "False")) return Healthy();
  const json& condition = live.Condition("PodScheduled");
  HealthVerdict verdict =
      live.Say(HEALTH_PROGRESSING, condition, "Unschedulable");
  absl::Time since;
  if (verdict.reason != "Unschedulable" ||
      context.now == absl::InfinitePast() ||
      !absl::ParseTime(absl::RFC3339_full,
                       TextOr(Member(condition, "lastTransitionTime")), &since,
                       nullptr)) {
    return verdict;
  }
  // Of a cluster whose clock is ahead.
  if (since > context.now) since = context.now;
  const absl::Time until = since + context.unschedulable_after;
  if (context.now < until) {
    verdict.until = until;
  } else {
    verdict.health = HEALTH_DEGRADED;
  }
  return verdict;
}

HealthVerdict Failed(LiveFields& live) {
  std::string message = live.Text("status.message");
  const std::string reason = live.Text("status.reason");
  if (message.empty()) message = ContainersTrouble(live);
  if (message.empty()) message = "the pod failed";
  return Degraded(reason.empty() ? "Failed" : reason, std::move(message));
}

}  // namespace

HealthVerdict JudgePod(LiveFields& live, const HealthContext& context) {
  const std::string phase = live.Text("status.phase");
  if (phase == "Succeeded") return Healthy();
  if (phase == "Failed") return Failed(live);
  std::string trouble = ContainersTrouble(live);
  if (!trouble.empty()) {
    return Degraded("ContainerNotRunning", std::move(trouble));
  }
  if (phase == "Running" && live.ConditionIs("Ready", "True")) {
    return Healthy();
  }
  HealthVerdict scheduling = Scheduling(live, context);
  if (scheduling.health != HEALTH_HEALTHY) return scheduling;
  return Progressing(phase.empty() ? "Pending" : phase,
                     "the pod is not ready yet");
}

HealthVerdict PodTrouble(const json& pod, const HealthContext& context) {
  LiveFields live(pod);
  HealthVerdict verdict = Healthy();
  std::string why = ContainersTrouble(live);
  if (!why.empty()) {
    verdict = Degraded("PodFailing", why);
  } else if (live.Text("status.phase") == "Failed") {
    verdict = Failed(live);
    why = verdict.message;
  } else {
    verdict = Scheduling(live, context);
    why = absl::StrCat(verdict.reason, ": ", verdict.message);
  }
  if (verdict.health == HEALTH_HEALTHY) return verdict;
  HealthVerdict told =
      Degraded(verdict.reason == "Unschedulable" ? verdict.reason
                                                 : "PodFailing",
               absl::StrCat("pod ", live.Text("metadata.name"), ": ", why));
  told.health = verdict.health;
  told.until = verdict.until;
  return told;
}

bool WaitsForContainers(const json& pod) {
  LiveFields live(pod);
  if (live.Text("status.phase") != "Pending" ||
      live.Text("spec.nodeName").empty()) {
    return false;
  }
  for (const char* list :
       {"status.initContainerStatuses", "status.containerStatuses"}) {
    for (const json* container : live.Items(list)) {
      const std::string reason = TextOr(Member(
          Member(Member(*container, "state"), "waiting"), "reason"));
      if (reason != "ContainerCreating" && reason != "PodInitializing") {
        return false;
      }
    }
  }
  return true;
}

}  // namespace flotilla::agent
