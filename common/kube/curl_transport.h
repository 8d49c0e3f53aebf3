// SPDX-License-Identifier: Apache-2.0
//
// CurlTransport is HttpTransport over libcurl: HTTP/2 with many streams on few
// connections, on one thread of its own. Calls of Send() and streams of Open()
// never share a connection, so that a hundred watches cannot stop an apply
// (the server admits 100 streams per connection; the next one would wait
// without an error). A server or proxy without HTTP/2 gets more connections.
//
// A connection on which nothing comes for a while although an answer is due is
// given up together with its pool; the next call makes a new one.
//
// Redirects are not followed, the environment's proxies are not used, and
// credentials are never sent without TLS.

#ifndef FLOTILLA_COMMON_KUBE_CURL_TRANSPORT_H_
#define FLOTILLA_COMMON_KUBE_CURL_TRANSPORT_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "common/event/loop.h"
#include "common/kube/http_transport.h"
#include "common/kube/kube_identity.h"

namespace flotilla {

// Thread-compatible.
struct CurlTransportOptions {
  // Calls of Send() on their way; more of them wait inside, in order.
  int max_in_flight = 64;
  // Streams on one connection before another is opened.
  int streams_per_connection = 80;
  absl::Duration connect_timeout = absl::Seconds(10);
  // After this long without a byte an unanswered connection is given up.
  absl::Duration silence_limit = absl::Seconds(15);
  std::string user_agent = "flotilla";
};

// See the file comment.
//
// Loop-affine.
class CurlTransport : public HttpTransport {
 public:
  // `loop` must outlive the transport. INVALID_ARGUMENT when `identity` cannot
  // be used: a token with control characters, credentials over plain HTTP, an
  // exec plugin (which is run by the caller, who then gives its token).
  static absl::StatusOr<std::unique_ptr<CurlTransport>> Create(
      KubeIdentity identity, CurlTransportOptions options, Loop& loop);

  CurlTransport(const CurlTransport&) = delete;
  CurlTransport& operator=(const CurlTransport&) = delete;
  ~CurlTransport() override;

  CallId Send(
      HttpRequest request,
      absl::AnyInvocable<void(absl::StatusOr<HttpAnswer>)> done) override;
  void Cancel(CallId id) override;
  std::unique_ptr<HttpStream> Open(HttpRequest request,
                                   HttpStreamListener& listener) override;

  // Connections made so far, for tests and for /debugz.
  uint64_t connections_opened() const;

  std::string DebugString() const;

 private:
  class Front;
  class Worker;
  class Stream;

  CurlTransport(std::shared_ptr<Front> front, std::unique_ptr<Worker> worker);

  // Constant after construction.
  const std::shared_ptr<Front> front_;
  const std::unique_ptr<Worker> worker_;

  // Loop state.
  CallId last_id_ = 0;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_KUBE_CURL_TRANSPORT_H_
