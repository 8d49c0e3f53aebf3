// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/libgit2_repository.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/env/fake_clock.h"
#include "common/env/fake_random.h"
#include "common/event/inline_worker_pool.h"
#include "common/event/simulated_loop.h"
#include "common/status/status_matchers.h"
#include "manager/gitsync/file_tree.h"
#include "manager/gitsync/git_repository.h"

namespace flotilla::manager {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ElementsAre;
using ::testing::Not;

class Libgit2RepositoryTest : public ::testing::Test {
 protected:
  Libgit2RepositoryTest()
      : base_(absl::StrCat(
            ::testing::TempDir(), "/git-",
            ::testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::remove_all(base_);
    fs::create_directories(base_);
    Open();
  }

  void Open(Libgit2Repository::Options options = {}) {
    repository_ = nullptr;
    auto opened = Libgit2Repository::Create(pool_, clock_, random_, clones(),
                                            options);
    ASSERT_THAT(opened, IsOk());
    repository_ = *std::move(opened);
  }

  std::string clones() const { return base_ + "/clones"; }
  std::string work() const { return base_ + "/work"; }
  std::string url() const { return "file://" + work(); }

  // Runs git in the work tree; returns what it prints.
  std::string Git(const std::string& arguments) {
    const std::string command = absl::StrCat(
        "cd '", work(), "' && HOME='", base_,
        "' GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=Ann "
        "GIT_AUTHOR_EMAIL=ann@example.com GIT_COMMITTER_NAME=Bob "
        "GIT_COMMITTER_EMAIL=bob@example.com "
        "GIT_AUTHOR_DATE='2023-11-14T22:13:20Z' "
        "GIT_COMMITTER_DATE='2023-11-14T22:13:20Z' git ",
        arguments);
    FILE* pipe = popen(command.c_str(), "r");
    EXPECT_NE(pipe, nullptr);
    if (pipe == nullptr) return "";
    std::string out;
    char buffer[4096];
    while (fgets(buffer, sizeof(buffer), pipe) != nullptr) out += buffer;
    EXPECT_EQ(pclose(pipe), 0) << command;
    return std::string(absl::StripTrailingAsciiWhitespace(out));
  }

  void Init() {
    fs::create_directories(work());
    Git("init -q -b master");
  }

  // Commits everything and returns the id.
  std::string Commit(const std::string& message = "a change") {
    Git("add -A");
    Git("commit -q --allow-empty -m '" + message + "'");
    return Git("rev-parse HEAD");
  }

  void Write(const std::string& path, const std::string& text) {
    const fs::path full = fs::path(work()) / path;
    fs::create_directories(full.parent_path());
    std::ofstream(full) << text;
  }

  // A commit with one file in a repository beside the main one; its id.
  std::string MakeOther(const std::string& name, const std::string& file,
                        const std::string& text) {
    const std::string at = base_ + "/" + name;
    fs::create_directories(at);
    fs::create_directories(work());
    std::ofstream(at + "/" + file) << text;
    Git("-C ../" + name + " init -q -b master");
    Git("-C ../" + name + " add -A");
    Git("-C ../" + name + " commit -q -m x");
    return Git("-C ../" + name + " rev-parse HEAD");
  }

  // Puts a submodule into such a repository; the id of the commit.
  std::string AddSubmodule(const std::string& name, const std::string& modules,
                           const std::string& path, const std::string& id) {
    std::ofstream(base_ + "/" + name + "/.gitmodules") << modules;
    Git("-C ../" + name + " add -A");
    Git("-C ../" + name + " update-index --add --cacheinfo 160000," + id +
        "," + path);
    Git("-C ../" + name + " commit -q -m sub");
    return Git("-C ../" + name + " rev-parse HEAD");
  }

  GitSource Source() {
    GitSource source;
    source.url = url();
    return source;
  }

  absl::StatusOr<FetchedCommit> Fetch(GitSource source) {
    std::optional<absl::StatusOr<FetchedCommit>> result;
    repository_->Fetch(std::move(source),
                       [&](absl::StatusOr<FetchedCommit> done) {
                         result = std::move(done);
                       });
    EXPECT_FALSE(result.has_value()) << "completed inside the call";
    loop_.RunUntilIdle();
    EXPECT_TRUE(result.has_value());
    return *std::move(result);
  }

  std::unique_ptr<FileTree> Tree(const FetchedCommit& commit) {
    auto tree = repository_->OpenTree(commit.clone_id, commit.id);
    EXPECT_THAT(tree, IsOk());
    return tree.ok() ? *std::move(tree) : nullptr;
  }

  const std::string base_;
  SimulatedLoop loop_;
  InlineWorkerPool pool_{loop_};
  FakeClock clock_;
  FakeRandom random_;
  std::unique_ptr<Libgit2Repository> repository_;
};

TEST_F(Libgit2RepositoryTest, FetchesACommitAndReadsItsFiles) {
  Init();
  Write("a/b.yaml", "kind: ConfigMap\n");
  Write("run.sh", "#!/bin/sh\n");
  fs::permissions(work() + "/run.sh", fs::perms::owner_all);
  const std::string id = Commit("first line\n\nmore");
  const auto commit = Fetch(Source());
  ASSERT_THAT(commit, IsOk());
  EXPECT_EQ(commit->id, id);
  EXPECT_EQ(commit->tree_id, Git("rev-parse HEAD^{tree}"));
  EXPECT_EQ(commit->author, "Ann <ann@example.com>");
  EXPECT_EQ(commit->summary, "first line");
  EXPECT_EQ(commit->time, absl::FromUnixSeconds(1'700'000'000));
  EXPECT_EQ(commit->repo, url());

  const auto tree = Tree(*commit);
  ASSERT_NE(tree, nullptr);
  EXPECT_THAT(tree->Read("a/b.yaml", 100), IsOkAndHolds("kind: ConfigMap\n"));
  const auto entries = tree->Walk("");
  ASSERT_THAT(entries, IsOk());
  ASSERT_EQ(entries->size(), 3u);
  EXPECT_EQ((*entries)[0].path, "a");
  EXPECT_EQ((*entries)[1].path, "a/b.yaml");
  EXPECT_EQ((*entries)[1].size, 16u);
  EXPECT_EQ((*entries)[1].blob_id, Git("rev-parse HEAD:a/b.yaml"));
  EXPECT_TRUE((*entries)[2].executable);
  EXPECT_THAT(tree->Read("a/b.yaml", 3),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_F(Libgit2RepositoryTest, FollowsTheBranchAndKeepsOldCommits) {
  Init();
  Write("f", "1");
  Commit();
  const auto first = Fetch(Source());
  ASSERT_THAT(first, IsOk());
  const auto again = Fetch(Source());
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->id, first->id);
  const auto old_tree = Tree(*first);
  Write("f", "2");
  Commit();
  const auto second = Fetch(Source());
  ASSERT_THAT(second, IsOk());
  EXPECT_NE(second->id, first->id);
  EXPECT_EQ(second->clone_id, first->clone_id);
  EXPECT_THAT(Tree(*second)->Read("f", 10), IsOkAndHolds("2"));
  EXPECT_THAT(Tree(*first)->Read("f", 10), IsOkAndHolds("1"));
  EXPECT_THAT(old_tree->Read("f", 10), IsOkAndHolds("1"));
  // A forced push goes back.
  Git("reset -q --hard HEAD~1");
  const auto third = Fetch(Source());
  ASSERT_THAT(third, IsOk());
  EXPECT_EQ(third->id, first->id);
}

TEST_F(Libgit2RepositoryTest, BranchesAndTagsAreFound) {
  Init();
  Write("f", "1");
  const std::string first = Commit();
  Git("tag v1");
  Git("tag -a v1-annotated -m note");
  Git("checkout -q -b feature");
  Write("f", "2");
  const std::string second = Commit();
  Git("checkout -q -b feature2/x");
  Write("f", "3");
  const std::string third = Commit();
  Git("checkout -q master");

  GitSource source = Source();
  source.branch = "feature";
  EXPECT_EQ(Fetch(source)->id, second);
  source.branch = "feature2/x";
  EXPECT_EQ(Fetch(source)->id, third);
  source.revision = "v1";
  EXPECT_EQ(Fetch(source)->id, first);
  source.revision = "v1-annotated";
  EXPECT_EQ(Fetch(source)->id, first);
  source.revision = second;
  EXPECT_EQ(Fetch(source)->id, second);
  // A branch is not a revision.
  source.revision = "feature";
  EXPECT_THAT(Fetch(source), StatusIs(absl::StatusCode::kNotFound,
                                      AllOf(HasSubstr("no tag \"feature\""),
                                            HasSubstr("spec.branch"))));
  source.revision = "v2";
  EXPECT_THAT(Fetch(source), StatusIs(absl::StatusCode::kNotFound,
                                      HasSubstr("\"v1\"")));
}

TEST_F(Libgit2RepositoryTest, ABranchThatMakesWayForADirectoryIsNoConflict) {
  Init();
  Write("f", "1");
  Commit();
  Git("branch a");
  GitSource source = Source();
  source.branch = "a";
  EXPECT_THAT(Fetch(source), IsOk());
  Git("branch -D a -q");
  Git("branch a/b");
  source.branch = "a/b";
  EXPECT_THAT(Fetch(source), IsOk());
}

TEST_F(Libgit2RepositoryTest, ACommitInFullNeedsNoServerOnceItIsThere) {
  Init();
  Write("f", "1");
  const std::string first = Commit();
  Write("f", "2");
  Commit();
  GitSource source = Source();
  source.revision = first;
  EXPECT_EQ(Fetch(source)->id, first);
  fs::rename(work(), base_ + "/moved");
  EXPECT_EQ(Fetch(source)->id, first);
  source.revision = std::string(40, 'a');
  EXPECT_THAT(Fetch(source), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(Libgit2RepositoryTest, WhatIsMissingIsNamed) {
  GitSource source = Source();
  EXPECT_THAT(Fetch(source),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("no Git repository"),
                             HasSubstr(url()))));
  Init();
  EXPECT_THAT(Fetch(source), StatusIs(absl::StatusCode::kFailedPrecondition,
                                      HasSubstr("is empty")));
  Commit();
  for (const char* name : {"b1", "b2", "b3", "b4", "b5", "b6"}) {
    Git(absl::StrCat("branch ", name));
  }
  source.branch = "main";
  EXPECT_THAT(Fetch(source),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("no branch \"main\""),
                             HasSubstr("\"master\", \"b1\""),
                             HasSubstr("and 2 more"))));
  source.revision = std::string(40, 'a');
  EXPECT_THAT(Fetch(source),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("commit aaaa")));
  source.revision = std::string(64, 'a');
  EXPECT_THAT(Fetch(source), StatusIs(absl::StatusCode::kInvalidArgument));
  source.revision = "";
  source.branch = "a..b";
  EXPECT_THAT(Fetch(source), StatusIs(absl::StatusCode::kInvalidArgument));
  Git("branch -m master trunk");
  source.branch = "";
  EXPECT_THAT(Fetch(source),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("no branch \"master\""),
                             HasSubstr("spec.branch is not set"),
                             HasSubstr("\"trunk\""))));
}

