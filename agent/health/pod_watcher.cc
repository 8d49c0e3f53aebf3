// SPDX-License-Identifier: Apache-2.0

#include "agent/health/pod_watcher.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agent/health/pod_rules.h"

namespace flotilla::agent {
namespace {

using core::v1::HEALTH_DEGRADED;
using core::v1::HEALTH_HEALTHY;
using core::v1::HEALTH_PROGRESSING;
using nlohmann::json;

// Pods that are kept of one workload; more of them say no more.
constexpr size_t kMaxPods = 200;

// A LabelSelector as text; empty: there is none, or one that says nothing.
std::string SelectorOf(const json& live) {
  std::vector<std::string> parts;
  const json& selector = Member(Member(live, "spec"), "selector");
  const json& labels = Member(selector, "matchLabels");
  if (labels.is_object()) {
    for (const auto& [key, value] : labels.items()) {
      parts.push_back(absl::StrCat(key, "=", TextOr(value)));
    }
  }
  const json& expressions = Member(selector, "matchExpressions");
  if (expressions.is_array()) {
    for (const json& item : expressions) {
      const std::string key = TextOr(Member(item, "key"));
      const std::string op = TextOr(Member(item, "operator"));
      std::vector<std::string> values;
      const json& list = Member(item, "values");
      if (list.is_array()) {
        for (const json& value : list) values.push_back(TextOr(value));
      }
      const std::string joined = absl::StrJoin(values, ",");
      if (op == "In") parts.push_back(absl::StrCat(key, " in (", joined, ")"));
      if (op == "NotIn") {
        parts.push_back(absl::StrCat(key, " notin (", joined, ")"));
      }
      if (op == "Exists") parts.push_back(key);
      if (op == "DoesNotExist") parts.push_back(absl::StrCat("!", key));
    }
  }
  return absl::StrJoin(parts, ",");
}

// The last warning of a pod's events, as the API server gives them.
std::string LastWarning(const json& event) {
  if (TextOr(Member(event, "type")) != "Warning") return "";
  return absl::StrCat(TextOr(Member(event, "reason")), ": ",
                      TextOr(Member(event, "message")));
}

}  // namespace

// The pods of one workload.
//
// Loop-affine.
class PodWatcher::Workload : public WatchListener {
 public:
  Workload(PodWatcher& owner, ObjectIdentity id, std::string selector)
      : owner_(owner),
        id_(std::move(id)),
        selector_(std::move(selector)),
        timer_(owner.loop_.CreateTimer([this] { OnTimer(); })) {}

  // Its turn begins, or is over.
  void Open() {
    opened_ = owner_.loop_.MonotonicNow();
    open_ = true;
    timer_->Arm(absl::Seconds(1));
  }
  void Close() {
    open_ = false;
    watch_.reset();
    events_.reset();
    timer_->Disarm();
  }
  absl::Duration opened() const { return opened_; }

  void OnSync(Sync sync) override {
    if (sync == Sync::kCompleteSet) {
      // Pods of an earlier turn that are gone.
      for (auto pod = pods_.begin(); pod != pods_.end();) {
        pod = pod->second.seen ? std::next(pod) : pods_.erase(pod);
      }
    }
    synced_ = true;
    Tell();
  }

  void OnEvent(WatchEvent event) override {
    const std::string name = event.object.head.name;
    absl::StatusOr<json> parsed = ParseKubeJson(event.object.json);
    if (event.type == WatchEvent::Type::kDeleted ||
        event.object.head.deleting || !parsed.ok()) {
      pods_.erase(name);
      Tell();
      return;
    }
    const auto known = pods_.find(name);
    Pod pod;
    pod.seen = true;
    pod.verdict = PodTrouble(*parsed, Context());
    pod.waits = WaitsForContainers(*parsed);
    pod.since = owner_.loop_.MonotonicNow();
    if (known != pods_.end() && pod.waits && known->second.waits) {
      pod.since = known->second.since;
      pod.asked = known->second.asked;
      if (pod.verdict.health == HEALTH_HEALTHY) {
        pod.verdict = known->second.verdict;
      }
    }
    if (pod.verdict.health == HEALTH_HEALTHY && !pod.waits) {
      pods_.erase(name);
    } else if (known != pods_.end() || pods_.size() < kMaxPods) {
      pods_[name] = std::move(pod);
    }
    Tell();
  }

