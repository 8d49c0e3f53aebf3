// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/git_socket.h"

#include <fcntl.h>
#include <git2.h>
#include <git2/sys/stream.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "manager/gitsync/refused_address.h"

namespace flotilla::manager {
namespace {

thread_local SocketScope* current_scope = nullptr;

// The first four members are those of libgit2's own socket stream, in that
// order: its SSH transport takes the descriptor from there.
struct Stream {
  git_stream parent;
  char* host;
  char* port;
  int fd;
  // Ours.
  uint64_t guard_id;
};

std::string HostPort(absl::string_view host, absl::string_view port) {
  return host.find(':') == absl::string_view::npos
             ? absl::StrCat(host, ":", port)
             : absl::StrCat("[", host, "]:", port);
}

int Fail(absl::Status status) {
  git_error_set_str(GIT_ERROR_NET, std::string(status.message()).c_str());
  if (SocketScope* scope = SocketScope::Current()) {
    scope->SetError(std::move(status));
  }
  return -1;
}

// A connected, blocking socket, or -1 with `error` set to an errno.
int ConnectTo(const addrinfo& address, absl::Duration timeout, int* error) {
  const int fd = socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    *error = errno;
    return -1;
  }
  absl::Cleanup close_fd = [fd] { close(fd); };
  const int flags = fcntl(fd, F_GETFL, 0);
  fcntl(fd, F_SETFL, flags | O_NONBLOCK);
  if (connect(fd, address.ai_addr, address.ai_addrlen) != 0) {
    if (errno != EINPROGRESS) {
      *error = errno;
      return -1;
    }
    pollfd waiting = {fd, POLLOUT, 0};
    int ready = 0;
    do {
      ready = poll(&waiting, 1,
                   static_cast<int>(absl::ToInt64Milliseconds(timeout)));
    } while (ready < 0 && errno == EINTR);
    if (ready <= 0) {
      *error = ready == 0 ? ETIMEDOUT : errno;
      return -1;
    }
    socklen_t size = sizeof(*error);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, error, &size) != 0) {
      *error = errno;
    }
    if (*error != 0) return -1;
  }
  fcntl(fd, F_SETFL, flags);
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  std::move(close_fd).Cancel();
  return fd;
}

int StreamConnect(git_stream* self) {
  auto* stream = reinterpret_cast<Stream*>(self);
  SocketScope* scope = SocketScope::Current();
  if (scope == nullptr) {
    return Fail(absl::InternalError("a connection outside of a fetch"));
  }
  absl::string_view host(stream->host);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  const std::string shown =
      absl::StrCat(HostPort(host, stream->port),
                   scope->proxy_host().empty() ? "" : " through its proxy");
  const auto is = [&](const std::string& name, int port) {
    return absl::EqualsIgnoreCase(host, name) &&
           absl::string_view(stream->port) == absl::StrCat(port);
  };
  const bool proxied = !scope->proxy_host().empty();
  if (!is(scope->host(), scope->port()) &&
      !(proxied && is(scope->proxy_host(), scope->proxy_port()))) {
    return Fail(absl::FailedPreconditionError(absl::StrCat(
        "the Git server redirects to ", shown, ", which is not the host of "
        "spec.repo: redirects to other hosts are not followed; write the new "
        "address into spec.repo if it is right")));
  }
  addrinfo hints = {};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const std::string to = proxied ? scope->proxy_host() : std::string(host);
  const std::string to_port =
      proxied ? absl::StrCat(scope->proxy_port()) : stream->port;
  const int resolved =
      getaddrinfo(to.c_str(), to_port.c_str(), &hints, &found);
  if (resolved != 0) {
    return Fail(absl::UnavailableError(absl::StrCat(
        "cannot reach Git server ", shown, ": host name not found (",
        gai_strerror(resolved), "); check spec.repo and the network")));
  }
  const absl::Cleanup free_found = [found] { freeaddrinfo(found); };
  int error = 0;
  bool refused = false;
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    if (IsRefusedAddress(*at->ai_addr)) {
      refused = true;
      continue;
    }
    error = 0;
    stream->fd = ConnectTo(*at, scope->connect_timeout(), &error);
    if (stream->fd >= 0) {
      stream->guard_id =
          scope->guard().Guard(stream->fd, scope->max_bytes());
      scope->Opened(stream->guard_id);
      return 0;
    }
  }
  if (error == 0 && refused) {
    return Fail(absl::PermissionDeniedError(absl::StrCat(
        "Git server ", shown, " has a link-local address, or another at which "
        "machines get their credentials: those are never connected to; check "
        "spec.repo")));
  }
  return Fail(absl::UnavailableError(
      absl::StrCat("cannot reach Git server ", shown, ": ",
                   std::strerror(error), "; check spec.repo and the network")));
}

