// SPDX-License-Identifier: Apache-2.0

#include "common/event/timer_queue.h"

#include <algorithm>

namespace flotilla {
namespace {

// Deadline, then a number that rises with each Arm().
using Key = std::pair<absl::Duration, uint64_t>;

}  // namespace

struct TimerQueue::Shared {
  explicit Shared(Now now_function) : now(std::move(now_function)) {}

  const Now now;
  bool alive = true;
  uint64_t next_number = 0;
  absl::btree_map<Key, QueuedTimer*> armed;
};

class TimerQueue::QueuedTimer final : public Timer {
 public:
  QueuedTimer(std::shared_ptr<Shared> shared,
              absl::AnyInvocable<void()> callback)
      : shared_(std::move(shared)),
        callback_(std::make_shared<absl::AnyInvocable<void()>>(
            std::move(callback))) {}

  ~QueuedTimer() override { Disarm(); }

  void Arm(absl::Duration delay) override {
    Disarm();
    if (!shared_->alive) return;
    key_ = Key(shared_->now() + std::max(delay, absl::ZeroDuration()),
               shared_->next_number++);
    shared_->armed.emplace(*key_, this);
  }

  void Disarm() override {
    if (!key_.has_value()) return;
    shared_->armed.erase(*key_);
    key_.reset();
  }

  bool armed() const override { return key_.has_value(); }

  // REQUIRES: armed. The callback may destroy this timer.
  void Fire() {
    Disarm();
    const std::shared_ptr<absl::AnyInvocable<void()>> callback = callback_;
    (*callback)();
  }

 private:
  const std::shared_ptr<Shared> shared_;
  // Shared, so that it outlives a timer that it destroys.
  const std::shared_ptr<absl::AnyInvocable<void()>> callback_;
  absl::optional<Key> key_;
};

TimerQueue::TimerQueue(Now now)
    : shared_(std::make_shared<Shared>(std::move(now))) {}

TimerQueue::~TimerQueue() {
  shared_->alive = false;
  while (!shared_->armed.empty()) shared_->armed.begin()->second->Disarm();
}

std::unique_ptr<Timer> TimerQueue::Create(
    absl::AnyInvocable<void()> callback) {
  return std::make_unique<QueuedTimer>(shared_, std::move(callback));
}

bool TimerQueue::FireOne(absl::Duration now) {
  auto& armed = shared_->armed;
  if (armed.empty() || armed.begin()->first.first > now) return false;
  armed.begin()->second->Fire();
  return true;
}

absl::optional<absl::Duration> TimerQueue::NextDeadline() const {
  if (shared_->armed.empty()) return absl::nullopt;
  return shared_->armed.begin()->first.first;
}

}  // namespace flotilla