  void OnClosed(absl::Status) override {
    watch_.reset();
    timer_->Arm(absl::Seconds(2));
  }

 private:
  // Thread-compatible.
  struct Pod {
    HealthVerdict verdict;
    bool waits = false;  // For its containers, since `since`.
    bool asked = false;  // Its events were.
    bool seen = false;   // In this turn.
    absl::Duration since;
  };

  // Reads the warnings of one pod.
  //
  // Loop-affine.
  class Events : public WatchListener {
   public:
    Events(Workload& workload, std::string pod)
        : workload_(workload), pod_(std::move(pod)) {
      WatchRequest request;
      request.kind = {"", "v1", "Event"};
      request.ns = std::get<2>(workload.id_);
      request.field_selector = absl::StrCat("involvedObject.kind=Pod,"
                                            "involvedObject.name=", pod_,
                                            ",type=Warning");
      request.metadata_only = false;
      watch_ = workload.owner_.client_.Watch(std::move(request), *this);
    }

    void OnEvent(WatchEvent event) override {
      const absl::StatusOr<json> parsed = ParseKubeJson(event.object.json);
      if (!parsed.ok()) return;
      std::string warning = LastWarning(*parsed);
      if (!warning.empty()) last_ = std::move(warning);
    }
    void OnSync(Sync) override { Finish(); }
    void OnClosed(absl::Status) override { Finish(); }

   private:
    // Outside of the call of the watch, which this ends.
    void Finish() {
      if (finished_) return;
      finished_ = true;
      workload_.OnEvents(pod_, std::move(last_));
    }

    // Constant after construction.
    Workload& workload_;
    const std::string pod_;

    // Loop state.
    std::string last_;
    bool finished_ = false;
    std::unique_ptr<KubeWatch> watch_;
  };

  HealthContext Context() const {
    HealthContext context;
    context.now = owner_.clock_.Now();
    context.unschedulable_after = owner_.unschedulable_after_;
    return context;
  }

  void OnEvents(const std::string& name, std::string warning) {
    const auto pod = pods_.find(name);
    if (pod != pods_.end() && pod->second.waits && !warning.empty()) {
      pod->second.verdict =
          Degraded("PodFailing", absl::StrCat("pod ", name, ": ", warning));
    }
    timer_->Arm(absl::ZeroDuration());
  }

  void OnTimer() {
    events_.reset();
    if (!open_) return;
    if (watch_ == nullptr) {
      for (auto& [name, pod] : pods_) pod.seen = false;
      synced_ = false;
      WatchRequest request;
      request.kind = {"", "v1", "Pod"};
      request.ns = std::get<2>(id_);
      request.label_selector = selector_;
      request.metadata_only = false;
      watch_ = owner_.client_.Watch(std::move(request), *this);
      return;
    }
    Tell();
  }

