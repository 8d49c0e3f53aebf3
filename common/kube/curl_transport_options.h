// SPDX-License-Identifier: Apache-2.0
//
// What may be set of a CurlTransport.

#ifndef FLOTILLA_COMMON_KUBE_CURL_TRANSPORT_OPTIONS_H_
#define FLOTILLA_COMMON_KUBE_CURL_TRANSPORT_OPTIONS_H_

#include <string>

#include "absl/time/time.h"

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

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_KUBE_CURL_TRANSPORT_OPTIONS_H_
