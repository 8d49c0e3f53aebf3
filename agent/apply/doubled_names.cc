// SPDX-License-Identifier: Apache-2.0

#include "agent/apply/doubled_names.h"

#include <algorithm>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "common/kube/object.h"

namespace flotilla::agent {
namespace {

using nlohmann::json;

bool DropFrom(json* env) {
  if (!env->is_array()) return false;
  std::set<std::string> names;
  json kept = json::array();
  for (auto it = env->rbegin(); it != env->rend(); ++it) {
    const json& name = Member(*it, "name");
    if (name.is_string() && !names.insert(TextOr(name)).second) continue;
    kept.push_back(*it);
  }
  if (kept.size() == env->size()) return false;
  std::reverse(kept.begin(), kept.end());
  *env = std::move(kept);
  return true;
}

}  // namespace

bool IsForDoubledNames(const absl::Status& status) {
  return absl::StrContains(status.message(), "duplicate entries for key");
}

bool DropDoubledNames(json* object) {
  bool changed = false;
  if (object->is_array()) {
    for (json& item : *object) changed = DropDoubledNames(&item) || changed;
    return changed;
  }
  if (!object->is_object()) return false;
  for (const char* list : {"containers", "initContainers"}) {
    const auto containers = object->find(list);
    if (containers == object->end() || !containers->is_array()) continue;
    for (json& container : *containers) {
      if (!container.is_object()) continue;
      const auto env = container.find("env");
      if (env != container.end()) changed = DropFrom(&*env) || changed;
    }
  }
  for (json& part : *object) changed = DropDoubledNames(&part) || changed;
  return changed;
}

}  // namespace flotilla::agent
