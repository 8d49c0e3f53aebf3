// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/git_modules.h"

#include <string>

#include "absl/status/status.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(GitModulesTest, ReadsPathsAndUrls) {
  const auto modules = ParseGitModules(
      "# comment\r\n"
      "[submodule \"libs/one\"]\r\n"
      "\tpath = libs/one\r\n"
      "\turl = https://git.example/one.git ; why\r\n"
      "[other]\n\tpath = x\n\turl = y\n"
      "[submodule \"two\"]\n"
      "  url = \"../two # not a comment\"\n"
      "  PATH = ./a//two/\n"
      "  update = !rm -rf /\n");
  ASSERT_THAT(modules, IsOk());
  ASSERT_THAT(*modules, SizeIs(2));
  EXPECT_EQ((*modules)[0].path, "libs/one");
  EXPECT_EQ((*modules)[0].url, "https://git.example/one.git");
  EXPECT_EQ((*modules)[0].line, 4);
  EXPECT_EQ((*modules)[1].path, "a/two");
  EXPECT_EQ((*modules)[1].url, "../two # not a comment");
}

TEST(GitModulesTest, LeavesOutWhatLacksAPart) {
  EXPECT_THAT(*ParseGitModules("[submodule \"a\"]\npath = a\n"
                               "[submodule \"b\"]\nurl = https://h/b\n"),
              IsEmpty());
  EXPECT_THAT(*ParseGitModules(""), IsEmpty());
}

TEST(GitModulesTest, NamesTheLineOfWhatItCannotRead) {
  for (const char* bad :
       {"[submodule \"a\"]\npath = ../../etc\nurl = u\n",
        "[submodule \"a\"]\npath = /etc\nurl = u\n",
        "[submodule \"a\"]\npath = \"a\nurl = u\n",
        "[submodule \"a\"]\npath = a\\q\nurl = u\n",
        "[submodule \"a\"]\npath = a\\\n"}) {
    EXPECT_THAT(ParseGitModules(bad),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr(".gitmodules:2: ")))
        << bad;
  }
}

TEST(GitModulesTest, ResolvesRelativeAddresses) {
  const struct {
    const char* parent;
    const char* url;
    const char* resolved;
  } cases[] = {
      {"https://h/o/r.git", "../s.git", "https://h/o/s.git"},
      {"https://h/o/r.git/", "../../p/s", "https://h/p/s"},
      {"https://h/o/r", "./s", "https://h/o/r/s"},
      {"https://h:8443/o/r", ".././../q", "https://h:8443/q"},
      {"ssh://git@h/o/r", "../s", "ssh://git@h/o/s"},
      {"git@h:o/r.git", "../s.git", "git@h:o/s.git"},
      {"git@h:o/r.git", "../../s.git", "git@h:s.git"},
      {"https://h/o/r", "https://other/x", "https://other/x"},
      {"file:///srv/r", "file:///srv/s", "file:///srv/s"},
      {"file:///srv/r", "../s", "file:///srv/s"},
  };
  for (const auto& c : cases) {
    const auto parent = ParseGitUrl(c.parent);
    ASSERT_THAT(parent, IsOk()) << c.parent;
    EXPECT_THAT(ResolveModuleUrl(*parent, c.url), IsOkAndHolds(c.resolved))
        << c.parent << " " << c.url;
  }
}

TEST(GitModulesTest, RefusesDangerousAddresses) {
  const auto parent = ParseGitUrl("https://h/o/r");
  ASSERT_THAT(parent, IsOk());
  for (const char* url :
       {"../../../x", "../../../../etc/passwd", "/etc", "file:///etc",
        "ext::sh -c id", "ssh://-oProxyCommand=id/x", "", "git://h/x"}) {
    EXPECT_THAT(ResolveModuleUrl(*parent, url),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << url;
  }
}

TEST(GitModulesTest, CredentialsAreForOneServer) {
  const auto url = [](const char* text) { return *ParseGitUrl(text); };
  EXPECT_TRUE(SameServer(url("https://h/a"), url("https://u@H/b")));
  EXPECT_FALSE(SameServer(url("https://h/a"), url("http://h/a")));
  EXPECT_FALSE(SameServer(url("https://h/a"), url("https://h:8443/a")));
  EXPECT_FALSE(SameServer(url("https://h/a"), url("https://h.evil/a")));
}

}  // namespace
}  // namespace flotilla::manager
