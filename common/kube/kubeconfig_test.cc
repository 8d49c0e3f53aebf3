// SPDX-License-Identifier: Apache-2.0

#include "common/kube/kubeconfig.h"

#include <functional>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/kube/kube_identity.h"
#include "common/status/status_matchers.h"

namespace flotilla {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class KubeconfigTest : public ::testing::Test {
 protected:
  KubeconfigTest() {
    options_.file_name = "/home/ops/.kube/config";
    options_.allow_files = true;
  }

  absl::StatusOr<KubeIdentity> Parse(const std::string& text) {
    return ParseKubeconfig(text, options_, Reader());
  }

  FileReader Reader() { return read_; }

  // One cluster and one user with the given members.
  static std::string Config(const std::string& cluster,
                            const std::string& user) {
    return absl::StrCat(R"yaml(
apiVersion: v1
kind: Config
current-context: main
contexts:
- name: main
  context: {cluster: c, user: u, namespace: shop}
- name: other
  context: {cluster: absent, user: u}
clusters:
- name: c
  cluster: {)yaml",
                        cluster, "}\nusers:\n- name: u\n  user: {", user,
                        "}\n");
  }

  const std::function<absl::StatusOr<std::string>(const std::string&)> read_ =
      [this](const std::string& path) -> absl::StatusOr<std::string> {
    const auto found = files_.find(path);
    if (found == files_.end()) {
      return absl::NotFoundError(absl::StrCat(path, " is not there"));
    }
    return found->second;
  };

  KubeconfigOptions options_;
  std::map<std::string, std::string> files_;
};

TEST_F(KubeconfigTest, ReadsDataAndToken) {
  const auto identity = Parse(Config(
      absl::StrCat("server: 'https://10.0.0.1:6443/', tls-server-name: kube, "
                   "certificate-authority-data: ",
                   absl::Base64Escape("CA")),
      absl::StrCat("client-certificate-data: ", absl::Base64Escape("CERT"),
                   ", client-key-data: ", absl::Base64Escape("KEY"),
                   ", token: abc.def")));
  ASSERT_THAT(identity, IsOk());
  EXPECT_EQ(identity->server, "https://10.0.0.1:6443");
  EXPECT_EQ(identity->ca_pem, "CA");
  EXPECT_EQ(identity->client_cert_pem, "CERT");
  EXPECT_EQ(identity->client_key_pem, "KEY");
  EXPECT_EQ(identity->token, "abc.def");
  EXPECT_EQ(identity->tls_server_name, "kube");
  EXPECT_EQ(identity->ns, "shop");
  EXPECT_FALSE(identity->insecure_skip_tls_verify);
  EXPECT_THAT(DebugString(*identity),
              AllOf(Not(HasSubstr("abc")), Not(HasSubstr("KEY"))));
}

TEST_F(KubeconfigTest, ReadsFilesBesideIt) {
  files_["/home/ops/.kube/ca.pem"] = "CA";
  const auto identity =
      Parse(Config("server: 'https://a', certificate-authority: ca.pem, "
                   "insecure-skip-tls-verify: true",
                   "tokenFile: /run/token"));
  ASSERT_THAT(identity, IsOk());
  EXPECT_EQ(identity->ca_pem, "CA");
  EXPECT_EQ(identity->token_file, "/run/token");
  EXPECT_TRUE(identity->insecure_skip_tls_verify);
  EXPECT_THAT(
      Parse(Config("server: 'https://a', certificate-authority: no.pem", "")),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("no.pem")));
}

