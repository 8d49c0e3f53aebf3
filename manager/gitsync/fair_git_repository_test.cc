// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/fair_git_repository.h"

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/event/simulated_loop.h"
#include "manager/gitsync/fake_git_repository.h"
#include "manager/gitsync/git_repository.h"

namespace flotilla::manager {
namespace {

class FairGitRepositoryTest : public ::testing::Test {
 protected:
  FairGitRepositoryTest() { git_.Hold(); }

  void Fetch(const std::string& url) {
    GitSource source;
    source.url = url;
    fair_->Fetch(std::move(source),
                 [this](absl::StatusOr<FetchedCommit>) { ++done_; });
  }

  SimulatedLoop loop_;
  FakeGitRepository git_{loop_};
  std::unique_ptr<FairGitRepository> fair_ =
      std::make_unique<FairGitRepository>(git_, 2);
  int done_ = 0;
};

TEST_F(FairGitRepositoryTest, ASilentServerHoldsUpItsOwnFetchesOnly) {
  for (int i = 0; i < 5; ++i) Fetch(absl::StrCat("https://slow/", i, ".git"));
  Fetch("https://user@SLOW:443/6.git");
  EXPECT_EQ(git_.held(), 2u);

  Fetch("https://quick/x.git");
  Fetch("ssh://git@slow/x.git");
  EXPECT_EQ(git_.held(), 4u);

  for (int i = 0; i < 3; ++i) Fetch("file:///srv/x.git");
  EXPECT_EQ(git_.held(), 7u);
}

TEST_F(FairGitRepositoryTest, WhatWaitsHasItsTurnInOrder) {
  for (int i = 0; i < 4; ++i) Fetch(absl::StrCat("https://slow/", i, ".git"));

  git_.ReleaseOne();
  loop_.RunUntilIdle();
  EXPECT_EQ(done_, 1);
  ASSERT_EQ(git_.fetches().size(), 3u);
  EXPECT_EQ(git_.fetches()[2].url, "https://slow/2.git");

  git_.ReleaseAll();
  loop_.RunUntilIdle();
  EXPECT_EQ(done_, 4);
  EXPECT_EQ(git_.fetches().size(), 4u);
}

TEST_F(FairGitRepositoryTest, NothingIsHeardAfterItIsGone) {
  for (int i = 0; i < 3; ++i) Fetch("https://slow/x.git");

  fair_ = nullptr;
  git_.ReleaseAll();
  loop_.RunUntilIdle();

  EXPECT_EQ(done_, 0);
}

}  // namespace
}  // namespace flotilla::manager
