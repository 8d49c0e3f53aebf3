// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/directory_tree.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/status/status_matchers.h"
#include "manager/gitsync/file_tree.h"

namespace flotilla::manager {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class DirectoryTreeTest : public ::testing::Test {
 protected:
  DirectoryTreeTest()
      : base_(absl::StrCat(
            ::testing::TempDir(), "/tree-",
            ::testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::remove_all(base_);
    fs::create_directories(root());
    Write("../outside.yaml", "canary");
  }

  std::string root() const { return base_ + "/root"; }

  void Write(const std::string& path, const std::string& text) {
    const fs::path full = fs::path(root()) / path;
    fs::create_directories(full.parent_path());
    std::ofstream(full) << text;
  }
  void Link(const std::string& path, const std::string& target) {
    fs::create_directories((fs::path(root()) / path).parent_path());
    fs::create_symlink(target, fs::path(root()) / path);
  }
  std::unique_ptr<FileTree> Open() {
    auto tree = DirectoryTree::Open(root());
    EXPECT_THAT(tree, IsOk());
    return *std::move(tree);
  }
  static std::vector<std::string> Shown(
      const absl::StatusOr<std::vector<TreeEntry>>& entries) {
    if (!entries.ok()) return {entries.status().ToString()};
    std::vector<std::string> out;
    for (const TreeEntry& entry : *entries) {
      const char* mark = "";
      if (entry.kind == TreeEntry::Kind::kDirectory) mark = "/";
      if (entry.kind == TreeEntry::Kind::kBrokenLink) mark = " broken";
      if (entry.kind == TreeEntry::Kind::kOther) mark = " other";
      out.push_back(entry.path + mark);
    }
    return out;
  }

  const std::string base_;
};

TEST_F(DirectoryTreeTest, ListsAndReadsFiles) {
  Write("b.yaml", "b");
  Write("a/c.yaml", "cc");
  Write(".git/config", "x");
  const auto tree = Open();
  EXPECT_THAT(Shown(tree->List("")), ElementsAre("a/", "b.yaml"));
  EXPECT_THAT(Shown(tree->List("./a/")), ElementsAre("a/c.yaml"));
  EXPECT_THAT(Shown(tree->Walk("")), ElementsAre("a/", "a/c.yaml", "b.yaml"));
  EXPECT_THAT(tree->Read("a/../a/c.yaml", 10), IsOkAndHolds("cc"));
  EXPECT_THAT(tree->Read("a/c.yaml", 1),
              StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(tree->Read("a", 10),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(tree->Read("nope", 10), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(tree->Read("b.yaml/x", 10),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_EQ(tree->Stat("a/c.yaml")->size, 2u);
  EXPECT_EQ(tree->Stat("")->kind, TreeEntry::Kind::kDirectory);
  EXPECT_THAT(tree->List("b.yaml"),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(DirectoryTreeTest, PathsThatLeaveTheTreeAreRefused) {
  const auto tree = Open();
  for (const std::string& path :
       {std::string("../outside.yaml"), std::string("/etc/passwd"),
        std::string("a/../../outside.yaml"), std::string("..\\outside.yaml"),
        std::string("a\0b", 3), std::string("a\r\n"), std::string("\xff"),
        std::string(5000, 'a')}) {
    SCOPED_TRACE(path.substr(0, 50));
    EXPECT_THAT(tree->Read(path, 100),
                StatusIs(absl::StatusCode::kInvalidArgument));
    EXPECT_THAT(tree->List(path),
                StatusIs(absl::StatusCode::kInvalidArgument));
    EXPECT_THAT(tree->Walk(path),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

TEST_F(DirectoryTreeTest, LinksInsideTheTreeAreFollowed) {
  Write("a/real.yaml", "text");
  Link("b/file", "../a/real.yaml");
  Link("b/dir", "../a");
  Link("chain", "b/file");
  const auto tree = Open();
  EXPECT_THAT(tree->Read("b/file", 10), IsOkAndHolds("text"));
  EXPECT_THAT(tree->Read("b/dir/real.yaml", 10), IsOkAndHolds("text"));
  EXPECT_THAT(tree->Read("chain", 10), IsOkAndHolds("text"));
  EXPECT_THAT(Shown(tree->Walk("")),
              ElementsAre("a/", "a/real.yaml", "b/", "b/dir/",
                          "b/dir/real.yaml", "b/file", "chain"));
  EXPECT_EQ(tree->Stat("chain")->size, 4u);
}

TEST_F(DirectoryTreeTest, LinksThatLeaveLoopOrDangleAreBroken) {
  Link("absolute", "/etc/passwd");
  Link("parent", "../outside.yaml");
  Link("deep/up", "../../outside.yaml");
  Link("viadir", "deep/../../outside.yaml");
  Link("loop1", "loop2");
  Link("loop2", "loop1");
  Link("self", "self");
  Link("dangling", "nope");
  const auto tree = Open();
  for (const char* path :
       {"absolute", "parent", "deep/up", "viadir", "loop1", "self"}) {
    SCOPED_TRACE(path);
    const auto read = tree->Read(path, 1000);
    EXPECT_THAT(read, StatusIs(absl::StatusCode::kInvalidArgument,
                               Not(HasSubstr("canary"))));
  }
  EXPECT_THAT(tree->Read("dangling", 10),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(Shown(tree->Walk("")),
              ElementsAre("absolute broken", "dangling broken", "deep/",
                          "deep/up broken", "loop1 broken", "loop2 broken",
                          "parent broken", "self broken", "viadir broken"));
  const auto entries = tree->List("");
  ASSERT_THAT(entries, IsOk());
  EXPECT_THAT((*entries)[0].problem, HasSubstr("outside the repository"));
}

TEST_F(DirectoryTreeTest, LinksToParentsDoNotMakeAWalkEndless) {
  Write("a/b/file", "x");
  Link("a/b/up", "..");
  Link("a/b/root", "../..");
  Link("c/one", "../d");
  Link("d/two", "../c");
  const auto tree = Open();
  const auto shown = Shown(tree->Walk(""));
  EXPECT_LT(shown.size(), 30u);
  EXPECT_THAT(shown, ::testing::Contains("a/b/up broken"));
}

TEST_F(DirectoryTreeTest, OddFilesAreSeenButNotRead) {
  Write("back\\slash", "x");
  Write("bad\xff", "x");
  ASSERT_EQ(mkfifo((root() + "/pipe").c_str(), 0600), 0);
  Write("-rf", "ok");
  const auto tree = Open();
  EXPECT_THAT(Shown(tree->List("")),
              ElementsAre("-rf", "back\\slash other", "bad? other",
                          "pipe other"));
  EXPECT_THAT(tree->Read("pipe", 10),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(tree->Read("-rf", 10), IsOkAndHolds("ok"));
}

TEST_F(DirectoryTreeTest, AWalkHasLimits) {
  for (int i = 0; i < 20; ++i) Write(absl::StrCat("f", i), "x");
  Write("1/2/3/4/5/f", "x");
  const auto tree = Open();
  WalkLimits few;
  few.max_entries = 10;
  EXPECT_THAT(tree->Walk("", few),
              StatusIs(absl::StatusCode::kResourceExhausted));
  WalkLimits flat;
  flat.max_depth = 3;
  EXPECT_THAT(tree->Walk("", flat),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_F(DirectoryTreeTest, ARootThatIsNoDirectoryIsAnError) {
  EXPECT_THAT(DirectoryTree::Open(root() + "/nope"),
              StatusIs(absl::StatusCode::kNotFound));
  Write("file", "x");
  EXPECT_THAT(DirectoryTree::Open(root() + "/file"),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace flotilla::manager
