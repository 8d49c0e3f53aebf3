// SPDX-License-Identifier: Apache-2.0
//
// Decides what becomes of a CustomResourceDefinition of ours in a cluster that
// may have one of that name already: made when absent, updated when it is ours
// and older, left alone when it is anybody else's (decisions.md 26).

#ifndef FLOTILLA_MANAGER_FRONTEND_CRDS_CRD_PLAN_H_
#define FLOTILLA_MANAGER_FRONTEND_CRDS_CRD_PLAN_H_

#include <string>
#include <vector>

#include "nlohmann/json.hpp"

namespace flotilla::manager {

// The annotation that makes one ours; its value is a rising number.
inline constexpr char kCrdVersion[] = "flotilla.dev/crd-version";

// Thread-compatible.
struct CrdPlan {
  enum class Action {
    kCreate,  // It is absent.
    kUpdate,  // Ours and older.
    kKeep,    // Ours, of this version or a newer one; or on its way out.
    kForeign,
  };
  Action action = Action::kKeep;
  // Of a foreign one: what it lacks, for people, such as
  // "spec.correctDrift.force"; at most kMaxLacks.
  std::vector<std::string> lacks;
};

inline constexpr size_t kMaxLacks = 20;

// `live` is null when there is none.
CrdPlan PlanCrd(const nlohmann::json& wanted, const nlohmann::json& live);

// The name of the kind that it defines, such as "GitRepo"; "" when it is odd.
std::string CrdKind(const nlohmann::json& crd);

// Whether the API server serves what it defines.
bool IsEstablished(const nlohmann::json& crd);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_FRONTEND_CRDS_CRD_PLAN_H_
