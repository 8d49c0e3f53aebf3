// SPDX-License-Identifier: Apache-2.0
//
// Reads what an API server says about the kinds it serves: the aggregated
// discovery documents (apidiscovery.k8s.io), and the older ones of which there
// is one per group version. Odd parts are skipped.

#ifndef FLOTILLA_COMMON_KUBE_DISCOVERY_DOCUMENTS_H_
#define FLOTILLA_COMMON_KUBE_DISCOVERY_DOCUMENTS_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

#include "common/kube/kube_client.h"

namespace flotilla {

// One document, read.
//
// Thread-compatible.
struct DiscoveryDocument {
  // In the server's order: a group's preferred version first.
  std::vector<ServedKind> kinds;
  // Group versions ("apps/v1") whose list is out of date or empty because the
  // server behind them does not answer.
  std::vector<std::string> stale_groups;
};

bool IsAggregatedDiscovery(const nlohmann::json& document);
DiscoveryDocument ReadAggregatedDiscovery(const nlohmann::json& document);

// The group versions that an APIVersions or APIGroupList document names,
// preferred ones first within their group.
std::vector<std::string> ReadGroupVersions(const nlohmann::json& document);

// The kinds of an APIResourceList of `api_version`.
std::vector<ServedKind> ReadResourceList(absl::string_view api_version,
                                         const nlohmann::json& document);

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_KUBE_DISCOVERY_DOCUMENTS_H_
