// SPDX-License-Identifier: Apache-2.0

#include "agent/connection/blob_fetches.h"

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "common/crypto/sha256.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla::agent {
namespace {

using agent::v1::BlobChunk;

const char kBlob[] = "twelve bytes";

BlobChunk Chunk(const std::string& data, uint64_t offset, bool last) {
  BlobChunk chunk;
  chunk.set_digest(Sha256(kBlob));
  chunk.set_data(data);
  chunk.set_offset(offset);
  chunk.set_last(last);
  return chunk;
}

class BlobFetchesTest : public ::testing::Test {
 protected:
  BlobFetchesTest() { fetches.Add(Sha256(kBlob), 12); }

  BlobFetches fetches;
};

TEST_F(BlobFetchesTest, JoinsChunksAndChecksThem) {
  fetches.Add(Sha256(kBlob), 12);
  const auto need = fetches.NextNeed();
  ASSERT_TRUE(need.has_value());
  ASSERT_EQ(need->want_size(), 1);
  EXPECT_EQ(need->want(0).offset(), 0u);
  EXPECT_FALSE(fetches.NextNeed().has_value());

  EXPECT_FALSE(fetches.OnChunk(Chunk("twelve", 0, false)).has_value());
  const auto result = fetches.OnChunk(Chunk(" bytes", 6, true));

  ASSERT_TRUE(result.has_value());
  EXPECT_THAT(result->bytes, IsOkAndHolds(std::string(kBlob)));
  EXPECT_EQ(fetches.pending(), 0u);
}

TEST_F(BlobFetchesTest, GoesOnAtItsOffsetAfterTheSessionEnded) {
  fetches.NextNeed();
  fetches.OnChunk(Chunk("twelve", 0, false));

  fetches.OnSessionEnded();

  // Late chunks of the old session change nothing.
  EXPECT_FALSE(fetches.OnChunk(Chunk(" bytes", 6, true)).has_value());
  const auto need = fetches.NextNeed();
  ASSERT_TRUE(need.has_value());
  EXPECT_EQ(need->want(0).offset(), 6u);
  const auto result = fetches.OnChunk(Chunk(" bytes", 6, true));
  EXPECT_THAT(result->bytes, IsOkAndHolds(std::string(kBlob)));
}

TEST_F(BlobFetchesTest, GivesUpAfterThreeWrongCopies) {
  for (const BlobChunk& wrong :
       {Chunk("twelve bytez", 0, true), Chunk("short", 0, true),
        Chunk("more than twelve bytes", 0, false)}) {
    const auto need = fetches.NextNeed();
    ASSERT_TRUE(need.has_value());
    EXPECT_EQ(need->want(0).offset(), 0u);
    const auto result = fetches.OnChunk(wrong);
    if (result.has_value()) {
      EXPECT_THAT(result->bytes, StatusIs(absl::StatusCode::kDataLoss));
    }
  }
  EXPECT_EQ(fetches.pending(), 0u);
}

TEST_F(BlobFetchesTest, TakesARightCopyAfterAWrongOne) {
  fetches.NextNeed();
  fetches.OnChunk(Chunk("twelve bytez", 0, true));
  ASSERT_TRUE(fetches.NextNeed().has_value());

  const auto result = fetches.OnChunk(Chunk(kBlob, 0, true));

  EXPECT_THAT(result->bytes, IsOkAndHolds(std::string(kBlob)));
}

TEST_F(BlobFetchesTest, HoldsNoMoreThanWasDeclared) {
  fetches.NextNeed();
  EXPECT_FALSE(fetches.OnChunk(Chunk("twelve bytes", 0, false)).has_value());
  // Full, and yet it goes on: a wrong copy.
  EXPECT_FALSE(fetches.OnChunk(Chunk("x", 12, false)).has_value());
  EXPECT_EQ(fetches.NextNeed()->want(0).offset(), 0u);
}

TEST_F(BlobFetchesTest, ReportsWhatIsNotServed) {
  fetches.NextNeed();
  BlobChunk refused = Chunk("", 0, false);
  refused.set_error(BlobChunk::ERROR_NOT_FOUND);

  EXPECT_THAT(fetches.OnChunk(refused)->bytes,
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(BlobFetchesTest, IgnoresWhatWasNotAskedFor) {
  EXPECT_FALSE(fetches.OnChunk(Chunk(kBlob, 0, true)).has_value());
  BlobChunk foreign;
  foreign.set_digest(Sha256("foreign"));
  EXPECT_FALSE(fetches.OnChunk(foreign).has_value());
  EXPECT_FALSE(fetches.OnChunk(BlobChunk()).has_value());
  EXPECT_EQ(fetches.ignored(), 3u);
  EXPECT_EQ(fetches.pending(), 1u);
}

TEST(BlobFetches, TakesAnEmptyBlob) {
  BlobFetches fetches;
  fetches.Add(Sha256(""), 0);
  fetches.NextNeed();
  BlobChunk chunk;
  chunk.set_digest(Sha256(""));
  chunk.set_last(true);

  EXPECT_THAT(fetches.OnChunk(chunk)->bytes, IsOkAndHolds(std::string()));
}

TEST(BlobFetches, AsksForSoMuchAtATime) {
  BlobFetches fetches;
  for (int i = 0; i < 5; ++i) {
    fetches.Add(Sha256(std::to_string(i)), 4 * 1024 * 1024);
  }
  EXPECT_EQ(fetches.NextNeed()->want_size(), 2);
  EXPECT_FALSE(fetches.NextNeed().has_value());

  BlobFetches many;
  for (int i = 0; i < 1000; ++i) many.Add(Sha256(std::to_string(i)), 10);
  EXPECT_EQ(many.NextNeed()->want_size(), 512);
}

}  // namespace
}  // namespace flotilla::agent
