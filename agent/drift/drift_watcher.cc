// SPDX-License-Identifier: Apache-2.0

#include "agent/drift/drift_watcher.h"

#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/kube/kube_error.h"
#include "common/log/log.h"
#include "common/retry/backoff.h"

namespace flotilla::agent {
namespace {

Backoff::Options RetryOptions() {
  Backoff::Options options;
  options.minimum = absl::Milliseconds(20);
  options.initial = absl::Milliseconds(200);
  options.maximum = absl::Seconds(15);
  return options;
}

}  // namespace

// The watch of one kind, over all its connections.
//
// Loop-affine.
class DriftWatcher::KindWatch : public WatchListener {
 public:
  KindWatch(DriftWatcher& owner, KindName kind, bool full)
      : owner_(owner),
        kind_(std::move(kind)),
        full_(full),
        backoff_(RetryOptions()),
        timer_(owner.loop_.CreateTimer([this] { Open(); })) {
    timer_->Arm(absl::ZeroDuration());
  }

  bool listed() const { return listed_; }

  void RetryNow() {
    if (watch_ == nullptr) timer_->Arm(absl::ZeroDuration());
  }

  void OnSync(Sync sync) override {
    backoff_.Reset();
    quick_ends_ = 0;
    owner_.events_.OnWatchUp(kind_.group, kind_.kind);
    if (sync == Sync::kCompleteSet) {
      listed_ = true;
      listing_ = false;
      const std::set<ObjectIdentity> present = std::move(present_);
      present_.clear();
      owner_.events_.OnListed(kind_.group, kind_.kind, present);
    }
  }

  void OnEvent(WatchEvent event) override {
    ObjectIdentity id{kind_.group, kind_.kind, event.object.head.ns,
                      event.object.head.name};
    if (event.type == WatchEvent::Type::kDeleted) {
      owner_.events_.OnLeft(id, std::move(event.object));
      return;
    }
    if (listing_) present_.insert(id);
    owner_.events_.OnObject(id, std::move(event.object));
  }

  void OnClosed(absl::Status status) override {
    // A routine end is resumed at once, a second one soon after not.
    const std::string version =
        watch_ == nullptr ? std::string() : watch_->resource_version();
    watch_.reset();
    if (status.ok() && !version.empty()) {
      resume_from_ = version;
      const absl::Duration wait =
          quick_ends_++ == 0 ? absl::ZeroDuration() : Wait();
      timer_->Arm(wait);
      return;
    }
    if (MissingWhat(status) == KubeError::Missing::kKind) {
      // Nothing of a kind that is not served.
      resume_from_.clear();
      owner_.events_.OnWatchUp(kind_.group, kind_.kind);
      if (!listed_) {
        listed_ = true;
        owner_.events_.OnListed(kind_.group, kind_.kind, {});
      }
      timer_->Arm(absl::Seconds(10));
      return;
    }
    if (absl::IsOutOfRange(status) || absl::IsResourceExhausted(status) ||
        version.empty()) {
      resume_from_.clear();
    } else {
      resume_from_ = version;
    }
    if (absl::IsOutOfRange(status) && quick_ends_++ == 0) {
      timer_->Arm(absl::ZeroDuration());
      return;
    }
    // The server's words may quote a Secret.
    const std::string words =
        kind_.kind == "Secret" ? absl::StatusCodeToString(status.code())
                               : std::string(status.message());
    FLOTILLA_LOG_EVERY(WARNING, absl::Seconds(30))
        << "watch of " << kind_.kind << ": " << words;
    owner_.events_.OnWatchFailed(kind_.group, kind_.kind, status);
    timer_->Arm(Wait());
  }

 private:
  absl::Duration Wait() {
    return backoff_.Next(owner_.random_.Uniform(Backoff::kRandomBound));
  }

  void Open() {
    if (watch_ != nullptr) return;
    WatchRequest request;
    request.kind = kind_;
    request.label_selector = kManagedSelector;
    request.metadata_only = !full_;
    request.resource_version = resume_from_;
    listing_ = resume_from_.empty();
    present_.clear();
    watch_ = owner_.client_.Watch(std::move(request), *this);
  }

  // Constant after construction.
  DriftWatcher& owner_;
  const KindName kind_;
  const bool full_;

  // Loop state.
  Backoff backoff_;
  std::string resume_from_;
  std::set<ObjectIdentity> present_;
  bool listing_ = false;
  bool listed_ = false;
  int quick_ends_ = 0;
  std::unique_ptr<Timer> timer_;
  std::unique_ptr<KubeWatch> watch_;
};

DriftWatcher::DriftWatcher(KubeClient& client, Loop& loop, Random& random,
                           DriftEvents& events)
    : client_(client), loop_(loop), random_(random), events_(events) {}

DriftWatcher::~DriftWatcher() = default;

void DriftWatcher::Watch(const std::string& group, const std::string& version,
                         const std::string& kind, bool full) {
  std::unique_ptr<KindWatch>& watch = kinds_[{group, kind}];
  if (watch != nullptr) return;
  watch = std::make_unique<KindWatch>(*this, KindName{group, version, kind},
                                      full);
}

bool DriftWatcher::Listed(const std::string& group,
                          const std::string& kind) const {
  const auto found = kinds_.find({group, kind});
  return found != kinds_.end() && found->second->listed();
}

void DriftWatcher::RetryNow() {
  for (auto& [name, watch] : kinds_) watch->RetryNow();
}

}  // namespace flotilla::agent
