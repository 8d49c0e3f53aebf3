// SPDX-License-Identifier: Apache-2.0
//
// The `status` of Fleet's objects as JSON (spec.md sections 1 and 7), and word
// of when one may have changed. An interface between those who fold and those
// who show: the management cluster's front end and the admin API.

#ifndef FLOTILLA_MANAGER_STATUS_STATUS_SOURCE_H_
#define FLOTILLA_MANAGER_STATUS_STATUS_SOURCE_H_

#include <cstddef>
#include <functional>
#include <string>
#include <tuple>

#include "nlohmann/json.hpp"

namespace flotilla::manager {

// A document by name. `kind` is GitRepo, HelmOp, Bundle, Cluster or
// ClusterGroup.
struct StatusSubject {
  std::string kind;
  std::string workspace;
  std::string name;

  friend bool operator==(const StatusSubject& a, const StatusSubject& b) {
    return std::tie(a.kind, a.workspace, a.name) ==
           std::tie(b.kind, b.workspace, b.name);
  }
  friend bool operator<(const StatusSubject& a, const StatusSubject& b) {
    return std::tie(a.kind, a.workspace, a.name) <
           std::tie(b.kind, b.workspace, b.name);
  }
};

// Of a status in bytes, for any number of clusters.
inline constexpr size_t kMaxStatusBytes = 50 << 10;

// Loop-affine.
class StatusSource {
 public:
  using OnChange = std::function<void(const StatusSubject&)>;

  virtual ~StatusSource() = default;

  // Whether everything stored is known. Until then nothing is said.
  virtual bool ready() const = 0;

  // The `status` of one object: so small that whoever shows it can add the
  // times of conditions and stay below kMaxStatusBytes. The same state gives
  // the same bytes. Null when there is no such object.
  virtual nlohmann::json StatusOf(const StatusSubject& subject) const = 0;

  // `on_change` runs on the loop for each subject whose status may have
  // changed since; once for each object when everything is known first. One
  // listener at a time.
  virtual void Listen(OnChange on_change) = 0;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STATUS_STATUS_SOURCE_H_
