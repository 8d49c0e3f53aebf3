// SPDX-License-Identifier: Apache-2.0

#include "manager/helper/process_pool.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

using ::testing::ElementsAre;

// Says nothing until it is killed.
class SilentProcess final : public Subprocess {
 public:
  explicit SilentProcess(absl::Notification* ended = nullptr)
      : ended_(ended) {}
  ~SilentProcess() override {
    if (ended_ != nullptr) ended_->Notify();
  }

  absl::Status Write(absl::string_view, absl::Duration) override {
    return absl::OkStatus();
  }
  void CloseStdin() override {}
  absl::StatusOr<std::string> Read(size_t, absl::Duration) override {
    killed_.WaitForNotification();
    return std::string();
  }
  absl::StatusOr<std::string> ReadExactly(size_t, absl::Duration) override {
    killed_.WaitForNotification();
    return absl::UnavailableError("killed");
  }
  void Kill() override {
    if (!killed_.HasBeenNotified()) killed_.Notify();
  }
  absl::StatusOr<Exit> Wait(absl::Duration) override { return Exit{-1, 9}; }
  int64_t pid() const override { return 1; }
  bool network_isolated() const override { return false; }
  uint64_t ResidentBytes() const override { return 0; }

 private:
  absl::Notification killed_;
  absl::Notification* const ended_;
};

// What work said, in order.
class Log {
 public:
  void Add(const std::string& word) {
    absl::MutexLock lock(&mu_);
    words_.push_back(word);
  }

  std::vector<std::string> words() const {
    absl::MutexLock lock(&mu_);
    return words_;
  }

 private:
  mutable absl::Mutex mu_;
  std::vector<std::string> words_ ABSL_GUARDED_BY(mu_);
};

TEST(ProcessPoolTest, KeepsAProcessForTheNextWork) {
  ProcessPool pool({/*max_processes=*/1, /*max_for_key=*/1});
  absl::Notification done;
  Subprocess* first = nullptr;
  Subprocess* second = nullptr;
  pool.Submit("a", [&first](ProcessPool::Slot& slot) {
    EXPECT_EQ(slot.process(), nullptr);
    slot.SetProcess(std::make_unique<SilentProcess>());
    first = slot.process();
  });
  pool.Submit("b", [&second, &done](ProcessPool::Slot& slot) {
    second = slot.process();
    done.Notify();
  });

  done.WaitForNotification();
  EXPECT_NE(first, nullptr);
  EXPECT_EQ(first, second);
  EXPECT_EQ(pool.running_processes(), 1);
}

TEST(ProcessPoolTest, EndsAProcessThatHasNothingToDo) {
  ProcessPool pool({1, 1, /*idle_timeout=*/absl::ZeroDuration()});
  absl::Notification ended;
  pool.Submit("a", [&ended](ProcessPool::Slot& slot) {
    slot.SetProcess(std::make_unique<SilentProcess>(&ended));
  });

  ended.WaitForNotification();
  EXPECT_EQ(pool.running_processes(), 0);
}

TEST(ProcessPoolTest, LinesTakeTurns) {
  ProcessPool pool({/*max_processes=*/1, /*max_for_key=*/1});
  absl::Notification begin;
  absl::BlockingCounter done(5);
  Log log;
  pool.Submit("", [&begin](ProcessPool::Slot&) {
    begin.WaitForNotification();
  });
  for (const char* key : {"a", "a", "a", "b", "c"}) {
    pool.Submit(key, [key, &log, &done](ProcessPool::Slot&) {
      log.Add(key);
      done.DecrementCount();
    });
  }
  begin.Notify();

  done.Wait();
  EXPECT_THAT(log.words(), ElementsAre("a", "b", "c", "a", "a"));
}

TEST(ProcessPoolTest, OneKeyNeverHasAllProcesses) {
  ProcessPool pool({/*max_processes=*/3, /*max_for_key=*/2});
  absl::Notification silent;
  absl::BlockingCounter busy(2);
  absl::BlockingCounter done(4);
  Log log;
  for (int i = 0; i < 3; ++i) {
    pool.Submit("silent", [&](ProcessPool::Slot&) {
      if (!silent.HasBeenNotified()) busy.DecrementCount();
      silent.WaitForNotification();
      log.Add("silent");
      done.DecrementCount();
    });
  }
  busy.Wait();
  absl::Notification answered;
  pool.Submit("quick", [&](ProcessPool::Slot&) {
    log.Add("quick");
    answered.Notify();
    done.DecrementCount();
  });

  answered.WaitForNotification();
  EXPECT_THAT(log.words(), ElementsAre("quick"));
  silent.Notify();
  done.Wait();
  EXPECT_THAT(log.words(),
              ElementsAre("quick", "silent", "silent", "silent"));
}

TEST(ProcessPoolTest, KillsWhatRunsAndDropsWhatWaits) {
  Log log;
  absl::Notification ended;
  {
    ProcessPool pool({/*max_processes=*/1, /*max_for_key=*/1});
    absl::Notification reads;
    pool.Submit("a", [&](ProcessPool::Slot& slot) {
      slot.SetProcess(std::make_unique<SilentProcess>(&ended));
      reads.Notify();
      EXPECT_TRUE(absl::IsUnavailable(
          slot.process()->ReadExactly(1, absl::InfiniteDuration()).status()));
      // As after a process that broke.
      slot.SetProcess(std::make_unique<SilentProcess>());
      EXPECT_TRUE(absl::IsUnavailable(
          slot.process()->ReadExactly(1, absl::InfiniteDuration()).status()));
      log.Add("ran");
    });
    pool.Submit("a", [&log](ProcessPool::Slot&) { log.Add("waited"); });
    reads.WaitForNotification();
  }

  EXPECT_TRUE(ended.HasBeenNotified());
  EXPECT_THAT(log.words(), ElementsAre("ran"));
}

}  // namespace
}  // namespace flotilla::manager
