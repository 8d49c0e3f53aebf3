// SPDX-License-Identifier: Apache-2.0

#include "agent/apply/namespace_watch.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/time/time.h"

namespace flotilla::agent {
namespace {

// True when `version` is older than `known`.
bool Older(const std::string& version, const std::string& known) {
  uint64_t a = 0;
  uint64_t b = 0;
  return absl::SimpleAtoi(version, &a) && absl::SimpleAtoi(known, &b) && a < b;
}

}  // namespace

NamespaceWatch::NamespaceWatch(
    KubeClient& client, Loop& loop,
    absl::AnyInvocable<void(const std::set<std::string>&)> on_change)
    : client_(client),
      on_change_(std::move(on_change)),
      open_timer_(loop.CreateTimer([this] { Open(); })),
      change_timer_(loop.CreateTimer([this] {
        const std::set<std::string> changed = std::move(changed_);
        changed_.clear();
        on_change_(changed);
      })) {}

void NamespaceWatch::Start() {
  if (started_) return;
  started_ = true;
  open_timer_->Arm(absl::ZeroDuration());
}

const LiveNamespace* NamespaceWatch::Find(const std::string& name) const {
  const auto found = namespaces_.find(name);
  return found == namespaces_.end() ? nullptr : &found->second;
}

void NamespaceWatch::Learn(const KubeObject& object) {
  if (!started_ || object.head.name.empty()) return;
  LiveNamespace& live = namespaces_[object.head.name];
  if (Older(object.head.resource_version, live.resource_version)) return;
  live = ReadNamespace(object);
  // A list that began before may not have it.
  if (listing_) present_.insert(object.head.name);
}

void NamespaceWatch::Open() {
  if (watch_ != nullptr) return;
  WatchRequest request;
  request.kind = KindName{"", "v1", "Namespace"};
  request.resource_version = resume_from_;
  listing_ = resume_from_.empty();
  present_.clear();
  watch_ = client_.Watch(std::move(request), *this);
}

void NamespaceWatch::Changed(const std::string& name) {
  changed_.insert(name);
  if (!change_timer_->armed()) change_timer_->Arm(absl::Milliseconds(10));
}

void NamespaceWatch::OnSync(Sync sync) {
  trouble_ = absl::OkStatus();
  if (sync == Sync::kCompleteSet) {
    std::vector<std::string> gone;
    for (const auto& [name, live] : namespaces_) {
      if (present_.count(name) == 0) gone.push_back(name);
    }
    for (const std::string& name : gone) {
      namespaces_.erase(name);
      Changed(name);
    }
    if (!listed_) {
      listed_ = true;
      change_timer_->Arm(absl::ZeroDuration());
    }
  }
  listing_ = false;
  present_.clear();
}

void NamespaceWatch::OnEvent(WatchEvent event) {
  const std::string name = event.object.head.name;
  if (event.type == WatchEvent::Type::kDeleted) {
    const auto found = namespaces_.find(name);
    if (found != namespaces_.end() &&
        !Older(event.object.head.resource_version,
               found->second.resource_version)) {
      namespaces_.erase(found);
    }
    Changed(name);
    return;
  }
  if (listing_) present_.insert(name);
  LiveNamespace& live = namespaces_[name];
  if (Older(event.object.head.resource_version, live.resource_version)) return;
  LiveNamespace now = ReadNamespace(event.object);
  const bool same = now.SameAs(live);
  live = std::move(now);
  if (!same) Changed(name);
}

void NamespaceWatch::OnClosed(absl::Status status) {
  resume_from_ = status.ok() && watch_ != nullptr && !listing_
                     ? watch_->resource_version()
                     : std::string();
  watch_.reset();
  if (!status.ok()) {
    const bool fresh = trouble_.ok() && !listed_;
    trouble_ = status;
    if (fresh) change_timer_->Arm(absl::ZeroDuration());
  }
  open_timer_->Arm(status.ok() ? absl::Milliseconds(100) : absl::Seconds(5));
}

}  // namespace flotilla::agent
