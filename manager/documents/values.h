// SPDX-License-Identifier: Apache-2.0
//
// Helm values as canonical JSON text: how they are merged (spec 2.3, 4.4).

#ifndef FLOTILLA_MANAGER_DOCUMENTS_VALUES_H_
#define FLOTILLA_MANAGER_DOCUMENTS_VALUES_H_

#include <string>

#include "nlohmann/json.hpp"

namespace flotilla::manager {

// Compact JSON with sorted keys; "" for what is not an object, or empty.
std::string CanonicalValues(const nlohmann::json& values);

// Deep merge, `custom` over `base`: maps recursively, everything else, lists
// included, is replaced.
void MergeValues(nlohmann::json& base, const nlohmann::json& custom);

// The same on canonical text. Text that is not an object counts as empty.
std::string MergeValuesText(const std::string& base, const std::string& custom);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_DOCUMENTS_VALUES_H_
