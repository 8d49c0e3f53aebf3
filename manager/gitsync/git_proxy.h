// SPDX-License-Identifier: Apache-2.0
//
// Which HTTP proxy stands between us and a Git server, by the usual variables
// HTTP_PROXY, HTTPS_PROXY and NO_PROXY (spec.md 9.5). SSH knows none.

#ifndef FLOTILLA_MANAGER_GITSYNC_GIT_PROXY_H_
#define FLOTILLA_MANAGER_GITSYNC_GIT_PROXY_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "manager/gitsync/git_url.h"

namespace flotilla::manager {

struct ProxySettings {
  std::string http_proxy;
  std::string https_proxy;
  // Hosts with a comma between: a name and all below it (a leading dot makes
  // no difference), an address, either with ":port", or "*" for all.
  std::string no_proxy;
};

struct GitProxy {
  std::string url;  // Empty: no proxy is used. May hold a password.
  std::string host;
  int port = 0;
};

// Loopback is never asked through a proxy. INVALID_ARGUMENT, naming the
// variable and nothing of its value, when it is no http:// or https:// URL.
absl::StatusOr<GitProxy> ChooseProxy(const ProxySettings& settings,
                                     const GitUrl& url);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_GITSYNC_GIT_PROXY_H_
