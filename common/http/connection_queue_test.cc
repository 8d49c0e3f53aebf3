// SPDX-License-Identifier: Apache-2.0

#include "common/http/connection_queue.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <string>

#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

TEST(ConnectionQueue, LetsNoMoreWaitThanItMay) {
  constexpr size_t kMaxWaiting = 2;
  ConnectionQueue queue(1, kMaxWaiting);
  std::atomic<size_t> most{0};
  std::atomic<int> ran{0};

  // Each takes longer than enqueuing does.
  for (int i = 0; i < 500; ++i) {
    queue.enqueue([&queue, &most, &ran] {
      std::string work(20'000, 'x');
      std::sort(work.begin(), work.end());
      most = std::max(most.load(), queue.waiting());
      ++ran;
    });
  }
  queue.shutdown();

  EXPECT_EQ(ran, 500);
  EXPECT_LE(most, kMaxWaiting);
}

TEST(ConnectionQueue, RunsAsManyAtOnceAsItHasThreads) {
  ConnectionQueue queue(3, 1);
  std::atomic<int> begun{0};
  absl::Notification all;

  // None ends before all have begun.
  for (int i = 0; i < 3; ++i) {
    queue.enqueue([&begun, &all] {
      if (++begun == 3) all.Notify();
      all.WaitForNotification();
    });
  }
  queue.shutdown();
}

TEST(ConnectionQueue, RunsWhatWaitsWhenItIsShutDown) {
  ConnectionQueue queue(1, 5);
  absl::Notification go;
  std::atomic<int> ran{0};
  queue.enqueue([&go] { go.WaitForNotification(); });
  for (int i = 0; i < 5; ++i) queue.enqueue([&ran] { ++ran; });

  go.Notify();
  queue.shutdown();

  EXPECT_EQ(ran, 5);
}

}  // namespace
}  // namespace flotilla
