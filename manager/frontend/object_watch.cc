// SPDX-License-Identifier: Apache-2.0

#include "manager/frontend/object_watch.h"

#include "absl/time/time.h"
#include "common/kube/kube_error.h"

namespace flotilla::manager {
namespace {

constexpr absl::Duration kKindWait = absl::Seconds(5);

Backoff::Options RetryOptions() {
  Backoff::Options options;
  options.minimum = absl::Milliseconds(50);
  options.initial = absl::Milliseconds(250);
  options.maximum = absl::Seconds(15);
  return options;
}

}  // namespace

ObjectWatch::ObjectWatch(KubeClient& client, Loop& loop, Random& random,
                         WatchRequest request, Listener& listener)
    : client_(client),
      random_(random),
      listener_(listener),
      request_(std::move(request)),
      backoff_(RetryOptions()),
      timer_(loop.CreateTimer([this] { Open(); })) {
  timer_->Arm(absl::ZeroDuration());
}

ObjectWatch::~ObjectWatch() = default;

void ObjectWatch::Open() {
  if (watch_ != nullptr) return;
  WatchRequest request = request_;
  request.resource_version = resume_from_;
  listing_ = resume_from_.empty();
  present_.clear();
  watch_ = client_.Watch(std::move(request), *this);
}

void ObjectWatch::OnSync(Sync sync) {
  backoff_.Reset();
  if (sync != Sync::kCompleteSet) return;
  listing_ = false;
  const std::set<Name> present = std::move(present_);
  present_.clear();
  listener_.OnComplete(request_, present);
}

void ObjectWatch::OnEvent(flotilla::WatchEvent event) {
  quick_end_ = false;
  if (listing_ && event.type != flotilla::WatchEvent::Type::kDeleted) {
    present_.insert({event.object.head.ns, event.object.head.name});
  }
  listener_.OnObject(request_.kind, std::move(event));
}

absl::Duration ObjectWatch::Wait() {
  return backoff_.Next(random_.Uniform(Backoff::kRandomBound));
}

void ObjectWatch::OnClosed(absl::Status status) {
  const std::string version =
      watch_ == nullptr ? std::string() : watch_->resource_version();
  watch_.reset();
  const bool stale =
      absl::IsOutOfRange(status) || absl::IsResourceExhausted(status);
  resume_from_ = stale ? std::string() : version;
  if (status.ok() && !version.empty()) {
    // A routine end; a second one in a row is not.
    timer_->Arm(quick_end_ ? Wait() : absl::ZeroDuration());
    quick_end_ = true;
    return;
  }
  if (status.ok()) status = absl::UnavailableError("the watch ended at once");
  if (absl::IsInvalidArgument(status)) resume_from_.clear();
  listener_.OnDown(request_, status);
  if (MissingWhat(status) != KubeError::Missing::kKind) {
    timer_->Arm(stale ? absl::ZeroDuration() : Wait());
    return;
  }
  // It may have come meanwhile.
  resume_from_.clear();
  client_.Discover([this, alive = std::weak_ptr<bool>(alive_)](
                       absl::StatusOr<std::shared_ptr<const Discovery>>) {
    if (alive.expired() || timer_->armed()) return;
    timer_->Arm(kKindWait);
  });
}

}  // namespace flotilla::manager
