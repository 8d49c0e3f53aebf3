// SPDX-License-Identifier: Apache-2.0
//
// URLs without what may be a secret in them.

#ifndef FLOTILLA_MANAGER_GITSYNC_SHOWN_URL_H_
#define FLOTILLA_MANAGER_GITSYNC_SHOWN_URL_H_

#include <string>

#include "absl/strings/string_view.h"

namespace flotilla::manager {

// A URL without what stands before the '@' of its host, and without its query,
// in which a key may stand ("?sshkey="). Whatever else it is stays as it is.
std::string ShownUrl(absl::string_view url);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_GITSYNC_SHOWN_URL_H_
