// SPDX-License-Identifier: Apache-2.0

#include "manager/store/blob_sweeper.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/blob/digest.h"
#include "common/blob/memory_blob_store.h"
#include "common/event/inline_worker_pool.h"
#include "common/event/simulated_loop.h"
#include "flotilla/storage/v1/render_cache.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/store/memory_store.h"
#include "manager/store/records.h"
#include "manager/store/store.h"

namespace flotilla::manager {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kBlob[] = "bytes";

// A record that names the blob `digest`.
struct Naming {
  std::string what;
  std::string key;
  std::string value;
};

template <typename T>
Naming Make(std::string what, std::string key,
            const std::function<void(T&)>& fill) {
  T record;
  fill(record);
  return {std::move(what), std::move(key), SerializeRecord(record)};
}

std::vector<Naming> AllNamings(const std::string& digest) {
  using storage::v1::BundleRevision;
  using storage::v1::CachedRender;
  using storage::v1::ChartSource;
  using storage::v1::Document;
  using storage::v1::Released;
  using storage::v1::Rendered;
  return {
      Make<Document>("file of a Bundle document",
                     DocumentKey("w", "Bundle", "b"),
                     [&](Document& record) {
                       // Spaces are 32 as well.
                       record.set_name(std::string(40, ' '));
                       auto* file = record.mutable_bundle()->add_resources();
                       file->set_name("a.yaml");
                       file->set_blob_digest(digest);
                     }),
      Make<ChartSource>("file of a chart", ChartKey("w", "c"),
                        [&](ChartSource& record) {
                          record.add_files()->set_blob_digest(digest);
                        }),
      Make<BundleRevision>("file of a revision", BundleRevisionKey("b", "r"),
                           [&](BundleRevision& record) {
                             record.add_files()->set_name("a");
                             record.add_files()->set_blob_digest(digest);
                           }),
      Make<Rendered>(
          "manifest of a render", RenderedKey("c", "b"),
          [&](Rendered& record) { record.set_manifest_digest(digest); }),
      Make<Rendered>("object of a render", RenderedKey("c", "b"),
                     [&](Rendered& record) {
                       record.add_blob_digests(std::string(32, 'x'));
                       record.add_blob_digests(digest);
                     }),
      Make<CachedRender>(
          "manifest in the cache", RenderCacheKey("a", "b"),
          [&](CachedRender& record) { record.set_manifest_digest(digest); }),
      Make<CachedRender>(
          "object in the cache", RenderCacheKey("a", "b"),
          [&](CachedRender& record) { record.add_blob_digests(digest); }),
      Make<Released>(
          "manifest of a release", ReleasedKey("c", "b"),
          [&](Released& record) { record.set_manifest_digest(digest); }),
      Make<Released>(
          "object of a release", ReleasedKey("c", "b"),
          [&](Released& record) { record.add_blob_digests(digest); }),
      Make<Released>(
          "object of the release before", ReleasedKey("c", "b"),
          [&](Released& record) { record.add_previous_blob_digests(digest); }),
  };
}

class BlobSweeperTest : public ::testing::Test {
 protected:
  BlobSweeperTest() {
    // Of a store that has been here before.
    EXPECT_TRUE(blobs_.Put("of old").ok());
    const Naming old = Make<storage::v1::Released>(
        "", old_key_, [](storage::v1::Released& record) {
          record.set_manifest_digest(DigestOf("of old"));
        });
    store_.Put(old.key, old.value);
    Restart();
  }

  void Restart() {
    sweeper_.reset();
    sweeper_.emplace(loop_, pool_, store_, blobs_);
  }
  void Wait(int intervals) {
    loop_.Advance(intervals * BlobSweeper::kInterval);
    loop_.RunUntilIdle();
  }
  bool Holds(const std::string& bytes) {
    return blobs_.Contains(DigestOf(bytes));
  }

