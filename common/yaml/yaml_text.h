// SPDX-License-Identifier: Apache-2.0
//
// What the readers of this package share: errors with a position, and the
// check of a text's characters.

#ifndef FLOTILLA_COMMON_YAML_YAML_TEXT_H_
#define FLOTILLA_COMMON_YAML_YAML_TEXT_H_

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace flotilla::yaml {

// Payload of an error: its line as a decimal.
inline constexpr char kLineUrl[] = "flotilla.dev/yaml-line";

// INVALID_ARGUMENT and RESOURCE_EXHAUSTED at a place; without one when `line`
// is 0.
absl::Status Invalid(int line, int column, absl::string_view text);
absl::Status TooMuch(int line, int column, absl::string_view text);

// A key in an error's text: short, and harmless on a terminal.
std::string Shown(absl::string_view key);

// Checks UTF-8 and the characters that YAML allows; cuts a byte order mark;
// makes every line end in "\n".
absl::StatusOr<std::string> CleanText(absl::string_view text);

// True if `text` begins with a byte order mark of UTF-16.
bool IsUtf16(absl::string_view text);

// UTF-8 of such a text, without the mark.
absl::StatusOr<std::string> FromUtf16(absl::string_view text);

// yaml-cpp writes the escapes \N and \_ of a quoted text as one byte, which is
// no UTF-8. Makes them the characters that they stand for.
// REQUIRES: the other bytes of `value` are UTF-8.
void MendEscapes(std::string* value);

// True if what stands at `position` is a plain key of one line, `key`, and no
// colon stands behind it: yaml-cpp takes the last line of a map for a key
// without a value. False for keys behind "? ".
bool LacksColon(absl::string_view text, size_t position,
                absl::string_view key);

// yaml-cpp loses one of the line breaks at the end of a folded scalar that
// keeps them (">+"). Gives `value` as many as the text has behind `position`,
// where the scalar begins; leaves other scalars alone.
void KeepLineBreaks(absl::string_view text, size_t position,
                    std::string* value);

}  // namespace flotilla::yaml

#endif  // FLOTILLA_COMMON_YAML_YAML_TEXT_H_
