// SPDX-License-Identifier: Apache-2.0

#include "manager/charts/chart_credentials.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "flotilla/storage/v1/storage.pb.h"

#include "common/status/status_matchers.h"

namespace flotilla::manager {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

storage::v1::SecretData Secret(
    const std::vector<std::pair<std::string, std::string>>& entries) {
  storage::v1::SecretData data;
  for (const auto& [key, value] : entries) {
    storage::v1::SecretEntry* entry = data.add_entries();
    entry->set_key(key);
    entry->set_value(value);
  }
  return data;
}

storage::v1::SecretData Basic() {
  return Secret({{"username", "robot"},
                 {"password", "canary"},
                 {"cacerts", "CA"},
                 {"ssh-privatekey", "canary-key"},
                 {"insecureSkipVerify", "true"},
                 {"basicHTTP", "true"}});
}

storage::v1::GitRepoSpec Repo(absl::string_view regex) {
  storage::v1::GitRepoSpec spec;
  spec.set_helm_secret_name("creds");
  spec.set_helm_repo_url_regex(std::string(regex));
  return spec;
}

TEST(ChartCredentials, NamesTheSecretForPathsFirst) {
  storage::v1::GitRepoSpec spec;
  EXPECT_EQ(ChartSecretName(spec), "");
  spec.set_helm_secret_name("one");
  EXPECT_EQ(ChartSecretName(spec), "one");
  spec.set_helm_secret_name_for_paths("paths");
  EXPECT_EQ(ChartSecretName(spec), "paths");
}

TEST(ChartCredentials, GoToURLsThatTheExpressionMatchesFromTheStart) {
  struct Case {
    std::string regex;
    std::string url;
    bool sent;
  };
  const std::vector<Case> cases = {
      {"", "https://charts.example.com", false},
      {"https://charts.example.com", "https://charts.example.com/stable", true},
      {"https://charts.example.com", "https://charts.example.com", true},
      {"https://charts.example.com", "https://charts.example.com:8443", true},
      {"https://charts\\.example\\.com/stable", "https://charts.example.com/",
       false},
      {"example.com", "https://charts.example.com", false},
      {".*example.com", "https://charts.example.com", true},
      {"https?://", "http://anything.test", true},
      {"https://(a|b)\\.test", "https://b.test/x", true},
      {"oci://registry.test/team", "oci://registry.test/team/web", true},
      {"^oci://registry.test$", "oci://registry.test/team", false},
      // The host is another one.
      {"https://charts.example.com", "https://charts.example.com.evil.test",
       false},
      {"https://charts.example.com", "https://charts.example.comevil.test",
       false},
      {"https://charts.example.com", "https://charts.example.com@evil.test/",
       false},
      {"https://charts.example.com",
       "https://charts.example.com:pw@evil.test/", false},
      {"https://charts.example.com", "https://charts.example.com\\@evil.test",
       false},
      {"https://charts.example.com", "https://charts.example.com\n.evil.test",
       false},
      {"https://charts.example.com:84", "https://charts.example.com:8443/",
       false},
      {"https://charts", "https://charts.example.com", false},
      {"https://\\[2001:db8::1\\]", "https://[2001:db8::1]:8443/x", true},
      {"https://\\[2001:db8::1", "https://[2001:db8::17]/x", false},
      // A user in the URL does not hide its host.
      {"https://charts.example.com", "https://me:pw@charts.example.com/x",
       true},
  };
  const storage::v1::SecretData secret = Basic();
  for (const Case& test : cases) {
    SCOPED_TRACE(absl::StrCat(test.regex, " for ", test.url));
    const auto rules =
        ChartCredentialRules::ForGitRepo("w", Repo(test.regex), &secret);
    ASSERT_THAT(rules, IsOk());
    for (const ChartCredentials& got :
         {rules->ForChart("apps", test.url, "web"),
          rules->ForChart("apps", "", test.url)}) {
      EXPECT_EQ(got.username, test.sent ? "robot" : "");
      EXPECT_EQ(got.password, test.sent ? "canary" : "");
      EXPECT_EQ(got.ssh_private_key, test.sent ? "canary-key" : "");
      EXPECT_EQ(got.ca_bundle, "CA");
      EXPECT_TRUE(got.insecure_skip_tls_verify);
      EXPECT_TRUE(got.basic_http);
      EXPECT_EQ(got.name, "Secret w/creds");
      if (test.sent) {
        EXPECT_THAT(got.hint, IsEmpty());
      } else {
        EXPECT_THAT(got.hint, AllOf(HasSubstr("spec.helmRepoURLRegex"),
                                    HasSubstr("Secret w/creds"),
                                    Not(HasSubstr("canary")),
                                    Not(HasSubstr("pw@"))));
      }
    }
  }
}

TEST(ChartCredentials, AddTheTlsSettingsOfTheGitRepo) {
  storage::v1::GitRepoSpec spec;
  spec.set_ca_bundle("GIT-CA");
  spec.set_insecure_skip_tls_verify(true);
  auto rules = ChartCredentialRules::ForGitRepo("w", spec, nullptr);
  ASSERT_THAT(rules, IsOk());
  ChartCredentials got = rules->ForChart(".", "https://x.test", "web");
  EXPECT_EQ(got.ca_bundle, "GIT-CA");
  EXPECT_TRUE(got.insecure_skip_tls_verify);
  EXPECT_THAT(got.hint, HasSubstr("spec.helmSecretName"));

  spec.set_helm_secret_name("creds");
  const storage::v1::SecretData secret = Basic();
  rules = ChartCredentialRules::ForGitRepo("w", spec, &secret);
  ASSERT_THAT(rules, IsOk());
  got = rules->ForChart(".", "https://x.test", "web");
  EXPECT_EQ(got.ca_bundle, "CA\nGIT-CA");
}

TEST(ChartCredentials, AreFoundByPathThenByPattern) {
  storage::v1::GitRepoSpec spec = Repo("https://x.test");
  spec.set_helm_secret_name_for_paths("paths");
  const storage::v1::SecretData secret = Secret({{"secrets-path.yaml", R"(
"apps/*": {username: star, password: s}
apps/web: {username: exact, password: 12345, insecureSkipVerify: true}
"apps/?b": {username: question, password: q}
./charts/: {username: slash, basicHTTP: "true"}
"*": {username: top}
ca: {caBundle: Q0E=, sshPrivateKey: "-----BEGIN KEY"}
)"}});
  const auto rules = ChartCredentialRules::ForGitRepo("w", spec, &secret);
  ASSERT_THAT(rules, IsOk());
  const auto user = [&](absl::string_view path) {
    return rules->ForChart(path, "https://x.test", "web").username;
  };
  EXPECT_EQ(user("apps/web"), "exact");
  EXPECT_EQ(user("./apps/web/"), "exact");
  EXPECT_EQ(user("apps/db"), "star");
  EXPECT_EQ(user("apps/db/deep"), "");
  EXPECT_EQ(user("charts"), "slash");
  EXPECT_EQ(user("other"), "top");
  EXPECT_EQ(user("."), "top");
  const ChartCredentials web =
      rules->ForChart("apps/web", "https://x.test", "web");
  EXPECT_EQ(web.password, "12345");
  EXPECT_TRUE(web.insecure_skip_tls_verify);
  const ChartCredentials ca = rules->ForChart("ca", "https://x.test", "web");
  EXPECT_EQ(ca.ca_bundle, "CA");
  EXPECT_EQ(ca.ssh_private_key, "-----BEGIN KEY");
  EXPECT_THAT(rules->ForChart("a/b/c", "https://x.test", "web").hint,
              HasSubstr("none for path \"a/b/c\""));
}

TEST(ChartCredentials, SayWhatIsWrongWithoutTheValue) {
  storage::v1::GitRepoSpec spec = Repo("(");
  storage::v1::SecretData secret = Basic();
  EXPECT_THAT(ChartCredentialRules::ForGitRepo("w", spec, &secret),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("spec.helmRepoURLRegex")));
  EXPECT_THAT(ChartCredentialRules::ForGitRepo("w", Repo(""), nullptr),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("Secret w/creds, which spec.helmSecretName "
                                 "names, does not exist")));
  spec = Repo("");
  spec.set_helm_secret_name_for_paths("paths");
  EXPECT_THAT(ChartCredentialRules::ForGitRepo("w", spec, &secret),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("secrets-path.yaml")));
  for (absl::string_view text :
       {"- canary", "a: canary", "a: {password: [canary]}",
        "a: {caBundle: '*canary'}", "a: [", "canary"}) {
    secret = Secret({{"secrets-path.yaml", std::string(text)}});
    EXPECT_THAT(ChartCredentialRules::ForGitRepo("w", spec, &secret),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("Secret w/paths"),
                               Not(HasSubstr("canary")))))
        << text;
  }
}

