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

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "flotilla/core/v1/core.pb.h"

#include "common/event/loop.h"
#include "common/kube/http_transport.h"
#include "common/kube/kube_client.h"

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

// See the file comment.
//
// Loop-affine.
class HttpKubeClient : public KubeClient {
 public:
  // Both must outlive the client.
  HttpKubeClient(HttpTransport& transport, Loop& loop,
                 HttpKubeClientOptions options);
  HttpKubeClient(const HttpKubeClient&) = delete;
  HttpKubeClient& operator=(const HttpKubeClient&) = delete;
  // REQUIRES: its watches are destroyed.
  ~HttpKubeClient() override;

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
  class DiscoveryRun;
  class ListRun;
  class RunningWatch;

  using AnswerDone = absl::AnyInvocable<void(absl::StatusOr<HttpAnswer>)>;

  // Sends; an answer that is not 2xx or 304 becomes its error.
  void Send(HttpRequest request, AnswerDone done, bool may_retry = true);
  // Runs `task` in a later turn, unless the client is gone by then.
  void Later(Task task);
  template <typename T>
  void Fail(Done<T> done, absl::Status status);
  // Runs `then` when a discovery is there; inside the call if it is.
  void WhenDiscovered(absl::AnyInvocable<void(absl::Status)> then);
  void StartDiscovery();
  void FinishDiscovery(absl::Status status);

  // "/apis/apps/v1/namespaces/ns/deployments/name"; `ns` and `name` may be
  // empty for collections. REQUIRES: discovery is there.
  absl::StatusOr<std::string> PathOf(absl::string_view group,
                                     absl::string_view version,
                                     absl::string_view kind,
                                     absl::string_view ns,
                                     absl::string_view name,
                                     bool collection) const;

  HttpTransport& transport_;
  Loop& loop_;
  const HttpKubeClientOptions options_;

  // Loop state.
  std::shared_ptr<const Discovery> discovery_;
  // What /api and /apis said last, and their ETags.
  struct Part {
    std::string etag;
    std::vector<ServedKind> kinds;
    std::vector<std::string> stale_groups;
  };
  Part core_part_;
  Part groups_part_;
  // Since `discovery_` was made of them.
  bool parts_changed_ = false;
  std::unique_ptr<DiscoveryRun> discovering_;
  // For the run that goes on, and for the one after it.
  std::vector<Done<std::shared_ptr<const Discovery>>> discover_done_;
  std::vector<Done<std::shared_ptr<const Discovery>>> discover_next_;
  uint64_t watches_made_ = 0;
  // Lets late tasks see that the client is gone.
  const std::shared_ptr<bool> alive_;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_KUBE_HTTP_KUBE_CLIENT_H_
