// SPDX-License-Identifier: Apache-2.0

#include "common/event/thread_worker_pool.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/barrier.h"
#include "absl/synchronization/notification.h"
#include "common/event/real_loop.h"
#include "common/event/simulated_loop.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

TEST(ThreadWorkerPool, RunsWorkOnAThreadAndItsCompletionOnTheLoop) {
  RealLoop loop;
  ThreadWorkerPool pool(loop, 1);
  std::string seen;

  pool.Submit<std::string>(
      [&loop] {
        EXPECT_FALSE(loop.IsCurrent());
        return std::string("made elsewhere");
      },
      [&](std::string result) {
        EXPECT_TRUE(loop.IsCurrent());
        seen = result;
        loop.Stop();
      });
  loop.RunUntilStopped();

  EXPECT_EQ(seen, "made elsewhere");
}

TEST(ThreadWorkerPool, RunsAsMuchAtOnceAsItHasThreads) {
  RealLoop loop;
  ThreadWorkerPool pool(loop, 3);
  // Never passed unless three are in it at the same time.
  auto* barrier = new absl::Barrier(3);
  int done = 0;

  for (int i = 0; i < 3; ++i) {
    pool.Run(
        [barrier] {
          if (barrier->Block()) delete barrier;
        },
        [&] {
          if (++done == 3) loop.Stop();
        });
  }
  loop.RunUntilStopped();

  EXPECT_EQ(done, 3);
}

TEST(ThreadWorkerPool, KeepsTheOrderOnOneThread) {
  RealLoop loop;
  ThreadWorkerPool pool(loop, 1);
  std::vector<int> order;

  for (int i = 0; i < 100; ++i) {
    pool.Run([] {},
             [&, i] {
               order.push_back(i);
               if (i == 99) loop.Stop();
             });
  }
  loop.RunUntilStopped();

  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[i], i);
}

TEST(ThreadWorkerPool, DropsQueuedWorkAndAllCompletionsWhenStopped) {
  SimulatedLoop loop;
  absl::Notification begun, may_end;
  bool finished = false;
  ThreadWorkerPool pool(loop, 1);
  pool.Run(
      [&] {
        begun.Notify();
        may_end.WaitForNotification();
        finished = true;
      },
      [] { FAIL() << "the pool has stopped"; });
  // The work in the way ends when the queued work has been dropped.
  std::shared_ptr<void> until_dropped(nullptr,
                                      [&](void*) { may_end.Notify(); });
  pool.Run([until_dropped] { FAIL() << "never begun"; },
            [] { FAIL() << "never begun"; });
  until_dropped.reset();
  begun.WaitForNotification();

  pool.Stop();

  EXPECT_TRUE(finished);
  loop.RunUntilIdle();
}

TEST(ThreadWorkerPool, DropsWhatIsSubmittedAfterItHasStopped) {
  SimulatedLoop loop;
  ThreadWorkerPool pool(loop, 1);
  auto held = std::make_shared<int>();
  pool.Stop();

  pool.Run([held] { FAIL(); }, [held] { FAIL(); });
  pool.Stop();

  EXPECT_EQ(held.use_count(), 1);
  loop.RunUntilIdle();
}

TEST(ThreadWorkerPool, StopsWhenDestroyed) {
  SimulatedLoop loop;
  bool finished = false;
  absl::Notification begun;
  {
    ThreadWorkerPool pool(loop, 1);
    pool.Run(
        [&] {
          begun.Notify();
          finished = true;
        },
        [] { FAIL() << "the pool is gone"; });
    begun.WaitForNotification();
  }

  EXPECT_TRUE(finished);
  loop.RunUntilIdle();
}

}  // namespace
}  // namespace flotilla
