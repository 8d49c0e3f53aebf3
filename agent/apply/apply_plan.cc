// SPDX-License-Identifier: Apache-2.0

#include "agent/apply/apply_plan.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/kube/object.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::agent {
namespace {

using core::v1::Manifest;
using core::v1::ManifestEntry;
using core::v1::ResourceKey;

bool IsNamespace(const ResourceKey& key) {
  return key.group().empty() && key.kind() == "Namespace";
}

bool OneOf(absl::string_view kind,
           std::initializer_list<absl::string_view> kinds) {
  return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
}

// Those that the manifest needs; none of no manifest.
std::set<std::string> NamespacesOf(const Manifest* manifest) {
  std::set<std::string> used;
  if (manifest == nullptr) return used;
  for (const ManifestEntry& entry : manifest->entries()) {
    used.insert(entry.ensure_namespace() ? entry.key().name()
                                         : entry.key().namespace_());
  }
  return used;
}

// What `want` depends on that is not healthy yet; empty: nothing.
std::string WaitsFor(const PlanRequest& request, const ManifestEntry& want) {
  if (request.unready == nullptr) return "";
  for (const ResourceKey& other : want.depends_on()) {
    const std::string why = request.unready(IdentityOf(other));
    if (!why.empty()) {
      return absl::StrCat("waits for ", KeyText(other), ", which ", why);
    }
  }
  return "";
}

// Deletes the release namespace last, unless something else is in it.
void PlanNamespace(const PlanRequest& request, const Inventory& inventory,
                   const Claims& claims, ApplyPlan* plan) {
  const std::string ns(request.delete_namespace);
  if (request.manifest != nullptr || request.keep_resources || ns.empty()) {
    return;
  }
  std::string why;
  if (claims.NamespaceInUse(ns, request.bundle_id)) {
    why = "another bundle has objects in it";
  }
  for (const auto& [id, entry] : inventory.entries()) {
    if (!why.empty()) break;
    const bool within = entry.key().namespace_() == ns ||
                        (IsNamespace(entry.key()) && entry.key().name() == ns);
    if (!within) continue;
    if (entry.bundle_id() != request.bundle_id) {
      why = "another bundle has objects in it";
    } else if (entry.keep()) {
      why = "an object that is marked to be kept is in it";
    }
  }
  if (!why.empty()) {
    plan->notes.push_back(absl::StrCat("namespace ", ns, " stays: ", why));
    return;
  }
  PlannedPrune prune;
  prune.key.set_version("v1");
  prune.key.set_kind("Namespace");
  prune.key.set_name(ns);
  prune.unmarked = true;
  plan->prunes.push_back({std::move(prune)});
}

void PlanPrunes(const PlanRequest& request,
                const std::set<ObjectIdentity>& wanted,
                const Inventory& inventory, const Claims& claims,
                ApplyPlan* plan) {
  std::map<int, std::vector<PlannedPrune>> by_rank;
  const std::set<std::string> used = NamespacesOf(request.manifest);
  for (const Inventory::Entry* entry : inventory.OfBundle(request.bundle_id)) {
    const ResourceKey& key = entry->key();
    const ObjectIdentity id = IdentityOf(key);
    if (wanted.count(id) > 0) continue;
    if (claims.Wanted(id)) {
      plan->transfers.emplace_back(key, claims.OwnerOf(id, inventory));
      continue;
    }
    if (entry->ensure_namespace()) {
      plan->forget.push_back(key);
      plan->notes.push_back(
          absl::StrCat(KeyText(key), " stays: namespaces are shared"));
    } else if (entry->keep()) {
      plan->forget.push_back(key);
      plan->notes.push_back(
          absl::StrCat(KeyText(key), " stays: it is marked to be kept"));
    } else if (request.keep_resources) {
      plan->forget.push_back(key);
    } else if (IsNamespace(key) &&
               claims.NamespaceInUse(key.name(), request.bundle_id)) {
      plan->forget.push_back(key);
      plan->notes.push_back(absl::StrCat(
          KeyText(key), " stays: another bundle has objects in it"));
    } else if (IsNamespace(key) && used.count(key.name()) > 0) {
      // What the bundle goes on to have in it would be deleted with it.
      plan->forget.push_back(key);
      plan->notes.push_back(absl::StrCat(
          KeyText(key), " stays: the bundle has objects in it"));
    } else {
      by_rank[-ApplyRank(key.group(), key.kind())].push_back(
          {key, entry->uid()});
    }
  }
  for (auto& [rank, prunes] : by_rank) {
    plan->prunes.push_back(std::move(prunes));
  }
  PlanNamespace(request, inventory, claims, plan);
  if (request.keep_resources && !plan->forget.empty()) {
    plan->notes.push_back("the objects stay: keepResources is set");
  }
}

}  // namespace

void Claims::Add(absl::string_view bundle_id, uint64_t order,
                 const Manifest& manifest) {
  for (const ManifestEntry& entry : manifest.entries()) {
    if (!entry.ensure_namespace()) {
      std::vector<Claim>& claims = claims_[IdentityOf(entry.key())];
      claims.push_back({order, std::string(bundle_id)});
      std::sort(claims.begin(), claims.end(),
                [](const Claim& a, const Claim& b) {
                  return std::tie(a.order, a.bundle_id) <
                         std::tie(b.order, b.bundle_id);
                });
    }
    const std::string& ns = entry.ensure_namespace()
                                ? entry.key().name()
                                : entry.key().namespace_();
    if (!ns.empty()) namespaces_[ns].insert(std::string(bundle_id));
  }
}

