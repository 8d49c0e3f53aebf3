// SPDX-License-Identifier: Apache-2.0

#include "common/event/thread_worker_pool.h"

#include <utility>

namespace flotilla {

ThreadWorkerPool::ThreadWorkerPool(Loop& loop, int threads) : loop_(loop) {
  threads_.reserve(threads);
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this] { RunJobs(); });
  }
}

ThreadWorkerPool::~ThreadWorkerPool() { Stop(); }

void ThreadWorkerPool::Stop() {
  *alive_ = false;
  std::deque<Job> dropped;
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
    dropped.swap(queue_);
  }
  dropped.clear();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void ThreadWorkerPool::Run(Task work, Task done) {
  absl::MutexLock lock(&mu_);
  if (stopping_) return;
  queue_.push_back({std::move(work), std::move(done)});
}

void ThreadWorkerPool::RunJobs() {
  for (;;) {
    Job job;
    {
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(this, &ThreadWorkerPool::HasJobOrStops));
      if (stopping_) return;
      job = std::move(queue_.front());
      queue_.pop_front();
    }
    job.work();
    // What the work holds goes before its completion can run.
    job.work = nullptr;
    // The completion is destroyed on the loop too: it may hold timers.
    loop_.Post([alive = alive_, done = std::move(job.done)]() mutable {
      if (*alive) done();
    });
  }
}

}  // namespace flotilla
