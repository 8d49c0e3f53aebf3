// SPDX-License-Identifier: Apache-2.0

#include "manager/store/store_contract.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/status/status_matchers.h"
#include "manager/store/store.h"

namespace flotilla::manager {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

StoreContractTest::StoreContractTest()
    : directory_(absl::StrCat(
          ::testing::TempDir(), "/",
          absl::StrReplaceAll(
              ::testing::UnitTest::GetInstance()->current_test_info()->name(),
              {{"/", "_"}}))),
      store_(GetParam().open(loop_, directory_)),
      writer_(std::make_unique<FamilyWriter>(*store_, "/")) {}

void StoreContractTest::Settle() {
  // Calls take effect and complete in order, so the last one's completion
  // comes last. Completions may have made calls: thrice is enough for
  // RangeAndWatch() and a reader of its batches.
  for (int i = 0; i < 3; ++i) {
    store_->Range("/settle", [this](absl::StatusOr<RangeResult>) {
      loop_.Stop();
    });
    loop_.RunUntilStopped();
  }
}

void StoreContractTest::Reopen() {
  writer_ = nullptr;
  store_ = nullptr;
  store_ = GetParam().open(loop_, directory_);
  writer_ = std::make_unique<FamilyWriter>(*store_, "/");
}

absl::StatusOr<int64_t> StoreContractTest::Txn(std::vector<Compare> compares,
                                               std::vector<Op> ops) {
  std::optional<absl::StatusOr<int64_t>> result;
  writer_->Txn(std::move(compares), std::move(ops),
               [&](absl::StatusOr<int64_t> done) {
                 result = std::move(done);
                 loop_.Stop();
               });
  EXPECT_FALSE(result.has_value()) << "completed inside the call";
  loop_.RunUntilStopped();
  return *std::move(result);
}

int64_t StoreContractTest::MustPut(const std::string& key,
                                   const std::string& value) {
  const auto revision = Txn({}, {Op::Put(key, value)});
  EXPECT_THAT(revision, IsOk());
  return revision.value_or(-1);
}

int64_t StoreContractTest::MustDelete(const std::string& key) {
  const auto revision = Txn({}, {Op::Delete(key)});
  EXPECT_THAT(revision, IsOk());
  return revision.value_or(-1);
}

RangeResult StoreContractTest::MustRange(const std::string& prefix,
                                         const std::string& after,
                                         size_t max_bytes) {
  std::optional<absl::StatusOr<RangeResult>> result;
  store_->RangePage(prefix, after, max_bytes,
                    [&](absl::StatusOr<RangeResult> done) {
    result = std::move(done);
    loop_.Stop();
  });
  EXPECT_FALSE(result.has_value()) << "completed inside the call";
  loop_.RunUntilStopped();
  EXPECT_THAT(*result, IsOk());
  return result->ok() ? **std::move(result) : RangeResult();
}

Store::OnBatch StoreContractTest::Record(std::vector<std::string>* out) {
  return [out](const WatchBatch& batch) {
    for (const WatchEvent& event : batch.events) {
      out->push_back(
          event.deleted
              ? absl::StrCat(batch.revision, ":-", event.kv.key)
              : absl::StrCat(batch.revision, ":", event.kv.key, "=",
                             event.kv.value));
    }
  };
}

namespace {

std::vector<std::string> Keys(const RangeResult& result) {
  std::vector<std::string> keys;
  for (const KeyValue& kv : result.kvs) keys.push_back(kv.key);
  return keys;
}

TEST_P(StoreContractTest, PagesGiveEveryKeyOnce) {
  for (const char* key : {"/b/1", "/b/2", "/b/2\x01", "/b/22", "/b/3"}) {
    MustPut(key, "0123456789");
  }
  MustPut("/b/4", std::string(1000, 'x'));
  MustPut("/a", "");
  MustPut("/c", "");

  std::vector<std::string> keys;
  std::vector<size_t> sizes;
  while (true) {
    const RangeResult page =
        MustRange("/b", keys.empty() ? "" : keys.back(), 30);
    if (page.kvs.empty()) break;
    sizes.push_back(page.kvs.size());
    for (const KeyValue& kv : page.kvs) keys.push_back(kv.key);
  }

  EXPECT_THAT(keys, ElementsAre("/b/1", "/b/2", "/b/2\x01", "/b/22", "/b/3",
                                "/b/4"));
  EXPECT_THAT(sizes, ElementsAre(2, 2, 1, 1));
  EXPECT_EQ(MustRange("/b", "/b/3", Store::kUnbounded).kvs.size(), 1u);
  EXPECT_THAT(MustRange("/b", "/b/4", 30).kvs, IsEmpty());
}

TEST_P(StoreContractTest, AnEmptyStoreHasNoKeysAndRevisionZero) {
  const RangeResult all = MustRange("/");
  EXPECT_THAT(all.kvs, IsEmpty());
  EXPECT_EQ(all.revision, 0);
  EXPECT_EQ(store_->store_id().size(), 36u);
}

TEST_P(StoreContractTest, EachTransactionRaisesTheRevisionByOne) {
  EXPECT_EQ(MustPut("/a", "1"), 1);
  EXPECT_EQ(MustPut("/a", "2"), 2);
  EXPECT_EQ(Txn({}, {Op::Put("/b", "x"), Op::Put("/c", "y")}).value_or(0), 3);
  const RangeResult all = MustRange("/");
  EXPECT_EQ(all.revision, 3);
  ASSERT_THAT(Keys(all), ElementsAre("/a", "/b", "/c"));
  EXPECT_EQ(all.kvs[0].value, "2");
  EXPECT_EQ(all.kvs[0].create_revision, 1);
  EXPECT_EQ(all.kvs[0].mod_revision, 2);
  EXPECT_EQ(all.kvs[1].mod_revision, 3);
  EXPECT_EQ(all.kvs[2].mod_revision, 3);
}

TEST_P(StoreContractTest, ValuesAreBytes) {
  const std::string value("\0\xff\x80'\"%\n\0", 8);
  MustPut("/a", value);
  MustPut("/empty", "");
  const RangeResult all = MustRange("/");
  ASSERT_EQ(all.kvs.size(), 2u);
  EXPECT_EQ(all.kvs[0].value, value);
  EXPECT_EQ(all.kvs[1].value, "");
}

TEST_P(StoreContractTest, ACompareThatFailsWritesNothing) {
  MustPut("/a", "1");
  EXPECT_THAT(Txn({{"/a", 7}}, {Op::Put("/a", "2"), Op::Put("/b", "2")}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("/a")));
  EXPECT_THAT(Txn({{"/a", 0}}, {Op::Put("/a", "2")}),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(Txn({{"/absent", 1}}, {Op::Put("/b", "2")}),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(Txn({{"/a", 1}, {"/absent", 1}}, {Op::Put("/b", "2")}),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  const RangeResult all = MustRange("/");
  EXPECT_EQ(all.revision, 1);
  ASSERT_THAT(Keys(all), ElementsAre("/a"));
  EXPECT_EQ(all.kvs[0].value, "1");
}

TEST_P(StoreContractTest, ComparesThatHoldLetAllOpsThrough) {
  MustPut("/a", "1");
  EXPECT_THAT(Txn({{"/a", 1}, {"/b", 0}}, {Op::Put("/b", "2")}),
              IsOkAndHolds(2));
  EXPECT_THAT(Txn({{"/b", 2}}, {Op::Delete("/a"), Op::Put("/b", "3")}),
              IsOkAndHolds(3));
  EXPECT_THAT(Keys(MustRange("/")), ElementsAre("/b"));
}

TEST_P(StoreContractTest, OfTwoWritersThatReadTheSameOnlyTheFirstWins) {
  MustPut("/a", "1");
  std::vector<std::string> order;
  for (const char* value : {"x", "y"}) {
    writer_->Txn({{"/a", 1}}, {Op::Put("/a", value)},
                 [&order, value](absl::StatusOr<int64_t> done) {
                   order.push_back(
                       absl::StrCat(value, done.ok() ? " won" : " lost"));
                 });
  }
  EXPECT_THAT(order, IsEmpty());
  Settle();
  EXPECT_THAT(order, ElementsAre("x won", "y lost"));
  EXPECT_EQ(MustRange("/a").kvs[0].value, "x");
}

TEST_P(StoreContractTest, AFailedTransactionDoesNotHarmItsNeighbours) {
  std::vector<absl::StatusCode> codes;
  const auto record = [&codes](absl::StatusOr<int64_t> done) {
    codes.push_back(done.status().code());
  };
  writer_->Txn({}, {Op::Put("/a", "1")}, record);
  writer_->Txn({{"/nothing", 9}}, {Op::Put("/b", "1"), Op::Delete("/a")},
               record);
  writer_->Txn({}, {Op::Put("/c", "1"), Op::Put("/c", "2")}, record);
  writer_->Txn({}, {Op::Put("/d", "1")}, record);
  Settle();
  EXPECT_THAT(codes, ElementsAre(absl::StatusCode::kOk,
                                 absl::StatusCode::kFailedPrecondition,
                                 absl::StatusCode::kInvalidArgument,
                                 absl::StatusCode::kOk));
  const RangeResult all = MustRange("/");
  EXPECT_THAT(Keys(all), ElementsAre("/a", "/d"));
  EXPECT_EQ(all.revision, 2);
}

TEST_P(StoreContractTest, OpsThatMakeNoSenseAreRefused) {
  EXPECT_THAT(Txn({}, {Op::Put("/a", "1"), Op::Delete("/a")}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Txn({}, {Op::Put("", "1")}),
              StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(Txn({}, {Op::Put("refused", "1")}),
              StatusIs(absl::StatusCode::kPermissionDenied));
  FamilyWriter everything(*store_, "");
  std::optional<absl::StatusOr<int64_t>> result;
  everything.Txn({}, {Op::Put("refused", "1")},
                 [&](absl::StatusOr<int64_t> done) { result = done; });
  Settle();
  EXPECT_THAT(*result, StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_P(StoreContractTest, AWriterStaysInItsFamily) {
  FamilyWriter family(*store_, "/source/");
  std::vector<absl::StatusCode> codes;
  const auto record = [&codes](absl::StatusOr<int64_t> done) {
    codes.push_back(done.status().code());
  };
  family.Txn({}, {Op::Put("/source/a", "1")}, record);
  family.Txn({}, {Op::Put("/source/b", "1"), Op::Put("/bundle/b", "1")},
             record);
  family.Txn({}, {Op::Delete("/sourcex/b")}, record);
  family.Txn({}, {Op::Put("/source/", "1")}, record);
  family.Txn({{"/bundle/b", 0}}, {Op::Put("/source/c", "1")}, record);
  EXPECT_THAT(codes, IsEmpty());
  Settle();
  // Refusals need not wait for the disk: compare without order.
  EXPECT_THAT(codes, ::testing::UnorderedElementsAre(
                         absl::StatusCode::kOk,
                         absl::StatusCode::kPermissionDenied,
                         absl::StatusCode::kPermissionDenied,
                         absl::StatusCode::kPermissionDenied,
                         absl::StatusCode::kOk));
  EXPECT_THAT(Keys(MustRange("/")), ElementsAre("/source/a", "/source/c"));
}

TEST_P(StoreContractTest, ATransactionThatChangesNothingMakesNoRevision) {
  MustPut("/a", "1");
  EXPECT_THAT(Txn({}, {Op::Delete("/absent")}), IsOkAndHolds(1));
  EXPECT_THAT(Txn({{"/a", 1}}, {}), IsOkAndHolds(1));
  EXPECT_THAT(Txn({{"/a", 2}}, {}),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(MustRange("/").revision, 1);
}

TEST_P(StoreContractTest, ADeletedKeyComesBackAsANewOne) {
  MustPut("/a", "1");
  MustPut("/a", "2");
  EXPECT_EQ(MustDelete("/a"), 3);
  EXPECT_THAT(MustRange("/").kvs, IsEmpty());
  EXPECT_THAT(Txn({{"/a", 0}}, {Op::Put("/a", "4")}), IsOkAndHolds(4));
  const RangeResult all = MustRange("/");
  ASSERT_EQ(all.kvs.size(), 1u);
  EXPECT_EQ(all.kvs[0].create_revision, 4);
  EXPECT_EQ(all.kvs[0].mod_revision, 4);
}

TEST_P(StoreContractTest, ARangeHoldsExactlyTheKeysWithThePrefix) {
  const std::vector<std::string> keys = {
      "/a",         "/a/",    "/a/b", "/a/b/c", "/a/b0", "/a0",
      "/a\xff",     "/a\xff\xff", "/b",   "/a%",    "/a_",   "/A/b"};
  std::vector<Op> ops;
  for (const std::string& key : keys) ops.push_back(Op::Put(key, "x"));
  ASSERT_THAT(Txn({}, ops), IsOk());
  EXPECT_THAT(Keys(MustRange("/a/")),
              ElementsAre("/a/", "/a/b", "/a/b/c", "/a/b0"));
  EXPECT_THAT(Keys(MustRange("/a/b/")), ElementsAre("/a/b/c"));
  EXPECT_THAT(Keys(MustRange("/a\xff")),
              ElementsAre("/a\xff", "/a\xff\xff"));
  EXPECT_THAT(Keys(MustRange("/a%")), ElementsAre("/a%"));
  EXPECT_THAT(Keys(MustRange("/a_")), ElementsAre("/a_"));
  EXPECT_THAT(Keys(MustRange("refused")), IsEmpty());
  EXPECT_EQ(MustRange("/").kvs.size(), keys.size());
  EXPECT_EQ(MustRange("").kvs.size(), keys.size());
}

TEST_P(StoreContractTest, ARangeSeesTheWritesThatWereMadeBeforeIt) {
  std::vector<std::string> seen;
  writer_->Txn({}, {Op::Put("/a", "1")}, [](absl::StatusOr<int64_t>) {});
  store_->Range("/", [&](absl::StatusOr<RangeResult> result) {
    seen = Keys(*result);
  });
  writer_->Txn({}, {Op::Put("/b", "1")}, [](absl::StatusOr<int64_t>) {});
  Settle();
  EXPECT_THAT(seen, ElementsAre("/a"));
}

TEST_P(StoreContractTest, AWatchDeliversEachRevisionOnceAndInOrder) {
  std::vector<std::string> seen;
  const auto watch =
      store_->Watch("/w/", 0, Record(&seen), [](absl::Status) { FAIL(); });
  MustPut("/w/a", "1");
  MustPut("/other", "1");
  ASSERT_THAT(Txn({}, {Op::Put("/w/c", "2"), Op::Put("/w/b", "2"),
                       Op::Put("/z", "2")}),
              IsOk());
  MustDelete("/w/a");
  Settle();
  EXPECT_THAT(seen, ElementsAre("1:/w/a=1", "3:/w/b=2", "3:/w/c=2",
                                "4:-/w/a"));
}

TEST_P(StoreContractTest, AWatchBeginsAfterAnyKeptRevision) {
  for (int i = 1; i <= 5; ++i) MustPut("/w/a", absl::StrCat(i));
  std::vector<std::string> seen;
  const auto watch =
      store_->Watch("/w/", 3, Record(&seen), [](absl::Status) { FAIL(); });
  EXPECT_THAT(seen, IsEmpty());
  MustPut("/w/a", "6");
  Settle();
  EXPECT_THAT(seen, ElementsAre("4:/w/a=4", "5:/w/a=5", "6:/w/a=6"));
}

TEST_P(StoreContractTest, AWatchMayBeginInTheFuture) {
  MustPut("/w/a", "1");
  std::vector<std::string> seen;
  const auto watch =
      store_->Watch("/w/", 3, Record(&seen), [](absl::Status) { FAIL(); });
  for (int i = 2; i <= 5; ++i) MustPut("/w/a", absl::StrCat(i));
  Settle();
  EXPECT_THAT(seen, ElementsAre("4:/w/a=4", "5:/w/a=5"));
}

TEST_P(StoreContractTest, WatchersSeeABatchBeforeItsWriterIsTold) {
  std::vector<std::string> seen;
  const auto watch =
      store_->Watch("/", 0, Record(&seen), [](absl::Status) { FAIL(); });
  Settle();
  for (const char* key : {"/a", "/b"}) {
    writer_->Txn({}, {Op::Put(key, "1")},
                 [&seen, key](absl::StatusOr<int64_t> done) {
                   seen.push_back(absl::StrCat(key, " done ", *done));
                 });
  }
  Settle();
  EXPECT_THAT(seen,
              ElementsAre("1:/a=1", "/a done 1", "2:/b=1", "/b done 2"));
}

TEST_P(StoreContractTest, AnEndedWatchIsSilent) {
  std::vector<std::string> seen;
  auto watch =
      store_->Watch("/", 0, Record(&seen), [](absl::Status) { FAIL(); });
  MustPut("/a", "1");
  writer_->Txn({}, {Op::Put("/a", "2")}, [](absl::StatusOr<int64_t>) {});
  watch = nullptr;
  Settle();
  EXPECT_THAT(seen, ElementsAre("1:/a=1"));
}

TEST_P(StoreContractTest, AWatchMayEndItselfAndBeginAnother) {
  std::vector<std::string> seen;
  std::vector<std::string> second;
  std::unique_ptr<WatchHandle> watch;
  std::unique_ptr<WatchHandle> other;
  watch = store_->Watch(
      "/", 0,
      [&](const WatchBatch& batch) {
        seen.push_back(absl::StrCat(batch.revision));
        watch = nullptr;
        other = store_->Watch("/", batch.revision, Record(&second),
                              [](absl::Status) { FAIL(); });
      },
      [](absl::Status) { FAIL(); });
  for (int i = 1; i <= 3; ++i) MustPut("/a", absl::StrCat(i));
  Settle();
  EXPECT_THAT(seen, ElementsAre("1"));
  EXPECT_THAT(second, ElementsAre("2:/a=2", "3:/a=3"));
}

TEST_P(StoreContractTest, RangeAndWatchMissesNothing) {
  MustPut("/w/a", "1");
  MustPut("/w/b", "1");
  std::vector<std::string> seen;
  std::vector<bool> complete;
  auto record = Record(&seen);
  const auto watch =
      store_->RangeAndWatch("/w/", [&](const WatchBatch& batch) {
        complete.push_back(batch.complete);
        record(batch);
      });
  EXPECT_THAT(seen, IsEmpty());
  // Falls between the range and the watch.
  writer_->Txn({}, {Op::Put("/w/c", "1"), Op::Delete("/w/a")},
               [](absl::StatusOr<int64_t>) {});
  Settle();
  MustPut("/w/d", "1");
  Settle();
  EXPECT_THAT(seen, ElementsAre("2:/w/a=1", "2:/w/b=1", "3:-/w/a",
                                "3:/w/c=1", "4:/w/d=1"));
  EXPECT_THAT(complete, ElementsAre(true, false, false));
}

TEST_P(StoreContractTest, RangeAndWatchOfNothingStillSaysThatItIsComplete) {
  int batches = 0;
  const auto watch =
      store_->RangeAndWatch("/none/", [&](const WatchBatch& batch) {
        EXPECT_TRUE(batch.complete);
        EXPECT_THAT(batch.events, IsEmpty());
        ++batches;
      });
  Settle();
  EXPECT_EQ(batches, 1);
}

TEST_P(StoreContractTest, AWatchFromForgottenRevisionsIsLost) {
  const int kept = GetParam().kept_revisions;
  const int writes = kept == 0 ? 10 : 3 * kept + 10;
  for (int i = 1; i <= writes; ++i) MustPut("/w/a", absl::StrCat(i));
  std::vector<std::string> seen;
  int lost = 0;
  const auto on_lost = [&lost](absl::Status status) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kOutOfRange));
    ++lost;
  };
  const auto old = store_->Watch("/w/", 1, Record(&seen), on_lost);
  Settle();
  EXPECT_EQ(lost, kept == 0 ? 0 : 1);
  EXPECT_EQ(seen.size(), kept == 0 ? 9u : 0u);
  seen.clear();
  const auto recent =
      store_->Watch("/w/", writes - 2, Record(&seen), on_lost);
  Settle();
  EXPECT_EQ(lost, kept == 0 ? 0 : 1);
  EXPECT_EQ(seen.size(), 2u);
}

TEST_P(StoreContractTest, TenThousandKeysComeBackInOrder) {
  std::vector<std::string> seen;
  const auto watch =
      store_->Watch("/k/", 0, Record(&seen), [](absl::Status) { FAIL(); });
  for (int i = 0; i < 100; ++i) {
    std::vector<Op> ops;
    for (int j = 0; j < 100; ++j) {
      ops.push_back(Op::Put(absl::StrFormat("/k/%05d", 100 * j + i),
                            std::string(100, 'v')));
    }
    writer_->Txn({}, std::move(ops), [](absl::StatusOr<int64_t> done) {
      EXPECT_THAT(done, IsOk());
    });
  }
  const RangeResult all = MustRange("/k/");
  ASSERT_EQ(all.kvs.size(), 10'000u);
  EXPECT_EQ(all.revision, 100);
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_EQ(all.kvs[i].key, absl::StrFormat("/k/%05d", i));
  }
  EXPECT_EQ(seen.size(), 10'000u);
}

TEST_P(StoreContractTest, WhatWasAcknowledgedIsThereAfterARestart) {
  MustPut("/a", "1");
  MustPut("/b", "1");
  MustDelete("/a");
  const std::string id = store_->store_id();
  Reopen();
  if (!GetParam().persistent) {
    EXPECT_EQ(MustRange("/").revision, 0);
    return;
  }
  EXPECT_EQ(store_->store_id(), id);
  const RangeResult all = MustRange("/");
  EXPECT_EQ(all.revision, 3);
  ASSERT_THAT(Keys(all), ElementsAre("/b"));
  EXPECT_EQ(all.kvs[0].create_revision, 2);
  EXPECT_EQ(MustPut("/c", "1"), 4);
  // The change log survives too.
  std::vector<std::string> seen;
  const auto watch =
      store_->Watch("/", 1, Record(&seen), [](absl::Status) { FAIL(); });
  Settle();
  EXPECT_THAT(seen, ElementsAre("2:/b=1", "3:-/a", "4:/c=1"));
}

TEST_P(StoreContractTest, NothingRunsAfterTheStoreIsGone) {
  std::vector<std::string> seen;
  auto watch =
      store_->Watch("/", 0, Record(&seen), [](absl::Status) { FAIL(); });
  auto mirror = store_->RangeAndWatch("/", Record(&seen));
  writer_->Txn({}, {Op::Put("/a", "1")},
               [](absl::StatusOr<int64_t>) { FAIL(); });
  store_->Range("/", [](absl::StatusOr<RangeResult>) { FAIL(); });
  writer_ = nullptr;
  store_ = nullptr;
  loop_.Post([this] { loop_.Stop(); });
  loop_.RunUntilStopped();
  EXPECT_THAT(seen, IsEmpty());
}

}  // namespace
}  // namespace flotilla::manager
