// SPDX-License-Identifier: Apache-2.0
//
// HttpKubeWatch is one watch of an HttpKubeClient: WatchList; on an older
// server a list and a watch; or a watch that is resumed. Owned by the caller of
// KubeClient::Watch().

#ifndef FLOTILLA_COMMON_KUBE_HTTP_KUBE_WATCH_H_
#define FLOTILLA_COMMON_KUBE_HTTP_KUBE_WATCH_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "common/kube/discovery_cache.h"
#include "common/kube/http_transport.h"
#include "common/kube/kube_calls.h"
#include "common/kube/kube_client.h"
#include "common/kube/paged_list.h"

namespace flotilla {

// Loop-affine.
class HttpKubeWatch : public KubeWatch, public HttpStreamListener {
 public:
  // All must outlive it. `number` spreads the ends of a client's watches.
  HttpKubeWatch(KubeCalls& calls, DiscoveryCache& discovery,
                WatchRequest request, WatchListener& listener, uint64_t number);
  HttpKubeWatch(const HttpKubeWatch&) = delete;
  HttpKubeWatch& operator=(const HttpKubeWatch&) = delete;
  ~HttpKubeWatch() override;

  const std::string& resource_version() const override { return version_; }

  // HttpStreamListener
  void OnHead(HttpAnswer head) override;
  void OnBytes(std::string bytes) override;
  void OnEnd(absl::Status status) override;

 private:
  enum class Mode { kWatchList, kListThenWatch, kResume };

  bool synced() const { return !version_.empty(); }
  void Begin();
  void OpenStream(const std::string& from);
  void ListThenWatch();
  void TakeBytes(std::string bytes);
  bool IsTooLong(size_t bytes);
  void TakeLine(absl::string_view line);
  void TakeError(absl::string_view object);
  void TakeBookmark(absl::string_view object, const std::string& version);
  void Close(absl::Status status);

  // Collaborators. Not owned.
  KubeCalls& calls_;
  DiscoveryCache& discovery_;
  WatchListener& listener_;

  // Constant after construction.
  const WatchRequest request_;
  const uint64_t number_;

  // Loop state.
  Mode mode_;
  std::string target_;
  std::string version_;
  HttpAnswer head_;
  std::string line_;
  bool closed_ = false;
  std::unique_ptr<HttpStream> stream_;
  std::shared_ptr<PagedList> list_;
  // Tells that this was destroyed inside a callback.
  const std::shared_ptr<bool> alive_;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_KUBE_HTTP_KUBE_WATCH_H_
