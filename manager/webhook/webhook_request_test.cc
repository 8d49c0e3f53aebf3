// SPDX-License-Identifier: Apache-2.0

#include "manager/webhook/webhook_request.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/crypto/hmac.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr char kBody[] = R"({"ref":"refs/heads/main"})";

std::string Signature(const std::string& key, const std::string& body) {
  return absl::BytesToHexString(HmacSha256(key, body));
}

TEST(WebhookRequestTest, KnowsProvidersByTheirHeaders) {
  const struct {
    const char* header;
    WebhookProvider provider;
  } cases[] = {
      {"x-github-event", WebhookProvider::kGitHub},
      {"x-gitlab-event", WebhookProvider::kGitLab},
      {"x-gogs-event", WebhookProvider::kGogs},
      {"x-gitea-event", WebhookProvider::kGogs},
      {"x-hook-uuid", WebhookProvider::kBitbucketCloud},
      {"x-event-key", WebhookProvider::kBitbucketServer},
      {"x-vss-activityid", WebhookProvider::kAzureDevOps},
      {"x-vss-subscriptionid", WebhookProvider::kAzureDevOps},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(DetectProvider({{c.header, "x"}}), c.provider) << c.header;
  }
  EXPECT_EQ(DetectProvider({{"host", "x"}}), absl::nullopt);
  // Gitea sends them all.
  EXPECT_EQ(DetectProvider({{"x-gitea-event", "push"},
                            {"x-github-event", "push"},
                            {"x-gogs-event", "push"}}),
            WebhookProvider::kGogs);
  // Bitbucket's cloud sends both.
  EXPECT_EQ(DetectProvider({{"x-event-key", "repo:push"},
                            {"x-hook-uuid", "u"}}),
            WebhookProvider::kBitbucketCloud);
}

TEST(WebhookRequestTest, TakesTheRightSignatureAndNoOther) {
  const struct {
    WebhookProvider provider;
    WebhookSecret secret;
    WebhookHeaders right;
  } cases[] = {
      {WebhookProvider::kGitHub,
       {{"github", "k"}},
       {{"x-hub-signature-256", "sha256=" + Signature("k", kBody)}}},
      {WebhookProvider::kGogs,
       {{"gogs", "k"}},
       {{"x-gogs-signature", Signature("k", kBody)}}},
      {WebhookProvider::kGogs,
       {{"gogs", "k"}},
       {{"x-gitea-signature", Signature("k", kBody)}}},
      {WebhookProvider::kBitbucketServer,
       {{"bitbucket-server", "k"}},
       {{"x-hub-signature", "sha256=" + Signature("k", kBody)}}},
      {WebhookProvider::kGitLab, {{"gitlab", "k"}}, {{"x-gitlab-token", "k"}}},
      {WebhookProvider::kBitbucketCloud,
       {{"bitbucket", "{uuid}"}},
       {{"x-hook-uuid", "{uuid}"}}},
      {WebhookProvider::kAzureDevOps,
       {{"azure-username", "u"}, {"azure-password", "p"}},
       {{"authorization", "Basic " + absl::Base64Escape("u:p")}}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(ProviderName(c.provider));
    EXPECT_TRUE(IsSigned(c.provider, c.right, kBody, c.secret));
    EXPECT_FALSE(IsSigned(c.provider, {}, kBody, c.secret));
    WebhookHeaders wrong = c.right;
    wrong[0].second.back() ^= 1;
    EXPECT_FALSE(IsSigned(c.provider, wrong, kBody, c.secret));
    wrong[0].second = "";
    EXPECT_FALSE(IsSigned(c.provider, wrong, kBody, c.secret));
    // A Secret for other providers, or with an empty key, opens nothing.
    EXPECT_FALSE(IsSigned(c.provider, c.right, kBody, {{"other", "k"}}));
    WebhookSecret empty = c.secret;
    for (auto& [key, value] : empty) value = "";
    EXPECT_FALSE(IsSigned(c.provider, c.right, kBody, empty));
  }
}

TEST(WebhookRequestTest, ASignatureIsOfThisBody) {
  const WebhookHeaders headers = {
      {"x-hub-signature-256", "sha256=" + Signature("k", kBody)}};

  EXPECT_FALSE(IsSigned(WebhookProvider::kGitHub, headers,
                        absl::StrCat(kBody, " "), {{"github", "k"}}));
  // SHA-1 is not taken.
  EXPECT_FALSE(IsSigned(
      WebhookProvider::kGitHub,
      {{"x-hub-signature",
        "sha1=" + absl::BytesToHexString(HmacSha1("k", kBody))}},
      kBody, {{"github", "k"}}));
}

TEST(WebhookRequestTest, ReadsWhatEachProviderSends) {
  const struct {
    WebhookProvider provider;
    const char* body;
    const char* url;
    const char* branch;
    const char* tag;
  } cases[] = {
      {WebhookProvider::kGitHub,
       R"({"ref":"refs/heads/main","after":"0123","repository":
           {"html_url":"https://github.example/o/r"}})",
       "https://github.example/o/r", "main", nullptr},
      {WebhookProvider::kGogs,
       R"({"ref":"refs/tags/v1","repository":
           {"clone_url":"https://git.example/o/r.git"}})",
       "https://git.example/o/r.git", nullptr, "v1"},
      {WebhookProvider::kGitLab,
       R"({"object_kind":"push","ref":"refs/heads/a/b","project":
           {"git_ssh_url":"git@gitlab.example:o/r.git"}})",
       "git@gitlab.example:o/r.git", "a/b", nullptr},
      {WebhookProvider::kBitbucketCloud,
       R"({"push":{"changes":[{"new":{"type":"branch","name":"main"}},
           {"new":null}]},"repository":{"links":
           {"html":{"href":"https://bitbucket.example/o/r"}}}})",
       "https://bitbucket.example/o/r", "main", nullptr},
      {WebhookProvider::kBitbucketServer,
       R"({"changes":[{"ref":{"id":"refs/heads/main"}}],"repository":{"links":
           {"clone":[{"href":"ssh://git@bb.example:7999/o/r.git"}]}}})",
       "ssh://git@bb.example:7999/o/r.git", "main", nullptr},
      {WebhookProvider::kAzureDevOps,
       R"({"resource":{"refUpdates":[{"name":"refs/heads/main"}],
           "repository":{"remoteUrl":"https://dev.example/o/_git/r"}}})",
       "https://dev.example/o/_git/r", "main", nullptr},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(ProviderName(c.provider));
    const auto push = ParsePush(c.provider, {}, c.body);
    ASSERT_THAT(push, IsOk());
    EXPECT_THAT(push->repositories, ElementsAre(RepositoryName(c.url)));
    if (c.branch != nullptr) {
      EXPECT_THAT(push->branches, ElementsAre(c.branch));
    }
    if (c.tag != nullptr) {
      EXPECT_THAT(push->tags, ElementsAre(c.tag));
    }
  }
}

