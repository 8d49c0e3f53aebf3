// SPDX-License-Identifier: Apache-2.0

#include "agent/report/report_coalescer.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/crypto/sha256.h"
#include "common/kube/object.h"
#include "flotilla/core/v1/core.pb.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

namespace flotilla::agent {
namespace {

using core::v1::DeploymentState;
using core::v1::DriftRecord;
using core::v1::ResourceStatus;

constexpr double kBurst = 5;
// Remembered for their counts; the rest starts at one again.
constexpr size_t kMaxDrift = 2000;

std::string Deterministic(const google::protobuf::MessageLite& message) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&coded);
  }
  return bytes;
}

std::string DigestOfResource(ResourceStatus status) {
  status.clear_since();
  status.clear_corrections();
  return Sha256(Deterministic(status));
}

}  // namespace

bool ReportCoalescer::Bucket::Take(absl::Duration now) {
  if (Wait(now) > absl::ZeroDuration()) return false;
  if (filled != -absl::InfiniteDuration()) {
    tokens = std::min(kBurst, tokens + absl::ToDoubleSeconds(now - filled));
  }
  filled = now;
  tokens -= 1;
  return true;
}

absl::Duration ReportCoalescer::Bucket::Wait(absl::Duration now) const {
  if (filled == -absl::InfiniteDuration()) return absl::ZeroDuration();
  const double have = tokens + absl::ToDoubleSeconds(now - filled);
  return have >= 1 ? absl::ZeroDuration()
                   : absl::Seconds(1 - have) + absl::Microseconds(1);
}

std::string ReportCoalescer::DigestOf(const Bundle& bundle, bool as_sent) {
  DeploymentState state = bundle.state;
  state.clear_state_digest();
  state.clear_report_version();
  state.clear_phase_time();
  state.clear_apply_duration();
  std::string bytes = Sha256(Deterministic(state));
  for (const auto& [id, resource] : bundle.resources) {
    bytes += as_sent ? resource.sent_digest : resource.digest;
  }
  return Sha256(bytes);
}

bool ReportCoalescer::StateDiffers(const Bundle& bundle) const {
  return bundle.has_state &&
         DigestOf(bundle, /*as_sent=*/true) != bundle.sent_digest;
}

bool ReportCoalescer::PhaseDiffers(const Bundle& bundle) const {
  return bundle.has_state &&
         (bundle.sent_digest.empty() ||
          bundle.state.phase() != bundle.sent_phase ||
          bundle.state.generation() != bundle.sent_generation);
}

void ReportCoalescer::SetState(DeploymentState state) {
  Bundle& bundle = bundles_[state.bundle_id()];
  bundle.state = std::move(state);
  const bool first = !bundle.has_state;
  bundle.has_state = true;
  if (first && open_) {
    const auto known = known_.find(bundle.state.bundle_id());
    if (known != known_.end() &&
        known->second == DigestOf(bundle, /*as_sent=*/false)) {
      for (auto& [id, resource] : bundle.resources) {
        resource.sent_digest = resource.digest;
      }
      bundle.sent_digest = known->second;
      bundle.sent_phase = bundle.state.phase();
      bundle.sent_generation = bundle.state.generation();
      bundle.dirty.clear();
      return;
    }
  }
  dirty_.insert(bundle.state.bundle_id());
}

void ReportCoalescer::SetResource(ResourceStatus status) {
  Bundle& bundle = bundles_[status.bundle_id()];
  const ObjectIdentity id = IdentityOf(status.key());
  Resource& resource = bundle.resources[id];
  bundle.gone.erase(id);
  bundle.gone_due.erase(id);
  std::string digest = DigestOfResource(status);
  const std::string bundle_id = status.bundle_id();
  resource.status = std::move(status);
  resource.digest = std::move(digest);
  if (resource.digest == resource.sent_digest &&
      resource.status.corrections() <= resource.sent_corrections) {
    bundle.dirty.erase(id);
    return;
  }
  bundle.dirty.insert(id);
  dirty_.insert(bundle_id);
}

void ReportCoalescer::RemoveResource(const std::string& bundle_id,
                                     const core::v1::ResourceKey& key) {
  const auto found = bundles_.find(bundle_id);
  if (found == bundles_.end()) return;
  Bundle& bundle = found->second;
  const ObjectIdentity id = IdentityOf(key);
  bundle.resources.erase(id);
  bundle.dirty.erase(id);
  bundle.gone[id] = key;
  bundle.gone_due.insert(id);
  dirty_.insert(bundle_id);
}

