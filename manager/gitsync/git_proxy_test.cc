// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/git_proxy.h"

#include <string>

#include "absl/status/status.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string ProxyOf(const ProxySettings& settings, const std::string& url) {
  const auto proxy = ChooseProxy(settings, *ParseGitUrl(url));
  EXPECT_THAT(proxy, IsOk());
  return proxy.ok() ? proxy->url : "";
}

TEST(GitProxyTest, EachTransportHasItsOwn) {
  const ProxySettings settings = {"http://p:1", "q:2", ""};
  EXPECT_EQ(ProxyOf(settings, "http://h/r"), "http://p:1");
  EXPECT_EQ(ProxyOf(settings, "https://h/r"), "http://q:2");
  EXPECT_EQ(ProxyOf(settings, "ssh://git@h/r"), "");
  EXPECT_EQ(ProxyOf(settings, "http://127.0.0.1:8080/r"), "");
  EXPECT_EQ(ProxyOf({}, "https://h/r"), "");
}

TEST(GitProxyTest, NoProxyNamesHostsAndWhatIsBelow) {
  const struct {
    const char* no_proxy;
    const char* url;
    bool proxied;
  } cases[] = {
      {"example.com", "https://example.com/r", false},
      {"example.com", "https://git.example.com/r", false},
      {".example.com", "https://git.example.com/r", false},
      {"*.example.com", "https://git.example.com/r", false},
      {"example.com", "https://notexample.com/r", true},
      {" a , EXAMPLE.com ", "https://example.com/r", false},
      {"example.com:8443", "https://example.com/r", true},
      {"example.com:8443", "https://example.com:8443/r", false},
      {"10.1.2.3", "https://10.1.2.3/r", false},
      {"*", "https://example.com/r", false},
      {",,", "https://example.com/r", true},
      {"fd00::1", "https://[fd00::1]/r", false},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(ProxyOf({"", "p:1", c.no_proxy}, c.url) != "", c.proxied)
        << c.no_proxy << " " << c.url;
  }
}

TEST(GitProxyTest, ABadOneIsSaidWithoutItsValue) {
  EXPECT_THAT(
      ChooseProxy({"", "socks5://u:canary@h:1", ""},
                  *ParseGitUrl("https://h/r")),
      StatusIs(absl::StatusCode::kInvalidArgument,
               ::testing::AllOf(HasSubstr("HTTPS_PROXY"),
                                Not(HasSubstr("canary")))));
}

}  // namespace
}  // namespace flotilla::manager
