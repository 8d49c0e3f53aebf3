// SPDX-License-Identifier: Apache-2.0

#include "common/event/timer_queue.h"

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

constexpr absl::Duration kSecond = absl::Seconds(1);

class TimerQueueTest : public ::testing::Test {
 protected:
  std::unique_ptr<Timer> Named(const std::string& name) {
    return queue_.Create([this, name] { fired_ += name; });
  }
  void FireAll() {
    while (queue_.FireOne(now_)) {
    }
  }

  absl::Duration now_;
  std::string fired_;
  TimerQueue queue_{[this] { return now_; }};
};

TEST_F(TimerQueueTest, FiresInOrderOfDeadlineThenOfArming) {
  auto a = Named("a"), b = Named("b"), c = Named("c");
  b->Arm(2 * kSecond);
  a->Arm(kSecond);
  c->Arm(2 * kSecond);

  EXPECT_EQ(queue_.NextDeadline(), kSecond);
  FireAll();
  EXPECT_EQ(fired_, "");

  now_ = 2 * kSecond;
  FireAll();
  EXPECT_EQ(fired_, "abc");
  EXPECT_EQ(queue_.NextDeadline(), absl::nullopt);
}

TEST_F(TimerQueueTest, FiresOncePerArm) {
  auto a = Named("a");
  a->Arm(kSecond);
  a->Arm(3 * kSecond);
  EXPECT_TRUE(a->armed());

  now_ = kSecond;
  FireAll();
  EXPECT_EQ(fired_, "");

  now_ = 5 * kSecond;
  FireAll();
  FireAll();
  EXPECT_EQ(fired_, "a");
  EXPECT_FALSE(a->armed());
}

TEST_F(TimerQueueTest, NeverFiresADisarmedOrDestroyedTimer) {
  auto a = Named("a"), b = Named("b");
  a->Arm(kSecond);
  b->Arm(kSecond);
  a->Disarm();
  b.reset();

  now_ = kSecond;
  FireAll();

  EXPECT_EQ(fired_, "");
}

TEST_F(TimerQueueTest, TakesANegativeDelayAsNow) {
  auto a = Named("a");
  now_ = kSecond;
  a->Arm(-kSecond);

  FireAll();

  EXPECT_EQ(fired_, "a");
}

TEST_F(TimerQueueTest, LetsACallbackRearmItsTimerAndStopAnother) {
  std::unique_ptr<Timer> a, b;
  b = Named("b");
  a = queue_.Create([&] {
    fired_ += "a";
    b->Disarm();
    a->Arm(kSecond);
  });
  a->Arm(kSecond);
  b->Arm(kSecond);

  now_ = kSecond;
  FireAll();
  EXPECT_EQ(fired_, "a");

  now_ = 2 * kSecond;
  FireAll();
  EXPECT_EQ(fired_, "aa");
}

TEST_F(TimerQueueTest, LetsACallbackDestroyItsTimer) {
  std::unique_ptr<Timer> a;
  auto text = std::make_shared<std::string>("still here");
  a = queue_.Create([&, text] {
    a.reset();
    fired_ += *text;
  });
  a->Arm(kSecond);

  now_ = kSecond;
  FireAll();

  EXPECT_EQ(fired_, "still here");
}

TEST(TimerQueue, LeavesTimersDeadThatOutliveIt) {
  auto queue =
      std::make_unique<TimerQueue>([] { return absl::ZeroDuration(); });
  auto timer = queue->Create([] { FAIL(); });
  timer->Arm(kSecond);

  queue.reset();

  EXPECT_FALSE(timer->armed());
  timer->Arm(kSecond);
  EXPECT_FALSE(timer->armed());
}

}  // namespace
}  // namespace flotilla
