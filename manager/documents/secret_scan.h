// SPDX-License-Identifier: Apache-2.0
//
// Which files are sealed on disk (decisions.md 23).

#ifndef FLOTILLA_MANAGER_DOCUMENTS_SECRET_SCAN_H_
#define FLOTILLA_MANAGER_DOCUMENTS_SECRET_SCAN_H_

#include "absl/strings/string_view.h"

namespace flotilla::manager {

// Whether there may be an object of kind Secret in a file: better one file
// sealed too many than one too few.
bool MayHoldSecret(absl::string_view bytes);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_DOCUMENTS_SECRET_SCAN_H_
