// SPDX-License-Identifier: Apache-2.0
//
// What changes between two sets of Kubernetes objects, for people and as JSON.
// Values of Secrets are never shown.

#ifndef FLOTILLA_TOOLS_CTL_OBJECT_DIFF_H_
#define FLOTILLA_TOOLS_CTL_OBJECT_DIFF_H_

#include <string>
#include <vector>

#include "nlohmann/json.hpp"

namespace flotilla::ctl {

struct ObjectChange {
  enum class Kind { kAdded, kRemoved, kChanged };
  Kind kind = Kind::kChanged;
  std::string api_version;
  std::string object_kind;
  std::string object_namespace;
  std::string name;
  // RFC 6902 from old to new, each with "old" besides; of kChanged only.
  nlohmann::json operations = nlohmann::json::array();
};

// Sorted by namespace, kind and name. An object is known by group, kind,
// namespace and name; the last of equal ones counts.
std::vector<ObjectChange> DiffObjects(const std::vector<nlohmann::json>& before,
                                      const std::vector<nlohmann::json>& after);

// "+ ConfigMap ns/name", "- ...", or "~ ..." with a line for each field.
// Empty when nothing changes.
std::string DiffText(const std::vector<ObjectChange>& changes);

// A list of {change, apiVersion, kind, namespace, name, operations}.
nlohmann::json DiffJson(const std::vector<ObjectChange>& changes);

}  // namespace flotilla::ctl

#endif  // FLOTILLA_TOOLS_CTL_OBJECT_DIFF_H_
