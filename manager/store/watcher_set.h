// SPDX-License-Identifier: Apache-2.0
//
// WatcherSet is the loop's side of an engine: who watches which prefix, and
// what each has seen. The engine posts Begin(), Lose() and Deliver() to the
// loop in the order of its revisions.

#ifndef FLOTILLA_MANAGER_STORE_WATCHER_SET_H_
#define FLOTILLA_MANAGER_STORE_WATCHER_SET_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "manager/store/store.h"

namespace flotilla::manager {

// Loop-affine.
class WatcherSet {
 public:
  class Watcher;

  WatcherSet();
  ~WatcherSet();
  WatcherSet(const WatcherSet&) = delete;
  WatcherSet& operator=(const WatcherSet&) = delete;

  // A watcher that sees nothing yet. Destroying `handle` ends it.
  struct Added {
    std::shared_ptr<Watcher> watcher;
    std::unique_ptr<WatchHandle> handle;
  };
  Added Add(std::string prefix, int64_t after_revision, Store::OnBatch on_batch,
            Store::OnLost on_lost);

  // Delivers the backlog, then all later batches. `now` is the revision at
  // which the backlog was read.
  void Begin(const std::shared_ptr<Watcher>& watcher, int64_t now,
             const std::vector<WatchBatch>& backlog);

  // The revisions that the watcher asked for are not kept any more.
  void Lose(const std::shared_ptr<Watcher>& watcher);

  // A new revision. Returns false when the set was destroyed by a callback.
  bool Deliver(const WatchBatch& batch);

 private:
  class Handle;
  using Watchers = std::map<uint64_t, std::shared_ptr<Watcher>>;

  // Handles hold it weakly: they may outlive the set.
  const std::shared_ptr<Watchers> watchers_ = std::make_shared<Watchers>();
  uint64_t next_id_ = 1;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STORE_WATCHER_SET_H_
