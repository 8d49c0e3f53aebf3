// SPDX-License-Identifier: Apache-2.0

#include "agent/cache/assign_rules.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace flotilla::agent {
namespace {

using agent::v1::AssignItem;
using agentstate::v1::StoredAssignment;

constexpr size_t kDigestBytes = 32;
constexpr size_t kMaxIdBytes = 253;

void Refuse(AssignVerdict* verdict, AssignItem::Code code, std::string detail) {
  verdict->item.set_code(code);
  verdict->item.set_detail(std::move(detail));
}

// What holds for both forms. False: the verdict is final.
bool JudgeGeneration(const StoredAssignment* held, size_t bundles,
                     const std::string& bundle_id, uint64_t generation,
                     bool same_content, AssignVerdict* verdict) {
  verdict->item.set_bundle_id(bundle_id);
  verdict->item.set_generation(generation);
  if (bundle_id.empty() || bundle_id.size() > kMaxIdBytes ||
      generation == 0) {
    Refuse(verdict, AssignItem::CODE_UNSUPPORTED,
           "an item needs a bundle id of at most 253 bytes and a generation");
    return false;
  }
  if (held == nullptr) {
    if (bundles >= kMaxBundles) {
      Refuse(verdict, AssignItem::CODE_TOO_LARGE,
             absl::StrCat("this agent holds ", bundles,
                          " bundles already; that is the limit"));
      return false;
    }
    return true;
  }
  if (generation < held->generation()) {
    Refuse(verdict, AssignItem::CODE_STALE_GENERATION,
           absl::StrCat(held->generation()));
    return false;
  }
  if (generation == held->generation()) {
    if (same_content) {
      verdict->item.set_code(AssignItem::CODE_STORED);
    } else {
      Refuse(verdict, AssignItem::CODE_BAD_DIGEST,
             absl::StrCat("generation ", generation,
                          " is held with other content"));
    }
    return false;
  }
  return true;
}

}  // namespace

AssignVerdict JudgeUpsert(const StoredAssignment* held, size_t bundles,
                          const agent::v1::Upsert& upsert) {
  AssignVerdict verdict;
  const bool same = held != nullptr && !held->tombstone() &&
                    held->manifest_digest() == upsert.manifest_digest();
  if (!JudgeGeneration(held, bundles, upsert.bundle_id(), upsert.generation(),
                       same, &verdict)) {
    return verdict;
  }
  if (upsert.manifest_digest().size() != kDigestBytes) {
    Refuse(&verdict, AssignItem::CODE_UNSUPPORTED,
           "the manifest digest is not a SHA-256");
    return verdict;
  }
  if (upsert.manifest_size() > kMaxManifestBytes) {
    Refuse(&verdict, AssignItem::CODE_TOO_LARGE,
           absl::StrCat("a manifest of ", upsert.manifest_size(),
                        " bytes; the limit is ", kMaxManifestBytes));
    return verdict;
  }
  StoredAssignment& record = verdict.record;
  if (held != nullptr) {
    record.set_order(held->order());
    record.set_active_digest(held->active_digest());
    record.set_active_generation(held->active_generation());
    *record.mutable_hooks() = held->hooks();
  }
  record.set_bundle_id(upsert.bundle_id());
  record.set_generation(upsert.generation());
  record.set_manifest_digest(upsert.manifest_digest());
  record.set_manifest_size(upsert.manifest_size());
  *record.mutable_commit() = upsert.commit();
  record.set_workspace(upsert.workspace());
  record.set_bundle_name(upsert.bundle_name());
  verdict.item.set_code(AssignItem::CODE_STORED);
  verdict.changed = true;
  return verdict;
}

AssignVerdict JudgeTombstone(const StoredAssignment* held, size_t bundles,
                             const agent::v1::Tombstone& tombstone) {
  AssignVerdict verdict;
  const bool same = held != nullptr && held->tombstone() &&
                    held->keep_resources() == tombstone.keep_resources();
  if (!JudgeGeneration(held, bundles, tombstone.bundle_id(),
                       tombstone.generation(), same, &verdict)) {
    return verdict;
  }
  if (tombstone.cause() == core::v1::DELETE_CAUSE_UNSPECIFIED) {
    Refuse(&verdict, AssignItem::CODE_UNSUPPORTED,
           "a tombstone without a cause deletes nothing");
    return verdict;
  }
  if (held != nullptr) verdict.record = *held;
  StoredAssignment& record = verdict.record;
  record.set_bundle_id(tombstone.bundle_id());
  record.set_generation(tombstone.generation());
  record.clear_manifest_digest();
  record.clear_manifest_size();
  record.set_tombstone(true);
  record.set_deleted(false);
  record.set_keep_resources(tombstone.keep_resources());
  record.set_cause(tombstone.cause());
  record.set_approved_by(tombstone.approved_by());
  verdict.item.set_code(AssignItem::CODE_STORED);
  verdict.changed = true;
  return verdict;
}

}  // namespace flotilla::agent
