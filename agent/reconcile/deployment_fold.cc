// SPDX-License-Identifier: Apache-2.0

#include "agent/reconcile/deployment_fold.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "agent/health/health_verdict.h"
#include "common/kube/object.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::agent {
namespace {

using core::v1::Problem;

constexpr size_t kMaxProblems = 10;
constexpr size_t kMaxMessage = 1000;

// Health with what its pods add to it.
HealthVerdict EffectiveHealth(const ObjectState& object) {
  if (object.pods.health == core::v1::HEALTH_HEALTHY) return object.health;
  if (object.health.health == core::v1::HEALTH_PROGRESSING) return object.pods;
  HealthVerdict health = object.health;
  if (health.health == core::v1::HEALTH_DEGRADED) {
    absl::StrAppend(&health.message, "; ", object.pods.message);
  }
  return health;
}

// 0: no problem; the lower, the worse.
int Severity(const ObjectState& object, const HealthVerdict& health) {
  switch (object.sync) {
    case core::v1::SYNC_STATE_ERROR:
      return 1;
    case core::v1::SYNC_STATE_CONFLICT:
      return 2;
    case core::v1::SYNC_STATE_WAIT_APPLIED:
      return 3;
    case core::v1::SYNC_STATE_MISSING:
      return 5;
    case core::v1::SYNC_STATE_DRIFTED:
      return 6;
    default:
      break;
  }
  switch (health.health) {
    case core::v1::HEALTH_DEGRADED:
      return 4;
    case core::v1::HEALTH_UNKNOWN:
      return 7;
    default:
      return 0;
  }
}

Problem ProblemOf(const ObjectState& object, const HealthVerdict& health,
                  int severity) {
  static constexpr const char* kCodes[] = {
      "",          "FAILED_PRECONDITION", "ALREADY_EXISTS", "NOT_FOUND",
      "UNHEALTHY", "NOT_FOUND",           "MODIFIED",       "UNKNOWN"};
  Problem problem;
  problem.set_code(kCodes[severity]);
  problem.set_subject(KeyText(object.want.key()));
  problem.set_file(object.want.source_file());
  const bool is_health = severity == 4 || severity == 7;
  const std::string& reason = is_health ? health.reason : object.reason;
  const std::string& message = is_health ? health.message : object.message;
  problem.set_message(message.empty() ? reason : message);
  return problem;
}

void Count(const ObjectState& object, const HealthVerdict& health,
           core::v1::ResourceCounts* counts) {
  counts->set_desired(counts->desired() + 1);
  switch (object.sync) {
    case core::v1::SYNC_STATE_UNSPECIFIED:
    case core::v1::SYNC_STATE_WAIT_APPLIED:
      counts->set_wait_applied(counts->wait_applied() + 1);
      return;
    case core::v1::SYNC_STATE_ERROR:
    case core::v1::SYNC_STATE_CONFLICT:
      counts->set_error(counts->error() + 1);
      return;
    case core::v1::SYNC_STATE_MISSING:
      counts->set_missing(counts->missing() + 1);
      return;
    case core::v1::SYNC_STATE_DRIFTED:
      counts->set_modified(counts->modified() + 1);
      return;
    default:
      break;
  }
  switch (health.health) {
    case core::v1::HEALTH_NOT_TRACKABLE:
      counts->set_not_trackable(counts->not_trackable() + 1);
      counts->set_ready(counts->ready() + 1);
      return;
    case core::v1::HEALTH_SUSPENDED:
      counts->set_suspended(counts->suspended() + 1);
      counts->set_ready(counts->ready() + 1);
      return;
    case core::v1::HEALTH_HEALTHY:
      counts->set_ready(counts->ready() + 1);
      return;
    case core::v1::HEALTH_DEGRADED:
      counts->set_degraded(counts->degraded() + 1);
      return;
    case core::v1::HEALTH_MISSING:
      counts->set_missing(counts->missing() + 1);
      return;
    case core::v1::HEALTH_PROGRESSING:
      counts->set_not_ready(counts->not_ready() + 1);
      return;
    default:
      counts->set_unknown(counts->unknown() + 1);
      return;
  }
}

}  // namespace

DeploymentFold FoldObjects(const ObjectStates& objects) {
  DeploymentFold fold;
  std::vector<std::pair<int, Problem>> problems;
  for (const auto& [id, object] : objects) {
    if (object.want.ensure_namespace()) {
      // Nobody's; only its failure is of interest.
      if (object.sync == core::v1::SYNC_STATE_ERROR ||
          object.sync == core::v1::SYNC_STATE_CONFLICT) {
        fold.view.error = true;
        problems.emplace_back(1, ProblemOf(object, object.health, 1));
      }
      continue;
    }
    if (object.sync == core::v1::SYNC_STATE_PRUNING) {
      fold.counts.set_pruning(fold.counts.pruning() + 1);
      continue;
    }
    const HealthVerdict health = EffectiveHealth(object);
    Count(object, health, &fold.counts);
    const int severity = Severity(object, health);
    if (severity != 0) {
      problems.emplace_back(severity, ProblemOf(object, health, severity));
    }
  }
  const core::v1::ResourceCounts& counts = fold.counts;
  fold.view.error = fold.view.error || counts.error() > 0;
  fold.view.waiting = counts.wait_applied() > 0;
  fold.view.unhealthy = counts.degraded() > 0 || counts.missing() > 0;
  fold.view.unfinished = counts.not_ready() > 0 || counts.unknown() > 0 ||
                         counts.modified() > 0;
  std::stable_sort(
      problems.begin(), problems.end(),
      [](const auto& a, const auto& b) { return a.first < b.first; });
  if (problems.size() > kMaxProblems) problems.resize(kMaxProblems);
  for (auto& [severity, problem] : problems) {
    fold.problems.push_back(std::move(problem));
  }
  return fold;
}

core::v1::ResourceStatus StatusOf(const std::string& bundle_id,
                                  const ObjectState& object) {
  const HealthVerdict health = EffectiveHealth(object);
  core::v1::ResourceStatus status;
  status.set_bundle_id(bundle_id);
  *status.mutable_key() = object.want.key();
  status.set_uid(object.uid);
  status.set_health(health.health);
  status.set_sync(object.sync);
  const bool synced = object.sync == core::v1::SYNC_STATE_SYNCED;
  status.set_reason(synced ? health.reason : object.reason);
  std::string message = synced ? health.message : object.message;
  if (message.size() > kMaxMessage) {
    message.resize(kMaxMessage);
    while (!message.empty() && (message.back() & 0xC0) == 0x80) {
      message.pop_back();
    }
    if (!message.empty() && (message.back() & 0x80) != 0) message.pop_back();
  }
  status.set_message(std::move(message));
  status.set_corrections(object.corrections);
  return status;
}

}  // namespace flotilla::agent
