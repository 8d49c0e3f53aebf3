// SPDX-License-Identifier: Apache-2.0

#include "agent/health/pod_watcher.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "agent/health/health_rules.h"

namespace flotilla::agent {
namespace {

using nlohmann::json;

constexpr size_t kMaxPods = 200;

std::string SelectorOf(const json& live) {
  std::vector<std::string> parts;
  const json& labels =
      Member(Member(Member(live, "spec"), "selector"), "matchLabels");
  if (!labels.is_object()) return "";
  for (const auto& [key, value] : labels.items()) {
    if (value.is_string()) {
      parts.push_back(absl::StrCat(key, "=", value.get<std::string>()));
    }
  }
  return absl::StrJoin(parts, ",");
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
        timer_(owner.loop_.CreateTimer([this] { Open(); })) {
    timer_->Arm(absl::Seconds(1));
  }

  void OnSync(Sync) override { Tell(); }

  void OnEvent(WatchEvent event) override {
    const std::string name = event.object.head.name;
    std::string trouble;
    if (event.type != WatchEvent::Type::kDeleted &&
        !event.object.head.deleting) {
      absl::StatusOr<json> pod = ParseKubeJson(event.object.json);
      if (pod.ok()) trouble = PodTrouble(*pod);
    }
    if (trouble.empty()) {
      pods_.erase(name);
    } else if (pods_.size() < kMaxPods) {
      pods_[name] = std::move(trouble);
    }
    Tell();
  }

  void OnClosed(absl::Status) override {
    watch_.reset();
    pods_.clear();
    timer_->Arm(absl::Seconds(2));
  }

 private:
  void Open() {
    if (watch_ != nullptr) return;
    WatchRequest request;
    request.kind = {"", "v1", "Pod"};
    request.ns = std::get<2>(id_);
    request.label_selector = selector_;
    request.metadata_only = false;
    watch_ = owner_.client_.Watch(std::move(request), *this);
  }

  void Tell() {
    std::string trouble = pods_.empty() ? "" : pods_.begin()->second;
    if (pods_.size() > 1) {
      absl::StrAppend(&trouble, " (and ", pods_.size() - 1, " more)");
    }
    if (trouble == told_) return;
    told_ = trouble;
    owner_.on_trouble_(id_, std::move(trouble));
  }

  // Constant after construction.
  PodWatcher& owner_;
  const ObjectIdentity id_;
  const std::string selector_;

  // Loop state.
  std::map<std::string, std::string> pods_;
  std::string told_;
  std::unique_ptr<Timer> timer_;
  std::unique_ptr<KubeWatch> watch_;
};

PodWatcher::PodWatcher(KubeClient& client, Loop& loop, OnTrouble on_trouble)
    : client_(client), loop_(loop), on_trouble_(std::move(on_trouble)) {}

PodWatcher::~PodWatcher() = default;

bool PodWatcher::HasPods(const ObjectIdentity& id) {
  const std::string& kind = std::get<1>(id);
  return std::get<0>(id) == "apps" &&
         (kind == "Deployment" || kind == "StatefulSet" ||
          kind == "DaemonSet" || kind == "ReplicaSet");
}

void PodWatcher::Look(const ObjectIdentity& workload, const json& live) {
  if (workloads_.count(workload) > 0) return;
  std::string selector = SelectorOf(live);
  if (selector.empty()) return;
  workloads_[workload] =
      std::make_unique<Workload>(*this, workload, std::move(selector));
}

void PodWatcher::Forget(const ObjectIdentity& workload) {
  workloads_.erase(workload);
}

}  // namespace flotilla::agent