void ReportCoalescer::RemoveBundle(const std::string& bundle_id) {
  bundles_.erase(bundle_id);
  dirty_.erase(bundle_id);
}

void ReportCoalescer::AddDrift(DriftRecord record) {
  const DriftKey key{record.bundle_id(), IdentityOf(record.key()),
                     record.path(), record.field_manager(),
                     record.operation()};
  if (drift_.size() >= kMaxDrift && drift_.count(key) == 0) {
    // Of the others one that is not waiting to be sent makes room.
    auto victim = std::find_if(drift_.begin(), drift_.end(), [](const auto& d) {
      return !d.second.pending && d.second.seq == 0;
    });
    if (victim == drift_.end()) victim = drift_.begin();
    drift_pending_.erase(victim->first);
    drift_.erase(victim);
  }
  Drift& drift = drift_[key];
  const DriftRecord earlier = std::move(drift.record);
  drift.record = std::move(record);
  if (earlier.count() > 0) {
    *drift.record.mutable_first_seen_time() = earlier.first_seen_time();
  }
  drift.record.set_count(earlier.count() + 1);
  drift.pending = true;
  drift_pending_.insert(key);
}

std::vector<std::string> ReportCoalescer::Open(
    const std::vector<std::pair<std::string, std::string>>& known,
    uint64_t epoch) {
  Close();
  open_ = true;
  epoch_ = epoch;
  reports_ = 0;
  known_.clear();
  for (const auto& [bundle_id, digest] : known) known_[bundle_id] = digest;
  std::vector<std::string> equal;
  for (auto& [bundle_id, bundle] : bundles_) {
    const auto found = known_.find(bundle_id);
    const bool same = bundle.has_state && found != known_.end() &&
                      found->second == DigestOf(bundle, /*as_sent=*/false);
    bundle.dirty.clear();
    bundle.gone_due.clear();
    bundle.sent_digest = same ? found->second : std::string();
    bundle.sent_phase = bundle.state.phase();
    bundle.sent_generation = bundle.state.generation();
    bundle.bucket = Bucket();
    for (auto& [id, resource] : bundle.resources) {
      resource.sent_digest = same ? resource.digest : std::string();
      resource.bucket = Bucket();
      if (!same) bundle.dirty.insert(id);
    }
    if (same) {
      bundle.gone.clear();
      dirty_.erase(bundle_id);
      for (const auto& [id, resource] : bundle.resources) {
        if (resource.status.corrections() > resource.sent_corrections) {
          bundle.dirty.insert(id);
          dirty_.insert(bundle_id);
        }
      }
      equal.push_back(bundle_id);
      continue;
    }
    for (const auto& [id, key] : bundle.gone) bundle.gone_due.insert(id);
    dirty_.insert(bundle_id);
  }
  return equal;
}

void ReportCoalescer::Close() {
  open_ = false;
  known_.clear();
  taken_ = Taken();
  unacknowledged_.clear();
  for (auto& [key, drift] : drift_) {
    if (drift.seq != 0) {
      drift.seq = 0;
      drift.pending = true;
      drift_pending_.insert(key);
    }
  }
}

std::vector<ResourceStatus> ReportCoalescer::TakeResources(absl::Duration now,
                                                           size_t max) {
  constexpr size_t kMaxBytes = 200 << 10;
  std::vector<ResourceStatus> taken;
  size_t bytes = 0;
  if (!open_) return taken;
  const auto full = [&] { return taken.size() >= max || bytes >= kMaxBytes; };
  for (const std::string& bundle_id : dirty_) {
    Bundle& bundle = bundles_[bundle_id];
    if (!bundle.has_state) continue;
    for (auto it = bundle.gone_due.begin();
         it != bundle.gone_due.end() && !full();) {
      ResourceStatus status;
      status.set_bundle_id(bundle_id);
      *status.mutable_key() = bundle.gone[*it];
      status.set_removed(true);
      bytes += status.ByteSizeLong();
      taken.push_back(std::move(status));
      taken_.gone.emplace_back(bundle_id, *it);
      it = bundle.gone_due.erase(it);
    }
    for (auto it = bundle.dirty.begin();
         it != bundle.dirty.end() && !full();) {
      Resource& resource = bundle.resources[*it];
      if (!resource.bucket.Take(now)) {
        ++it;
        continue;
      }
      resource.sent_digest = resource.digest;
      resource.sent_corrections = resource.status.corrections();
      bytes += resource.status.ByteSizeLong();
      taken.push_back(resource.status);
      it = bundle.dirty.erase(it);
    }
    if (full()) break;
  }
  return taken;
}

