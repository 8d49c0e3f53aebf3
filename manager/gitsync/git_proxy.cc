// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/git_proxy.h"

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace flotilla::manager {
namespace {

bool Exempts(absl::string_view entry, const GitUrl& url) {
  const std::string rule =
      absl::AsciiStrToLower(absl::StripAsciiWhitespace(entry));
  absl::string_view name(rule);
  if (name.empty()) return false;
  if (name == "*") return true;
  const size_t colon = name.rfind(':');
  // Two colons are an IPv6 address.
  if (colon != absl::string_view::npos && name.find(':') == colon) {
    int port = 0;
    if (!absl::SimpleAtoi(name.substr(colon + 1), &port) || port != url.port) {
      return false;
    }
    name = name.substr(0, colon);
  }
  absl::ConsumePrefix(&name, "*");
  absl::ConsumePrefix(&name, ".");
  return url.host == name || absl::EndsWith(url.host, absl::StrCat(".", name));
}

}  // namespace

absl::StatusOr<GitProxy> ChooseProxy(const ProxySettings& settings,
                                     const GitUrl& url) {
  const bool https = url.transport == GitUrl::Transport::kHttps;
  if ((!https && url.transport != GitUrl::Transport::kHttp) ||
      url.IsLoopback()) {
    return GitProxy();
  }
  const std::string& value =
      https ? settings.https_proxy : settings.http_proxy;
  if (value.empty()) return GitProxy();
  for (const absl::string_view entry :
       absl::StrSplit(settings.no_proxy, ',')) {
    if (Exempts(entry, url)) return GitProxy();
  }
  GitProxy proxy;
  proxy.url = absl::StrContains(value, "://") ? value
                                              : absl::StrCat("http://", value);
  // The address of a repository has a path.
  const absl::StatusOr<GitUrl> parsed =
      ParseGitUrl(absl::StrCat(proxy.url, "/proxy"));
  if (!parsed.ok() || (parsed->transport != GitUrl::Transport::kHttp &&
                       parsed->transport != GitUrl::Transport::kHttps)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the environment variable ", https ? "HTTPS_PROXY" : "HTTP_PROXY",
        " of the manager is no http:// or https:// address; correct it"));
  }
  proxy.host = parsed->host;
  proxy.port = parsed->port;
  return proxy;
}

}  // namespace flotilla::manager
