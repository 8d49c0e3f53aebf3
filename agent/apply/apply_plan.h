// SPDX-License-Identifier: Apache-2.0
//
// PlanApply decides what one deployment has to send: which objects, in which
// order, what to delete afterwards, and what it must leave alone because
// another bundle has it. Objects that are as they should be are not in the
// plan, so an unchanged deployment plans nothing.
//
// Deletions follow only from the inventory: an object that nobody wants any
// more and that is ours. Whether now is the time to delete is the caller's
// question: every assignment's manifest must be known first, or an object that
// moves to another bundle would be deleted on the way.

#ifndef FLOTILLA_AGENT_APPLY_APPLY_PLAN_H_
#define FLOTILLA_AGENT_APPLY_APPLY_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "agent/apply/inventory.h"
#include "common/kube/object.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::agent {

// Which bundles want which object.
//
// Thread-compatible.
class Claims {
 public:
  // `order` as in StoredAssignment; namespaces to ensure are nobody's.
  void Add(absl::string_view bundle_id, uint64_t order,
           const core::v1::Manifest& manifest);

  // Undoes Add() of the same `manifest`.
  void Remove(absl::string_view bundle_id, const core::v1::Manifest& manifest);

  bool Wanted(const ObjectIdentity& id) const { return claims_.count(id) > 0; }

  // The bundle that has the object: the one in the inventory while it wants
  // it, else the oldest that does. Empty: nobody wants it.
  std::string OwnerOf(const ObjectIdentity& id,
                      const Inventory& inventory) const;

  // Another bundle than `bundle_id` that wants it too; empty: none.
  std::string RivalOf(const ObjectIdentity& id,
                      absl::string_view bundle_id) const;

  // Whether a bundle other than `bundle_id` wants an object in namespace `ns`;
  // with an empty `bundle_id`, any bundle.
  bool NamespaceInUse(absl::string_view ns, absl::string_view bundle_id) const;

 private:
  struct Claim {
    uint64_t order = 0;
    std::string bundle_id;
  };
  absl::btree_map<ObjectIdentity, std::vector<Claim>> claims_;
  // Namespace -> bundles with objects in it.
  absl::btree_map<std::string, std::set<std::string>> namespaces_;
};

// Where an object's kind stands in the order of applying: Namespaces 0, CRDs
// 1, ..., webhook configurations last. Objects of one rank go at once.
int ApplyRank(absl::string_view group, absl::string_view kind);
inline constexpr int kNamespaceRank = 0;
inline constexpr int kCrdRank = 1;

// Thread-compatible.
struct PlannedPrune {
  core::v1::ResourceKey key;
  // Empty: the object was named before its first apply and may or may not
  // exist. It is ours only if it bears the bundle's mark.
  std::string uid;
  // A namespace that goes by the policy's word: no mark is asked for.
  bool unmarked = false;
};

// Thread-compatible.
struct ApplyPlan {
  // Indices into Manifest.entries, wave after wave.
  std::vector<std::vector<int>> waves;
  // So many of them go before the hooks that run before an apply: they need
  // namespaces, and Helm installs CRDs before.
  size_t waves_before_hooks = 0;
  // Entries that wait until what they depend on is healthy, and for what.
  std::vector<std::pair<int, std::string>> waiting;
  // Entries that are already as they should be.
  std::vector<int> in_sync;
  // Entries that another bundle has, with that bundle's id.
  std::vector<std::pair<int, std::string>> taken;
  // After the last wave, group after group.
  std::vector<std::vector<PlannedPrune>> prunes;
  // Entries that another bundle wants now, with that bundle's id: they become
  // its, and its own apply takes the object over.
  std::vector<std::pair<core::v1::ResourceKey, std::string>> transfers;
  // Entries to remove from the inventory without touching the object.
  std::vector<core::v1::ResourceKey> forget;
  // What was left on purpose, for people.
  std::vector<std::string> notes;
};

// Thread-compatible.
struct PlanRequest {
  absl::string_view bundle_id;
  // Empty for a tombstone.
  const core::v1::Manifest* manifest = nullptr;
  // The tombstone leaves the objects running.
  bool keep_resources = false;
  // The tombstone deletes this namespace at last; empty: none.
  absl::string_view delete_namespace;
  // Why what others depend on is not ready; empty: it is. Null: all are.
  std::function<std::string(const ObjectIdentity&)> unready;
};

// `in_sync` says of an object of the inventory that the cluster has it as it
// was last applied; `namespace_exists` that a namespace to ensure is there.
ApplyPlan PlanApply(
    const PlanRequest& request, const Inventory& inventory,
    const Claims& claims,
    absl::FunctionRef<bool(const Inventory::Entry&)> in_sync,
    absl::FunctionRef<bool(const std::string&)> namespace_exists);

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_APPLY_APPLY_PLAN_H_
