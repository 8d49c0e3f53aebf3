// SPDX-License-Identifier: Apache-2.0
//
// Durations as Go writes them (spec 1.0.2).

#ifndef FLOTILLA_MANAGER_DOCUMENTS_GO_DURATION_H_
#define FLOTILLA_MANAGER_DOCUMENTS_GO_DURATION_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace flotilla::manager {

// "15s", "1h30m", "0". Errors: INVALID_ARGUMENT.
absl::StatusOr<absl::Duration> ParseGoDuration(absl::string_view text);

// As time.Duration.String(): "15s", "1h30m0s", "1.5s", "0s".
std::string FormatGoDuration(absl::Duration duration);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_DOCUMENTS_GO_DURATION_H_