TEST_F(Libgit2RepositoryTest, AnothersCloneIsNoSource) {
  Init();
  Write("a", "private");
  Commit();
  const auto commit = Fetch(Source());
  ASSERT_THAT(commit, IsOk());
  const std::string clone = commit->clone_id + ".git";
  const std::string link = base_ + "/link";
  fs::create_directory_symlink(clones(), link);

  for (const std::string& path :
       {clones() + "/" + clone, clones() + "/../clones/" + clone,
        base_ + "/%63lones/" + clone, link + "/" + clone}) {
    SCOPED_TRACE(path);
    GitSource source = Source();
    source.url = "file://" + path;
    EXPECT_THAT(Fetch(source),
                StatusIs(absl::StatusCode::kPermissionDenied,
                         HasSubstr("data directory")));
  }
}

TEST_F(Libgit2RepositoryTest, LinksAreFollowedInsideTheCommitOnly) {
  Init();
  Write("a/real", "text");
  fs::create_symlink("a/real", work() + "/good");
  fs::create_symlink("a", work() + "/dir");
  fs::create_symlink("/etc/passwd", work() + "/absolute");
  fs::create_symlink("../../../../etc/passwd", work() + "/parent");
  fs::create_symlink("loop", work() + "/loop");
  Commit();
  const auto commit = Fetch(Source());
  ASSERT_THAT(commit, IsOk());
  const auto tree = Tree(*commit);
  EXPECT_THAT(tree->Read("good", 10), IsOkAndHolds("text"));
  EXPECT_THAT(tree->Read("dir/real", 10), IsOkAndHolds("text"));
  for (const char* path : {"absolute", "parent", "loop"}) {
    EXPECT_THAT(tree->Read(path, 10'000),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         Not(HasSubstr("root:"))));
    EXPECT_EQ(tree->Stat(path).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(Libgit2RepositoryTest, SubmodulesAreDirectories) {
  // "one" holds "two", which the outer one holds at another commit as well.
  MakeOther("two", "2.yaml", "deep");
  const std::string two = MakeOther("two", "2.yaml", "deeper");
  MakeOther("one", "1.yaml", "text");
  const std::string one =
      AddSubmodule("one", "[submodule \"x\"]\npath = in/two\nurl = ../two\n",
                   "in/two", two);
  Init();
  Write("f", "1");
  Write(".gitmodules",
        "[submodule \"a\"]\n\tpath = libs/one\n\turl = ../one\n"
        "[submodule \"gone\"]\n\tpath = gone\n\turl = ../nowhere\n");
  Git("add -A");
  Git("update-index --add --cacheinfo 160000," + one + ",libs/one");
  Git("commit -q -m outer");

  const auto commit = Fetch(Source());

  ASSERT_THAT(commit, IsOk());
  const std::unique_ptr<FileTree> tree = Tree(*commit);
  EXPECT_THAT(tree->Read("libs/one/1.yaml", 100), IsOkAndHolds("text"));
  EXPECT_THAT(tree->Read("libs/one/in/two/2.yaml", 100),
              IsOkAndHolds("deeper"));
  const auto entries = tree->Walk("libs");
  ASSERT_THAT(entries, IsOk());
  std::vector<std::string> paths;
  for (const TreeEntry& entry : *entries) paths.push_back(entry.path);
  EXPECT_THAT(paths, ElementsAre("libs/one", "libs/one/.gitmodules",
                                 "libs/one/1.yaml", "libs/one/in",
                                 "libs/one/in/two", "libs/one/in/two/2.yaml"));
  // All that is there needs nobody: the next fetch asks the root only.
  fs::remove_all(base_ + "/one");
  EXPECT_THAT(Fetch(Source()), IsOk());
}

TEST_F(Libgit2RepositoryTest, ASubmoduleThatCannotBeFetchedIsNamed) {
  MakeOther("one", "1.yaml", "text");
  Init();
  std::string far;
  for (int i = 0; i < 60; ++i) far += "../";
  const struct {
    std::string url;
    const char* commit;
    const char* words;
  } cases[] = {
      {"../nowhere", "1111111111111111111111111111111111111111",
       "no Git repository"},
      {"../one", "1111111111111111111111111111111111111111",
       "on no branch and under no tag"},
      {far + "x", "1111111111111111111111111111111111111111",
       "leads out of"},
      {"ext::sh -c id", "1111111111111111111111111111111111111111", ""},
  };
  for (const auto& c : cases) {
    Write(".gitmodules", absl::StrCat("[submodule \"a\"]\npath = sub\nurl = ",
                                      c.url, "\n"));
    Git("add -A");
    Git(absl::StrCat("update-index --add --cacheinfo 160000,", c.commit,
                     ",sub"));
    Git("commit -q -m sub");
    EXPECT_THAT(Fetch(Source()).status().message(),
                AllOf(HasSubstr("submodule \"sub\" (.gitmodules:3)"),
                      HasSubstr(c.words)))
        << c.url;
  }
}

TEST_F(Libgit2RepositoryTest, ASubmoduleOfItselfEnds) {
  Init();
  Write(".gitmodules", "[submodule \"a\"]\npath = sub\nurl = ./\n");
  std::string id = Commit();
  for (int i = 0; i < 12; ++i) {
    Git("update-index --add --cacheinfo 160000," + id + ",sub");
    Git("commit -q -m again");
    id = Git("rev-parse HEAD");
  }

  EXPECT_THAT(Fetch(Source()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("deeper than")));
}

TEST_F(Libgit2RepositoryTest, ASubmoduleThatIsNotListedIsSeenOnly) {
  Init();
  Write("f", "1");
  Git("add -A");
  Git("update-index --add --cacheinfo "
      "160000,1111111111111111111111111111111111111111,sub");
  Git("commit -q -m sub");
  const auto commit = Fetch(Source());
  ASSERT_THAT(commit, IsOk());
  const auto entries = Tree(*commit)->List("");
  ASSERT_THAT(entries, IsOk());
  ASSERT_EQ(entries->size(), 2u);
  EXPECT_EQ((*entries)[1].path, "sub");
  EXPECT_EQ((*entries)[1].kind, TreeEntry::Kind::kSubmodule);
}

TEST_F(Libgit2RepositoryTest, ManyBranchesOfOneRepositoryAskTheServerOnce) {
  Init();
  Write("f", "1");
  Commit();
  Git("branch other");
  GitSource early = Source();
  early.branch = "other";
  early.ticket = NextFetchTicket();
  const auto first = Fetch(Source());
  ASSERT_THAT(first, IsOk());
  const auto same = Fetch(early);
  ASSERT_THAT(same, IsOk());
  EXPECT_EQ(same->clone_id, first->clone_id);
  fs::rename(work(), base_ + "/away");

  // Wanted before the server was asked: what it said then will do.
  EXPECT_THAT(Fetch(early), IsOk());
  // Wanted now, or trusted otherwise: it is asked again.
  GitSource now = early;
  now.ticket = NextFetchTicket();
  EXPECT_THAT(Fetch(now), StatusIs(absl::StatusCode::kNotFound));
  GitSource otherwise = early;
  otherwise.insecure_skip_tls_verify = true;
  EXPECT_THAT(Fetch(otherwise), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(Libgit2RepositoryTest, NamesThatGitForbidsCannotBeRead) {
  Init();
  Write("f", "1");
  Commit();
  // What `git add` refuses, a hostile client can still push.
  const std::string blob = Git("rev-parse HEAD:f");
  std::ofstream(base_ + "/tree")
      << "100644 blob " << blob << "\t.git\n"
      << "100644 blob " << blob << "\t..\n"
      << "100644 blob " << blob << "\tok\n";
  const std::string tree_id = Git("mktree < '" + base_ + "/tree'");
  const std::string id = Git("commit-tree -m x " + tree_id);
  Git("update-ref refs/heads/master " + id);
  const auto commit = Fetch(Source());
  if (!commit.ok()) return;  // libgit2 may refuse the pack as well.
  const auto tree = Tree(*commit);
  const auto entries = tree->List("");
  ASSERT_THAT(entries, IsOk());
  for (const TreeEntry& entry : *entries) {
    EXPECT_EQ(entry.kind, entry.path == "ok" ? TreeEntry::Kind::kFile
                                             : TreeEntry::Kind::kOther)
        << entry.path;
  }
}

TEST_F(Libgit2RepositoryTest, ANameThatIsThereTwiceIsAnError) {
  Init();
  Write("f", "1");
  Write("g", "2");
  Commit();
  std::ofstream(base_ + "/tree")
      << "100644 blob " << Git("rev-parse HEAD:f") << "\tsame\n"
      << "100644 blob " << Git("rev-parse HEAD:g") << "\tsame\n";
  const std::string tree_id = Git("mktree < '" + base_ + "/tree'");
  Git("update-ref refs/heads/master " + Git("commit-tree -m x " + tree_id));

  const auto commit = Fetch(Source());

  ASSERT_THAT(commit, IsOk());
  const auto tree = Tree(*commit);
  const auto twice = StatusIs(absl::StatusCode::kInvalidArgument,
                              HasSubstr("two entries called \"same\""));
  EXPECT_THAT(tree->Walk(""), twice);
  EXPECT_THAT(tree->Read("same", 10), twice);
}

TEST_F(Libgit2RepositoryTest, VeryManyEntriesOfADirectoryAreAnError) {
  Init();
  Write("f", "1");
  Commit();
  const std::string blob = Git("rev-parse HEAD:f");
  std::ofstream list(base_ + "/tree");
  for (int i = 0; i <= 100'000; ++i) {
    list << "100644 blob " << blob << "\tf" << i << "\n";
  }
  list.close();
  const std::string tree_id = Git("mktree --missing < '" + base_ + "/tree'");
  Git("update-ref refs/heads/master " + Git("commit-tree -m x " + tree_id));

  const auto commit = Fetch(Source());

  ASSERT_THAT(commit, IsOk());
  EXPECT_THAT(Tree(*commit)->Walk(""),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("100001 entries")));
}

TEST_F(Libgit2RepositoryTest, AHundredThousandBranchesAreAnError) {
  Init();
  Write("f", "1");
  const std::string id = Commit();
  std::ofstream refs(work() + "/.git/packed-refs");
  refs << "# pack-refs with: peeled fully-peeled sorted \n";
  for (int i = 100'000; i < 200'001; ++i) {
    refs << id << " refs/heads/b" << i << "\n";
  }
  refs.close();

  EXPECT_THAT(Fetch(Source()),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("branches and tags")));
}

TEST_F(Libgit2RepositoryTest, DamagedClonesAreMadeAgain) {
  Init();
  Write("f", "1");
  Commit();
  auto commit = Fetch(Source());
  ASSERT_THAT(commit, IsOk());
  // All objects are gone, the refs are not.
  fs::remove_all(clones() + "/" + commit->clone_id + ".git/objects/pack");
  Open();
  commit = Fetch(Source());
  ASSERT_THAT(commit, IsOk());
  EXPECT_THAT(Tree(*commit)->Read("f", 10), IsOkAndHolds("1"));
  // No repository at all.
  fs::remove_all(clones() + "/" + commit->clone_id + ".git/objects");
  fs::remove(clones() + "/" + commit->clone_id + ".git/HEAD");
  Open();
  EXPECT_THAT(repository_->OpenTree(commit->clone_id, commit->id),
              StatusIs(absl::StatusCode::kNotFound));
  commit = Fetch(Source());
  ASSERT_THAT(commit, IsOk());
  EXPECT_THAT(Tree(*commit)->Read("f", 10), IsOkAndHolds("1"));
}

TEST_F(Libgit2RepositoryTest, AnotherProcessFindsTheSameClone) {
  Init();
  Write("f", "1");
  Commit();
  const auto before = Fetch(Source());
  ASSERT_THAT(before, IsOk());
  Open();
  EXPECT_THAT(Tree(*before)->Read("f", 10), IsOkAndHolds("1"));
  EXPECT_EQ(Fetch(Source())->clone_id, before->clone_id);
}

TEST_F(Libgit2RepositoryTest, OtherCredentialsAreAnotherClone) {
  Init();
  Commit();
  GitSource source = Source();
  const auto first = Fetch(source);
  source.credentials.password = "canary";
  const auto second = Fetch(source);
  ASSERT_THAT(second, IsOk());
  EXPECT_NE(first->clone_id, second->clone_id);
  repository_->RetainClones({second->clone_id});
  loop_.RunUntilIdle();
  EXPECT_FALSE(fs::exists(clones() + "/" + first->clone_id + ".git"));
  EXPECT_TRUE(fs::exists(clones() + "/" + second->clone_id + ".git"));
  EXPECT_THAT(repository_->OpenTree(first->clone_id, first->id),
              StatusIs(absl::StatusCode::kNotFound));
  for (const auto& entry : fs::recursive_directory_iterator(clones())) {
    if (!entry.is_regular_file()) continue;
    std::ifstream file(entry.path());
    const std::string text((std::istreambuf_iterator<char>(file)),
                           std::istreambuf_iterator<char>());
    EXPECT_THAT(text, Not(HasSubstr("canary"))) << entry.path();
  }
}

TEST_F(Libgit2RepositoryTest, OpenTreeTrustsNoId) {
  Init();
  Commit();
  const auto commit = Fetch(Source());
  ASSERT_THAT(commit, IsOk());
  for (const std::string& id :
       {std::string(""), std::string("../work"), std::string("/etc"),
        std::string("zz"), std::string(100, 'a'), std::string("abc")}) {
    EXPECT_THAT(repository_->OpenTree(id, commit->id),
                StatusIs(absl::StatusCode::kNotFound));
    EXPECT_THAT(repository_->OpenTree(commit->clone_id, id),
                StatusIs(absl::StatusCode::kNotFound));
  }
}

TEST_F(Libgit2RepositoryTest, ALargeRepositoryIsRefused) {
  Init();
  for (int i = 0; i < 50; ++i) Write(absl::StrCat("f", i), absl::StrCat(i));
  Commit();
  Libgit2Repository::Options options;
  options.max_fetch_objects = 10;
  Open(options);
  EXPECT_THAT(Fetch(Source()), StatusIs(absl::StatusCode::kResourceExhausted,
                                        HasSubstr("too large")));
  options.max_fetch_objects = 1000;
  options.max_refs = 1;
  Git("branch other");
  Open(options);
  EXPECT_THAT(Fetch(Source()), StatusIs(absl::StatusCode::kResourceExhausted,
                                        HasSubstr("branches and tags")));
}

TEST_F(Libgit2RepositoryTest, AServerThatIsNotThereIsNamed) {
  // A port that was just free.
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)),
            0);
  socklen_t size = sizeof(address);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  const std::string at =
      absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
  GitSource source;
  for (const char* scheme : {"http://", "https://", "ssh://"}) {
    source.url = absl::StrCat(scheme, at, "/x.git");
    EXPECT_THAT(Fetch(source), StatusIs(absl::StatusCode::kUnavailable,
                                        AllOf(HasSubstr(at),
                                              HasSubstr("refused"))));
  }
  close(fd);
  source.url = "https://no-such-host.invalid/x.git";
  EXPECT_THAT(Fetch(source), StatusIs(absl::StatusCode::kUnavailable,
                                      HasSubstr("no-such-host.invalid:443")));
}

TEST_F(Libgit2RepositoryTest, ASilentServerIsGivenUp) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)),
            0);
  ASSERT_EQ(listen(fd, 16), 0);
  socklen_t size = sizeof(address);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  Libgit2Repository::Options options;
  options.silence_limit = absl::Milliseconds(200);
  Open(options);
  GitSource source;
  for (const char* scheme : {"http://", "https://", "ssh://"}) {
    source.url =
        absl::StrCat(scheme, "127.0.0.1:", ntohs(address.sin_port), "/x.git");
    EXPECT_THAT(Fetch(source), StatusIs(absl::StatusCode::kDeadlineExceeded,
                                        HasSubstr("made no progress")))
        << scheme;
  }
  close(fd);
}

