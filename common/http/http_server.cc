// SPDX-License-Identifier: Apache-2.0

#include "common/http/http_server.h"

#include <httplib.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/http/connection_queue.h"
#include "common/net/stall_guard.h"

namespace flotilla {
namespace {

// Request line and headers.
constexpr size_t kMaxHeadBytes = 64 << 10;
constexpr int kBacklog = 128;

// A connection that ends after a number of bytes; when it takes too long the
// guard cuts it.
//
// Thread-compatible.
class BoundedStream : public httplib::Stream {
 public:
  BoundedStream(int fd, size_t max_bytes) : fd_(fd), bytes_left_(max_bytes) {}

  bool is_readable() const override { return Wait(POLLIN); }
  bool is_writable() const override { return Wait(POLLOUT); }

  // httplib asks for single bytes while it reads lines.
  ssize_t read(char* out, size_t size) override {
    if (begin_ == end_) {
      if (bytes_left_ == 0) return -1;
      const ssize_t got =
          recv(fd_, buffer_, std::min(sizeof(buffer_), bytes_left_), 0);
      if (got <= 0) return got;
      begin_ = 0;
      end_ = static_cast<size_t>(got);
      bytes_left_ -= end_;
    }
    const size_t n = std::min(size, end_ - begin_);
    std::copy(buffer_ + begin_, buffer_ + begin_ + n, out);
    begin_ += n;
    return static_cast<ssize_t>(n);
  }

  ssize_t write(const char* bytes, size_t size) override {
    return send(fd_, bytes, size, MSG_NOSIGNAL);
  }

  void get_remote_ip_and_port(std::string& ip, int& port) const override {
    Name(getpeername, ip, port);
  }
  void get_local_ip_and_port(std::string& ip, int& port) const override {
    Name(getsockname, ip, port);
  }
  socket_t socket() const override { return fd_; }

 private:
  bool Wait(short what) const {
    while (true) {
      pollfd poller = {fd_, what, 0};
      const int ready = poll(&poller, 1, -1);
      if (ready > 0) return true;
      if (ready < 0 && errno != EINTR) return false;
    }
  }

  template <typename Ask>
  void Name(Ask ask, std::string& ip, int& port) const {
    sockaddr_storage address = {};
    socklen_t size = sizeof(address);
    char host[NI_MAXHOST] = {};
    char service[NI_MAXSERV] = {};
    if (ask(fd_, reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
        getnameinfo(reinterpret_cast<sockaddr*>(&address), size, host,
                    sizeof(host), service, sizeof(service),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
      return;
    }
    ip = host;
    if (!absl::SimpleAtoi(service, &port)) port = 0;
  }

  const int fd_;
  size_t bytes_left_;
  char buffer_[4096];
  size_t begin_ = 0;
  size_t end_ = 0;
};

// What the server and the loop share: the loop may still come to a request
// when the server is gone.
//
// Thread-safe.
class Desk {
 public:
  // An answer on its way from the loop to the thread of its connection.
  struct Answer {
    bool given = false;
    HttpResponse response;
  };

  explicit Desk(HttpServer::Handler handler) : handler_(std::move(handler)) {}

  // On the loop.
  void Handle(HttpServerRequest request, HttpServer::Respond respond) {
    if (!closed()) handler_(std::move(request), std::move(respond));
  }

  void Give(Answer& answer, HttpResponse response) {
    absl::MutexLock lock(&mu_);
    if (answer.given) return;
    answer.response = std::move(response);
    answer.given = true;
  }

  HttpResponse WaitFor(Answer& answer, absl::Duration limit) {
    absl::MutexLock lock(&mu_);
    const auto over = [this, &answer]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      return answer.given || closed_;
    };
    mu_.AwaitWithTimeout(absl::Condition(&over), limit);
    if (answer.given) return std::move(answer.response);
    return {503, "text/plain; charset=utf-8",
            "the manager is busy; try again\n"};
  }

  // From now on nothing is handled or waited for.
  void Close() {
    absl::MutexLock lock(&mu_);
    closed_ = true;
  }
  bool closed() const {
    absl::MutexLock lock(&mu_);
    return closed_;
  }

 private:
  HttpServer::Handler handler_;  // Of the loop.
  mutable absl::Mutex mu_;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
};

void Refuse(httplib::Response& response, int status, absl::string_view text) {
  response.status = status;
  response.set_content(absl::StrCat(text, "\n"), "text/plain; charset=utf-8");
}

}  // namespace

absl::string_view HttpServerRequest::Header(absl::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return "";
}

// Thread-safe, as httplib is.
class HttpServer::Server : public httplib::Server {
 public:
  Server(Loop& loop, const HttpServerOptions& options,
         HttpServer::Handler handler)
      : loop_(loop), options_(options),
        guard_({options.time_limit, options.time_limit}),
        desk_(std::make_shared<Desk>(std::move(handler))) {
    new_task_queue = [threads = options.threads] {
      return new ConnectionQueue(threads, static_cast<size_t>(threads));
    };
    set_payload_max_length(options.max_body_bytes);
    // Not SO_REUSEPORT: an address that is in use is an error.
    set_socket_options([](socket_t fd) {
      const int yes = 1;
      setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    });
    set_pre_routing_handler([this](const httplib::Request& request,
                                   httplib::Response& response) {
      return Precheck(request, response);
    });
    Get(".*", [this](const httplib::Request& request,
                     httplib::Response& response) {
      Answer(request, "", response);
    });
    Post(".*", [this](const httplib::Request& request,
                      httplib::Response& response,
                      const httplib::ContentReader& reader) {
      std::string body;
      bool too_large = false;
      const bool complete = reader([&](const char* bytes, size_t size) {
        too_large = size > options_.max_body_bytes - body.size();
        if (!too_large) body.append(bytes, size);
        return !too_large;
      });
      if (too_large || response.status == 413) {
        Refuse(response, 413, TooLarge());
      } else if (!complete) {
        Refuse(response, 400, "the body cannot be read");
      } else {
        Answer(request, std::move(body), response);
      }
    });
    set_error_handler([this](const httplib::Request&,
                             httplib::Response& response) {
      if (response.status == 413) Refuse(response, 413, TooLarge());
    });
  }

