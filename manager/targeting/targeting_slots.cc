// SPDX-License-Identifier: Apache-2.0

#include "manager/targeting/targeting_slots.h"

namespace flotilla::manager {

BundleSource SourceOf(const BundleSlot& bundle) {
  if (!bundle.git_repo.empty()) return {"GitRepo", bundle.git_repo};
  if (!bundle.helm_op.empty()) return {"HelmOp", bundle.helm_op};
  return {"Bundle", bundle.name};
}

}  // namespace flotilla::manager
