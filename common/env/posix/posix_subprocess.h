// SPDX-License-Identifier: Apache-2.0
//
// PosixSubprocesses starts children with fork and exec. All that can fail is
// made ready before the fork; the child itself makes only calls that are safe
// in a process with threads, and tells its parent which of them failed.

#ifndef FLOTILLA_COMMON_ENV_POSIX_POSIX_SUBPROCESS_H_
#define FLOTILLA_COMMON_ENV_POSIX_POSIX_SUBPROCESS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "common/env/subprocess.h"

namespace flotilla {

// See the file comment.
//
// Thread-safe.
class PosixSubprocesses final : public Subprocesses {
 public:
  absl::StatusOr<std::unique_ptr<Subprocess>> Start(
      const SubprocessOptions& options) override;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_ENV_POSIX_POSIX_SUBPROCESS_H_
