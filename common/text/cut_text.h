// SPDX-License-Identifier: Apache-2.0
//
// CutText bounds text that goes into a message or record. Half a character
// there makes the whole of it unreadable: fields of type string must be UTF-8.

#ifndef FLOTILLA_COMMON_TEXT_CUT_TEXT_H_
#define FLOTILLA_COMMON_TEXT_CUT_TEXT_H_

#include <cstddef>

#include "absl/strings/string_view.h"

namespace flotilla {

// The beginning of `text`: at most `max_bytes`, and no half character at its
// end if `text` is UTF-8.
absl::string_view CutText(absl::string_view text, size_t max_bytes);

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_TEXT_CUT_TEXT_H_
