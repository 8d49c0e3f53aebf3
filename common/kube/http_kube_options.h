// SPDX-License-Identifier: Apache-2.0
//
// What may be set of an HttpKubeClient.

#ifndef FLOTILLA_COMMON_KUBE_HTTP_KUBE_OPTIONS_H_
#define FLOTILLA_COMMON_KUBE_HTTP_KUBE_OPTIONS_H_

#include <cstddef>

#include "absl/time/time.h"

namespace flotilla {

// Thread-compatible.
struct HttpKubeClientOptions {
  absl::Duration request_timeout = absl::Seconds(30);
  absl::Duration list_timeout = absl::Seconds(60);
  // The server ends each watch between this and twice this.
  absl::Duration watch_duration = absl::Minutes(5);
  size_t max_object_bytes = size_t{4} << 20;
  // All pages of a list together; what a watch may have waiting.
  size_t max_list_bytes = size_t{64} << 20;
  size_t max_watch_backlog_bytes = size_t{16} << 20;
  int page_size = 500;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_KUBE_HTTP_KUBE_OPTIONS_H_
