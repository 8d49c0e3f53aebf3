// SPDX-License-Identifier: Apache-2.0

#include "manager/store/watcher_set.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "manager/store/store.h"

namespace flotilla::manager {

// One watch. Shared with the engine's queue and with callbacks that run.
//
// Loop-affine.
class WatcherSet::Watcher {
 public:
  uint64_t id = 0;
  std::string prefix;
  // Batches up to this revision were delivered, or are not wanted.
  int64_t seen = 0;
  Store::OnBatch on_batch;
  Store::OnLost on_lost;
  bool ended = false;

  // The part of `batch` under the prefix, when there is one.
  void Show(const WatchBatch& batch) {
    if (batch.revision <= seen) return;
    seen = batch.revision;
    WatchBatch mine;
    mine.revision = batch.revision;
    for (const WatchEvent& event : batch.events) {
      if (absl::StartsWith(event.kv.key, prefix)) mine.events.push_back(event);
    }
    if (!mine.events.empty()) on_batch(mine);
  }
};

class WatcherSet::Handle : public WatchHandle {
 public:
  Handle(std::weak_ptr<Watchers> watchers, std::shared_ptr<Watcher> watcher)
      : watchers_(std::move(watchers)), watcher_(std::move(watcher)) {}
  ~Handle() override {
    watcher_->ended = true;
    if (auto watchers = watchers_.lock()) watchers->erase(watcher_->id);
  }

 private:
  const std::weak_ptr<Watchers> watchers_;
  const std::shared_ptr<Watcher> watcher_;
};

WatcherSet::WatcherSet() = default;

WatcherSet::~WatcherSet() {
  for (auto& [id, watcher] : *watchers_) watcher->ended = true;
}

WatcherSet::Added WatcherSet::Add(std::string prefix, int64_t after_revision,
                                  Store::OnBatch on_batch,
                                  Store::OnLost on_lost) {
  auto watcher = std::make_shared<Watcher>();
  watcher->id = next_id_++;
  watcher->prefix = std::move(prefix);
  watcher->seen = after_revision;
  watcher->on_batch = std::move(on_batch);
  watcher->on_lost = std::move(on_lost);
  return {watcher, std::make_unique<Handle>(watchers_, watcher)};
}

void WatcherSet::Begin(const std::shared_ptr<Watcher>& watcher, int64_t now,
                       const std::vector<WatchBatch>& backlog) {
  if (watcher->ended) return;
  // First, so that a callback that destroys the set ends this one too.
  (*watchers_)[watcher->id] = watcher;
  for (const WatchBatch& batch : backlog) {
    watcher->Show(batch);
    if (watcher->ended) return;
  }
  watcher->seen = std::max(watcher->seen, now);
}

void WatcherSet::Lose(const std::shared_ptr<Watcher>& watcher) {
  if (watcher->ended || watcher->on_lost == nullptr) return;
  watcher->on_lost(absl::OutOfRangeError(
      absl::StrCat("changes after revision ", watcher->seen,
                   " are not kept any more; read everything again")));
}

bool WatcherSet::Deliver(const WatchBatch& batch) {
  const std::weak_ptr<Watchers> alive = watchers_;
  // Callbacks may begin and end watches.
  std::vector<std::shared_ptr<Watcher>> watchers;
  for (const auto& [id, watcher] : *watchers_) watchers.push_back(watcher);
  for (const auto& watcher : watchers) {
    if (watcher->ended) continue;
    watcher->Show(batch);
    if (alive.expired()) return false;
  }
  return true;
}

}  // namespace flotilla::manager
