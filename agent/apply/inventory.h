// SPDX-License-Identifier: Apache-2.0
//
// Inventory is what we own in the cluster, object by object: the memory image
// of what agent/cache keeps on disk. An entry is written durably before the
// first request that could create its object, and removed only when the object
// is known to be gone; so nothing that we made is ever forgotten.

#ifndef FLOTILLA_AGENT_APPLY_INVENTORY_H_
#define FLOTILLA_AGENT_APPLY_INVENTORY_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/strings/string_view.h"
#include "common/kube/object.h"
#include "flotilla/agentstate/v1/agentstate.pb.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::agent {

// Thread-compatible.
class Inventory {
 public:
  using Entry = agentstate::v1::InventoryEntry;

  // Adds or replaces the entry of its object.
  void Put(Entry entry);
  void Remove(const ObjectIdentity& id);

  // nullptr when it is not ours.
  const Entry* Find(const ObjectIdentity& id) const;
  const Entry* Find(const core::v1::ResourceKey& key) const {
    return Find(IdentityOf(key));
  }

  // Those of one bundle, by identity.
  std::vector<const Entry*> OfBundle(absl::string_view bundle_id) const;

  size_t size() const { return entries_.size(); }
  const absl::btree_map<ObjectIdentity, Entry>& entries() const {
    return entries_;
  }

 private:
  void Unlink(const std::string& bundle_id, const ObjectIdentity& id);

  absl::btree_map<ObjectIdentity, Entry> entries_;
  // Bundle -> its objects.
  absl::btree_map<std::string, absl::btree_set<ObjectIdentity>> by_bundle_;
};

// The entries to write before `wanted` of `bundle_id` is applied: those of
// objects that are not in `inventory`, or are there for another bundle. What is
// known of an object (UID, what was applied) is kept. Entries that need no
// change are left out.
std::vector<Inventory::Entry> EntriesToClaim(
    const Inventory& inventory, absl::string_view bundle_id,
    uint64_t generation,
    const std::vector<const core::v1::ManifestEntry*>& wanted);

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_APPLY_INVENTORY_H_
