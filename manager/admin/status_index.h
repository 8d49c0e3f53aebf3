// SPDX-License-Identifier: Apache-2.0
//
// StatusIndex is the StatusSource of a running manager: it folds everything
// again some time after something changed, and tells which objects have another
// status now. Bursts come to one fold.

#ifndef FLOTILLA_MANAGER_ADMIN_STATUS_INDEX_H_
#define FLOTILLA_MANAGER_ADMIN_STATUS_INDEX_H_

#include <map>
#include <memory>
#include <string>
#include <tuple>

#include "absl/time/time.h"
#include "common/event/loop.h"
#include "manager/admin/read_model.h"
#include "manager/status/status_source.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {

// Loop-affine.
class StatusIndex final : public StatusSource {
 public:
  // How long a burst is waited for.
  static constexpr absl::Duration kDelay = absl::Milliseconds(300);
  // Whether an agent is there is no record: it is looked at this often.
  static constexpr absl::Duration kGlance = absl::Seconds(10);

  // Both must outlive it.
  StatusIndex(Loop& loop, const ReadModel& model);
  StatusIndex(const StatusIndex&) = delete;
  StatusIndex& operator=(const StatusIndex&) = delete;

  // Something that the read model reads has changed.
  void OnChange();

  bool ready() const override { return model_.loaded(); }
  nlohmann::json StatusOf(const StatusSubject& subject) const override;
  void Listen(StatusSource::OnChange on_change) override;

 private:
  // Kind, workspace, name.
  using Key = std::tuple<std::string, std::string, std::string>;

  void Fold();
  std::map<Key, nlohmann::json> Compute() const;

  // Collaborators. Not owned.
  const ReadModel& model_;

  // Loop state.
  StatusSource::OnChange on_change_;
  std::map<Key, nlohmann::json> statuses_;
  bool dirty_ = false;
  std::unique_ptr<Timer> timer_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_ADMIN_STATUS_INDEX_H_