ssize_t StreamRead(git_stream* self, void* data, size_t size) {
  auto* stream = reinterpret_cast<Stream*>(self);
  while (true) {
    const ssize_t got = recv(stream->fd, data, size, 0);
    if (got >= 0) return got;
    if (errno == EINTR) continue;
    git_error_set_str(GIT_ERROR_NET, std::strerror(errno));
    return -1;
  }
}

ssize_t StreamWrite(git_stream* self, const char* data, size_t size, int) {
  auto* stream = reinterpret_cast<Stream*>(self);
  size = std::min(size, size_t{1} << 30);
  while (true) {
    const ssize_t sent = send(stream->fd, data, size, MSG_NOSIGNAL);
    if (sent >= 0) return sent;
    if (errno == EINTR) continue;
    git_error_set_str(GIT_ERROR_NET, std::strerror(errno));
    return -1;
  }
}

absl::Status WhyCut(StallGuard::Cut cut, const SocketScope& scope,
                    const std::string& server) {
  const StallGuard::Limits& limits = scope.guard().limits();
  switch (cut) {
    case StallGuard::Cut::kNone:
      break;
    case StallGuard::Cut::kStopping:
      return absl::CancelledError("the manager is stopping");
    case StallGuard::Cut::kTooMuch:
      return absl::ResourceExhaustedError(
          absl::StrCat("Git server ", server, " sends more than ",
                       scope.max_bytes() >> 20, " MiB ",
                       scope.max_bytes_of()));
    case StallGuard::Cut::kStalled:
      return absl::DeadlineExceededError(absl::StrCat(
          "Git server ", server, " made no progress for ",
          absl::FormatDuration(limits.silence), " (or took longer than ",
          absl::FormatDuration(limits.total), "); it is tried again"));
  }
  return absl::OkStatus();
}

int StreamClose(git_stream* self) {
  auto* stream = reinterpret_cast<Stream*>(self);
  if (stream->fd < 0) return 0;
  SocketScope* scope = SocketScope::Current();
  if (scope != nullptr) {
    absl::Status why =
        WhyCut(scope->guard().Release(stream->guard_id), *scope,
               HostPort(stream->host, stream->port));
    if (!why.ok()) scope->SetError(std::move(why));
  }
  const int closed = close(stream->fd);
  stream->fd = -1;
  return closed;
}

void StreamFree(git_stream* self) {
  auto* stream = reinterpret_cast<Stream*>(self);
  StreamClose(self);
  std::free(stream->host);
  std::free(stream->port);
  std::free(stream);
}

int StreamInit(git_stream** out, const char* host, const char* port) {
  auto* stream = static_cast<Stream*>(std::calloc(1, sizeof(Stream)));
  if (stream == nullptr) return -1;
  stream->host = strdup(host);
  stream->port = strdup(port);
  stream->fd = -1;
  stream->parent.version = GIT_STREAM_VERSION;
  stream->parent.connect = StreamConnect;
  stream->parent.read = StreamRead;
  stream->parent.write = StreamWrite;
  stream->parent.close = StreamClose;
  stream->parent.free = StreamFree;
  if (stream->host == nullptr || stream->port == nullptr) {
    StreamFree(&stream->parent);
    return -1;
  }
  *out = &stream->parent;
  return 0;
}

}  // namespace

SocketScope::SocketScope(std::string host, int port, StallGuard& guard,
                         absl::Duration connect_timeout)
    : host_(std::move(host)), port_(port), guard_(guard),
      connect_timeout_(connect_timeout), outer_(current_scope) {
  current_scope = this;
}

SocketScope::~SocketScope() { current_scope = outer_; }

void SocketScope::SetMaxBytes(uint64_t max_bytes, std::string what) {
  max_bytes_ = max_bytes;
  max_bytes_of_ = std::move(what);
  for (const uint64_t id : open_) guard_.SetMaxBytes(id, max_bytes);
}

SocketScope* SocketScope::Current() { return current_scope; }

absl::Status RegisterGitSockets() {
  git_stream_registration registration = {};
  registration.version = GIT_STREAM_VERSION;
  registration.init = StreamInit;
  if (git_stream_register(GIT_STREAM_STANDARD, &registration) != 0) {
    return absl::InternalError("libgit2 does not take our sockets");
  }
  return absl::OkStatus();
}

}  // namespace flotilla::manager
