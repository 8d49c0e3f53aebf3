// SPDX-License-Identifier: Apache-2.0

#include "manager/render/render_cache.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/event/simulated_loop.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/render/manifest_builder.h"
#include "manager/render/render_input.h"
#include "manager/store/memory_store.h"
#include "manager/store/records.h"
#include "manager/store/store.h"

namespace flotilla::manager {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

class RenderCacheTest : public ::testing::Test {
 protected:
  RenderCacheTest() { options_.renderer = "1.0"; }

  void Start() {
    cache_ = std::make_unique<RenderCache>(
        store_, FamilyWriter(store_, kRenderCacheFamily), options_,
        [this] { ++loads_; });
    loop_.RunUntilIdle();
  }

  static RenderResultPtr Result(const std::string& manifest) {
    auto result = std::make_shared<RenderResult>();
    result->manifest_digest = manifest;
    return result;
  }
  void Add(const std::string& inputs) {
    cache_->Add(inputs, Result(inputs));
    loop_.RunUntilIdle();
  }

  // The manifest of what is found.
  std::string Find(const std::string& inputs, const RenderInput& input = {}) {
    const RenderResultPtr found = cache_->Find(inputs, input);
    loop_.RunUntilIdle();
    return found == nullptr ? "" : found->manifest_digest;
  }
  std::vector<std::string> Keys() { return store_.Keys(kRenderCacheFamily); }

  SimulatedLoop loop_;
  MemoryStore store_{loop_};
  RenderCacheOptions options_;
  std::unique_ptr<RenderCache> cache_;
  int loads_ = 0;
};

TEST_F(RenderCacheTest, FindsAfterARestartAllThatWasAdded) {
  Start();
  auto result = Result("m");
  result->manifest_size = 17;
  result->blob_digests = {"b1", "b2"};
  result->warnings.emplace_back().set_message("careful");
  result->kinds_asked = {{"example.com", "Thing"}};
  cache_->Add("in", result);
  loop_.RunUntilIdle();

  Start();

  EXPECT_EQ(loads_, 2);
  const RenderResultPtr found = cache_->Find("in", {});
  ASSERT_NE(found, nullptr);
  EXPECT_NE(found, result);
  EXPECT_EQ(found->manifest_digest, "m");
  EXPECT_EQ(found->manifest_size, 17u);
  EXPECT_EQ(found->blob_digests, result->blob_digests);
  EXPECT_EQ(found->warnings.at(0).message(), "careful");
  EXPECT_EQ(found->kinds_asked, result->kinds_asked);
  EXPECT_LT(found->verified_at, absl::ZeroDuration());
  EXPECT_EQ(Find("other"), "");
}

TEST_F(RenderCacheTest, FindsOnlyWhatHoldsForTheInput) {
  RenderInput input;
  input.facts.set_kube_version("v1.36.0");
  input.random_seed = "seed";
  input.now_unix_seconds = 5;
  Start();
  auto result = Result("m");
  result->random_seed = "seed";
  result->uses_now = true;
  result->now_unix_seconds = 5;
  result->uses_capabilities = true;
  result->facts_digest = FactsDigest(input.facts, {}, true);
  cache_->Add("in", result);
  loop_.RunUntilIdle();

  for (const char* life : {"first", "second"}) {
    EXPECT_EQ(Find("in", input), "m") << life;
    RenderInput seed = input;
    seed.random_seed = "other";
    EXPECT_EQ(Find("in", seed), "") << life;
    RenderInput now = input;
    now.now_unix_seconds = 6;
    EXPECT_EQ(Find("in", now), "") << life;
    RenderInput facts = input;
    facts.facts.set_kube_version("v1.37.0");
    EXPECT_EQ(Find("in", facts), "") << life;
    Start();
  }
}

TEST_F(RenderCacheTest, KeepsOneResultForOneSetOfDependencies) {
  Start();
  cache_->Add("in", Result("old"));
  cache_->Add("in", Result("new"));
  loop_.RunUntilIdle();

  EXPECT_EQ(cache_->size(), 1u);
  EXPECT_THAT(Keys(), SizeIs(1));
  EXPECT_EQ(Find("in"), "new");
  Start();
  EXPECT_EQ(Find("in"), "new");
}

TEST_F(RenderCacheTest, LetsTheLeastRecentlyUsedGo) {
  options_.max_results = 2;
  Start();
  Add("a");
  Add("b");
  EXPECT_EQ(Find("a"), "a");

  Add("c");

  EXPECT_EQ(Find("b"), "");
  EXPECT_THAT(Keys(), SizeIs(2));
  Start();
  EXPECT_EQ(Find("a"), "a");
  EXPECT_EQ(Find("c"), "c");
}

TEST_F(RenderCacheTest, RemembersOverRestartsWhatWasUsed) {
  options_.max_results = 2;
  Start();
  Add("a");
  Add("b");
  Start();
  EXPECT_EQ(Find("a"), "a");

  Start();
  Add("c");

  EXPECT_EQ(Find("a"), "a");
  EXPECT_EQ(Find("b"), "");
}

TEST_F(RenderCacheTest, IsBoundedInBytesButKeepsTheNewest) {
  options_.max_bytes = 10'000;
  Start();
  for (const char* inputs : {"a", "b", "c"}) {
    auto result = Result(inputs);
    result->blob_digests.assign(100, std::string(32, 'd'));
    cache_->Add(inputs, std::move(result));
  }
  EXPECT_EQ(cache_->size(), 2u);
  EXPECT_EQ(Find("a"), "");

  auto large = Result("large");
  large->blob_digests.assign(1000, std::string(32, 'd'));
  cache_->Add("large", std::move(large));
  loop_.RunUntilIdle();

  EXPECT_EQ(cache_->size(), 1u);
  EXPECT_EQ(Find("large"), "large");
  EXPECT_THAT(Keys(), SizeIs(1));
}

TEST_F(RenderCacheTest, IsTrimmedWhenTheBoundsBecameSmaller) {
  Start();
  for (int i = 0; i < 20; ++i) Add(absl::StrCat(i));
  options_.max_results = 3;

  Start();

  EXPECT_EQ(cache_->size(), 3u);
  EXPECT_THAT(Keys(), SizeIs(3));
  EXPECT_EQ(Find("19"), "19");
}

TEST_F(RenderCacheTest, DropsWhatAnotherVersionMadeAndWhatIsDamaged) {
  Start();
  Add("a");
  store_.Put(RenderCacheKey("00", "00"), "\xff\xff");
  options_.renderer = "1.1";

  Start();

  EXPECT_EQ(Find("a"), "");
  EXPECT_THAT(Keys(), IsEmpty());
}

TEST_F(RenderCacheTest, ForgetsWhatIsRemoved) {
  Start();
  const RenderResultPtr result = Result("m");
  cache_->Add("in", result);

  cache_->Remove("in", Result("m"));
  EXPECT_EQ(Find("in"), "m");
  cache_->Remove("in", result);
  cache_->Remove("in", result);

  EXPECT_EQ(Find("in"), "");
  EXPECT_THAT(Keys(), IsEmpty());
}

TEST_F(RenderCacheTest, DoesWithoutADiskThatIsFull) {
  Start();
  store_.FailTxn(1, absl::ResourceExhaustedError("disk is full"));
  Add("a");

  EXPECT_EQ(Find("a"), "a");
  Start();
  EXPECT_EQ(Find("a"), "");
}

}  // namespace
}  // namespace flotilla::manager
