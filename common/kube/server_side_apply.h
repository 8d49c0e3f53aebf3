// SPDX-License-Identifier: Apache-2.0
//
// Field ownership as an API server keeps it, for FakeKubeClient: server-side
// apply with conflicts, updates that take fields from their managers, and
// managedFields. Lists are merged by key as FakeKubeClient's comment says.
// Decisions only: no store, no clock.

#ifndef FLOTILLA_COMMON_KUBE_SERVER_SIDE_APPLY_H_
#define FLOTILLA_COMMON_KUBE_SERVER_SIDE_APPLY_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

#include "common/kube/kube_error.h"
#include "common/kube/object.h"

namespace flotilla {

// Thread-compatible.
struct OwnedObject {
  nlohmann::json object;  // Without managedFields.
  std::vector<ManagedFieldsEntry> managers;
};

// All fields that say something, those of identity left out.
FieldSet FieldsOf(const nlohmann::json& object);

// As in metadata.managedFields.
nlohmann::json ManagedFieldsOf(const std::vector<ManagedFieldsEntry>& managers);

// What `wanted` would take from other managers, and takes: the fields go from
// their sets. One cause for each.
std::vector<KubeErrorCause> TakeFromOthers(const nlohmann::json& wanted,
                                           absl::string_view manager,
                                           OwnedObject* next);

// Merges `wanted` into the object for `manager`, and takes out what it applied
// before and wants no more, unless somebody else owns it.
void MergeApplied(const nlohmann::json& wanted, absl::string_view manager,
                  OwnedObject* next);

// `next->object` was changed from `before` by an update of `manager`: fields
// that changed or went are taken from their managers.
void OwnChanges(const nlohmann::json& before, absl::string_view manager,
                OwnedObject* next);

// `manager` owns just these fields, by an update of `subresource`.
void OwnFields(FieldSet fields, absl::string_view manager,
               absl::string_view subresource, OwnedObject* next);

// New times for the entries whose fields are not those of `before`.
void StampChanged(const std::vector<ManagedFieldsEntry>& before,
                  const std::string& now,
                  std::vector<ManagedFieldsEntry>* after);

// Times apart.
bool SameManagers(const std::vector<ManagedFieldsEntry>& a,
                  const std::vector<ManagedFieldsEntry>& b);

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_KUBE_SERVER_SIDE_APPLY_H_
