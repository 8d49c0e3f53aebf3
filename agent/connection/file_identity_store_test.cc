// SPDX-License-Identifier: Apache-2.0

#include "agent/connection/file_identity_store.h"

#include <cstdlib>
#include <fstream>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/event/inline_worker_pool.h"
#include "common/event/simulated_loop.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla::agent {
namespace {

using ::testing::HasSubstr;

class FileIdentityStoreTest : public ::testing::Test {
 protected:
  FileIdentityStoreTest()
      : folder(absl::StrCat(
            getenv("TEST_TMPDIR"), "/",
            ::testing::UnitTest::GetInstance()->current_test_info()->name())),
        pool(loop), store(folder, pool) {}

  absl::StatusOr<AgentIdentity> Load() {
    absl::StatusOr<AgentIdentity> result = absl::UnknownError("not called");
    store.Load([&](absl::StatusOr<AgentIdentity> loaded) {
      result = std::move(loaded);
    });
    loop.RunUntilIdle();
    return result;
  }
  absl::Status Save(AgentIdentity identity) {
    absl::Status result = absl::UnknownError("not called");
    store.Save(std::move(identity), [&](absl::Status saved) {
      result = std::move(saved);
    });
    loop.RunUntilIdle();
    return result;
  }

  const std::string folder;
  SimulatedLoop loop;
  InlineWorkerPool pool;
  FileIdentityStore store;
};

TEST_F(FileIdentityStoreTest, IsEmptyAtFirst) {
  ASSERT_THAT(Load(), IsOk());
  EXPECT_EQ(Load()->certificate, "");
}

TEST_F(FileIdentityStoreTest, GivesBackWhatWasSaved) {
  AgentIdentity identity;
  identity.instance_id = std::string("\0\xff binary", 9);
  identity.key = "-----BEGIN\nkey";
  identity.certificate = "certificate";
  identity.ca = "ca";
  identity.cluster_id = "id";
  identity.token_id = "token";
  identity.pending_key = "next";
  identity.pending_token_id = "next token";
  ASSERT_THAT(Save(identity), IsOk());

  const auto loaded = Load();

  ASSERT_THAT(loaded, IsOk());
  EXPECT_EQ(loaded->instance_id, identity.instance_id);
  EXPECT_EQ(loaded->key, identity.key);
  EXPECT_EQ(loaded->certificate, identity.certificate);
  EXPECT_EQ(loaded->ca, identity.ca);
  EXPECT_EQ(loaded->cluster_id, identity.cluster_id);
  EXPECT_EQ(loaded->token_id, identity.token_id);
  EXPECT_EQ(loaded->pending_key, identity.pending_key);
  EXPECT_EQ(loaded->pending_token_id, identity.pending_token_id);
}

TEST_F(FileIdentityStoreTest, SaysWhatToDoWhenItIsDamaged) {
  ASSERT_THAT(Save({}), IsOk());
  for (const char* bytes : {"", "{", "[]", "null", "\xff\xff"}) {
    std::ofstream(folder + "/identity.json") << bytes;
    EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kDataLoss,
                                 HasSubstr("enrol this cluster again")));
  }
  std::ofstream(folder + "/identity.json") << "{\"key\": 7, \"ca\": null}";
  ASSERT_THAT(Load(), IsOk());
  EXPECT_EQ(Load()->key, "");
}

}  // namespace
}  // namespace flotilla::agent
