// SPDX-License-Identifier: Apache-2.0

#include "common/event/simulated_loop.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

namespace flotilla {
namespace {

constexpr int kMaxSteps = 1000 * 1000;

}  // namespace

SimulatedLoop::SimulatedLoop()
    : thread_(std::this_thread::get_id()), timers_([this] { return now_; }) {}

SimulatedLoop::~SimulatedLoop() {
  // Tasks may own timers and post again when destroyed.
  for (;;) {
    std::deque<Task> dropped;
    {
      absl::MutexLock lock(&mu_);
      dropped.swap(posted_);
    }
    if (dropped.empty()) return;
  }
}

void SimulatedLoop::RunUntilIdle() {
  for (int step = 0; RunOne(); ++step) {
    if (step < kMaxSteps) continue;
    std::fprintf(stderr, "SimulatedLoop: never idle after %d steps\n", step);
    std::abort();
  }
}

void SimulatedLoop::Advance(absl::Duration duration) {
  RunUntil([] { return false; }, duration);
}

bool SimulatedLoop::RunUntil(absl::FunctionRef<bool()> done,
                             absl::Duration limit) {
  const absl::Duration end = now_ + limit;
  for (;;) {
    int step = 0;
    while (!done() && RunOne()) {
      if (++step < kMaxSteps) continue;
      std::fprintf(stderr, "SimulatedLoop: never idle after %d steps\n", step);
      std::abort();
    }
    if (done()) return true;
    const auto deadline = timers_.NextDeadline();
    if (!deadline.has_value() || *deadline > end) break;
    now_ = *deadline;
  }
  now_ = end;
  return done();
}

void SimulatedLoop::Post(Task task) {
  absl::MutexLock lock(&mu_);
  posted_.push_back(std::move(task));
}

std::unique_ptr<Timer> SimulatedLoop::CreateTimer(
    absl::AnyInvocable<void()> callback) {
  return timers_.Create(std::move(callback));
}

bool SimulatedLoop::IsCurrent() const {
  return thread_ == std::this_thread::get_id();
}

bool SimulatedLoop::RunOne() {
  Task task;
  {
    absl::MutexLock lock(&mu_);
    if (!posted_.empty()) {
      task = std::move(posted_.front());
      posted_.pop_front();
    }
  }
  if (task) {
    task();
    return true;
  }
  return timers_.FireOne(now_);
}

}  // namespace flotilla
