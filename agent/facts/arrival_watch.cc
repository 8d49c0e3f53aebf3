// SPDX-License-Identifier: Apache-2.0

#include "agent/facts/arrival_watch.h"

#include <utility>

#include "absl/time/time.h"

namespace flotilla::agent {

ArrivalWatch::ArrivalWatch(KubeClient& client, Loop& loop, KindName kind,
                           absl::AnyInvocable<void()> on_change)
    : kind_(std::move(kind)),
      client_(client),
      on_change_(std::move(on_change)),
      open_timer_(loop.CreateTimer([this] { Open(); })),
      change_timer_(loop.CreateTimer([this] { on_change_(); })) {
  open_timer_->Arm(absl::ZeroDuration());
}

void ArrivalWatch::Open() {
  if (watch_ != nullptr) return;
  WatchRequest request;
  request.kind = kind_;
  request.resource_version = resume_from_;
  synced_ = false;
  watch_ = client_.Watch(std::move(request), *this);
}

void ArrivalWatch::OnSync(Sync sync) {
  // After a gap anything may have come.
  if (sync == Sync::kCompleteSet) change_timer_->Arm(absl::Milliseconds(10));
  synced_ = true;
}

void ArrivalWatch::OnEvent(WatchEvent) {
  if (synced_ && !change_timer_->armed()) {
    change_timer_->Arm(absl::Milliseconds(10));
  }
}

void ArrivalWatch::OnClosed(absl::Status status) {
  resume_from_ = status.ok() && watch_ != nullptr ? watch_->resource_version()
                                                  : std::string();
  watch_.reset();
  open_timer_->Arm(status.ok() ? absl::Milliseconds(100) : absl::Seconds(5));
}

}  // namespace flotilla::agent
