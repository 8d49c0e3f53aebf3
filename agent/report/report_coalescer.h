// SPDX-License-Identifier: Apache-2.0
//
// ReportCoalescer holds what is true of each deployment and what the manager
// was told, and says what is due: the newest value only, and nothing that the
// manager has already. A resource may change five times at once and then once a
// second (decisions.md 15); a change of a deployment's phase is due at once.
//
// DeploymentState.state_digest is SHA-256 over the state without times, digest
// and report_version, followed by the digests of the resources that were sent
// with it or before, sorted; a resource's digest leaves out times and the count
// of corrections, whose change is told but is no part of any digest. So a
// manager that holds the digest holds all of it.

#ifndef FLOTILLA_AGENT_REPORT_REPORT_COALESCER_H_
#define FLOTILLA_AGENT_REPORT_REPORT_COALESCER_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/kube/object.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::agent {

// Thread-compatible. Times are of any clock that never goes back.
class ReportCoalescer {
 public:
  // --- What is true.

  void SetState(core::v1::DeploymentState state);
  void SetResource(core::v1::ResourceStatus status);
  // The resource is no longer part of the deployment.
  void RemoveResource(const std::string& bundle_id,
                      const core::v1::ResourceKey& key);
  // Forgets the deployment; nothing more is said of it.
  void RemoveBundle(const std::string& bundle_id);
  // Seen again at `now` (wall clock of the record is the caller's).
  void AddDrift(core::v1::DriftRecord record);

  // --- The session.

  // `known`: bundle -> state_digest at the manager. Returns the bundles that
  // are known as they are now.
  std::vector<std::string> Open(
      const std::vector<std::pair<std::string, std::string>>& known,
      uint64_t epoch);
  void Close();

  // --- What is due. What is taken counts as sent with the next Sent().

  std::vector<core::v1::ResourceStatus> TakeResources(absl::Duration now,
                                                      size_t max);
  std::vector<core::v1::DeploymentState> TakeStates(absl::Duration now,
                                                    size_t max);
  std::vector<core::v1::DriftRecord> TakeDrift(absl::Duration now, size_t max);
  // The taken resources or records went out as `seq`.
  void Sent(uint64_t seq);
  void Acknowledge(uint64_t seq);

  // When something is due: zero or less for now; InfiniteDuration for never.
  absl::Duration NextDue(absl::Duration now) const;
  // A phase that the manager was not told.
  bool HasPhaseChange() const;

 private:
  // Five at once, then one a second.
  struct Bucket {
    bool Take(absl::Duration now);
    absl::Duration Wait(absl::Duration now) const;
    double tokens = 5;
    absl::Duration filled = -absl::InfiniteDuration();
  };
  struct Resource {
    core::v1::ResourceStatus status;
    std::string digest;       // Of `status`.
    std::string sent_digest;  // Empty: not sent.
    uint32_t sent_corrections = 0;
    Bucket bucket;
  };
  struct Bundle {
    bool has_state = false;
    core::v1::DeploymentState state;
    std::map<ObjectIdentity, Resource> resources;
    // To be told as removed, until that is acknowledged.
    std::map<ObjectIdentity, core::v1::ResourceKey> gone;
    std::set<ObjectIdentity> gone_due;
    std::set<ObjectIdentity> dirty;
    std::string sent_digest;  // State digest as sent; empty: none.
    core::v1::Phase sent_phase = core::v1::PHASE_UNSPECIFIED;
    uint64_t sent_generation = 0;
    Bucket bucket;
  };
  using DriftKey = std::tuple<std::string, ObjectIdentity, std::string,
                              std::string, int>;
  struct Drift {
    core::v1::DriftRecord record;
    bool pending = false;
    uint64_t seq = 0;  // Sent and not acknowledged; 0: no.
    Bucket bucket;
  };
  struct Taken {
    std::vector<std::pair<std::string, ObjectIdentity>> gone;
    std::vector<DriftKey> drift;
  };

  static std::string DigestOf(const Bundle& bundle, bool as_sent);
  bool StateDiffers(const Bundle& bundle) const;
  bool PhaseDiffers(const Bundle& bundle) const;

  bool open_ = false;
  uint64_t epoch_ = 0;
  uint64_t reports_ = 0;
  std::map<std::string, Bundle> bundles_;
  std::set<std::string> dirty_;  // Bundles with something to say.
  std::map<std::string, std::string> known_;
  std::map<DriftKey, Drift> drift_;
  std::set<DriftKey> drift_pending_;
  Taken taken_;
  std::map<uint64_t, Taken> unacknowledged_;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_REPORT_REPORT_COALESCER_H_
