// SPDX-License-Identifier: Apache-2.0

#include "agent/health/health_judge.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/health/health_rules.h"

namespace flotilla::agent {
namespace {

using nlohmann::json;

// Kinds that discovery lists late are looked for so often.
constexpr absl::Duration kFirstLook = absl::Milliseconds(20);
constexpr absl::Duration kLastLook = absl::Seconds(5);
// How long an answer about a storage class is good, and how many are kept.
constexpr absl::Duration kClassAge = absl::Minutes(10);
constexpr absl::Duration kClassRetry = absl::Minutes(1);
constexpr size_t kMaxClasses = 100;

constexpr char kNotServed[] = "NotServed";

}  // namespace

HealthJudge::HealthJudge(KubeClient& client, Loop& loop, const Clock& clock,
                         const HealthOptions& options, OnDue on_due)
    : client_(client),
      loop_(loop),
      clock_(clock),
      options_(options),
      on_due_(std::move(on_due)),
      discover_again_(kFirstLook),
      alive_(std::make_shared<bool>(true)),
      timer_(loop.CreateTimer([this] { OnTimer(); })),
      discovery_timer_(loop.CreateTimer([this] { Discover(); })) {}

HealthJudge::~HealthJudge() { *alive_ = false; }

HealthVerdict HealthJudge::Judge(const ObjectIdentity& id,
                                 const core::v1::DeployPolicy& policy,
                                 const json& live) {
  HealthContext context;
  context.now = clock_.Now();
  context.unschedulable_after = options_.unschedulable_after;
  context.rules = &policy.health_rules();
  context.served = [this](absl::string_view group, absl::string_view version,
                          absl::string_view kind) {
    return discovery_ != nullptr &&
           discovery_->Find(group, version, kind) != nullptr;
  };
  context.binds_late = [this, &id](absl::string_view storage_class) {
    return BindsLate(id, storage_class);
  };
  const ServedKind* const kind =
      discovery_ == nullptr
          ? nullptr
          : discovery_->Find(std::get<0>(id), "", std::get<1>(id));
  context.has_status = kind != nullptr && kind->has_status;
  HealthVerdict verdict;
  if (policy.ignore_conditions().empty()) {
    verdict = JudgeHealth(live, context);
  } else {
    json judged = live;
    DropConditions(policy.ignore_conditions(), &judged);
    verdict = JudgeHealth(judged, context);
  }
  const bool unlisted =
      verdict.reason == kNotServed ||
      (verdict.health == core::v1::HEALTH_NOT_TRACKABLE && kind == nullptr &&
       looked_up_.count(id) == 0);
  if (!unlisted) {
    unlisted_.erase(id);
  } else {
    if (verdict.health == core::v1::HEALTH_NOT_TRACKABLE) {
      looked_up_.insert(id);
      verdict = Progressing("KindNotKnownYet",
                            "what is known of its kind is being fetched");
    }
    unlisted_.insert(id);
    if (!discovery_timer_->armed()) discovery_timer_->Arm(discover_again_);
  }
  if (verdict.until == absl::InfiniteFuture()) {
    due_.erase(id);
  } else {
    due_[id] = verdict.until;
    timer_->Arm(std::max(absl::ZeroDuration(), verdict.until - context.now));
  }
  return verdict;
}

void HealthJudge::Forget(const ObjectIdentity& id) {
  due_.erase(id);
  unlisted_.erase(id);
  looked_up_.erase(id);
  for (auto& [name, storage_class] : classes_) storage_class.waiting.erase(id);
}

void HealthJudge::OnKindsChanged() {
  if (discovery_ != nullptr || !unlisted_.empty()) Discover();
}

void HealthJudge::Discover() {
  if (discovering_) return;
  discovering_ = true;
  client_.Discover([this, alive = alive_](
                       absl::StatusOr<std::shared_ptr<const Discovery>> got) {
    if (!*alive) return;
    discovering_ = false;
    if (got.ok()) {
      if (*got != discovery_) discover_again_ = kFirstLook;
      discovery_ = *std::move(got);
      Tell(std::exchange(unlisted_, {}));
    } else {
      discovery_timer_->Arm(discover_again_);
    }
    discover_again_ = std::min(kLastLook, discover_again_ * 2);
  });
}

absl::optional<bool> HealthJudge::BindsLate(const ObjectIdentity& id,
                                            absl::string_view storage_class) {
  const std::string name(storage_class);
  if (classes_.count(name) == 0 && classes_.size() >= kMaxClasses) {
    return absl::nullopt;
  }
  StorageClass& known = classes_[name];
  if (!known.binds_late.has_value()) known.waiting.insert(id);
  if (!known.asking && loop_.MonotonicNow() >= known.old) {
    known.asking = true;
    core::v1::ResourceKey key;
    key.set_group("storage.k8s.io");
    key.set_version("v1");
    key.set_kind("StorageClass");
    key.set_name(name);
    client_.Get(key, GetOptions(),
                [this, alive = alive_, name](absl::StatusOr<KubeObject> live) {
                  if (*alive) OnStorageClass(name, live);
                });
  }
  return known.binds_late;
}

void HealthJudge::OnStorageClass(const std::string& name,
                                 const absl::StatusOr<KubeObject>& live) {
  StorageClass& known = classes_[name];
  known.asking = false;
  known.old = loop_.MonotonicNow() + (live.ok() ? kClassAge : kClassRetry);
  if (!live.ok()) return;
  const absl::StatusOr<json> parsed = ParseKubeJson(live->json);
  if (!parsed.ok()) return;
  known.binds_late =
      TextOr(Member(*parsed, "volumeBindingMode")) == "WaitForFirstConsumer";
  Tell(std::exchange(known.waiting, {}));
}

void HealthJudge::Tell(std::set<ObjectIdentity> ids) {
  for (const ObjectIdentity& id : ids) on_due_(id);
}

void HealthJudge::OnTimer() {
  const absl::Time now = clock_.Now();
  std::set<ObjectIdentity> ids;
  absl::Time next = absl::InfiniteFuture();
  for (auto due = due_.begin(); due != due_.end();) {
    if (due->second <= now) {
      ids.insert(due->first);
      due = due_.erase(due);
    } else {
      next = std::min(next, due->second);
      ++due;
    }
  }
  if (next != absl::InfiniteFuture()) timer_->Arm(next - now);
  Tell(std::move(ids));
}

}  // namespace flotilla::agent
