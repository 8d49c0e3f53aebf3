// SPDX-License-Identifier: Apache-2.0

#include "common/http/connection_queue.h"

#include <functional>
#include <thread>
#include <utility>

#include "absl/synchronization/mutex.h"

namespace flotilla {

ConnectionQueue::ConnectionQueue(int threads, size_t max_waiting)
    : max_waiting_(max_waiting) {
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this] { Run(); });
  }
}

void ConnectionQueue::enqueue(std::function<void()> task) {
  absl::MutexLock lock(&mu_);
  mu_.Await(absl::Condition(this, &ConnectionQueue::HasPlace));
  tasks_.push_back(std::move(task));
}

void ConnectionQueue::shutdown() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

size_t ConnectionQueue::waiting() const {
  absl::MutexLock lock(&mu_);
  return tasks_.size();
}

void ConnectionQueue::Run() {
  while (true) {
    std::function<void()> task;
    {
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(this, &ConnectionQueue::HasWork));
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

}  // namespace flotilla