TEST(ChartCredentials, OfAHelmOpGoWhereItSays) {
  storage::v1::HelmOpSpec spec;
  spec.set_helm_secret_name("creds");
  EXPECT_THAT(ChartCredentialRules::ForHelmOp("w", spec, nullptr),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("Secret w/creds")));
  const storage::v1::SecretData secret = Secret({{"password", "canary"}});
  spec.set_insecure_skip_tls_verify(true);
  const auto rules = ChartCredentialRules::ForHelmOp("w", spec, &secret);
  ASSERT_THAT(rules, IsOk());
  const ChartCredentials got = rules->ForChart("", "oci://x.test/web", "");
  EXPECT_EQ(got.password, "canary");
  EXPECT_TRUE(got.insecure_skip_tls_verify);
  EXPECT_THAT(got.hint, IsEmpty());
}

TEST(ChartCredentials, OfDependenciesNameTheRepositoriesThatGetThem) {
  const storage::v1::SecretData secret = Basic();
  const auto rules = ChartCredentialRules::ForGitRepo(
      "w", Repo("(https|oci)://own\\.test"), &secret);
  ASSERT_THAT(rules, IsOk());
  ChartCredentials got = rules->ForDependencies("apps", R"(
dependencies:
- {name: a, repository: "https://own.test/stable"}
- {name: b, repository: "https://own.test/stable"}
- {name: c, repository: "oci://own.test/charts"}
- {name: d, repository: "https://own.test.evil.test/stable"}
- {name: e, repository: "file://../e"}
- {name: f}
- 7
)");
  EXPECT_THAT(got.dependency_repos,
              ElementsAre("https://own.test/stable", "oci://own.test/charts"));
  EXPECT_EQ(got.password, "canary");
  EXPECT_THAT(got.hint, HasSubstr("https://own.test.evil.test/stable"));

  got = rules->ForDependencies(
      "apps", "dependencies: [{name: a, repository: 'https://evil.test'}]");
  EXPECT_THAT(got.dependency_repos, IsEmpty());
  EXPECT_EQ(got.password, "");
  EXPECT_EQ(got.ca_bundle, "CA");
  EXPECT_EQ(rules->ForDependencies("apps", "[").password, "");
}

TEST(ChartCredentials, AreNoneByDefault) {
  const ChartCredentials got =
      ChartCredentialRules().ForChart("a", "https://x.test", "web");
  EXPECT_EQ(got.password, "");
  EXPECT_EQ(got.hint, "");
}

}  // namespace
}  // namespace flotilla::manager
