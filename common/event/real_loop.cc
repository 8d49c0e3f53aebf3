// SPDX-License-Identifier: Apache-2.0

#include "common/event/real_loop.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace flotilla {
namespace {

// A process that cannot have its event or signal descriptor at start-up has
// nothing to run on.
int Require(int fd, const char* what) {
  if (fd < 0) {
    std::fprintf(stderr, "cannot create the loop's %s: %s\n", what,
                 std::strerror(errno));
    std::abort();
  }
  return fd;
}

}  // namespace

RealLoop::RealLoop()
    : wake_fd_(Require(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd")),
      thread_(std::this_thread::get_id()),
      timers_([this] { return MonotonicNow(); }) {}

RealLoop::~RealLoop() {
  // Tasks may own timers and post again when destroyed.
  for (;;) {
    std::deque<Task> dropped;
    {
      absl::MutexLock lock(&mu_);
      dropped.swap(posted_);
    }
    if (dropped.empty()) break;
  }
  if (signal_fd_ >= 0) ::close(signal_fd_);
  ::close(wake_fd_);
}

void RealLoop::CatchSignals(const std::vector<int>& signals,
                            absl::AnyInvocable<void(int)> callback) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) sigaddset(&set, signal);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal_fd_ =
      Require(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd");
  on_signal_ = std::move(callback);
}

void RealLoop::RunUntilStopped() {
  thread_ = std::this_thread::get_id();
  while (RunTurn()) {
  }
}

void RealLoop::Stop() {
  absl::MutexLock lock(&mu_);
  stopped_ = true;
  Wake();
}

void RealLoop::Post(Task task) {
  absl::MutexLock lock(&mu_);
  posted_.push_back(std::move(task));
  if (!awake_) Wake();
}

std::unique_ptr<Timer> RealLoop::CreateTimer(
    absl::AnyInvocable<void()> callback) {
  return timers_.Create(std::move(callback));
}

bool RealLoop::IsCurrent() const {
  return thread_.load(std::memory_order_relaxed) == std::this_thread::get_id();
}

absl::Duration RealLoop::MonotonicNow() const {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return absl::DurationFromTimespec(now);
}

bool RealLoop::RunTurn() {
  Sleep();
  std::deque<Task> batch;
  {
    absl::MutexLock lock(&mu_);
    awake_ = true;
    if (stopped_) {
      stopped_ = false;
      awake_ = false;
      return false;
    }
    batch.swap(posted_);
  }
  ReadSignals();
  while (!batch.empty()) {
    // Destroyed before the next one runs.
    Task task = std::move(batch.front());
    batch.pop_front();
    task();
  }
  const absl::Duration now = MonotonicNow();
  while (timers_.FireOne(now)) {
  }
  return true;
}

void RealLoop::Sleep() {
  int timeout_ms = -1;
  {
    absl::MutexLock lock(&mu_);
    if (!posted_.empty() || stopped_) {
      timeout_ms = 0;
    } else {
      awake_ = false;
    }
  }
  if (timeout_ms != 0) {
    if (const auto deadline = timers_.NextDeadline(); deadline.has_value()) {
      // Rounded up, so that the timer is due when poll() returns.
      const absl::Duration wait =
          absl::Ceil(*deadline - MonotonicNow(), absl::Milliseconds(1));
      timeout_ms = static_cast<int>(std::clamp<int64_t>(
          absl::ToInt64Milliseconds(wait), 0, 1000 * 3600));
    }
  }
  pollfd fds[2] = {{wake_fd_, POLLIN, 0}, {signal_fd_, POLLIN, 0}};
  ::poll(fds, signal_fd_ >= 0 ? 2 : 1, timeout_ms);
  uint64_t count;
  // Nonblocking; what it says does not matter.
  [[maybe_unused]] const ssize_t n = ::read(wake_fd_, &count, sizeof(count));
}

void RealLoop::Wake() {
  const uint64_t one = 1;
  // Fails only when the counter is full, and then the loop is awake anyway.
  [[maybe_unused]] const ssize_t n = ::write(wake_fd_, &one, sizeof(one));
}

void RealLoop::ReadSignals() {
  if (signal_fd_ < 0) return;
  signalfd_siginfo info;
  while (::read(signal_fd_, &info, sizeof(info)) ==
         static_cast<ssize_t>(sizeof(info))) {
    on_signal_(static_cast<int>(info.ssi_signo));
  }
}

}  // namespace flotilla
