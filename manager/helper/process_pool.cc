// SPDX-License-Identifier: Apache-2.0

#include "manager/helper/process_pool.h"

#include <utility>

namespace flotilla::manager {

void ProcessPool::Slot::SetProcess(std::unique_ptr<Subprocess> process) {
  // `process` ends the one before outside the lock.
  absl::MutexLock lock(&pool_.mu_);
  // The destructor has killed what it saw; what comes later ends here.
  if (pool_.stopping_ && process != nullptr) process->Kill();
  process_.swap(process);
}

ProcessPool::ProcessPool(ProcessPoolOptions options) : options_(options) {}

ProcessPool::~ProcessPool() {
  std::vector<std::unique_ptr<Slot>> slots;
  std::map<std::string, std::deque<Work>> dropped;
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
    dropped.swap(lines_);
    for (const std::unique_ptr<Slot>& slot : slots_) {
      if (slot->process_ != nullptr) slot->process_->Kill();
    }
    slots.swap(slots_);
  }
  for (const std::unique_ptr<Slot>& slot : slots) slot->thread_.join();
}

void ProcessPool::Submit(const std::string& key, Work work) {
  absl::MutexLock lock(&mu_);
  std::deque<Work>& line = lines_[key];
  if (line.empty()) turns_.push_back(key);
  line.push_back(std::move(work));
  ++waiting_;
  if (idle_threads_ < waiting_ && HasJob() &&
      slots_.size() < static_cast<size_t>(options_.max_processes)) {
    slots_.push_back(std::unique_ptr<Slot>(new Slot(*this)));
    Slot* slot = slots_.back().get();
    slot->thread_ = std::thread([this, slot] { RunSlot(*slot); });
  }
}

int ProcessPool::running_processes() const {
  absl::MutexLock lock(&mu_);
  int running = 0;
  for (const std::unique_ptr<Slot>& slot : slots_) {
    running += slot->process_ != nullptr ? 1 : 0;
  }
  return running;
}

bool ProcessPool::HasRoom(const std::string& key) const {
  const auto running = running_.find(key);
  return running == running_.end() || running->second < options_.max_for_key;
}

bool ProcessPool::HasJob() const {
  for (const std::string& key : turns_) {
    if (HasRoom(key)) return true;
  }
  return false;
}

ProcessPool::Job ProcessPool::Dequeue() {
  auto turn = turns_.begin();
  while (!HasRoom(*turn)) ++turn;
  Job job;
  job.key = std::move(*turn);
  turns_.erase(turn);
  const auto line = lines_.find(job.key);
  job.work = std::move(line->second.front());
  line->second.pop_front();
  if (line->second.empty()) {
    lines_.erase(line);
  } else {
    turns_.push_back(job.key);
  }
  --waiting_;
  ++running_[job.key];
  return job;
}

bool ProcessPool::NextJob(bool has_process, Job* job, bool* idle) {
  absl::MutexLock lock(&mu_);
  ++idle_threads_;
  const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return stopping_ || HasJob();
  };
  *idle = !mu_.AwaitWithTimeout(
      absl::Condition(&ready),
      has_process ? options_.idle_timeout : absl::InfiniteDuration());
  --idle_threads_;
  if (stopping_) return false;
  if (*idle) return true;
  *job = Dequeue();
  return true;
}

void ProcessPool::RunSlot(Slot& slot) {
  Job job;
  bool idle = false;
  while (NextJob(slot.process() != nullptr, &job, &idle)) {
    if (idle) {
      slot.SetProcess(nullptr);
      continue;
    }
    job.work(slot);
    job.work = nullptr;
    {
      absl::MutexLock lock(&mu_);
      const auto running = running_.find(job.key);
      if (--running->second == 0) running_.erase(running);
    }
  }
  slot.SetProcess(nullptr);
}

}  // namespace flotilla::manager
