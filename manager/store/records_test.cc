// SPDX-License-Identifier: Apache-2.0

#include "manager/store/records.h"

#include <string>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"

#include "common/status/status_matchers.h"

namespace flotilla::manager {
namespace {

using ::testing::HasSubstr;

TEST(RecordsTest, EachFamilyHasTheKeyThatTheProtoPromises) {
  EXPECT_EQ(DocumentKey("w", "GitRepo", "n"), "/document/w/GitRepo/n");
  EXPECT_EQ(DocumentPrefix("w"), "/document/w/");
  EXPECT_EQ(DocumentPrefix("w", "Secret"), "/document/w/Secret/");
  EXPECT_EQ(SourceKey("w", "n"), "/source/w/n");
  EXPECT_EQ(BundleBuildKey("w", "n"), "/bundle/source/w/n");
  EXPECT_EQ(BundleHeadKey("b"), "/bundle/b/head");
  EXPECT_EQ(BundleRevisionKey("b", "ab12"), "/bundle/b/ab12");
  EXPECT_EQ(BundlePrefix("b"), "/bundle/b/");
  EXPECT_EQ(ClusterIdentityKey("c"), "/cluster/c/identity");
  EXPECT_EQ(TokenKey("t"), "/token/t");
  EXPECT_EQ(FactsKey("c"), "/facts/c");
  EXPECT_EQ(SessionKey("c"), "/session/c");
  EXPECT_EQ(HighWaterKey("c"), "/highwater/c");
  EXPECT_EQ(DesiredKey("c", "b"), "/desired/c/b");
  EXPECT_EQ(DesiredPrefix("c"), "/desired/c/");
  EXPECT_EQ(RenderedKey("c", "b"), "/rendered/c/b");
  EXPECT_EQ(RenderCacheKey("a", "b"), "/rendercache/a/b");
  EXPECT_EQ(RenderedPrefix("c"), "/rendered/c/");
  EXPECT_EQ(ReleasedKey("c", "b"), "/released/c/b");
  EXPECT_EQ(ReleasedPrefix("c"), "/released/c/");
  EXPECT_EQ(ObservedKey("c", "b"), "/observed/c/b");
  EXPECT_EQ(ObservedPrefix("c"), "/observed/c/");
}

TEST(RecordsTest, PartsThatCouldReachAnotherKeyAreRefused) {
  const std::string bad[] = {
      "",         "a/b", "/", "a\nb", std::string("a\0b", 3), "\x1b[31m",
      "a\x7f", std::string(513, 'a')};
  for (const std::string& part : bad) {
    SCOPED_TRACE(part);
    EXPECT_EQ(DocumentKey("w", "GitRepo", part), kRefusedKey);
    EXPECT_EQ(DocumentPrefix(part), kRefusedKey);
    EXPECT_EQ(SourceKey(part, "n"), kRefusedKey);
    EXPECT_EQ(DesiredKey("c", part), kRefusedKey);
    EXPECT_EQ(DesiredPrefix(part), kRefusedKey);
    EXPECT_EQ(FactsKey(part), kRefusedKey);
    EXPECT_THAT(ValidateKeyPart("name", part),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
  EXPECT_THAT(ValidateKeyPart("name of the GitRepo", "a/b").message(),
              HasSubstr("name of the GitRepo"));
  EXPECT_THAT(ValidateKeyPart("name", std::string(512, 'a')), IsOk());
  EXPECT_THAT(ValidateKeyPart("name", "Grüße."), IsOk());
}

TEST(RecordsTest, WordsOfTheBundleFamilyAreNotIds) {
  EXPECT_EQ(BundleHeadKey("source"), kRefusedKey);
  EXPECT_EQ(BundleRevisionKey("source", "x"), kRefusedKey);
  EXPECT_EQ(BundleRevisionKey("b", "head"), kRefusedKey);
  EXPECT_EQ(BundlePrefix("source"), kRefusedKey);
}

TEST(RecordsTest, KeysComeApartAsTheyWerePutTogether) {
  const auto document = ParseDocumentKey(DocumentKey("w", "GitRepo", "n"));
  ASSERT_THAT(document, IsOk());
  EXPECT_EQ(document->workspace, "w");
  EXPECT_EQ(document->kind, "GitRepo");
  EXPECT_EQ(document->name, "n");
  const auto source = ParseSourceKey(SourceKey("w", "n"));
  ASSERT_THAT(source, IsOk());
  EXPECT_EQ(source->name, "n");
  const auto build = ParseBundleBuildKey(BundleBuildKey("w", "n"));
  ASSERT_THAT(build, IsOk());
  EXPECT_EQ(build->workspace, "w");
  EXPECT_THAT(ParseBundleHeadKey("/bundle/b/head"), IsOkAndHolds("b"));
  const auto revision = ParseBundleRevisionKey("/bundle/b/r");
  ASSERT_THAT(revision, IsOk());
  EXPECT_EQ(revision->revision, "r");
  const auto pair =
      ParseClusterBundleKey(kReleasedFamily, ReleasedKey("c", "b"));
  ASSERT_THAT(pair, IsOk());
  EXPECT_EQ(pair->cluster_id, "c");
  EXPECT_EQ(pair->bundle_id, "b");
  EXPECT_THAT(ParseIdKey(kClusterFamily, ClusterIdentityKey("c")),
              IsOkAndHolds("c"));
  EXPECT_THAT(ParseIdKey(kFactsFamily, FactsKey("c")), IsOkAndHolds("c"));
}

TEST(RecordsTest, KeysOfAnotherShapeAreRefused) {
  const std::string bad[] = {"",           "/",
                             "/document/", "/document/w/k",
                             "/source/w",  "/document/w/k/n/x",
                             "/source//n", "/bundle/source/head",
                             "x"};
  for (const std::string& key : bad) {
    SCOPED_TRACE(key);
    EXPECT_FALSE(ParseDocumentKey(key).ok());
    EXPECT_FALSE(ParseSourceKey(key).ok());
    EXPECT_FALSE(ParseBundleHeadKey(key).ok());
    EXPECT_FALSE(ParseBundleRevisionKey(key).ok());
    EXPECT_FALSE(ParseClusterBundleKey(kDesiredFamily, key).ok());
    EXPECT_FALSE(ParseIdKey(kClusterFamily, key).ok());
  }
}

TEST(RecordsTest, TheBundleFamilyHoldsThreeTypes) {
  EXPECT_THAT(ClassifyBundleKey("/bundle/source/w/n"),
              IsOkAndHolds(BundleRecord::kBuild));
  EXPECT_THAT(ClassifyBundleKey("/bundle/b/head"),
              IsOkAndHolds(BundleRecord::kHead));
  EXPECT_THAT(ClassifyBundleKey("/bundle/b/abc"),
              IsOkAndHolds(BundleRecord::kRevision));
  EXPECT_FALSE(ClassifyBundleKey("/bundle/b").ok());
}

TEST(RecordsTest, ARecordSurvivesItsBytes) {
  storage::v1::Source source;
  source.set_name("n");
  source.mutable_commit()->set_id("abc");
  const std::string bytes = SerializeRecord(source);
  const auto parsed = ParseRecord<storage::v1::Source>("/source/w/n", bytes);
  ASSERT_THAT(parsed, IsOk());
  EXPECT_EQ(parsed->commit().id(), "abc");
  EXPECT_EQ(SerializeRecord(*parsed), bytes);
}

TEST(RecordsTest, ADamagedRecordIsNamed) {
  EXPECT_THAT(
      ParseRecord<storage::v1::Source>("/source/w/n", "\xff\xff\xff"),
      StatusIs(absl::StatusCode::kDataLoss,
               AllOf(HasSubstr("/source/w/n"), HasSubstr("Source"))));
}

}  // namespace
}  // namespace flotilla::manager
