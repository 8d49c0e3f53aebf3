// SPDX-License-Identifier: Apache-2.0

#include "agent/apply/inventory.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/kube/object.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::agent {

void Inventory::Put(Entry entry) {
  const ObjectIdentity id = IdentityOf(entry.key());
  Entry& known = entries_[id];
  if (known.bundle_id() != entry.bundle_id()) {
    Unlink(known.bundle_id(), id);
  }
  by_bundle_[entry.bundle_id()].insert(id);
  known = std::move(entry);
}

void Inventory::Remove(const ObjectIdentity& id) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return;
  Unlink(found->second.bundle_id(), id);
  entries_.erase(found);
}

void Inventory::Unlink(const std::string& bundle_id, const ObjectIdentity& id) {
  const auto found = by_bundle_.find(bundle_id);
  if (found == by_bundle_.end()) return;
  found->second.erase(id);
  if (found->second.empty()) by_bundle_.erase(found);
}

const Inventory::Entry* Inventory::Find(const ObjectIdentity& id) const {
  const auto found = entries_.find(id);
  return found == entries_.end() ? nullptr : &found->second;
}

std::vector<const Inventory::Entry*> Inventory::OfBundle(
    absl::string_view bundle_id) const {
  std::vector<const Entry*> found;
  const auto ids = by_bundle_.find(std::string(bundle_id));
  if (ids == by_bundle_.end()) return found;
  for (const ObjectIdentity& id : ids->second) {
    found.push_back(&entries_.at(id));
  }
  return found;
}

std::vector<Inventory::Entry> EntriesToClaim(
    const Inventory& inventory, absl::string_view bundle_id,
    uint64_t generation,
    const std::vector<const core::v1::ManifestEntry*>& wanted) {
  std::vector<Inventory::Entry> claims;
  for (const core::v1::ManifestEntry* want : wanted) {
    const Inventory::Entry* known = inventory.Find(want->key());
    if (known != nullptr && known->bundle_id() == bundle_id &&
        known->keep() == want->keep() &&
        known->ensure_namespace() == want->ensure_namespace()) {
      continue;
    }
    Inventory::Entry claim;
    if (known != nullptr) claim = *known;
    *claim.mutable_key() = want->key();
    claim.set_bundle_id(std::string(bundle_id));
    claim.set_generation(generation);
    claim.set_keep(want->keep());
    claim.set_ensure_namespace(want->ensure_namespace());
    claims.push_back(std::move(claim));
  }
  return claims;
}

}  // namespace flotilla::agent