TEST(WebhookRequestTest, APingMeansNothing) {
  const auto push = ParsePush(WebhookProvider::kGitHub,
                              {{"x-github-event", "ping"}}, "{\"zen\":\"\"}");
  ASSERT_THAT(push, IsOk());
  EXPECT_THAT(push->repositories, IsEmpty());
}

// What has crashed others: null, lists and numbers in each place.
TEST(WebhookRequestTest, OddShapesMeanNothing) {
  const char* const values[] = {"null", "[]", "7", "\"x\"", "{}", "[null]",
                                "[[1]]", "true", "-1e99", "{\"a\":null}"};
  const char* const shapes[] = {
      R"({"repository":$,"project":$,"resource":$,"push":$,"changes":$,"ref":$})",
      R"({"repository":{"html_url":$,"links":$},"project":{"web_url":$},
          "resource":{"repository":$,"refUpdates":$},"push":{"changes":$}})",
      R"({"repository":{"links":{"html":$,"clone":$,"self":$}},
          "push":{"changes":[$]},"changes":[$],
          "resource":{"repository":{"remoteUrl":$},"refUpdates":[$]}})",
      R"({"repository":{"links":{"html":{"href":$},"clone":[$]}},
          "push":{"changes":[{"new":$}]},"changes":[{"ref":$}]})",
  };
  for (int provider = 0; provider < 6; ++provider) {
    for (const char* shape : shapes) {
      for (const char* value : values) {
        std::string body = shape;
        for (size_t at = 0; (at = body.find('$')) != std::string::npos;) {
          body.replace(at, 1, value);
        }
        EXPECT_THAT(ParsePush(static_cast<WebhookProvider>(provider), {}, body),
                    IsOk())
            << body;
      }
    }
  }
}

TEST(WebhookRequestTest, RefusesWhatIsNoJsonObject) {
  const std::string deep(100'000, '[');
  for (const std::string& body :
       {std::string(), std::string("null"), std::string("[]"),
        std::string("7"), std::string("payload=%7B%7D"), deep,
        deep + std::string(100'000, ']'), std::string("{\"a\":\xff}")}) {
    EXPECT_THAT(ParsePush(WebhookProvider::kGitHub, {}, body),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

TEST(WebhookRequestTest, TheSpellingOfAnAddressDoesNotCount) {
  const char* const same[] = {
      "https://git.example/Org/Repo",    "https://git.example/org/repo.git",
      "http://git.example/org/repo/",    "git@git.example:org/repo.git",
      "ssh://git@git.example/org/repo",  "https://user@git.example/org/repo",
      "https://git.example:8443/org/repo",
      "ssh://git@git.example:7999/org/repo.git",
  };
  for (const char* url : same) {
    EXPECT_EQ(RepositoryName(url), "git.example/org/repo") << url;
  }
  for (const char* other :
       {"https://git.example/org/repo2", "https://git.example/org",
        "https://evil.example/git.example/org/repo", "", "x",
        "https://git.example.evil/org/repo", "file:///org/repo"}) {
    EXPECT_NE(RepositoryName(other), "git.example/org/repo") << other;
  }
}

TEST(WebhookRequestTest, WhatIsNoAddressOfAServerHasNoName) {
  for (const char* url : {"", "x", "file:///org/repo", "https://"}) {
    EXPECT_EQ(RepositoryName(url), "") << url;
  }
}

TEST(WebhookRequestTest, AFixedCommitIsNeverMoved) {
  PushEvent push;
  push.branches = {"main", "master"};
  push.tags = {"v1"};

  EXPECT_TRUE(MovesRef(push, "main", ""));
  EXPECT_TRUE(MovesRef(push, "", ""));
  EXPECT_FALSE(MovesRef(push, "dev", ""));
  EXPECT_TRUE(MovesRef(push, "main", "v1"));
  EXPECT_FALSE(MovesRef(push, "main", "v2"));
  EXPECT_FALSE(MovesRef(push, "main", std::string(40, 'a')));
}

}  // namespace
}  // namespace flotilla::manager
