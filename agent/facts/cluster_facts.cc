// SPDX-License-Identifier: Apache-2.0

#include "agent/facts/cluster_facts.h"

#include <algorithm>
#include <tuple>
#include <vector>

namespace flotilla::agent {

core::v1::ClusterFacts BuildFacts(const ServerVersion& version,
                                  const Discovery& discovery) {
  std::vector<const ServedKind*> kinds;
  for (const ServedKind& kind : discovery.kinds()) kinds.push_back(&kind);
  const auto name = [](const ServedKind* kind) {
    return std::tie(kind->group, kind->version, kind->kind);
  };
  std::stable_sort(kinds.begin(), kinds.end(),
                   [&](const ServedKind* a, const ServedKind* b) {
                     return name(a) < name(b);
                   });
  core::v1::ClusterFacts facts;
  facts.set_kube_version(version.git_version);
  const ServedKind* last = nullptr;
  for (const ServedKind* kind : kinds) {
    if (last != nullptr && name(last) == name(kind)) continue;
    last = kind;
    core::v1::KindFact* fact = facts.add_kinds();
    fact->set_group(kind->group);
    fact->set_version(kind->version);
    fact->set_kind(kind->kind);
    fact->set_plural(kind->plural);
    fact->set_namespaced(kind->namespaced);
  }
  return facts;
}

}  // namespace flotilla::agent
