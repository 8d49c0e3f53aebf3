// SPDX-License-Identifier: Apache-2.0
//
// An env that names a variable twice is fine for kubectl and Helm, which let
// the last one count, and refused by server-side apply.

#ifndef FLOTILLA_AGENT_APPLY_DOUBLED_NAMES_H_
#define FLOTILLA_AGENT_APPLY_DOUBLED_NAMES_H_

#include "absl/status/status.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {

// The API server refuses an object for names that are there twice.
bool IsForDoubledNames(const absl::Status& status);

// Leaves of variables with one name in the env of a container the last one.
// True when that changed anything.
bool DropDoubledNames(nlohmann::json* object);

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_APPLY_DOUBLED_NAMES_H_
