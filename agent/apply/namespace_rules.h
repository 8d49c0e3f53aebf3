// SPDX-License-Identifier: Apache-2.0
//
// What bundles want of the labels and annotations of a namespace (spec 6.8),
// and what has to be done for it. A map that is wanted is exact: what is more
// is taken away, except what Kubernetes and Pod Security own, our own marks,
// and what the Namespace object of a bundle sets itself.

#ifndef FLOTILLA_AGENT_APPLY_NAMESPACE_RULES_H_
#define FLOTILLA_AGENT_APPLY_NAMESPACE_RULES_H_

#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/kube/kube_client.h"
#include "common/labels/label_selector.h"
#include "flotilla/core/v1/core.pb.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {

// A namespace as it is.
//
// Thread-compatible.
struct LiveNamespace {
  std::string uid;
  std::string resource_version;
  bool deleting = false;
  LabelMap labels;
  LabelMap annotations;
  // Keys that our field manager has applied: those of a bundle's own
  // Namespace object.
  std::set<std::string> applied_labels;
  std::set<std::string> applied_annotations;

  // Apart from the version.
  bool SameAs(const LiveNamespace& other) const;
};

// Of whole or metadata-only objects; odd shapes count as absent.
LiveNamespace ReadNamespace(const KubeObject& object);

// What a bundle wants; an empty map: nothing.
//
// Thread-compatible.
struct NamespaceWish {
  LabelMap labels;
  LabelMap annotations;

  bool empty() const { return labels.empty() && annotations.empty(); }
  bool operator==(const NamespaceWish& other) const {
    return labels == other.labels && annotations == other.annotations;
  }
};

NamespaceWish WishOf(const core::v1::DeployPolicy& policy);

// Whether both can be had at once.
bool Agree(const NamespaceWish& a, const NamespaceWish& b);

// What is to be done.
//
// Thread-compatible.
struct NamespaceChange {
  // A merge patch; null when nothing differs.
  nlohmann::json patch;
  // The differences: path, operation, wanted, live.
  std::vector<core::v1::DriftRecord> records;
  // Keys that the Namespace object of a bundle sets to something else.
  std::vector<std::string> contested;
};

// `has_owner`: the Namespace object is itself part of a bundle.
NamespaceChange CompareNamespace(const NamespaceWish& wish,
                                 const LiveNamespace& live, bool has_owner);

// One that is never deleted: default, kube-*, cattle-*, fleet-*.
bool IsProtectedNamespace(absl::string_view name,
                          absl::string_view agent_namespace);

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_APPLY_NAMESPACE_RULES_H_
