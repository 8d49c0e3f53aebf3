// SPDX-License-Identifier: Apache-2.0
//
// A small HTTP/1.1 server for webhooks and the like: one request for each
// connection, a limit on bytes and on the time that a request may take as a
// whole, so that nobody holds a thread by sending slowly. Behind it is
// cpp-httplib. TLS is the business of a proxy in front.

#ifndef FLOTILLA_COMMON_HTTP_HTTP_SERVER_H_
#define FLOTILLA_COMMON_HTTP_HTTP_SERVER_H_

#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/event/loop.h"

namespace flotilla {

struct HttpServerRequest {
  std::string method;
  std::string path;  // Without the query.
  // Names in lower case, in the order of their names.
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  std::string peer;  // Address of who asks.

  // The value of the first header of that name (lower case); empty when there
  // is none.
  absl::string_view Header(absl::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

struct HttpServerOptions {
  // "host:port"; port 0 means any.
  std::string address;
  // Larger bodies are answered with 413 and not read.
  size_t max_body_bytes = 1 << 20;
  // From the first look at a connection to the last byte of the answer.
  absl::Duration time_limit = absl::Seconds(10);
  // As many connections are served at once, and as many more may wait.
  int threads = 16;
};

// Thread-compatible.
class HttpServer {
 public:
  using Respond = absl::AnyInvocable<void(HttpResponse)>;
  // Runs on the loop for each request of method GET, HEAD or POST. `respond`
  // may be called later, from any thread, once; when it is not, the client
  // gets 503.
  using Handler = absl::AnyInvocable<void(HttpServerRequest, Respond)>;

  // `loop` must outlive it. INVALID_ARGUMENT for an address that is none,
  // UNAVAILABLE when it cannot be listened on.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(
      Loop& loop, const HttpServerOptions& options, Handler handler);

  // Ends the requests that are under way. On the loop, or when it has stopped:
  // the handler is not called again.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const { return port_; }

 private:
  class Server;

  HttpServer();

  std::unique_ptr<Server> server_;
  std::thread listener_;
  int port_ = 0;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_HTTP_HTTP_SERVER_H_
