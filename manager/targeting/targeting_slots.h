// SPDX-License-Identifier: Apache-2.0
//
// What targeting knows of a cluster and of a bundle, folded from the records of
// the store so that a pair of them needs no look-up. TargetingView fills them
// in and owns them.

#ifndef FLOTILLA_MANAGER_TARGETING_TARGETING_SLOTS_H_
#define FLOTILLA_MANAGER_TARGETING_TARGETING_SLOTS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "absl/container/flat_hash_set.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "common/labels/label_selector.h"
#include "manager/targeting/target_resolver.h"

namespace flotilla::manager {

struct BundleSlot;

struct ClusterSlot {
  std::string id;
  // Of the identity.
  std::string workspace;
  std::string name;
  bool enrolled = false;
  bool revoked = false;
  std::string identity_key;
  int64_t identity_revision = 0;
  // Of the document.
  bool has_document = false;
  bool deleting = false;
  bool paused = false;
  std::string document_key;
  int64_t document_revision = 0;
  ClusterSubject subject;
  // Absent when no label counts.
  std::optional<storage::v1::TemplateContext> context;
  std::string context_bytes;

  // Identity, document or groups changed since it was folded.
  bool stale = true;
  absl::flat_hash_set<BundleSlot*> rows;
};

struct BundleSlot {
  std::string id;
  // Of the head.
  bool has_head = false;
  std::string head_key;
  int64_t head_revision = 0;
  std::string workspace;
  std::string name;
  std::string git_repo;
  std::string helm_op;
  std::string revision;
  core::v1::Commit commit;
  core::v1::DeleteCause removal = core::v1::DELETE_CAUSE_UNSPECIFIED;
  std::string removed_by;
  // Of the revision; null until it is there.
  std::unique_ptr<BundleResolver> resolver;
  bool paused = false;
  LabelMap labels;
  // Workspaces it may go to, sorted.
  std::set<std::string> reach;

  absl::flat_hash_set<ClusterSlot*> rows;
};

// Kind and name of the document that a bundle comes from.
struct BundleSource {
  const char* kind;
  const std::string& name;
};
BundleSource SourceOf(const BundleSlot& bundle);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_TARGETING_TARGETING_SLOTS_H_
