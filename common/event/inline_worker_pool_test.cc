// SPDX-License-Identifier: Apache-2.0

#include "common/event/inline_worker_pool.h"

#include <memory>
#include <string>

#include "common/event/simulated_loop.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

TEST(InlineWorkerPool, RunsWorkThenItsCompletionWhenTheLoopRuns) {
  SimulatedLoop loop;
  InlineWorkerPool pool(loop);
  std::string seen;
  pool.Submit<int>(
      [&] {
        seen += "work ";
        return 7;
      },
      [&](int n) { seen += std::to_string(n); });
  EXPECT_EQ(seen, "");

  loop.RunUntilIdle();

  EXPECT_EQ(seen, "work 7");
}

TEST(InlineWorkerPool, DropsWhatHasNotRunWhenDestroyed) {
  SimulatedLoop loop;
  auto pool = std::make_unique<InlineWorkerPool>(loop);
  pool->Run([] { FAIL(); }, [] { FAIL(); });

  pool.reset();

  loop.RunUntilIdle();
}

}  // namespace
}  // namespace flotilla
