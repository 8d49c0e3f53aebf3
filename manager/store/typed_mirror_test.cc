// SPDX-License-Identifier: Apache-2.0

#include "manager/store/typed_mirror.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "flotilla/storage/v1/storage.pb.h"

#include "common/event/simulated_loop.h"
#include "manager/store/memory_store.h"
#include "manager/store/records.h"
#include "manager/store/store.h"

namespace flotilla::manager {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::string SourceBytes(const std::string& name) {
  storage::v1::Source source;
  source.set_name(name);
  return SerializeRecord(source);
}

class TypedMirrorTest : public ::testing::Test {
 protected:
  using Mirror = TypedMirror<storage::v1::Source>;

  Mirror::OnChange Record() {
    return [this](const std::string& key, const storage::v1::Source* source) {
      seen_.push_back(
          key + (source == nullptr ? " gone" : " " + source->name()));
    };
  }

  SimulatedLoop loop_;
  MemoryStore store_{loop_};
  std::vector<std::string> seen_;
};

TEST_F(TypedMirrorTest, IsNotLoadedBeforeTheFirstBatch) {
  Mirror mirror(store_, kSourceFamily);
  EXPECT_FALSE(mirror.loaded());
  loop_.RunUntilIdle();
  EXPECT_TRUE(mirror.loaded());
  EXPECT_THAT(mirror.map(), IsEmpty());
}

TEST_F(TypedMirrorTest, CallsBackForEachChangeAndOncePerBatch) {
  store_.Put("/source/w/a", SourceBytes("a"));
  store_.Put("/other/w/a", SourceBytes("x"));
  int batches = 0;
  Mirror mirror(store_, kSourceFamily, Record(), [&batches] { ++batches; });
  loop_.RunUntilIdle();
  EXPECT_THAT(seen_, ElementsAre("/source/w/a a"));
  EXPECT_EQ(batches, 1);
  store_.Put("/source/w/b", SourceBytes("b"));
  store_.Delete("/source/w/a");
  loop_.RunUntilIdle();
  EXPECT_THAT(seen_, ElementsAre("/source/w/a a", "/source/w/b b",
                                 "/source/w/a gone"));
  EXPECT_EQ(batches, 3);
  EXPECT_EQ(mirror.ModRevision("/source/w/b"), 3);
  EXPECT_EQ(mirror.ModRevision("/source/w/a"), 0);
  EXPECT_EQ(mirror.Find("/source/w/a"), nullptr);
}

TEST_F(TypedMirrorTest, AnUnreadableRecordDoesNotDeleteTheGoodOne) {
  store_.Put("/source/w/a", SourceBytes("a"));
  std::vector<std::string> unreadable;
  Mirror mirror(store_, kSourceFamily, Record(), nullptr, nullptr,
                [&unreadable](const std::string& key, const absl::Status&) {
                  unreadable.push_back(key);
                });
  loop_.RunUntilIdle();
  store_.Put("/source/w/a", "\xff\xff");
  loop_.RunUntilIdle();
  EXPECT_THAT(seen_, ElementsAre("/source/w/a a"));
  EXPECT_THAT(unreadable, ElementsAre("/source/w/a"));
  EXPECT_EQ(mirror.unreadable(), 1u);
  ASSERT_NE(mirror.Find("/source/w/a"), nullptr);
}

TEST_F(TypedMirrorTest, AFilterChoosesKeys) {
  store_.Put("/source/w/a", SourceBytes("a"));
  store_.Put("/source/x/a", "\xff\xff");
  Mirror mirror(store_, kSourceFamily, Record(), nullptr,
                [](const std::string& key) {
                  return key.find("/w/") != std::string::npos;
                });
  loop_.RunUntilIdle();
  EXPECT_THAT(seen_, ElementsAre("/source/w/a a"));
  EXPECT_EQ(mirror.unreadable(), 0u);
}

TEST_F(TypedMirrorTest, TriesAgainWhenTheStoreCannotBeRead) {
  store_.Put("/source/w/a", SourceBytes("a"));
  store_.FailRange(1, absl::UnavailableError("disk"));
  Mirror mirror(store_, kSourceFamily, Record());
  loop_.RunUntilIdle();
  EXPECT_FALSE(mirror.loaded());
  EXPECT_THAT(seen_, IsEmpty());
  loop_.Advance(absl::Seconds(2));
  EXPECT_TRUE(mirror.loaded());
  EXPECT_THAT(seen_, ElementsAre("/source/w/a a"));
}

TEST_F(TypedMirrorTest, NothingIsCalledAfterItIsGone) {
  store_.Put("/source/w/a", SourceBytes("a"));
  { Mirror mirror(store_, kSourceFamily, Record()); }
  loop_.RunUntilIdle();
  EXPECT_THAT(seen_, IsEmpty());
  {
    Mirror mirror(store_, kSourceFamily, Record());
    loop_.RunUntilIdle();
    seen_.clear();
    store_.Put("/source/w/a", SourceBytes("b"));
  }
  loop_.RunUntilIdle();
  EXPECT_THAT(seen_, IsEmpty());
}

}  // namespace
}  // namespace flotilla::manager
