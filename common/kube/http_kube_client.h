// SPDX-License-Identifier: Apache-2.0
//
// HttpKubeClient is KubeClient over any HttpTransport: URLs, media types,
// aggregated discovery with ETags (the old one where the server is older),
// WatchList (LIST and WATCH where the server is older), and errors as in
// kube_error.h.
//
// Nothing is retried but this: a GET whose stream was reset before its answer
// was complete is sent once more.

#ifndef FLOTILLA_COMMON_KUBE_HTTP_KUBE_CLIENT_H_
#define FLOTILLA_COMMON_KUBE_HTTP_KUBE_CLIENT_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "flotilla/core/v1/core.pb.h"

#include "common/event/loop.h"
#include "common/kube/discovery_cache.h"
#include "common/kube/http_kube_options.h"
#include "common/kube/http_transport.h"
#include "common/kube/kube_calls.h"
#include "common/kube/kube_client.h"

namespace flotilla {

// See the file comment.
//
// Loop-affine.
class HttpKubeClient : public KubeClient {
 public:
  // Both must outlive the client, and it its watches.
  HttpKubeClient(HttpTransport& transport, Loop& loop,
                 HttpKubeClientOptions options);
  HttpKubeClient(const HttpKubeClient&) = delete;
  HttpKubeClient& operator=(const HttpKubeClient&) = delete;

  void Get(const core::v1::ResourceKey& key, GetOptions options,
           Done<KubeObject> done) override;
  void List(ListRequest request, Done<ListResult> done) override;
  void Apply(const core::v1::ResourceKey& key, std::string body,
             ApplyOptions options, Done<ApplyResult> done) override;
  void Delete(const core::v1::ResourceKey& key, DeleteOptions options,
              Done<DeleteResult> done) override;
  std::unique_ptr<KubeWatch> Watch(WatchRequest request,
                                   WatchListener& listener) override;
  void Discover(Done<std::shared_ptr<const Discovery>> done) override;
  void GetServerVersion(Done<ServerVersion> done) override;

 private:
  template <typename T>
  void Fail(Done<T> done, absl::Status status);
  absl::StatusOr<std::string> PathOf(const absl::Status& discovered,
                                     const core::v1::ResourceKey& key) const;

  // Loop state.
  KubeCalls calls_;
  DiscoveryCache discovery_;
  uint64_t watches_made_ = 0;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_KUBE_HTTP_KUBE_CLIENT_H_
