// SPDX-License-Identifier: Apache-2.0

#include "manager/store/store.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace flotilla::manager {
namespace {

constexpr absl::Duration kRetryDelay = absl::Seconds(1);

// A Range and the Watch after it, begun again when either is lost.
class RangeWatch {
 public:
  RangeWatch(Store& store, Loop& loop, std::string prefix,
             Store::OnBatch on_batch)
      : store_(store), prefix_(std::move(prefix)),
        on_batch_(std::move(on_batch)),
        retry_(loop.CreateTimer([this] {
          if (auto self = weak_self_.lock()) Start(self);
        })) {}

  // Completions keep nothing alive: they look whether it is still there.
  static void Start(const std::shared_ptr<RangeWatch>& self) {
    const std::weak_ptr<RangeWatch> weak = self;
    self->weak_self_ = weak;
    self->watch_ = nullptr;
    self->store_.Range(self->prefix_,
                       [weak](absl::StatusOr<RangeResult> result) {
                         if (auto alive = weak.lock()) {
                           OnRange(alive, std::move(result));
                         }
                       });
  }

  void Cancel() {
    cancelled_ = true;
    retry_->Disarm();
    watch_ = nullptr;
  }

 private:
  static void OnRange(const std::shared_ptr<RangeWatch>& self,
                      absl::StatusOr<RangeResult> result) {
    if (self->cancelled_) return;
    if (!result.ok()) {
      self->retry_->Arm(kRetryDelay);
      return;
    }
    WatchBatch batch;
    batch.revision = result->revision;
    batch.complete = true;
    batch.events.reserve(result->kvs.size());
    for (KeyValue& kv : result->kvs) {
      batch.events.push_back({false, std::move(kv)});
    }
    self->on_batch_(batch);
    // The callback may have ended the watch.
    if (self->cancelled_) return;
    const std::weak_ptr<RangeWatch> weak = self;
    self->watch_ = self->store_.Watch(
        self->prefix_, batch.revision,
        [weak](const WatchBatch& changes) {
          auto alive = weak.lock();
          if (alive != nullptr && !alive->cancelled_) {
            alive->on_batch_(changes);
          }
        },
        [weak](absl::Status) {
          auto alive = weak.lock();
          if (alive != nullptr && !alive->cancelled_) {
            alive->retry_->Arm(absl::ZeroDuration());
          }
        });
  }

  Store& store_;
  const std::string prefix_;
  Store::OnBatch on_batch_;
  std::weak_ptr<RangeWatch> weak_self_;
  bool cancelled_ = false;
  std::unique_ptr<WatchHandle> watch_;
  std::unique_ptr<Timer> retry_;
};

class RangeWatchHandle : public WatchHandle {
 public:
  explicit RangeWatchHandle(std::shared_ptr<RangeWatch> watch)
      : watch_(std::move(watch)) {}
  ~RangeWatchHandle() override { watch_->Cancel(); }

 private:
  const std::shared_ptr<RangeWatch> watch_;
};

}  // namespace

std::unique_ptr<WatchHandle> Store::RangeAndWatch(std::string prefix,
                                                  OnBatch on_batch) {
  auto watch = std::make_shared<RangeWatch>(*this, loop_, std::move(prefix),
                                            std::move(on_batch));
  RangeWatch::Start(watch);
  return std::make_unique<RangeWatchHandle>(std::move(watch));
}

absl::Status CheckOps(const std::vector<Op>& ops) {
  absl::flat_hash_set<absl::string_view> seen;
  for (const Op& op : ops) {
    if (op.key.empty() || op.key[0] != '/') {
      return absl::InvalidArgumentError(
          "a key was built from a part that may not be in one (empty, with "
          "'/' or with a control character)");
    }
    if (!seen.insert(op.key).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("two operations on key ", op.key));
    }
  }
  return absl::OkStatus();
}

void FamilyWriter::Txn(std::vector<Compare> compares, std::vector<Op> ops,
                       Store::Done<int64_t> done) {
  for (const Op& op : ops) {
    if (absl::StartsWith(op.key, prefix_) && op.key.size() > prefix_.size()) {
      continue;
    }
    absl::Status refused = absl::PermissionDeniedError(absl::StrCat(
        "the writer of ", prefix_, " may not write key ", op.key));
    store_.loop().Post([done = std::move(done),
                        refused = std::move(refused)]() mutable {
      done(std::move(refused));
    });
    return;
  }
  store_.Txn(std::move(compares), std::move(ops), std::move(done));
}

}  // namespace flotilla::manager