std::vector<DeploymentState> ReportCoalescer::TakeStates(absl::Duration now,
                                                         size_t max) {
  std::vector<DeploymentState> taken;
  if (!open_) return taken;
  std::vector<std::string> clean;
  for (const std::string& bundle_id : dirty_) {
    if (taken.size() >= max) break;
    Bundle& bundle = bundles_[bundle_id];
    if (!bundle.has_state) continue;
    std::string digest = DigestOf(bundle, /*as_sent=*/true);
    if (digest != bundle.sent_digest) {
      const bool urgent = PhaseDiffers(bundle);
      if (!bundle.bucket.Take(now) && !urgent) continue;
      DeploymentState state = bundle.state;
      state.set_state_digest(digest);
      state.set_report_version(epoch_ << 32 | ++reports_);
      bundle.sent_digest = std::move(digest);
      bundle.sent_phase = state.phase();
      bundle.sent_generation = state.generation();
      taken.push_back(std::move(state));
    }
    if (bundle.dirty.empty() && bundle.gone_due.empty()) {
      clean.push_back(bundle_id);
    }
  }
  for (const std::string& bundle_id : clean) dirty_.erase(bundle_id);
  return taken;
}

std::vector<DriftRecord> ReportCoalescer::TakeDrift(absl::Duration now,
                                                    size_t max) {
  std::vector<DriftRecord> taken;
  if (!open_) return taken;
  for (auto it = drift_pending_.begin();
       it != drift_pending_.end() && taken.size() < max;) {
    Drift& drift = drift_[*it];
    if (!drift.bucket.Take(now)) {
      ++it;
      continue;
    }
    drift.pending = false;
    taken.push_back(drift.record);
    taken_.drift.push_back(*it);
    it = drift_pending_.erase(it);
  }
  return taken;
}

void ReportCoalescer::Sent(uint64_t seq) {
  for (const DriftKey& key : taken_.drift) drift_[key].seq = seq;
  unacknowledged_[seq] = std::move(taken_);
  taken_ = Taken();
}

void ReportCoalescer::Acknowledge(uint64_t seq) {
  while (!unacknowledged_.empty() && unacknowledged_.begin()->first <= seq) {
    const Taken& taken = unacknowledged_.begin()->second;
    for (const auto& [bundle_id, id] : taken.gone) {
      const auto bundle = bundles_.find(bundle_id);
      if (bundle != bundles_.end() && bundle->second.gone_due.count(id) == 0) {
        bundle->second.gone.erase(id);
      }
    }
    for (const DriftKey& key : taken.drift) {
      const auto drift = drift_.find(key);
      if (drift != drift_.end() && drift->second.seq <= seq) {
        drift->second.seq = 0;
      }
    }
    unacknowledged_.erase(unacknowledged_.begin());
  }
}

absl::Duration ReportCoalescer::NextDue(absl::Duration now) const {
  absl::Duration wait = absl::InfiniteDuration();
  if (!open_) return wait;
  for (const std::string& bundle_id : dirty_) {
    const auto found = bundles_.find(bundle_id);
    if (found == bundles_.end() || !found->second.has_state) continue;
    const Bundle& bundle = found->second;
    if (!bundle.gone_due.empty() || PhaseDiffers(bundle)) {
      return absl::ZeroDuration();
    }
    for (const ObjectIdentity& id : bundle.dirty) {
      wait = std::min(wait, bundle.resources.at(id).bucket.Wait(now));
    }
    if (StateDiffers(bundle)) wait = std::min(wait, bundle.bucket.Wait(now));
  }
  for (const DriftKey& key : drift_pending_) {
    wait = std::min(wait, drift_.at(key).bucket.Wait(now));
  }
  return wait;
}

bool ReportCoalescer::HasPhaseChange() const {
  return std::any_of(dirty_.begin(), dirty_.end(), [this](const auto& id) {
    const auto found = bundles_.find(id);
    return found != bundles_.end() && PhaseDiffers(found->second);
  });
}

}  // namespace flotilla::agent