  // What is wrong now, and when to look again.
  void Tell() {
    if (!synced_) return;
    const absl::Time now = owner_.clock_.Now();
    const absl::Duration clock = owner_.loop_.MonotonicNow();
    absl::Duration again = absl::InfiniteDuration();
    const Pod* worst = nullptr;
    size_t failing = 0;
    for (auto& [name, pod] : pods_) {
      if (pod.verdict.until <= now) {
        pod.verdict.health = HEALTH_DEGRADED;
        pod.verdict.until = absl::InfiniteFuture();
      }
      again = std::min(again, pod.verdict.until - now);
      if (pod.waits && !pod.asked && events_ == nullptr) {
        const absl::Duration left = pod.since + kContainersWithin - clock;
        if (left <= absl::ZeroDuration()) {
          pod.asked = true;
          events_ = std::make_unique<Events>(*this, name);
        } else {
          again = std::min(again, left);
        }
      }
      if (pod.verdict.health == HEALTH_HEALTHY) continue;
      ++failing;
      if (worst == nullptr ||
          (worst->verdict.health == HEALTH_PROGRESSING &&
           pod.verdict.health == HEALTH_DEGRADED)) {
        worst = &pod;
      }
    }
    if (again < absl::InfiniteDuration()) timer_->Arm(again);
    HealthVerdict told = worst == nullptr ? Healthy() : worst->verdict;
    if (failing > 1) {
      absl::StrAppend(&told.message, " (and ", failing - 1, " more)");
    }
    if (told.health == told_.health && told.message == told_.message) return;
    told_ = told;
    owner_.on_trouble_(id_, told);
  }

  // Constant after construction.
  PodWatcher& owner_;
  const ObjectIdentity id_;
  const std::string selector_;

  // Loop state.
  bool open_ = false;
  bool synced_ = false;
  absl::Duration opened_ = absl::ZeroDuration();
  std::map<std::string, Pod> pods_;
  HealthVerdict told_ = Healthy();
  std::unique_ptr<Timer> timer_;
  std::unique_ptr<KubeWatch> watch_;
  std::unique_ptr<Events> events_;
};

PodWatcher::PodWatcher(KubeClient& client, Loop& loop, const Clock& clock,
                       absl::Duration unschedulable_after,
                       OnTrouble on_trouble)
    : client_(client),
      loop_(loop),
      clock_(clock),
      unschedulable_after_(unschedulable_after),
      on_trouble_(std::move(on_trouble)),
      turns_(loop.CreateTimer([this] { GiveTurns(); })) {}

PodWatcher::~PodWatcher() = default;

bool PodWatcher::HasPods(const ObjectIdentity& id) {
  const std::string& group = std::get<0>(id);
  const std::string& kind = std::get<1>(id);
  return (group == "apps" &&
          (kind == "Deployment" || kind == "StatefulSet" ||
           kind == "DaemonSet" || kind == "ReplicaSet")) ||
         (group == "batch" && kind == "Job") ||
         (group == "argoproj.io" && kind == "Rollout");
}

void PodWatcher::Look(const ObjectIdentity& workload, const json& live) {
  if (workloads_.count(workload) > 0) return;
  std::string selector = SelectorOf(live);
  if (selector.empty()) return;
  workloads_[workload] =
      std::make_unique<Workload>(*this, workload, std::move(selector));
  waiting_.push_back(workload);
  GiveTurns();
}

void PodWatcher::Forget(const ObjectIdentity& workload) {
  if (workloads_.erase(workload) == 0) return;
  for (std::deque<ObjectIdentity>* queue : {&waiting_, &watched_}) {
    queue->erase(std::remove(queue->begin(), queue->end(), workload),
                 queue->end());
  }
  // Not inside of a call of its watch.
  if (!waiting_.empty()) turns_->Arm(absl::ZeroDuration());
}

void PodWatcher::GiveTurns() {
  const absl::Duration now = loop_.MonotonicNow();
  while (!waiting_.empty()) {
    if (watched_.size() >= kMaxWatched) {
      Workload& oldest = *workloads_.at(watched_.front());
      const absl::Duration left = oldest.opened() + kTurn - now;
      if (left > absl::ZeroDuration()) {
        turns_->Arm(left);
        return;
      }
      oldest.Close();
      waiting_.push_back(watched_.front());
      watched_.pop_front();
    }
    watched_.push_back(waiting_.front());
    waiting_.pop_front();
    workloads_.at(watched_.back())->Open();
  }
}

}  // namespace flotilla::agent
