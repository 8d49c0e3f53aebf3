// SPDX-License-Identifier: Apache-2.0
//
// JoinToken is what `flotilla token create` prints and an agent enrols with:
// "flt.<id>.<secret>.<ca>", where <ca> is the manager's CA certificate (DER,
// base64url), so that the agent trusts nobody on first use.

#ifndef FLOTILLA_COMMON_ENROLMENT_JOIN_TOKEN_H_
#define FLOTILLA_COMMON_ENROLMENT_JOIN_TOKEN_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace flotilla {

struct JoinToken {
  std::string id;      // 16 lower-case hex digits; may be shown.
  std::string secret;  // 32 raw bytes; never shown again.
  std::string ca_der;
};

std::string FormatJoinToken(const JoinToken& token);

// INVALID_ARGUMENT with a sentence that does not repeat the text. White space
// around it is ignored.
absl::StatusOr<JoinToken> ParseJoinToken(absl::string_view text);

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_ENROLMENT_JOIN_TOKEN_H_
