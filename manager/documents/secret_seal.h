// SPDX-License-Identifier: Apache-2.0
//
// How the values of Secret documents lie on disk: a SecretData message, sealed
// in a context of its own, so that nothing else that is sealed can be put in
// its place.

#ifndef FLOTILLA_MANAGER_DOCUMENTS_SECRET_SEAL_H_
#define FLOTILLA_MANAGER_DOCUMENTS_SECRET_SEAL_H_

#include <string>

#include "absl/status/statusor.h"
#include "common/crypto/sealed_box.h"
#include "flotilla/storage/v1/storage.pb.h"

namespace flotilla::manager {

// For SecretSpec.sealed.
std::string SealSecret(const SealedBox& box,
                       const storage::v1::SecretData& data);

// A serialised SecretData.
// Errors: DATA_LOSS when it cannot be opened. No text holds a value.
absl::StatusOr<std::string> OpenSecret(const SealedBox& box,
                                       const storage::v1::SecretSpec& secret);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_DOCUMENTS_SECRET_SEAL_H_
