// SPDX-License-Identifier: Apache-2.0
//
// Text from repositories and servers, made fit for records and terminals.

#ifndef FLOTILLA_MANAGER_GITSYNC_DISPLAY_TEXT_H_
#define FLOTILLA_MANAGER_GITSYNC_DISPLAY_TEXT_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace flotilla::manager {

// Valid UTF-8 without control characters.
bool IsPlainText(absl::string_view text);

// `text` with '?' for each byte that IsPlainText() objects to, cut to at most
// `max_bytes` between characters; "..." is then added.
std::string ToDisplayText(absl::string_view text, size_t max_bytes);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_GITSYNC_DISPLAY_TEXT_H_
