// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/local_revision.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/gitsync/file_tree.h"

namespace flotilla::manager {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class LocalRevisionTest : public ::testing::Test {
 protected:
  LocalRevisionTest() : root_(::testing::TempDir() + "/local-revision") {
    fs::remove_all(root_);
    fs::create_directories(root_ + "/app");
    Git("init -q -b main");
    Write("app/a.yaml", "old");
    Git("add -A");
    Git("commit -q -m one");
    Write("app/a.yaml", "new");
    Git("commit -q -a -m two");
    Write("app/a.yaml", "not committed");
  }

  void Write(const std::string& path, const std::string& text) {
    std::ofstream(root_ + "/" + path) << text;
  }
  void Git(const std::string& arguments,
           const std::string& environment = "") {
    const std::string command = absl::StrCat(
        "cd '", root_, "' && HOME='", root_,
        "' GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@b "
        "GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@b ",
        environment, " git ", arguments);
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }

  const std::string root_;
};

TEST_F(LocalRevisionTest, ReadsADirectoryAsItWas) {
  for (const auto& [revision, text] :
       {std::pair("HEAD", "new"), std::pair("HEAD~1", "old"),
        std::pair("main", "new")}) {
    auto tree = OpenLocalRevision(root_ + "/app", revision);
    ASSERT_THAT(tree, IsOk()) << revision;
    EXPECT_THAT((*tree)->Read("a.yaml", 100), IsOkAndHolds(text));
    tree = OpenLocalRevision(root_, revision);
    ASSERT_THAT(tree, IsOk()) << revision;
    EXPECT_THAT((*tree)->Read("app/a.yaml", 100), IsOkAndHolds(text));
  }
}

TEST_F(LocalRevisionTest, KnowsTheCommitThatIsCheckedOut) {
  Git("commit -q --amend --no-edit", "GIT_COMMITTER_DATE='1700000000 +0200'");
  Git("rev-parse HEAD > head");
  std::string head;
  std::ifstream(root_ + "/head") >> head;
  for (const std::string& directory : {root_, root_ + "/app"}) {
    const absl::optional<LocalCommit> commit = FindLocalCommit(directory);
    ASSERT_TRUE(commit.has_value()) << directory;
    EXPECT_EQ(commit->id, head);
    EXPECT_EQ(commit->seconds, 1700000000);
  }
  EXPECT_FALSE(FindLocalCommit("/").has_value());
  fs::remove_all(root_ + "/.git");
  Git("init -q -b main");
  EXPECT_FALSE(FindLocalCommit(root_).has_value());
}

TEST_F(LocalRevisionTest, SaysWhatIsMissing) {
  EXPECT_THAT(OpenLocalRevision(root_ + "/app", "nope"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nope")));
  EXPECT_THAT(OpenLocalRevision(root_ + "/none", "HEAD"),
              StatusIs(absl::StatusCode::kNotFound));
  fs::create_directories(root_ + "/later");
  EXPECT_THAT(OpenLocalRevision(root_ + "/later", "HEAD"),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(OpenLocalRevision("/", "HEAD"),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("not in a Git repository")));
}

}  // namespace
}  // namespace flotilla::manager