// Names one branch after another, until its connection is shut down.
void SendEndlessBranches(int listener, std::promise<int> accepted) {
  const int fd = accept(listener, nullptr, nullptr);
  accepted.set_value(fd);
  std::string batch =
      "HTTP/1.1 200 OK\r\n"
      "Content-Type: application/x-git-upload-pack-advertisement\r\n\r\n"
      "001e# service=git-upload-pack\n0000";
  int n = 0;
  while (send(fd, batch.data(), batch.size(), MSG_NOSIGNAL) > 0) {
    batch.clear();
    for (int i = 0; i < 1000; ++i) {
      const std::string line =
          absl::StrCat(std::string(40, 'a'), " refs/heads/b", n, "\n");
      absl::StrAppend(&batch, absl::Hex(line.size() + 4, absl::kZeroPad4),
                      line);
      ++n;
    }
  }
}

TEST_F(Libgit2RepositoryTest, AServerThatNeverEndsItsListIsGivenUp) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)),
            0);
  ASSERT_EQ(listen(fd, 16), 0);
  socklen_t size = sizeof(address);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  std::promise<int> accepted;
  std::future<int> connection = accepted.get_future();
  std::thread server(SendEndlessBranches, fd, std::move(accepted));
  Libgit2Repository::Options options;
  options.max_refs = 100;
  Open(options);
  GitSource source;
  source.url =
      absl::StrCat("http://127.0.0.1:", ntohs(address.sin_port), "/x.git");

  EXPECT_THAT(Fetch(source),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("in its list of branches and tags")));

  const int served = connection.get();
  shutdown(served, SHUT_RDWR);
  server.join();
  close(served);
  close(fd);
}

