// SPDX-License-Identifier: Apache-2.0
//
// StatusIndex is the StatusSource of a running manager. Some time after
// something changed it makes the statuses of what was touched, and no others,
// and tells which are others now. Bursts come to one.

#ifndef FLOTILLA_MANAGER_ADMIN_STATUS_INDEX_H_
#define FLOTILLA_MANAGER_ADMIN_STATUS_INDEX_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/time/time.h"
#include "common/env/clock.h"
#include "common/event/loop.h"
#include "manager/admin/fleet_status.h"
#include "manager/admin/read_model.h"
#include "manager/status/status_source.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {

// Loop-affine.
class StatusIndex final : public StatusSource {
 public:
  // How long a burst is waited for.
  static constexpr absl::Duration kDelay = absl::Milliseconds(300);

  // All must outlive it.
  StatusIndex(Loop& loop, const Clock& clock, ReadModel& model);
  StatusIndex(const StatusIndex&) = delete;
  StatusIndex& operator=(const StatusIndex&) = delete;

  // The status of `subject` may be another now.
  void OnChange(const StatusSubject& subject);
  // Everything that agents said of single objects before has been read. Until
  // then nothing is said.
  void OnResourcesLoaded();

  bool ready() const override { return resources_loaded_ && model_.loaded(); }
  nlohmann::json StatusOf(const StatusSubject& subject) const override;
  void Listen(StatusSource::OnChange on_change) override;

 private:
  void Fold();
  void CheckIn();
  void ArmCheckIn();
  // Null when there is no such object.
  nlohmann::json Compute(const StatusSubject& subject) const;
  StatusParts PartsOf(const DeploymentTally& tally) const;
  int64_t GenerationOf(const StatusSubject& subject) const;

  // Collaborators. Not owned.
  const Clock& clock_;
  ReadModel& model_;

  // Loop state.
  StatusSource::OnChange on_change_;
  bool resources_loaded_ = false;
  // As text: what was told last. Kept while somebody listens.
  std::map<StatusSubject, std::string> statuses_;
  std::set<StatusSubject> touched_;
  std::unique_ptr<Timer> timer_;
  std::unique_ptr<Timer> check_in_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_ADMIN_STATUS_INDEX_H_
