// SPDX-License-Identifier: Apache-2.0

#include "agent/health/health_verdict.h"

#include <string>

#include "common/text/cut_text.h"

namespace flotilla::agent {
namespace {

constexpr size_t kMaxReason = 100;
constexpr size_t kMaxMessage = 1000;

HealthVerdict Verdict(core::v1::Health health, const std::string& reason,
                      const std::string& message) {
  HealthVerdict verdict;
  verdict.health = health;
  verdict.reason = std::string(CutText(reason, kMaxReason));
  verdict.message = std::string(CutText(message, kMaxMessage));
  return verdict;
}

}  // namespace

bool LetsOthersGoOn(const HealthVerdict& verdict) {
  return verdict.lets_others_go_on ||
         verdict.health == core::v1::HEALTH_HEALTHY ||
         verdict.health == core::v1::HEALTH_SUSPENDED ||
         verdict.health == core::v1::HEALTH_NOT_TRACKABLE;
}

HealthVerdict Healthy() { return Verdict(core::v1::HEALTH_HEALTHY, "", ""); }

HealthVerdict Progressing(std::string reason, std::string message) {
  return Verdict(core::v1::HEALTH_PROGRESSING, reason, message);
}

HealthVerdict Degraded(std::string reason, std::string message) {
  return Verdict(core::v1::HEALTH_DEGRADED, reason, message);
}

HealthVerdict Suspended(std::string reason, std::string message) {
  return Verdict(core::v1::HEALTH_SUSPENDED, reason, message);
}

HealthVerdict Unknown(std::string reason, std::string message) {
  return Verdict(core::v1::HEALTH_UNKNOWN, reason, message);
}

}  // namespace flotilla::agent
