// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/git_url.h"

#include <string>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/status/status_matchers.h"

namespace flotilla::manager {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Transport = GitUrl::Transport;

TEST(GitUrlTest, AcceptsTheUsualForms) {
  struct Case {
    const char* url;
    Transport transport;
    const char* user;
    const char* host;
    int port;
    const char* path;
    const char* fetch_url;
  };
  const Case cases[] = {
      {"https://git.example.com/a/b.git", Transport::kHttps, "",
       "git.example.com", 443, "/a/b.git", "https://git.example.com/a/b.git"},
      {"HTTPS://Git.Example.com:8443/a", Transport::kHttps, "",
       "git.example.com", 8443, "/a", "https://git.example.com:8443/a"},
      {"http://127.0.0.1:3000/a", Transport::kHttp, "", "127.0.0.1", 3000,
       "/a", "http://127.0.0.1:3000/a"},
      {"ssh://git@example.com/~u/a", Transport::kSsh, "git", "example.com", 22,
       "/~u/a", "ssh://git@example.com/~u/a"},
      {"ssh://example.com:2222/a", Transport::kSsh, "git", "example.com", 2222,
       "/a", "ssh://git@example.com:2222/a"},
      {"ssh://git@[::1]:2222/a", Transport::kSsh, "git", "::1", 2222, "/a",
       "ssh://git@[::1]:2222/a"},
      {"git@example.com:a/b.git", Transport::kSsh, "git", "example.com", 22,
       "a/b.git", "git@example.com:a/b.git"},
      {"example.com:a", Transport::kSsh, "git", "example.com", 22, "a",
       "git@example.com:a"},
      {"file:///srv/git/a.git", Transport::kFile, "", "", 0, "/srv/git/a.git",
       "file:///srv/git/a.git"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.url);
    const auto url = ParseGitUrl(c.url);
    ASSERT_THAT(url, IsOk());
    EXPECT_EQ(url->transport, c.transport);
    EXPECT_EQ(url->user, c.user);
    EXPECT_EQ(url->host, c.host);
    EXPECT_EQ(url->port, c.port);
    EXPECT_EQ(url->path, c.path);
    EXPECT_EQ(url->fetch_url, c.fetch_url);
  }
}

TEST(GitUrlTest, DecodesWhereAFileUrlLeads) {
  const auto url = ParseGitUrl("file:///srv/%67it%2fa%20b.git");
  ASSERT_THAT(url, IsOk());
  EXPECT_EQ(url->local_path, "/srv/git/a b.git");
  EXPECT_THAT(ParseGitUrl("file:///srv/%g"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("two hex digits")));
  EXPECT_EQ(ParseGitUrl("https://example.com/a")->local_path, "");
}

TEST(GitUrlTest, TakesThePasswordOutOfTheUrl) {
  const auto url = ParseGitUrl("https://us%40er:can%3aary@example.com/a");
  ASSERT_THAT(url, IsOk());
  EXPECT_EQ(url->user, "us@er");
  EXPECT_EQ(url->password, "can:ary");
  EXPECT_EQ(url->fetch_url, "https://example.com/a");
  EXPECT_EQ(url->display, "https://example.com/a");
}

TEST(GitUrlTest, TheHostIsWhatComesAfterTheLastAt) {
  const auto url = ParseGitUrl("https://good.example.com@evil.example.com/a");
  ASSERT_THAT(url, IsOk());
  EXPECT_EQ(url->host, "evil.example.com");
  EXPECT_EQ(url->user, "good.example.com");
}

TEST(GitUrlTest, RefusesWhatIsDangerousOrWrong) {
  const char* bad[] = {
      "",
      "ext::sh -c whoami",
      "ext::sh",
      "git://example.com/a",
      "ftp://example.com/a",
      "http://",
      "https://example.com",
      "https://example.com/",
      "https:///a",
      "https://example.com:0/a",
      "https://example.com:70000/a",
      "https://example.com:2x/a",
      "https://exa mple.com/a",
      "https://example.com/a\nb",
      "https://example.com\\@evil/a",
      "https://[example.com]/a",
      "https://[::1/a",
      "https://example.com/a#b",
      "ssh://-oProxyCommand=evil/a",
      "ssh://-oProxyCommand=evil@example.com/a",
      "ssh://example.com/",
      "-oProxyCommand=evil:a",
      "git@example.com:",
      "git@example.com:-a",
      "file://host/a",
      "file://",
      "/srv/git/a.git",
      "relative/path",
      "https://%zz@example.com/a",
      "ssh://user:canary@example.com/a",
  };
  for (const char* url : bad) {
    EXPECT_THAT(ParseGitUrl(url), StatusIs(absl::StatusCode::kInvalidArgument,
                                           Not(HasSubstr("canary"))))
        << url;
  }
  EXPECT_FALSE(ParseGitUrl("https://a/" + std::string(3000, 'x')).ok());
}

TEST(GitUrlTest, NeverShowsAPasswordInAnError) {
  for (const char* url :
       {"https://user:canary@example.com:x/a", "ftp://user:canary@h/a",
        "https://user:canary@/a", "https://user:can@ary@h:x/a",
        "user:canary@host:a b"}) {
    EXPECT_THAT(ParseGitUrl(url), StatusIs(absl::StatusCode::kInvalidArgument,
                                           Not(HasSubstr("canary"))))
        << url;
  }
}

TEST(GitUrlTest, KnowsThisMachine) {
  EXPECT_TRUE(ParseGitUrl("http://127.0.0.1/a")->IsLoopback());
  EXPECT_TRUE(ParseGitUrl("http://localhost:80/a")->IsLoopback());
  EXPECT_TRUE(ParseGitUrl("http://[::1]/a")->IsLoopback());
  EXPECT_FALSE(ParseGitUrl("http://127.0.0.1.evil.com/a")->IsLoopback());
  EXPECT_FALSE(ParseGitUrl("http://example.com/a")->IsLoopback());
}

TEST(GitUrlTest, ChecksNamesOfRefs) {
  for (const char* name : {"main", "feature/x", "v1.2.3", "a@b", "ü"}) {
    EXPECT_THAT(CheckRefName("branch", name), IsOk()) << name;
  }
  for (const char* name :
       {"", "-rf", "a..b", "a b", "a:b", "a~1", "a^", "a*", "/a", "a/", "a//b",
        ".a", "a/.b", "a.lock", "a.lock/b", "@", "a@{1}", "a\\b", "a\n", "a[",
        "a?", "a."}) {
    EXPECT_THAT(CheckRefName("branch", name),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << name;
  }
}

TEST(GitUrlTest, KnowsFullCommitIds) {
  EXPECT_TRUE(IsFullCommitId(std::string(40, 'a')));
  EXPECT_TRUE(IsFullCommitId(std::string(64, '0')));
  EXPECT_FALSE(IsFullCommitId(std::string(39, 'a')));
  EXPECT_FALSE(IsFullCommitId(std::string(40, 'g')));
  EXPECT_FALSE(IsFullCommitId("v1.0"));
}

}  // namespace
}  // namespace flotilla::manager