TEST_F(KubeconfigTest, FilesAndPluginsOfOthersAreRefused) {
  const std::string exec =
      "exec: {apiVersion: x, command: ./login, "
      "args: [a, b], env: [{name: N, value: V}]}";
  EXPECT_THAT(Parse(Config("server: 'https://a'", exec)),
              StatusIs(absl::StatusCode::kPermissionDenied));
  options_.allow_exec = true;
  const auto identity = Parse(Config("server: 'https://a'", exec));
  ASSERT_THAT(identity, IsOk());
  ASSERT_TRUE(identity->exec.has_value());
  EXPECT_EQ(identity->exec->command, "/home/ops/.kube/./login");
  EXPECT_THAT(identity->exec->args, ElementsAre("a", "b"));

  options_.allow_files = false;
  for (const char* user :
       {"tokenFile: /etc/shadow", "client-certificate: /etc/shadow",
        "client-key: /etc/shadow"}) {
    EXPECT_THAT(Parse(Config("server: 'https://a'", user)),
                StatusIs(absl::StatusCode::kPermissionDenied))
        << user;
  }
  EXPECT_THAT(Parse(Config("server: 'https://a', "
                           "certificate-authority: /etc/shadow",
                           "")),
              StatusIs(absl::StatusCode::kPermissionDenied));
}

TEST_F(KubeconfigTest, WhatIsWrongIsNamed) {
  const struct {
    std::string cluster;
    std::string user;
    std::string words;
  } kCases[] = {
      {"server: ftp://x", "", "http"},
      {"server: 'https://me:pw@x'", "", "user name"},
      {"server: 'https://x y'", "", "spaces"},
      {"", "", "server"},
      {"server: 'https://a'", "username: me, password: pw", "username"},
      {"server: 'https://a'", "auth-provider: {name: gcp}", "auth-provider"},
      {"server: 'https://a'", "as: admin", "as"},
      {"server: 'https://a'", "client-key-data: aGk=", "need each other"},
      {"server: 'https://a', certificate-authority-data: '%%'", "", "base64"},
      {"server: 'https://a'", "token: \"a\\r\\nX-Evil: 1\"", "line break"},
  };
  for (const auto& test : kCases) {
    const auto identity = Parse(Config(test.cluster, test.user));
    EXPECT_THAT(identity,
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr(test.words), HasSubstr(".kube/config"),
                               Not(HasSubstr("pw")))))
        << test.cluster << test.user;
  }
  for (const char* text : {"", "[]", "a: b", "{",
                           "contexts: 1\n"
                           "current-context: x"}) {
    EXPECT_THAT(Parse(text), StatusIs(absl::StatusCode::kInvalidArgument))
        << text;
  }
}

TEST_F(KubeconfigTest, TheContextMayBeNamed) {
  options_.context = "other";
  EXPECT_THAT(
      Parse(Config("server: 'https://a'", "")),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("absent")));
  options_.context = "nowhere";
  EXPECT_THAT(
      Parse(Config("server: 'https://a'", "")),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nowhere")));
}

TEST_F(KubeconfigTest, APodFindsItsIdentity) {
  files_["/sa/ca.crt"] = "CA";
  files_["/sa/token"] = "tok\n";
  files_["/sa/namespace"] = "flotilla-system\n";
  const auto identity = InClusterIdentity("10.0.0.1", "443", "/sa", Reader());
  ASSERT_THAT(identity, IsOk());
  EXPECT_EQ(identity->server, "https://10.0.0.1:443");
  EXPECT_EQ(identity->ca_pem, "CA");
  EXPECT_EQ(identity->token_file, "/sa/token");
  EXPECT_EQ(identity->ns, "flotilla-system");
  const auto ipv6 = InClusterIdentity("fd00::1", "443", "/sa", Reader());
  ASSERT_THAT(ipv6, IsOk());
  EXPECT_EQ(ipv6->server, "https://[fd00::1]:443");
  EXPECT_THAT(InClusterIdentity("", "", "/sa", Reader()),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(InClusterIdentity("a/b", "443", "/sa", Reader()),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(InClusterIdentity("a", "x", "/sa", Reader()),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(InClusterIdentity("a", "443", "/none", Reader()),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST(CheckTokenTest, OnlyWhatFitsAHeaderPasses) {
  EXPECT_THAT(CheckToken("abc\n"), IsOkAndHolds(std::string("abc")));
  for (const std::string& token :
       {std::string(), std::string("\n"), std::string("a\rb"),
        std::string("a\nb"), std::string("a b"), std::string("a\0b", 3),
        std::string("\xc3\xbc"), std::string(100000, 'a')}) {
    EXPECT_THAT(CheckToken(token),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

}  // namespace
}  // namespace flotilla
