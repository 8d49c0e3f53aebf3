// SPDX-License-Identifier: Apache-2.0
//
// DiscoveryCache keeps what an API server serves: it asks /api and /apis with
// ETags, on an older server each group version. Calls that come while an answer
// is under way get the next one: the one under way may be older than what the
// caller knows. Owned by an HttpKubeClient.

#ifndef FLOTILLA_COMMON_KUBE_DISCOVERY_CACHE_H_
#define FLOTILLA_COMMON_KUBE_DISCOVERY_CACHE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

#include "common/kube/kube_calls.h"
#include "common/kube/kube_client.h"

namespace flotilla {

// Loop-affine.
class DiscoveryCache {
 public:
  using Done = KubeClient::Done<std::shared_ptr<const Discovery>>;

  // `calls` must outlive it.
  explicit DiscoveryCache(KubeCalls& calls);
  DiscoveryCache(const DiscoveryCache&) = delete;
  DiscoveryCache& operator=(const DiscoveryCache&) = delete;
  ~DiscoveryCache();

  // Asks the server.
  void Discover(Done done);
  // Runs `then` when a discovery is there; inside the call if it is.
  void WhenDiscovered(absl::AnyInvocable<void(absl::Status)> then);

  // REQUIRES: WhenDiscovered() has said OK.
  const Discovery& discovery() const { return *discovery_; }

 private:
  class Run;
  // What /api or /apis said last, and its ETag.
  struct Part {
    std::string etag;
    std::vector<ServedKind> kinds;
    std::vector<std::string> stale_groups;
  };

  void Start();
  void Finish(absl::Status status);

  // Collaborators. Not owned.
  KubeCalls& calls_;

  // Loop state.
  std::shared_ptr<const Discovery> discovery_;
  Part core_part_;
  Part groups_part_;
  // Since `discovery_` was made of them.
  bool parts_changed_ = false;
  // For the run that goes on, and for the one after it.
  std::vector<Done> done_;
  std::vector<Done> next_;
  // Tells that this was destroyed inside a callback.
  const std::shared_ptr<bool> alive_;

  // Declared last: destroyed first.
  std::unique_ptr<Run> run_;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_KUBE_DISCOVERY_CACHE_H_