TEST_F(Libgit2RepositoryTest, NothingIsFetchedAfterItWasCut) {
  repository_->CutAll();
  GitSource source;
  source.url = "http://127.0.0.1:9/x.git";
  EXPECT_THAT(Fetch(source), StatusIs(absl::StatusCode::kCancelled));
}

TEST_F(Libgit2RepositoryTest, DangerousAddressesAreRefused) {
  GitSource source;
  source.credentials.username = "user";
  source.credentials.password = "canary";
  source.url = "http://git.example.com/x.git";
  EXPECT_THAT(Fetch(source), StatusIs(absl::StatusCode::kPermissionDenied,
                                      AllOf(HasSubstr("in clear"),
                                            Not(HasSubstr("canary")))));
  source.credentials = {};
  source.url = "http://user:canary@git.example.com/x.git";
  EXPECT_THAT(Fetch(source), StatusIs(absl::StatusCode::kPermissionDenied,
                                      Not(HasSubstr("canary"))));
  for (const char* address :
       {"http://169.254.169.254/x.git", "http://[fe80::1]/x.git",
        "http://[::ffff:169.254.169.254]/x.git"}) {
    source.url = address;
    EXPECT_THAT(Fetch(source), StatusIs(absl::StatusCode::kPermissionDenied,
                                        HasSubstr("link-local")))
        << address;
  }
  for (const char* address : {"ext::sh -c id", "git://example.com/x",
                              "ssh://-oProxyCommand=id/x", "/etc"}) {
    source.url = address;
    EXPECT_THAT(Fetch(source), StatusIs(absl::StatusCode::kInvalidArgument))
        << address;
  }
}

}  // namespace
}  // namespace flotilla::manager
