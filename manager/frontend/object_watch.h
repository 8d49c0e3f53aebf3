// SPDX-License-Identifier: Apache-2.0
//
// ObjectWatch is one watch kept up over all its connections: it resumes where
// it can, begins anew where it must, waits longer after each failure, and says
// apart what an event is and what a complete set lacks. The two never mean the
// same (decisions.md 26).

#ifndef FLOTILLA_MANAGER_FRONTEND_OBJECT_WATCH_H_
#define FLOTILLA_MANAGER_FRONTEND_OBJECT_WATCH_H_

#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "common/env/random.h"
#include "common/event/loop.h"
#include "common/kube/kube_client.h"
#include "common/retry/backoff.h"

namespace flotilla::manager {

// Loop-affine.
class ObjectWatch : private WatchListener {
 public:
  // Namespace and name.
  using Name = std::pair<std::string, std::string>;

  // Hears of the watch, on the loop; outlives it, and may not destroy it from
  // inside.
  //
  // Loop-affine.
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual void OnObject(const KindName& kind, flotilla::WatchEvent event) = 0;
    // Everything that there is now; the objects themselves came before.
    virtual void OnComplete(const WatchRequest& request,
                            const std::set<Name>& present) = 0;
    // It is not up; it is tried again. OK never.
    virtual void OnDown(const WatchRequest& request,
                        const absl::Status& status) = 0;
  };

  // `request` without a version. Opens in a later turn.
  ObjectWatch(KubeClient& client, Loop& loop, Random& random,
              WatchRequest request, Listener& listener);
  ~ObjectWatch() override;

  const WatchRequest& request() const { return request_; }

 private:
  void Open();
  void OnSync(Sync sync) override;
  void OnEvent(flotilla::WatchEvent event) override;
  void OnClosed(absl::Status status) override;
  absl::Duration Wait();

  // Collaborators. Not owned.
  KubeClient& client_;
  Random& random_;
  Listener& listener_;

  // Constant after construction.
  const WatchRequest request_;

  // Loop state.
  Backoff backoff_;
  std::string resume_from_;
  std::set<Name> present_;
  bool listing_ = false;
  bool quick_end_ = false;
  // A discovery that is under way holds it weakly.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::unique_ptr<Timer> timer_;
  std::unique_ptr<KubeWatch> watch_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_FRONTEND_OBJECT_WATCH_H_
