// SPDX-License-Identifier: Apache-2.0
//
// Small files that hold keys and identities: readable by their owner only
// (mode 0600), replaced as a whole, durable when the call returns. Calls block
// on the disk. Error texts name the file and say what to do.

#ifndef FLOTILLA_COMMON_CRYPTO_PRIVATE_FILE_H_
#define FLOTILLA_COMMON_CRYPTO_PRIVATE_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace flotilla {

// NOT_FOUND when there is none; INVALID_ARGUMENT above 1 MiB.
absl::StatusOr<std::string> ReadPrivateFile(const std::string& path);

// After a crash the file has its old or its new content. The folder must exist.
absl::Status WritePrivateFile(const std::string& path,
                              absl::string_view bytes);

// Makes the folder (mode 0700) and those above it where they are missing. An
// error when it is no folder or cannot be written to.
absl::Status MakePrivateFolder(const std::string& path);

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_CRYPTO_PRIVATE_FILE_H_
