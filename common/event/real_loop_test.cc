// SPDX-License-Identifier: Apache-2.0

#include "common/event/real_loop.h"

#include <signal.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

TEST(RealLoop, RunsTasksInTheOrderOfPosting) {
  RealLoop loop;
  std::string seen;

  loop.Post([&] {
    seen += "a";
    loop.Post([&] {
      seen += "c";
      loop.Stop();
    });
  });
  loop.Post([&] { seen += "b"; });
  loop.RunUntilStopped();

  EXPECT_EQ(seen, "abc");
}

TEST(RealLoop, TakesTasksFromManyThreadsWithoutLosingOne) {
  RealLoop loop;
  constexpr int kThreads = 4, kEach = 1000;
  int count = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kEach; ++i) {
        loop.Post([&] {
          if (++count == kThreads * kEach) loop.Stop();
        });
      }
    });
  }

  loop.RunUntilStopped();
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(count, kThreads * kEach);
}

TEST(RealLoop, FiresTimersWhenTheyAreDueAndNotBefore) {
  RealLoop loop;
  const absl::Duration start = loop.MonotonicNow();
  auto never = loop.CreateTimer([] { FAIL() << "disarmed"; });
  auto timer = loop.CreateTimer([&] { loop.Stop(); });
  never->Arm(absl::Milliseconds(1));
  never->Disarm();
  timer->Arm(absl::Milliseconds(20));

  loop.RunUntilStopped();

  EXPECT_GE(loop.MonotonicNow() - start, absl::Milliseconds(20));
}

TEST(RealLoop, IsCurrentOnlyOnTheThreadThatRunsIt) {
  RealLoop loop;
  EXPECT_TRUE(loop.IsCurrent());
  bool inside = false;
  std::thread runner([&] {
    loop.Post([&] {
      inside = loop.IsCurrent();
      loop.Stop();
    });
    loop.RunUntilStopped();
  });

  runner.join();

  EXPECT_TRUE(inside);
  EXPECT_FALSE(loop.IsCurrent());
}

TEST(RealLoop, HandsSignalsToTheCallbackOnTheLoop) {
  RealLoop loop;
  std::vector<int> signals;
  loop.CatchSignals({SIGUSR1, SIGUSR2}, [&](int signal) {
    EXPECT_TRUE(loop.IsCurrent());
    signals.push_back(signal);
    if (signals.size() == 2) loop.Stop();
  });

  loop.Post([] {
    ::raise(SIGUSR1);
    ::raise(SIGUSR2);
  });
  loop.RunUntilStopped();

  EXPECT_THAT(signals, ::testing::UnorderedElementsAre(SIGUSR1, SIGUSR2));
}

TEST(RealLoop, DestroysQueuedTasksWithoutRunningThem) {
  auto token = std::make_shared<int>(1);
  {
    RealLoop loop;
    std::shared_ptr<Timer> timer = loop.CreateTimer([] { FAIL(); });
    timer->Arm(absl::ZeroDuration());
    loop.Post([token, timer = std::move(timer)] { FAIL() << "ran"; });
  }

  EXPECT_EQ(token.use_count(), 1);
}

TEST(RealLoop, StopBeforeTheRunReturnsAtOnceAndCanBeRunAgain) {
  RealLoop loop;
  loop.Stop();
  loop.RunUntilStopped();
  bool ran = false;

  loop.Post([&] {
    ran = true;
    loop.Stop();
  });
  loop.RunUntilStopped();

  EXPECT_TRUE(ran);
}

}  // namespace
}  // namespace flotilla
