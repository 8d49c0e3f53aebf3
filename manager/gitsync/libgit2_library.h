// SPDX-License-Identifier: Apache-2.0
//
// libgit2 itself: one for the process, and so is what it is told.

#ifndef FLOTILLA_MANAGER_GITSYNC_LIBGIT2_LIBRARY_H_
#define FLOTILLA_MANAGER_GITSYNC_LIBGIT2_LIBRARY_H_

#include "absl/status/status.h"

namespace flotilla::manager {

// To be called before anything else of libgit2; again does nothing. From then
// on no configuration of the machine counts and our sockets are used.
// Thread-safe.
absl::Status InitLibgit2();

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_GITSYNC_LIBGIT2_LIBRARY_H_
