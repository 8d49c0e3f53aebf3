// SPDX-License-Identifier: Apache-2.0

#include "manager/store/memory_store.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/event/loop.h"
#include "common/event/simulated_loop.h"
#include "common/status/status_matchers.h"
#include "manager/store/store.h"
#include "manager/store/store_contract.h"

namespace flotilla::manager {
namespace {

using ::testing::ElementsAre;

INSTANTIATE_TEST_SUITE_P(
    Memory, StoreContractTest,
    ::testing::Values(StoreEngine{
        "memory", /*persistent=*/false, /*kept_revisions=*/0,
        [](Loop& loop, const std::string&) -> std::unique_ptr<Store> {
          return std::make_unique<MemoryStore>(loop);
        }}));

TEST(MemoryStoreTest, FailsTheTransactionThatItWasToldToFail) {
  SimulatedLoop loop;
  MemoryStore store(loop);
  FamilyWriter writer(store, "/a/");
  store.FailTxn(2, absl::ResourceExhaustedError("disk full"));
  std::vector<absl::StatusCode> codes;
  for (int i = 0; i < 3; ++i) {
    writer.Txn({}, {Op::Put("/a/x", "1")},
               [&codes](absl::StatusOr<int64_t> done) {
                 codes.push_back(done.status().code());
               });
  }
  loop.RunUntilIdle();
  EXPECT_THAT(codes, ElementsAre(absl::StatusCode::kOk,
                                 absl::StatusCode::kResourceExhausted,
                                 absl::StatusCode::kOk));
  EXPECT_EQ(store.revision(), 2);
  EXPECT_EQ(store.txn_count(), 3);
}

TEST(MemoryStoreTest, ARangeAndWatchThatWasLostBeginsAgain) {
  SimulatedLoop loop;
  MemoryStore store(loop);
  store.Put("/a/x", "1");
  std::vector<bool> complete;
  const auto watch =
      store.RangeAndWatch("/a/", [&](const WatchBatch& batch) {
        complete.push_back(batch.complete);
        if (complete.size() > 1) return;
        // Between the range and the watch.
        store.Put("/a/y", "1");
        store.Compact();
      });
  loop.RunUntilIdle();
  EXPECT_THAT(complete, ElementsAre(true, true));
}

}  // namespace
}  // namespace flotilla::manager
