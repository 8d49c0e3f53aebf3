// SPDX-License-Identifier: Apache-2.0

#include "agent/apply/service_accounts.h"

#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/log/log.h"

namespace flotilla::agent {
namespace {

constexpr size_t kMaxName = 253;

Backoff::Options RetryOptions() {
  Backoff::Options options;
  options.minimum = absl::Milliseconds(20);
  options.initial = absl::Milliseconds(200);
  options.maximum = absl::Seconds(15);
  return options;
}

// A DNS subdomain, so that the name can mean nothing else in a header.
bool IsAccountName(absl::string_view name) {
  if (name.empty() || name.size() > kMaxName) return false;
  for (const char c : name) {
    if (!absl::ascii_islower(static_cast<unsigned char>(c)) &&
        !absl::ascii_isdigit(static_cast<unsigned char>(c)) && c != '-' &&
        c != '.') {
      return false;
    }
  }
  const auto is_edge = [](char c) { return c == '-' || c == '.'; };
  return !is_edge(name.front()) && !is_edge(name.back());
}

}  // namespace

ServiceAccounts::ServiceAccounts(KubeClient& client, Loop& loop,
                                 Random& random, std::string agent_namespace,
                                 absl::AnyInvocable<void()> on_change)
    : namespace_(std::move(agent_namespace)),
      client_(client),
      random_(random),
      on_change_(std::move(on_change)),
      backoff_(RetryOptions()),
      open_timer_(loop.CreateTimer([this] { Open(); })),
      change_timer_(loop.CreateTimer([this] { on_change_(); })) {
  open_timer_->Arm(absl::ZeroDuration());
}

ActingUser ServiceAccounts::Resolve(absl::string_view name) const {
  if (!name.empty() && !IsAccountName(name)) {
    return absl::FailedPreconditionError(
        "serviceAccount is no name of a service account: it has lower case "
        "letters, digits, '-' and '.', and no white space");
  }
  if (!listed_) {
    if (trouble_.ok()) {
      return absl::FailedPreconditionError(absl::StrCat(
          "the service accounts of namespace ", namespace_,
          " are not known yet"));
    }
    return absl::FailedPreconditionError(absl::StrCat(
        "the agent cannot see the service accounts of namespace ", namespace_,
        ", so it does not know under which one to deploy: ",
        trouble_.message(), ". It needs the rights to list and watch them"));
  }
  const bool given = !name.empty();
  const std::string account(given ? name : kDefaultServiceAccount);
  if (names_.count(account) == 0) {
    if (!given) return std::string();
    return absl::FailedPreconditionError(absl::StrCat(
        "service account ", account, " does not exist in namespace ",
        namespace_, " of this cluster; create it, or take serviceAccount out "
                    "of the bundle's options"));
  }
  return absl::StrCat("system:serviceaccount:", namespace_, ":", account);
}

void ServiceAccounts::Open() {
  if (watch_ != nullptr) return;
  WatchRequest request;
  request.kind = KindName{"", "v1", "ServiceAccount"};
  request.ns = namespace_;
  request.resource_version = resume_from_;
  fresh_ = resume_from_.empty();
  listing_.clear();
  watch_ = client_.Watch(std::move(request), *this);
}

void ServiceAccounts::OnSync(Sync sync) {
  backoff_.Reset();
  trouble_ = absl::OkStatus();
  if (sync == Sync::kCompleteSet) {
    const bool changed = !listed_ || names_ != listing_;
    names_ = std::move(listing_);
    listing_.clear();
    listed_ = true;
    if (changed) change_timer_->Arm(absl::ZeroDuration());
  }
  fresh_ = false;
}

void ServiceAccounts::OnEvent(WatchEvent event) {
  const std::string& name = event.object.head.name;
  if (fresh_) {
    listing_.insert(name);
    return;
  }
  const bool changed = event.type == WatchEvent::Type::kDeleted
                           ? names_.erase(name) > 0
                           : names_.insert(name).second;
  if (changed && !change_timer_->armed()) {
    change_timer_->Arm(absl::Milliseconds(10));
  }
}

void ServiceAccounts::OnClosed(absl::Status status) {
  resume_from_ = status.ok() && watch_ != nullptr && !fresh_
                     ? watch_->resource_version()
                     : std::string();
  watch_.reset();
  if (status.ok()) {
    open_timer_->Arm(absl::Milliseconds(100));
    return;
  }
  FLOTILLA_LOG_EVERY(WARNING, absl::Seconds(30))
      << "watch of ServiceAccount in " << namespace_ << ": "
      << status.message();
  // What was known stays: without the API server nothing is sent anyway.
  const bool first = !settled();
  trouble_ = status;
  if (first) change_timer_->Arm(absl::ZeroDuration());
  open_timer_->Arm(
      backoff_.Next(random_.Uniform(Backoff::kRandomBound)));
}

}  // namespace flotilla::agent
