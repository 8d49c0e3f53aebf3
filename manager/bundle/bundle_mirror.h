// SPDX-License-Identifier: Apache-2.0
//
// BundleMirror is what BundleController knows of its own records: heads by id,
// by name and by source, the revisions that are kept, the records of builds,
// and whether a cluster still has a Desired of a bundle. It reads only.

#ifndef FLOTILLA_MANAGER_BUNDLE_BUNDLE_MIRROR_H_
#define FLOTILLA_MANAGER_BUNDLE_BUNDLE_MIRROR_H_

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/any_invocable.h"
#include "absl/strings/string_view.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/store/store.h"
#include "manager/store/typed_mirror.h"

namespace flotilla::manager {

// Loop-affine.
class BundleMirror {
 public:
  using OnNameFree = absl::AnyInvocable<void(const std::string& workspace,
                                             const std::string& name)>;
  using OnBatch = absl::AnyInvocable<void()>;

  // `store` must outlive it. `on_name_free`: a head is gone, and nothing has
  // its name any more. `on_batch`: something has changed. Neither may destroy
  // the mirror.
  BundleMirror(Store& store, OnNameFree on_name_free, OnBatch on_batch);
  BundleMirror(const BundleMirror&) = delete;
  BundleMirror& operator=(const BundleMirror&) = delete;

  // Before that, what is absent is not known to be absent.
  bool loaded() const;

  // Null when there is none.
  const storage::v1::BundleHead* FindHead(const std::string& id) const;
  const storage::v1::BundleHead* FindHead(absl::string_view workspace,
                                          absl::string_view name) const;
  std::vector<const storage::v1::BundleHead*> HeadsOf(
      const std::string& source_key) const;
  // 0 when there is none.
  int64_t HeadRevision(const std::string& id) const;
  size_t head_count() const { return heads_.map().size(); }

  // Ids of bundles on their way out, and of those whose head has problems.
  const std::set<std::string>& removed() const { return removed_; }
  const std::set<std::string>& with_problems() const { return with_problems_; }

  // Digests of the revisions that are kept of a bundle.
  const std::set<std::string>& RevisionsOf(const std::string& id) const;
  // Whether some cluster has a Desired of it.
  bool IsDesired(const std::string& id) const { return desired_.contains(id); }

  // By BundleBuildKey(). Null when there is none.
  const storage::v1::BundleBuild* FindBuild(const std::string& key) const {
    return builds_.Find(key);
  }
  int64_t BuildRevision(const std::string& key) const {
    return builds_.ModRevision(key);
  }

 private:
  struct HeadName {
    std::string workspace;
    std::string name;
    std::string source;
  };

  void OnHead(const std::string& key, const storage::v1::BundleHead* head);
  void OnRevisionKeys(const WatchBatch& batch);
  void OnDesiredKeys(const WatchBatch& batch);

  // Constant after construction.
  OnNameFree on_name_free_;
  OnBatch on_batch_;

  // Loop state.
  // "workspace/name" -> bundle id; bundle id -> that name and its source;
  // source -> bundle ids.
  absl::flat_hash_map<std::string, std::string> by_name_;
  absl::flat_hash_map<std::string, HeadName> names_;
  absl::flat_hash_map<std::string, std::set<std::string>> by_source_;
  std::set<std::string> removed_;
  std::set<std::string> with_problems_;
  // Bundle id -> revisions, and clusters with a Desired.
  absl::flat_hash_map<std::string, std::set<std::string>> revisions_;
  absl::flat_hash_map<std::string, absl::flat_hash_set<std::string>> desired_;
  bool revisions_loaded_ = false;
  bool desired_loaded_ = false;

  // Declared last: destroyed first.
  TypedMirror<storage::v1::BundleHead> heads_;
  TypedMirror<storage::v1::BundleBuild> builds_;
  std::unique_ptr<WatchHandle> revision_watch_;
  std::unique_ptr<WatchHandle> desired_watch_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_BUNDLE_BUNDLE_MIRROR_H_
