// SPDX-License-Identifier: Apache-2.0

#include "common/kube/kube_client.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace flotilla {

bool ServedKind::HasVerb(absl::string_view verb) const {
  return std::find(verbs.begin(), verbs.end(), verb) != verbs.end();
}

Discovery::Discovery(std::vector<ServedKind> kinds,
                     std::vector<std::string> stale_groups)
    : kinds_(std::move(kinds)), stale_groups_(std::move(stale_groups)) {}

const ServedKind* Discovery::Find(absl::string_view group,
                                  absl::string_view version,
                                  absl::string_view kind) const {
  for (const ServedKind& served : kinds_) {
    if (served.kind == kind && served.group == group &&
        (version.empty() || served.version == version)) {
      return &served;
    }
  }
  return nullptr;
}

bool Discovery::IsStale(absl::string_view group) const {
  return std::any_of(stale_groups_.begin(), stale_groups_.end(),
                     [group](absl::string_view stale) {
                       const size_t slash = stale.find('/');
                       return slash == absl::string_view::npos
                                  ? group.empty()
                                  : stale.substr(0, slash) == group;
                     });
}

}  // namespace flotilla
