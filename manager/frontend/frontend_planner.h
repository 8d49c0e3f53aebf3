// SPDX-License-Identifier: Apache-2.0
//
// Decides the next step for one object of the management cluster and the
// document of its name (decisions.md 26). One rule above all: absence deletes
// nothing. Deleted means a deletionTimestamp with our finalizer; for the small
// kinds that get none, a watch that saw the deletion. Objects that go because
// their kind goes (the CustomResourceDefinition is deleted) are missing, not
// deleted.

#ifndef FLOTILLA_MANAGER_FRONTEND_FRONTEND_PLANNER_H_
#define FLOTILLA_MANAGER_FRONTEND_FRONTEND_PLANNER_H_

#include <string>

#include "absl/strings/string_view.h"

namespace flotilla::manager {

// On objects whose deletion undoes something in clusters.
inline constexpr char kFinalizer[] = "flotilla.dev/finalizer";

// Thread-compatible.
struct ObjectView {
  // Whether the watch has the complete set. Nothing is decided before.
  bool known = false;
  bool present = false;
  bool deleting = false;   // deletionTimestamp is set.
  bool finalizer = false;  // Ours is on it.
  bool deletion_seen = false;  // Not present: a watch event said so.
  bool valid = true;           // It can be read as a document.
  // What it says was handed to the registry, or refused, as it is now.
  bool judged = false;
  std::string uid;
};

// Thread-compatible.
struct DocumentView {
  bool present = false;
  bool ours = false;  // It came from the management cluster.
  bool leaving = false;
  bool missing = false;
  // Made here by itself, and shown in the management cluster.
  bool exported = false;
  std::string uid;
};

// Thread-compatible.
struct Surroundings {
  enum class Fleet { kUnknown, kAbsent, kActive };
  // Whether a controller of Fleet works in this cluster.
  Fleet fleet = Fleet::kUnknown;
  enum class Kind { kUnknown, kServed, kGoing };
  // Whether the CustomResourceDefinition stays. kServed for built-in kinds.
  Kind kind = Kind::kUnknown;
  bool needs_finalizer = false;
  // Whether objects of this kind and place concern us: true but for Secrets,
  // ConfigMaps and Namespaces that no document names.
  bool wanted = true;
};

enum class FrontendStep {
  kNothing,
  kAskKind,  // Find out whether the kind stays, then decide again.
  kRefuseFleet,    // Say that a controller of Fleet is active.
  kRefuseInvalid,  // Say what is wrong with the object.
  kPutFinalizer,
  kTake,  // Hand the document to the registry.
  kDelete,
  kMarkMissing,
  kRemoveFinalizer,
  kCreateObject,  // Show the document in the management cluster.
};

FrontendStep NextStep(const ObjectView& object, const DocumentView& document,
                      const Surroundings& around);

// Of a kind of Fleet's.
bool NeedsFinalizer(absl::string_view kind);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_FRONTEND_FRONTEND_PLANNER_H_