void Claims::Remove(absl::string_view bundle_id, const Manifest& manifest) {
  for (const ManifestEntry& entry : manifest.entries()) {
    if (const auto found = claims_.find(IdentityOf(entry.key()));
        found != claims_.end()) {
      std::vector<Claim>& claims = found->second;
      claims.erase(std::remove_if(claims.begin(), claims.end(),
                                  [&](const Claim& claim) {
                                    return claim.bundle_id == bundle_id;
                                  }),
                   claims.end());
      if (claims.empty()) claims_.erase(found);
    }
    const auto found =
        namespaces_.find(entry.ensure_namespace() ? entry.key().name()
                                                  : entry.key().namespace_());
    if (found == namespaces_.end()) continue;
    found->second.erase(std::string(bundle_id));
    if (found->second.empty()) namespaces_.erase(found);
  }
}

std::string Claims::OwnerOf(const ObjectIdentity& id,
                            const Inventory& inventory) const {
  const auto found = claims_.find(id);
  if (found == claims_.end()) return "";
  if (const Inventory::Entry* entry = inventory.Find(id)) {
    for (const Claim& claim : found->second) {
      if (claim.bundle_id == entry->bundle_id()) return claim.bundle_id;
    }
  }
  return found->second.front().bundle_id;
}

std::string Claims::RivalOf(const ObjectIdentity& id,
                            absl::string_view bundle_id) const {
  const auto found = claims_.find(id);
  if (found == claims_.end()) return "";
  for (const Claim& claim : found->second) {
    if (claim.bundle_id != bundle_id) return claim.bundle_id;
  }
  return "";
}

bool Claims::NamespaceInUse(absl::string_view ns,
                            absl::string_view bundle_id) const {
  const auto found = namespaces_.find(std::string(ns));
  if (found == namespaces_.end()) return false;
  return std::any_of(
      found->second.begin(), found->second.end(),
      [&](const std::string& user) { return user != bundle_id; });
}

int ApplyRank(absl::string_view group, absl::string_view kind) {
  if (group.empty() && kind == "Namespace") return kNamespaceRank;
  if (group == "apiextensions.k8s.io" && kind == "CustomResourceDefinition") {
    return kCrdRank;
  }
  if (kind == "ClusterRole" || absl::EndsWith(kind, "Class")) return 2;
  if (OneOf(kind, {"ClusterRoleBinding", "ResourceQuota", "ServiceAccount",
                   "Role", "LimitRange"})) {
    return 3;
  }
  if (kind == "RoleBinding") return 4;
  if (OneOf(kind, {"ConfigMap", "Secret", "Service", "PersistentVolume",
                   "PersistentVolumeClaim"})) {
    return 5;
  }
  if (group == "apps" || group == "batch" || group == "policy" ||
      (group.empty() && kind == "Pod")) {
    return 6;
  }
  if (kind == "MutatingWebhookConfiguration" ||
      kind == "ValidatingWebhookConfiguration") {
    return 8;
  }
  return 7;
}

ApplyPlan PlanApply(
    const PlanRequest& request, const Inventory& inventory,
    const Claims& claims,
    absl::FunctionRef<bool(const Inventory::Entry&)> in_sync,
    absl::FunctionRef<bool(const std::string&)> namespace_exists) {
  ApplyPlan plan;
  std::map<int, std::vector<int>> waves;
  std::set<ObjectIdentity> wanted;
  const int count =
      request.manifest == nullptr ? 0 : request.manifest->entries_size();
  for (int i = 0; i < count; ++i) {
    const ManifestEntry& want = request.manifest->entries(i);
    const ResourceKey& key = want.key();
    if (want.ensure_namespace()) {
      if (!namespace_exists(key.name())) waves[kNamespaceRank].push_back(i);
      continue;
    }
    const ObjectIdentity id = IdentityOf(key);
    wanted.insert(id);
    const std::string owner = claims.OwnerOf(id, inventory);
    if (!owner.empty() && owner != request.bundle_id) {
      plan.taken.emplace_back(i, owner);
      continue;
    }
    const Inventory::Entry* entry = inventory.Find(id);
    if (entry != nullptr && entry->bundle_id() == request.bundle_id &&
        !entry->uid().empty() &&
        entry->applied_digest() == want.blob_digest() && in_sync(*entry)) {
      plan.in_sync.push_back(i);
      continue;
    }
    std::string waits = WaitsFor(request, want);
    if (!waits.empty()) {
      plan.waiting.emplace_back(i, std::move(waits));
      continue;
    }
    waves[ApplyRank(key.group(), key.kind())].push_back(i);
  }
  for (auto& [rank, wave] : waves) {
    plan.waves.push_back(std::move(wave));
    if (rank <= kCrdRank) plan.waves_before_hooks = plan.waves.size();
  }
  PlanPrunes(request, wanted, inventory, claims, &plan);
  return plan;
}

}  // namespace flotilla::agent
