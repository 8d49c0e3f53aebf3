// SPDX-License-Identifier: Apache-2.0
//
// The `status` of Fleet's objects as JSON (spec.md sections 1 and 7), and word
// of when one may have changed. An interface between those who fold and those
// who show: the management cluster's front end and the admin API.

#ifndef FLOTILLA_MANAGER_STATUS_STATUS_SOURCE_H_
#define FLOTILLA_MANAGER_STATUS_STATUS_SOURCE_H_

#include <functional>
#include <string>

#include "nlohmann/json.hpp"

namespace flotilla::manager {

// A document by name. `kind` is GitRepo, HelmOp, Bundle, Cluster or
// ClusterGroup.
struct StatusSubject {
  std::string kind;
  std::string workspace;
  std::string name;
};

// Loop-affine.
class StatusSource {
 public:
  using OnChange = std::function<void(const StatusSubject&)>;

  virtual ~StatusSource() = default;

  // Whether everything stored is known. Until then nothing is said.
  virtual bool ready() const = 0;

  // The `status` of one object, bounded in size: at most 50 KiB with 1,000
  // clusters. The same state gives the same bytes; times are those of changes.
  // Null when there is no such object.
  virtual nlohmann::json StatusOf(const StatusSubject& subject) const = 0;

  // `on_change` runs on the loop for each subject whose status may have
  // changed since; once for each object when everything is known first. One
  // listener at a time.
  virtual void Listen(OnChange on_change) = 0;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STATUS_STATUS_SOURCE_H_
