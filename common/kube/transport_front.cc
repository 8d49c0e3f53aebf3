// SPDX-License-Identifier: Apache-2.0

#include "common/kube/transport_front.h"

namespace flotilla {

void TransportFront::Dispatch(std::vector<TransportEvent> events) {
  for (TransportEvent& event : events) {
    if (closed_) return;
    DispatchOne(std::move(event));
  }
}

void TransportFront::Forget(CallId id) {
  calls_.erase(id);
  streams_.erase(id);
}

void TransportFront::Close() {
  closed_ = true;
  // Destroying a completion may run any destructor: keep the map out of it.
  absl::flat_hash_map<CallId, Done> calls;
  calls.swap(calls_);
  streams_.clear();
}

void TransportFront::DispatchOne(TransportEvent event) {
  if (auto* end = std::get_if<TransportEvent::End>(&event.what)) {
    DispatchEnd(event.id, std::move(*end));
    return;
  }
  auto* const bytes = std::get_if<TransportEvent::Bytes>(&event.what);
  if (bytes != nullptr) bytes->untaken->fetch_sub(bytes->bytes.size());
  const auto stream = streams_.find(event.id);
  if (stream == streams_.end()) return;
  if (bytes != nullptr) {
    stream->second->OnBytes(std::move(bytes->bytes));
  } else {
    stream->second->OnHead(
        std::move(std::get<TransportEvent::Head>(event.what).answer));
  }
}

void TransportFront::DispatchEnd(CallId id, TransportEvent::End end) {
  if (const auto stream = streams_.find(id); stream != streams_.end()) {
    HttpStreamListener* const listener = stream->second;
    streams_.erase(stream);
    listener->OnEnd(std::move(end.status));
    return;
  }
  const auto call = calls_.find(id);
  if (call == calls_.end()) return;
  Done done = std::move(call->second);
  calls_.erase(call);
  if (end.status.ok()) {
    done(std::move(end.answer));
  } else {
    done(std::move(end.status));
  }
}

}  // namespace flotilla