  // httplib lets five connections wait in the kernel; a burst that finds no
  // room is cut or waits for seconds.
  void Widen() { ::listen(svr_sock_, kBacklog); }

  // Ends what is under way and what waits.
  void Close() {
    desk_->Close();
    guard_.CutAll();
  }

  // Whether it has stopped listening.
  bool ended() const { return ended_; }
  void set_ended() { ended_ = true; }

 private:
  std::string TooLarge() const {
    return absl::StrCat("the body is larger than ", options_.max_body_bytes,
                        " bytes");
  }

  httplib::Server::HandlerResponse Precheck(const httplib::Request& request,
                                            httplib::Response& response) {
    if (request.method != "GET" && request.method != "HEAD" &&
        request.method != "POST") {
      Refuse(response, 405, "use POST");
      return HandlerResponse::Handled;
    }
    // httplib would read to the end of a body that it refuses.
    if (request.has_header("Content-Length")) {
      uint64_t size = 0;
      if (!absl::SimpleAtoi(request.get_header_value("Content-Length"),
                            &size)) {
        Refuse(response, 400, "Content-Length is no number");
        return HandlerResponse::Handled;
      }
      if (size > options_.max_body_bytes) {
        Refuse(response, 413, TooLarge());
        return HandlerResponse::Handled;
      }
    }
    // httplib would hand its parts to nobody.
    if (absl::StartsWith(
            absl::AsciiStrToLower(request.get_header_value("Content-Type")),
            "multipart/")) {
      Refuse(response, 415, "send JSON");
      return HandlerResponse::Handled;
    }
    return HandlerResponse::Unhandled;
  }

  void Answer(const httplib::Request& request, std::string body,
              httplib::Response& response) {
    HttpServerRequest out;
    out.method = request.method;
    out.path = request.path;
    for (const auto& [name, value] : request.headers) {
      out.headers.emplace_back(absl::AsciiStrToLower(name), value);
    }
    out.body = std::move(body);
    out.peer = request.remote_addr;
    auto pending = std::make_shared<Desk::Answer>();
    loop_.Post([desk = desk_, pending, out = std::move(out)]() mutable {
      desk->Handle(std::move(out), [desk, pending](HttpResponse answer) {
        desk->Give(*pending, std::move(answer));
      });
    });
    const HttpResponse answer =
        desk_->WaitFor(*pending, options_.time_limit / 2);
    response.status = answer.status;
    response.set_content(answer.body, answer.content_type);
  }

  bool process_and_close_socket(socket_t fd) override {
    const size_t max_bytes = kMaxHeadBytes + options_.max_body_bytes;
    const uint64_t guarded = guard_.Guard(fd, max_bytes);
    BoundedStream stream(fd, max_bytes);
    bool closed = false;
    const bool good =
        !desk_->closed() && process_request(stream, /*close_connection=*/true,
                                            closed, nullptr);
    guard_.Release(guarded);
    ::shutdown(fd, SHUT_RDWR);
    ::close(fd);
    return good;
  }

  Loop& loop_;
  const HttpServerOptions options_;
  StallGuard guard_;
  const std::shared_ptr<Desk> desk_;
  std::atomic<bool> ended_{false};
};

HttpServer::HttpServer() = default;

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(
    Loop& loop, const HttpServerOptions& options, Handler handler) {
  const size_t colon = options.address.rfind(':');
  int port = 0;
  if (colon == std::string::npos || colon == 0 ||
      !absl::SimpleAtoi(options.address.substr(colon + 1), &port) ||
      port < 0 || port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", options.address, "\" is not an address; write host:port"));
  }
  std::string host = options.address.substr(0, colon);
  if (host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  auto out = std::unique_ptr<HttpServer>(new HttpServer);
  out->server_ = std::make_unique<Server>(loop, options, std::move(handler));
  if (port == 0) {
    out->port_ = out->server_->bind_to_any_port(host);
  } else if (out->server_->bind_to_port(host, port)) {
    out->port_ = port;
  }
  if (out->port_ <= 0) {
    return absl::UnavailableError(absl::StrCat(
        "cannot listen on ", options.address,
        ": another program may be using it; choose another address"));
  }
  out->server_->Widen();
  out->listener_ = std::thread([server = out->server_.get()] {
    server->listen_after_bind();
    server->set_ended();
  });
  return out;
}

HttpServer::~HttpServer() {
  if (listener_.joinable()) {
    server_->Close();
    // stop() does nothing before the listener runs.
    while (!server_->is_running() && !server_->ended()) {
      std::this_thread::yield();
    }
    server_->stop();
    listener_.join();
  }
}

}  // namespace flotilla
