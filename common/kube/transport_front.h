// SPDX-License-Identifier: Apache-2.0
//
// TransportFront is the loop's side of a CurlTransport: who waits for which
// call, and what the thread tells about it. Shared by the transport and its
// streams, and by what the thread has posted; whoever is last frees it.

#ifndef FLOTILLA_COMMON_KUBE_TRANSPORT_FRONT_H_
#define FLOTILLA_COMMON_KUBE_TRANSPORT_FRONT_H_

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/kube/http_transport.h"

namespace flotilla {

// Bytes that were handed to the loop and that it has not taken yet.
using UntakenBytes = std::shared_ptr<std::atomic<size_t>>;

// What the thread tells the loop about one call.
//
// Thread-compatible.
struct TransportEvent {
  struct Head {
    HttpAnswer answer;
  };
  struct Bytes {
    std::string bytes;
    UntakenBytes untaken;
  };
  struct End {
    absl::Status status;
    HttpAnswer answer;  // Empty for streams.
  };
  HttpTransport::CallId id = 0;
  std::variant<Head, Bytes, End> what;
};

// Any thread may hold and drop a reference.
//
// Loop-affine.
class TransportFront {
 public:
  using CallId = HttpTransport::CallId;
  using Done = absl::AnyInvocable<void(absl::StatusOr<HttpAnswer>)>;

  void Dispatch(std::vector<TransportEvent> events);

  void AddCall(CallId id, Done done) { calls_[id] = std::move(done); }
  void AddStream(CallId id, HttpStreamListener* listener) {
    streams_[id] = listener;
  }
  void Forget(CallId id);
  // Nobody hears anything any more.
  void Close();

  size_t waiting() const { return calls_.size(); }
  size_t streams() const { return streams_.size(); }

  // Cancels a call at the thread; empty once the transport is gone.
  absl::AnyInvocable<void(CallId)> cancel;

 private:
  void DispatchOne(TransportEvent event);
  void DispatchEnd(CallId id, TransportEvent::End end);

  // Loop state.
  absl::flat_hash_map<CallId, Done> calls_;
  absl::flat_hash_map<CallId, HttpStreamListener*> streams_;
  bool closed_ = false;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_KUBE_TRANSPORT_FRONT_H_
