// SPDX-License-Identifier: Apache-2.0
//
// BundleReach says which workspaces' clusters a bundle may go to (spec 4.2):
// its own, and those that a BundleNamespaceMapping in its workspace selects by
// the labels of their Namespace documents. Each workspace has the label
// kubernetes.io/metadata.name=<name>, also without such a document.

#ifndef FLOTILLA_MANAGER_TARGETING_BUNDLE_REACH_H_
#define FLOTILLA_MANAGER_TARGETING_BUNDLE_REACH_H_

#include <map>
#include <set>
#include <string>

#include "flotilla/storage/v1/storage.pb.h"
#include "common/labels/label_selector.h"

namespace flotilla::manager {

// Thread-compatible.
class BundleReach {
 public:
  // A Document of kind BundleNamespaceMapping; one that is being deleted maps
  // nothing.
  void SetMapping(const storage::v1::Document& mapping);
  void RemoveMapping(const std::string& workspace, const std::string& name);

  // Labels of a Namespace document.
  void SetNamespace(const std::string& workspace, LabelMap labels);
  void RemoveNamespace(const std::string& workspace);

  // A workspace with clusters; true when it was not known.
  bool AddWorkspace(const std::string& workspace);

  // Workspaces with mappings.
  std::set<std::string> MappingWorkspaces() const;

  // Sorted; the bundle's own workspace is always in it.
  std::set<std::string> Of(const std::string& workspace,
                           const LabelMap& bundle_labels) const;

 private:
  struct Mapping {
    core::v1::LabelSelector bundles;
    core::v1::LabelSelector namespaces;
  };

  // Workspace, then name.
  std::map<std::string, std::map<std::string, Mapping>> mappings_;
  std::map<std::string, LabelMap> namespaces_;
  std::set<std::string> workspaces_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_TARGETING_BUNDLE_REACH_H_
