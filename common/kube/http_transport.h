// SPDX-License-Identifier: Apache-2.0
//
// HttpTransport carries HTTP requests to one API server and answers back. It
// knows connections, credentials and limits, and nothing of Kubernetes.
//
// Completions and listeners run on the Loop, never inside the call, and not at
// all once the transport is destroyed. Errors of the way:
//   UNAVAILABLE         no connection; nothing was sent
//   UNKNOWN             connection or stream lost; it may have happened
//   DEADLINE_EXCEEDED   no complete answer within `timeout`
//   UNAUTHENTICATED     the server's certificate is not to be trusted, or our
//                       own credentials cannot be had
//   RESOURCE_EXHAUSTED  the answer is over the limit, or the loop too slow
// An HTTP code of any kind is an answer, not an error.

#ifndef FLOTILLA_COMMON_KUBE_HTTP_TRANSPORT_H_
#define FLOTILLA_COMMON_KUBE_HTTP_TRANSPORT_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace flotilla {

// Thread-compatible.
struct HttpRequest {
  std::string method = "GET";
  std::string target;  // Path and query, encoded: "/api/v1/namespaces?limit=1"
  std::string accept;
  std::string content_type;   // Of `body`; empty: no body.
  std::string if_none_match;  // An ETag; empty: none.
  std::string impersonate;    // User to act as; empty: oneself.
  std::string body;
  // From the call until the last byte, time in queues included.
  absl::Duration timeout = absl::Seconds(30);
  // Of the answer's body, after decompression. For streams: of what has come
  // and the loop has not yet taken.
  size_t max_answer_bytes = size_t{4} << 20;
  // Lets the server compress.
  bool compress = false;
};

// Thread-compatible.
struct HttpAnswer {
  int code = 0;
  std::string etag;
  std::string retry_after;
  std::string body;
};

// Receives an answer piece by piece.
//
// Loop-affine.
class HttpStreamListener {
 public:
  virtual ~HttpStreamListener() = default;
  // Once, before any bytes. `head.body` is empty.
  virtual void OnHead(HttpAnswer head) = 0;
  virtual void OnBytes(std::string bytes) = 0;
  // The last call. OK: the server ended the answer.
  virtual void OnEnd(absl::Status status) = 0;
};

// Destroying it ends the stream; the listener hears nothing more.
//
// Loop-affine.
class HttpStream {
 public:
  virtual ~HttpStream() = default;
};

// See the file comment.
//
// Loop-affine.
class HttpTransport {
 public:
  using CallId = uint64_t;

  virtual ~HttpTransport() = default;

  virtual CallId Send(
      HttpRequest request,
      absl::AnyInvocable<void(absl::StatusOr<HttpAnswer>)> done) = 0;

  // The completion of that call does not run any more. Whether the server acts
  // on the request is open. No effect on a finished call.
  virtual void Cancel(CallId id) = 0;

  // For answers that go on for long. They never share a connection with calls
  // of Send(). `listener` must outlive the returned stream.
  virtual std::unique_ptr<HttpStream> Open(HttpRequest request,
                                           HttpStreamListener& listener) = 0;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_KUBE_HTTP_TRANSPORT_H_
