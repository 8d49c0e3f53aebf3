// SPDX-License-Identifier: Apache-2.0

#include "manager/targeting/desired_rows.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/crypto/sha256.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

using storage::v1::Desired;
using storage::v1::Released;

// Tag of Desired.options: field 4, length-delimited.
constexpr char kOptionsTag = (4 << 3) | 2;

// The record's bytes without the options being parsed or copied: fields stand
// in their order, so options go between what comes before and after them.
std::string SerializeDesired(const Desired& before, const Desired& after,
                             const std::string& options) {
  std::string bytes = SerializeRecord(before);
  bytes.push_back(kOptionsTag);
  for (size_t rest = options.size();; rest >>= 7) {
    if (rest < 0x80) {
      bytes.push_back(static_cast<char>(rest));
      break;
    }
    bytes.push_back(static_cast<char>((rest & 0x7f) | 0x80));
  }
  bytes += options;
  bytes += SerializeRecord(after);
  return bytes;
}

}  // namespace

bool IsRemoval(const Desired& row) {
  return row.removal() != core::v1::DELETE_CAUSE_UNSPECIFIED;
}

std::optional<std::string> WantedRow(const BundleSlot& bundle,
                                     const ClusterSlot& cluster,
                                     const SharedTarget& target,
                                     const Desired* row) {
  const bool templated = target.templated && cluster.context.has_value();
  const bool paused = bundle.paused || cluster.paused;
  const std::string& cluster_workspace =
      cluster.workspace == bundle.workspace ? std::string() : cluster.workspace;
  std::string digest = target.options_digest;
  if (templated) digest = Sha256(absl::StrCat(digest, cluster.context_bytes));
  if (row != nullptr && !IsRemoval(*row) && row->removed_by().empty() &&
      row->revision() == bundle.revision && row->options_digest() == digest &&
      row->target_name() == target.resolved.target_name &&
      row->paused() == paused && row->bundle_name() == bundle.name &&
      row->workspace() == bundle.workspace &&
      row->cluster_name() == cluster.name &&
      row->cluster_workspace() == cluster_workspace &&
      SerializeRecord(row->commit()) == SerializeRecord(bundle.commit)) {
    return std::nullopt;
  }
  Desired first;
  first.set_cluster_id(cluster.id);
  first.set_bundle_id(bundle.id);
  first.set_revision(bundle.revision);
  Desired rest;
  rest.set_options_digest(std::move(digest));
  rest.set_target_name(target.resolved.target_name);
  *rest.mutable_commit() = bundle.commit;
  rest.set_workspace(bundle.workspace);
  rest.set_bundle_name(bundle.name);
  rest.set_cluster_name(cluster.name);
  if (templated) *rest.mutable_template_context() = *cluster.context;
  rest.set_paused(paused);
  rest.set_cluster_workspace(cluster_workspace);
  return SerializeDesired(first, rest, target.options_bytes);
}

RowRemoval RemoveRow(const BundleSlot& bundle, const ClusterSlot& cluster,
                     const Desired& row, const Released* released,
                     bool source_paused, const std::string& cause) {
  const bool head_goes = bundle.removal != core::v1::DELETE_CAUSE_UNSPECIFIED;
  // What fleet.yaml said of a bundle that is gone does not hold for ever.
  const bool paused =
      cluster.paused || (head_goes ? source_paused : bundle.paused);
  RowRemoval removal;
  removal.row = row;
  removal.row.set_paused(paused);
  if (!IsRemoval(row)) {
    removal.step = RowRemoval::Step::kPut;
    removal.row.set_removal(head_goes ? bundle.removal
                                      : core::v1::DELETE_CAUSE_TARGET_CHANGED);
    removal.row.set_removed_by(head_goes ? bundle.removed_by : cause);
    return removal;
  }
  if (released == nullptr || released->state() == Released::STATE_GONE) {
    removal.step = RowRemoval::Step::kDrop;
    return removal;
  }
  // A person may have asked since.
  const bool asked = head_goes &&
                     bundle.removal == core::v1::DELETE_CAUSE_OPERATOR &&
                     row.removal() != bundle.removal;
  if (asked) {
    removal.row.set_removal(bundle.removal);
    removal.row.set_removed_by(bundle.removed_by);
  }
  if (asked || row.paused() != paused) removal.step = RowRemoval::Step::kPut;
  return removal;
}

}  // namespace flotilla::manager
