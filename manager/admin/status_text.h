// SPDX-License-Identifier: Apache-2.0
//
// Text for a status that is bounded in size.

#ifndef FLOTILLA_MANAGER_ADMIN_STATUS_TEXT_H_
#define FLOTILLA_MANAGER_ADMIN_STATUS_TEXT_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {

// At most `limit` bytes, cut between characters, with "..." where something is
// missing. Control characters become spaces: each would be six bytes of JSON.
std::string BoundedText(absl::string_view text, size_t limit);

// As StatusSource's readers write it.
std::string StatusText(const nlohmann::json& value);
size_t JsonSize(const nlohmann::json& value);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_ADMIN_STATUS_TEXT_H_
