// SPDX-License-Identifier: Apache-2.0
//
// ResourceIndex keeps how each object of each deployment is, in the few words
// of `status.resources` (spec.md 1.0.5), and finds the objects of a GitRepo or
// HelmOp with their clusters. A report costs the logarithm of what is there.
// It takes agents' reports and the folded deployments that they belong to, in
// any order; an object is shown no better than its deployment is.
//
// What an agent can make it keep is bounded: kMaxObjects for a deployment, of
// which those with the least names stay, and kMaxMessage bytes for each.

#ifndef FLOTILLA_MANAGER_ADMIN_RESOURCE_INDEX_H_
#define FLOTILLA_MANAGER_ADMIN_RESOURCE_INDEX_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "flotilla/core/v1/core.pb.h"
#include "manager/admin/deployment_tally.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {

// What `status.resources` shows of one source.
struct ResourceList {
  // Sorted by type and id.
  nlohmann::json shown = nlohmann::json::array();
  size_t all = 0;
};

// Thread-compatible.
class ResourceIndex {
 public:
  static constexpr size_t kMaxObjects = 5000;
  static constexpr size_t kMaxMessage = 256;

  ResourceIndex() = default;
  ResourceIndex(const ResourceIndex&) = delete;
  ResourceIndex& operator=(const ResourceIndex&) = delete;

  // What an agent said of one object.
  void Report(const std::string& cluster_id,
              const core::v1::ResourceStatus& status);
  // Nothing said of this deployment counts any more.
  void Forget(const std::string& cluster_id, const std::string& bundle_id);

  // The objects of `entry` count for `source` from now on. `entry` must stay
  // as it is, where it is, until Displace().
  void Place(const DeploymentEntry& entry, const std::string& source);
  void Displace(const DeploymentEntry& entry);

  // Objects of a deployment that are not ready and are in no trouble that the
  // agent reports as a problem: those that go on and those of which nothing is
  // known. At most `limit`, by name, as
  // "deployment.apps default/web: 1 of 3 pods are ready".
  std::vector<std::string> Unfinished(const DeploymentName& name,
                                      size_t limit) const;

  // At most about `budget` bytes. When there is more, the worst are shown, and
  // of each object the clusters in which it is worst; `incompleteState` says
  // that clusters are left out.
  ResourceList Resources(const std::string& source, size_t budget) const;

 private:
  // Worst first.
  enum class Word : uint8_t {
    kError,
    kMissing,
    kModified,
    kOrphaned,
    kUnknown,
    kNotReady,
    kWaitApplied,
    kPending,
    kReady,
  };
  // One for all deployments that have it.
  struct ObjectName {
    // As Fleet writes it: "apps.deployment" and "namespace/name".
    std::string type;
    std::string id;
    std::string group;
    std::string kind;
    std::string ns;
    std::string name;
    // No part of the identity, but two versions are shown apart.
    std::string version;
  };
  struct ByIdentity {
    bool operator()(const ObjectName& a, const ObjectName& b) const;
  };
  struct ByName {
    bool operator()(const ObjectName& a, const ObjectName& b) const;
    bool operator()(const ObjectName* a, const ObjectName* b) const {
      return (*this)(*a, *b);
    }
  };
  struct Row {
    const ObjectName* object = nullptr;
    Word said = Word::kUnknown;
    // Its word in the source; meaningless while its deployment has no place.
    Word shown = Word::kUnknown;
    std::unique_ptr<std::string> message;
  };
  struct Deployment {
    // By ByIdentity.
    std::vector<Row> rows;
    // Null while it has no place.
    const DeploymentEntry* entry = nullptr;
    std::string source;
    bool truncated = false;
  };
  struct Member {
    Word word;
    const DeploymentEntry* entry;
    bool operator<(const Member& other) const;
  };
  using Members = absl::btree_set<Member>;
  using Objects = std::map<const ObjectName*, Members, ByName>;
  using DeploymentKey = std::pair<std::string, std::string>;

  // A part of one of the lists of perClusterState.
  struct Stretch;

  static Word WordOf(const core::v1::ResourceStatus& status);
  static Word ShownAs(FoldedState state, Word said);
  static const char* StateText(Word word);
  static const char* ListKey(Word word);
  static ObjectName NameOf(const core::v1::ResourceKey& key);

  const ObjectName* Intern(ObjectName name);
  void Release(const ObjectName* object);
  void Show(Deployment& deployment, Row& row);
  void Hide(const Deployment& deployment, const Row& row);
  void DropRow(Deployment& deployment, size_t i);
  nlohmann::json Head(const ObjectName& object, const Members& members) const;

  // Users of each name.
  std::map<ObjectName, uint32_t, ByName> names_;
  absl::flat_hash_map<DeploymentKey, std::unique_ptr<Deployment>> deployments_;
  absl::flat_hash_map<std::string, Objects> sources_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_ADMIN_RESOURCE_INDEX_H_
