// SPDX-License-Identifier: Apache-2.0
//
// DriftWatcher keeps one watch for each kind that we own objects of, in all
// namespaces, by our label: metadata only where the kind has no health rule. It
// reconnects by itself, from where it was or with the complete set, and judges
// nothing: what an event means is the listener's business.
//
// The label can be taken off an object: it then leaves the watch as if it were
// deleted. A kind that the cluster does not serve counts as an empty set.

#ifndef FLOTILLA_AGENT_DRIFT_DRIFT_WATCHER_H_
#define FLOTILLA_AGENT_DRIFT_DRIFT_WATCHER_H_

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/env/random.h"
#include "common/event/loop.h"
#include "common/kube/kube_client.h"
#include "common/kube/object.h"

namespace flotilla::agent {

// The label of everything that is ours (core.proto).
inline constexpr char kManagedSelector[] = "flotilla.dev/managed=true";

// Calls are made on the loop, never inside a call of the watcher.
//
// Loop-affine.
class DriftEvents {
 public:
  virtual ~DriftEvents() = default;

  virtual void OnObject(const ObjectIdentity& id, KubeObject object) = 0;
  // It left the watch: deleted, or without our label.
  virtual void OnLeft(const ObjectIdentity& id, KubeObject object) = 0;
  // All objects of the kind were told since the last OnListed(): what is not in
  // `present` is not there (or has no label).
  virtual void OnListed(const std::string& group, const std::string& kind,
                        const std::set<ObjectIdentity>& present) = 0;
  // The kind is watched, from the start or again, or is no longer served.
  virtual void OnWatchUp(const std::string& group, const std::string& kind) = 0;
  // The kind cannot be watched now; tried again.
  virtual void OnWatchFailed(const std::string& group, const std::string& kind,
                             const absl::Status& status) = 0;
};

// Loop-affine.
class DriftWatcher {
 public:
  // All must outlive the watcher.
  DriftWatcher(KubeClient& client, Loop& loop, Random& random,
               DriftEvents& events);
  DriftWatcher(const DriftWatcher&) = delete;
  DriftWatcher& operator=(const DriftWatcher&) = delete;
  ~DriftWatcher();

  // Begins to watch the kind; nothing when it is watched already.
  void Watch(const std::string& group, const std::string& version,
             const std::string& kind, bool full);
  // The kind's set is known.
  bool Listed(const std::string& group, const std::string& kind) const;
  // Asks again now for kinds whose watch waits to be tried again.
  void RetryNow();

  size_t size() const { return kinds_.size(); }

 private:
  class KindWatch;

  KubeClient& client_;
  Loop& loop_;
  Random& random_;
  DriftEvents& events_;

  // By (group, kind).
  std::map<std::pair<std::string, std::string>, std::unique_ptr<KindWatch>>
      kinds_;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_DRIFT_DRIFT_WATCHER_H_
