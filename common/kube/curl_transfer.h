// SPDX-License-Identifier: Apache-2.0
//
// CurlTransfer is one request on its way through libcurl: what is asked, what
// has come of the answer, and how it ended. libcurl's callbacks fill it in, on
// the transport's thread.

#ifndef FLOTILLA_COMMON_KUBE_CURL_TRANSFER_H_
#define FLOTILLA_COMMON_KUBE_CURL_TRANSFER_H_

#include <curl/curl.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "common/kube/curl_handles.h"
#include "common/kube/http_transport.h"
#include "common/kube/transport_front.h"

namespace flotilla {

using SteadyTime = std::chrono::steady_clock::time_point;

// Streams of which there is something to tell the loop.
//
// Thread-compatible.
struct StreamNews {
  std::set<HttpTransport::CallId> bytes;
  std::set<HttpTransport::CallId> heads;
};

// Thread-compatible.
struct CurlTransfer {
  HttpTransport::CallId id = 0;
  HttpRequest request;
  bool is_stream = false;
  SteadyTime deadline;

  CurlEasy easy;
  CurlSlist headers;
  char error[CURL_ERROR_SIZE] = {};
  // When a byte last came to the pool that it is in.
  SteadyTime* last_byte = nullptr;  // Not owned; null while queued.
  StreamNews* news = nullptr;       // Not owned.

  HttpAnswer answer;
  bool head_given = false;
  std::string chunk;  // Of a stream, not yet handed over.
  UntakenBytes untaken = std::make_shared<std::atomic<size_t>>(0);
  absl::Status refused;  // Why we ended it ourselves.
};

// Has the answer of `transfer` written into it. It must outlive its handle's
// stay in a multi handle, and stay where it is.
void ReceiveInto(CurlTransfer& transfer);

// How `transfer`, a request to `server`, ended.
absl::Status StatusOf(CURLcode code, const CurlTransfer& transfer,
                      absl::string_view server);

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_KUBE_CURL_TRANSFER_H_
