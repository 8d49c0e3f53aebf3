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

#include "common/event/loop.h"
#include "common/kube/curl_transport_options.h"
#include "common/kube/curl_worker.h"
#include "common/kube/http_transport.h"
#include "common/kube/kube_identity.h"
#include "common/kube/transport_front.h"

namespace flotilla {

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
  class Stream;

  CurlTransport(std::shared_ptr<TransportFront> front,
                std::unique_ptr<CurlWorker> worker);

  // Constant after construction.
  const std::shared_ptr<TransportFront> front_;
  const std::unique_ptr<CurlWorker> worker_;

  // Loop state.
  CallId last_id_ = 0;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_KUBE_CURL_TRANSPORT_H_
