// SPDX-License-Identifier: Apache-2.0
//
// The sockets that libgit2 uses for HTTP, HTTPS and SSH: ours, so that a
// connection goes to the host and port of the URL and nowhere else (a redirect
// included), gives up in time, and fails with words for people.

#ifndef FLOTILLA_MANAGER_GITSYNC_GIT_SOCKET_H_
#define FLOTILLA_MANAGER_GITSYNC_GIT_SOCKET_H_

#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/net/stall_guard.h"

namespace flotilla::manager {

// What the sockets of one fetch may do, and why one failed. Lives on the stack
// of the thread that calls libgit2; while it does, that thread's connections
// are judged by it. Without one, no connection is made.
//
// Thread-compatible.
class SocketScope {
 public:
  SocketScope(std::string host, int port, StallGuard& guard,
              absl::Duration connect_timeout);
  ~SocketScope();
  SocketScope(const SocketScope&) = delete;
  SocketScope& operator=(const SocketScope&) = delete;

  // The first failure; OK when there was none.
  const absl::Status& error() const { return error_; }
  void SetError(absl::Status error) {
    if (error_.ok()) error_ = std::move(error);
  }

  const std::string& host() const { return host_; }
  int port() const { return port_; }

  // Connections to the host go to this one instead, and to this one may be
  // connected.
  void SetProxy(std::string host, int port) {
    proxy_host_ = std::move(host);
    proxy_port_ = port;
  }
  const std::string& proxy_host() const { return proxy_host_; }
  int proxy_port() const { return proxy_port_; }
  StallGuard& guard() const { return guard_; }
  absl::Duration connect_timeout() const { return connect_timeout_; }

  // What one connection may bring, those that are open included; `what` says
  // it to people: "MiB of ...".
  void SetMaxBytes(uint64_t max_bytes, std::string what);
  uint64_t max_bytes() const { return max_bytes_; }
  const std::string& max_bytes_of() const { return max_bytes_of_; }

  // By the sockets: what is open, as the guard numbers it.
  void Opened(uint64_t guard_id) { open_.push_back(guard_id); }

  // The scope of this thread; null without one.
  static SocketScope* Current();

 private:
  const std::string host_;
  const int port_;
  std::string proxy_host_;
  int proxy_port_ = 0;
  StallGuard& guard_;
  const absl::Duration connect_timeout_;
  uint64_t max_bytes_ = std::numeric_limits<uint64_t>::max();
  std::string max_bytes_of_;
  std::vector<uint64_t> open_;
  absl::Status error_;
  SocketScope* const outer_;
};

// Makes libgit2 use these sockets. Once, after git_libgit2_init().
absl::Status RegisterGitSockets();

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_GITSYNC_GIT_SOCKET_H_
