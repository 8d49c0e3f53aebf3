// SPDX-License-Identifier: Apache-2.0
//
// ProcessPool feeds processes of one helper program. Each of its threads has
// at most one process, which the work on that thread starts and replaces; it is
// kept for the next work, and ended when nothing came for a while.
//
// Work waits when all threads are busy. There is a line for each key, and the
// lines take turns: a long line does not hold up the others.

#ifndef FLOTILLA_MANAGER_HELPER_PROCESS_POOL_H_
#define FLOTILLA_MANAGER_HELPER_PROCESS_POOL_H_

#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/env/subprocess.h"

namespace flotilla::manager {

struct ProcessPoolOptions {
  // Processes at the same time, and how many of them for one key; above 0.
  int max_processes = 1;
  int max_for_key = 1;
  // A process that had nothing to do for so long is ended.
  absl::Duration idle_timeout = absl::Seconds(60);
};

// Thread-safe.
class ProcessPool {
 public:
  // A thread and the process that it feeds. A process must be started by the
  // thread that uses it, because it dies with it.
  class Slot {
   public:
    // Null when none runs. Of the work's thread only.
    Subprocess* process() const { return process_.get(); }
    // Ends the process before, if any; null means no new one.
    void SetProcess(std::unique_ptr<Subprocess> process);

   private:
    friend class ProcessPool;
    explicit Slot(ProcessPool& pool) : pool_(pool) {}

    ProcessPool& pool_;
    std::thread thread_;
    // Written by the thread, under the pool's lock; the pool kills it.
    std::unique_ptr<Subprocess> process_;
  };
  // May block; runs on one of the pool's threads.
  using Work = absl::AnyInvocable<void(Slot&)>;

  explicit ProcessPool(ProcessPoolOptions options);
  // Kills the processes and waits for the work that runs; work that waits is
  // dropped.
  ~ProcessPool();
  ProcessPool(const ProcessPool&) = delete;
  ProcessPool& operator=(const ProcessPool&) = delete;

  void Submit(const std::string& key, Work work);

  // Processes that run now, for tests and diagnosis.
  int running_processes() const;

 private:
  struct Job {
    std::string key;
    Work work;
  };

  bool HasRoom(const std::string& key) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Whether a line has somebody whose key has room.
  bool HasJob() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Job Dequeue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RunSlot(Slot& slot);
  // Waits for a job; false when the pool ends. `idle`: none came in time, and
  // the process may go.
  bool NextJob(bool has_process, Job* job, bool* idle);

  // Constant after construction.
  const ProcessPoolOptions options_;

  mutable absl::Mutex mu_;
  // Lines with somebody in them, and whose turn is next.
  std::map<std::string, std::deque<Work>> lines_ ABSL_GUARDED_BY(mu_);
  std::deque<std::string> turns_ ABSL_GUARDED_BY(mu_);
  // Of each key that has any.
  std::map<std::string, int> running_ ABSL_GUARDED_BY(mu_);
  size_t waiting_ ABSL_GUARDED_BY(mu_) = 0;
  size_t idle_threads_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::unique_ptr<Slot>> slots_ ABSL_GUARDED_BY(mu_);
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_HELPER_PROCESS_POOL_H_
