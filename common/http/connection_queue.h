// SPDX-License-Identifier: Apache-2.0
//
// ConnectionQueue runs what httplib wants done for each connection on a few
// threads. Few may wait for one: the listener waits when there are more, so
// that connections that nobody serves yet stay in the kernel's backlog and
// take none of the process's file descriptors.

#ifndef FLOTILLA_COMMON_HTTP_CONNECTION_QUEUE_H_
#define FLOTILLA_COMMON_HTTP_CONNECTION_QUEUE_H_

#include <httplib.h>

#include <cstddef>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace flotilla {

// Thread-safe.
class ConnectionQueue : public httplib::TaskQueue {
 public:
  // Both above 0.
  ConnectionQueue(int threads, size_t max_waiting);
  // REQUIRES: shutdown() was called.
  ~ConnectionQueue() override = default;

  // Blocks while `max_waiting` tasks wait.
  void enqueue(std::function<void()> task) override;
  // Runs what waits, and ends the threads. Nothing may be enqueued any more.
  void shutdown() override;

  size_t waiting() const;

 private:
  bool HasPlace() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return tasks_.size() < max_waiting_;
  }
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return stopping_ || !tasks_.empty();
  }
  void Run();

  const size_t max_waiting_;

  mutable absl::Mutex mu_;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;

  // Last: started when all else is there.
  std::vector<std::thread> threads_;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_HTTP_CONNECTION_QUEUE_H_