  const std::string old_key_ = ReleasedKey("old", "old");
  SimulatedLoop loop_;
  InlineWorkerPool pool_{loop_};
  MemoryStore store_{loop_};
  MemoryBlobStore blobs_;
  std::optional<BlobSweeper> sweeper_;
};

TEST_F(BlobSweeperTest, RemovesWhatNoRecordNames) {
  ASSERT_TRUE(blobs_.Put(kBlob).ok());

  Wait(1);
  EXPECT_TRUE(Holds(kBlob));
  Wait(1);

  EXPECT_FALSE(Holds(kBlob));
}

TEST_F(BlobSweeperTest, KeepsWhatAnyRecordNamesForAsLongAsItDoes) {
  for (const Naming& naming : AllNamings(DigestOf(kBlob))) {
    SCOPED_TRACE(naming.what);
    ASSERT_TRUE(blobs_.Put(kBlob).ok());
    store_.Put(naming.key, naming.value);

    Wait(5);
    EXPECT_TRUE(Holds(kBlob));

    store_.Delete(naming.key);
    Wait(2);
    EXPECT_FALSE(Holds(kBlob));
  }
}

TEST_F(BlobSweeperTest, KeepsWhatIsPutAndNamedWithinAnInterval) {
  ASSERT_TRUE(blobs_.Put(kBlob).ok());
  Wait(1);
  // Found there: nothing is written.
  ASSERT_TRUE(blobs_.Put(kBlob).ok());
  Wait(1);
  const Naming naming = AllNamings(DigestOf(kBlob)).front();
  store_.Put(naming.key, naming.value);

  Wait(5);

  EXPECT_TRUE(Holds(kBlob));
}

TEST_F(BlobSweeperTest, RemovesNothingWhenTheStoreCannotBeRead) {
  ASSERT_TRUE(blobs_.Put(kBlob).ok());
  Wait(1);
  store_.FailRange(1, absl::UnavailableError("disk failed"));

  Wait(1);
  EXPECT_TRUE(Holds(kBlob));
  Wait(1);
  EXPECT_FALSE(Holds(kBlob));
}

TEST_F(BlobSweeperTest, RemovesNothingWhileARecordCannotBeOpened) {
  ASSERT_TRUE(blobs_.Put(kBlob).ok());
  store_.Put("/rendered/c/b", "\x01sealed with another key");

  Wait(5);
  EXPECT_TRUE(Holds(kBlob));

  store_.Delete("/rendered/c/b");
  Wait(2);
  EXPECT_FALSE(Holds(kBlob));
}

TEST_F(BlobSweeperTest, RemovesNothingBesideAStoreThatNamesNothing) {
  store_.Delete(old_key_);

  Wait(5);

  EXPECT_TRUE(Holds("of old"));
}

TEST_F(BlobSweeperTest, RemovesNothingOfAnotherStore) {
  ASSERT_TRUE(blobs_.Put(kBlob).ok());
  ASSERT_TRUE(blobs_.Claim("another").ok());
  Restart();

  Wait(0);
  EXPECT_THAT(sweeper_->trouble(),
              AllOf(HasSubstr("another"), HasSubstr(store_.store_id()),
                    HasSubstr("from one backup")));
  Wait(5);
  EXPECT_TRUE(Holds(kBlob));

  ASSERT_TRUE(blobs_.Claim(store_.store_id()).ok());
  Wait(2);
  EXPECT_FALSE(Holds(kBlob));
  EXPECT_EQ(sweeper_->trouble(), "");
}

TEST_F(BlobSweeperTest, ClaimsBlobsWhenItNamesOne) {
  Wait(0);
  EXPECT_EQ(*blobs_.Owner(), "");

  Wait(1);

  EXPECT_EQ(*blobs_.Owner(), store_.store_id());
}

TEST_F(BlobSweeperTest, ClaimsNoBlobsWhileItNamesNone) {
  store_.Delete(old_key_);

  Wait(5);

  EXPECT_EQ(*blobs_.Owner(), "");
  EXPECT_THAT(sweeper_->trouble(), HasSubstr("names none of the 1 blobs"));
}

TEST_F(BlobSweeperTest, ClaimsAnEmptyFolderAtOnce) {
  ASSERT_TRUE(blobs_.Remove(DigestOf("of old")).ok());
  Restart();

  Wait(0);

  EXPECT_EQ(*blobs_.Owner(), store_.store_id());
}

TEST_F(BlobSweeperTest, ReadsAStoreOfManyPages) {
  std::vector<std::string> named;
  for (int i = 0; i < 20; ++i) {
    named.push_back(absl::StrCat("blob ", i));
    ASSERT_TRUE(blobs_.Put(named.back()).ok());
    const Naming naming = Make<storage::v1::Document>(
        "", DocumentKey("w", "Bundle", absl::StrCat(i)),
        [&](storage::v1::Document& record) {
          record.set_name(std::string(1 << 20, 'x'));
          record.mutable_bundle()->add_resources()->set_blob_digest(
              DigestOf(named.back()));
        });
    store_.Put(naming.key, naming.value);
  }

  Wait(3);

  for (const std::string& bytes : named) EXPECT_TRUE(Holds(bytes)) << bytes;
}

TEST_F(BlobSweeperTest, GoesOnAfterARestart) {
  ASSERT_TRUE(blobs_.Put(kBlob).ok());
  ASSERT_TRUE(blobs_.Put("named").ok());
  const Naming naming = AllNamings(DigestOf("named")).front();
  store_.Put(naming.key, naming.value);

  Restart();
  Wait(2);

  EXPECT_FALSE(Holds(kBlob));
  EXPECT_TRUE(Holds("named"));
}

TEST(AddNamedBlobs, FindsDigestsOnlyWhereTheyAreWhole) {
  const std::string digest = DigestOf(kBlob);
  const std::string length(1, ' ');
  struct Case {
    std::string what;
    std::string value;
    bool named;
  };
  for (const Case& c : std::vector<Case>{
           {"alone", length + digest, true},
           {"at the end", "abc" + length + digest, true},
           {"after spaces", "    " + length + digest + "  ", true},
           {"without its length", digest, false},
           {"cut", length + digest.substr(0, 31), false},
           {"empty", "", false},
           {"another", length + DigestOf("other"), false},
           {"in hex", length + DigestToHex(digest), false}}) {
    absl::flat_hash_set<std::string> named;
    AddNamedBlobs(c.value, {digest}, named);
    EXPECT_EQ(named.contains(digest), c.named) << c.what;
  }
}

}  // namespace
}  // namespace flotilla::manager
