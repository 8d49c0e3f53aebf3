// SPDX-License-Identifier: Apache-2.0

#include "manager/frontend/frontend_planner.h"

namespace flotilla::manager {
namespace {

using Fleet = Surroundings::Fleet;
using Kind = Surroundings::Kind;

// An object that is wanted.
FrontendStep StepForPresent(const ObjectView& object,
                            const DocumentView& document,
                            const Surroundings& around) {
  if (around.fleet == Fleet::kUnknown) return FrontendStep::kNothing;
  if (around.fleet == Fleet::kActive) {
    return object.judged ? FrontendStep::kNothing
                         : FrontendStep::kRefuseFleet;
  }
  if (!object.valid) {
    return object.judged ? FrontendStep::kNothing
                         : FrontendStep::kRefuseInvalid;
  }
  // A refused one is judged as well: the document is another's.
  if (object.judged && document.present && !document.ours) {
    return FrontendStep::kNothing;
  }
  // Also when somebody took it off.
  if (around.needs_finalizer && !object.finalizer) {
    return FrontendStep::kPutFinalizer;
  }
  const bool same = document.present && document.ours && !document.leaving &&
                    !document.missing && document.uid == object.uid;
  return object.judged && same ? FrontendStep::kNothing : FrontendStep::kTake;
}

// An object with a deletionTimestamp.
FrontendStep StepForDeleting(const ObjectView& object,
                             const DocumentView& document,
                             const Surroundings& around) {
  const bool ours = document.present && document.ours;
  if (!object.finalizer) {
    // Somebody took our finalizer off, or it never had one. Small kinds are
    // judged when they are gone.
    const bool lost = around.needs_finalizer && ours && !document.leaving &&
                      !document.missing;
    return lost ? FrontendStep::kMarkMissing : FrontendStep::kNothing;
  }
  if (!ours) return FrontendStep::kRemoveFinalizer;
  if (document.leaving) return FrontendStep::kNothing;
  switch (around.kind) {
    case Kind::kUnknown:
      return FrontendStep::kAskKind;
    case Kind::kGoing:
      return document.missing ? FrontendStep::kRemoveFinalizer
                              : FrontendStep::kMarkMissing;
    case Kind::kServed:
      break;
  }
  return FrontendStep::kDelete;
}

FrontendStep StepForAbsent(const ObjectView& object,
                           const DocumentView& document,
                           const Surroundings& around) {
  if (!document.present || document.leaving) return FrontendStep::kNothing;
  if (!document.ours) {
    return document.exported && around.fleet == Fleet::kAbsent
               ? FrontendStep::kCreateObject
               : FrontendStep::kNothing;
  }
  if (document.missing) return FrontendStep::kNothing;
  if (around.needs_finalizer || !object.deletion_seen) {
    return FrontendStep::kMarkMissing;
  }
  switch (around.kind) {
    case Kind::kUnknown:
      return FrontendStep::kAskKind;
    case Kind::kGoing:
      return FrontendStep::kMarkMissing;
    case Kind::kServed:
      break;
  }
  return FrontendStep::kDelete;
}

}  // namespace

FrontendStep NextStep(const ObjectView& object, const DocumentView& document,
                      const Surroundings& around) {
  if (!around.wanted) {
    // A credential that nobody uses is not kept.
    return document.present && document.ours && !document.leaving
               ? FrontendStep::kDelete
               : FrontendStep::kNothing;
  }
  if (!object.known) return FrontendStep::kNothing;
  if (!object.present) return StepForAbsent(object, document, around);
  if (object.deleting) return StepForDeleting(object, document, around);
  return StepForPresent(object, document, around);
}

bool NeedsFinalizer(absl::string_view kind) {
  return kind == "GitRepo" || kind == "HelmOp" || kind == "Bundle" ||
         kind == "Cluster";
}

}  // namespace flotilla::manager
