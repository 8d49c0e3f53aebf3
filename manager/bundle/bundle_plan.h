// SPDX-License-Identifier: Apache-2.0
//
// BundlePlan is one transaction over /bundle/ in the making: what a build, a
// refusal or a removal changes, against what BundleMirror says is there. It
// decides and writes nothing; BundleController commits it.
//
// Loop-affine.

#ifndef FLOTILLA_MANAGER_BUNDLE_BUNDLE_PLAN_H_
#define FLOTILLA_MANAGER_BUNDLE_BUNDLE_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/bundle/bundle_mirror.h"
#include "manager/bundle/source_build.h"
#include "manager/store/store.h"

namespace flotilla::manager {

class BundlePlan {
 public:
  using NewId = absl::FunctionRef<std::string()>;

  // `bundles` must outlive it and not change meanwhile.
  explicit BundlePlan(const BundleMirror& bundles) : bundles_(bundles) {}

  // Nothing is written unless `key` has that revision.
  void Require(const std::string& key, int64_t revision);

  // The bundle as it was built for `document`; `new_id` names a new one.
  void PutBundle(const storage::v1::Document& document,
                 const SourceBuild::Bundle& bundle,
                 const core::v1::Commit& commit, NewId new_id);

  // The bundle is to go from all clusters.
  void MarkRemoved(const storage::v1::BundleHead& head,
                   core::v1::DeleteCause cause, const std::string& by);

  // Deletes the records of a bundle.
  void Erase(const storage::v1::BundleHead& head);

  // Shows on the heads of `names`, and on no others, that `document` has a
  // bundle of that name too.
  void ShowContested(const storage::v1::Document& document,
                     const std::set<std::string>& names);

  // What the last build of `document` had wrong. With errors the number of
  // bundles stays what it was.
  void PutBuild(const storage::v1::Document& document,
                const std::string& commit_id, size_t bundle_count,
                const std::vector<core::v1::Problem>& errors,
                const std::vector<core::v1::Problem>& warnings);
  void EraseBuild(const storage::v1::Document& document);

  bool empty() const { return ops_.empty(); }
  std::vector<Compare> TakeCompares() { return std::move(compares_); }
  std::vector<Op> TakeOps() { return std::move(ops_); }

 private:
  void PutHead(const storage::v1::BundleHead& head);
  // The new revision, and the older ones but the last away.
  void PutRevision(const std::string& id, const SourceBuild::Bundle& bundle,
                   const std::string& previous);

  // Not owned.
  const BundleMirror& bundles_;

  std::vector<Compare> compares_;
  std::vector<Op> ops_;
  // Key of a head to its place in `ops_`.
  absl::flat_hash_map<std::string, size_t> heads_;
};

// Bundles of a build whose names belong to another source.
struct ContestedNames {
  std::set<std::string> names;
  std::vector<core::v1::Problem> problems;  // One for each.
};

ContestedNames FindContested(const BundleMirror& bundles,
                             const storage::v1::Document& document,
                             const std::vector<SourceBuild::Bundle>& built);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_BUNDLE_BUNDLE_PLAN_H_
