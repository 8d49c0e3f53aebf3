// SPDX-License-Identifier: Apache-2.0

#include "manager/documents/secret_seal.h"

#include "absl/status/status.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

constexpr char kContext[] = "Secret document";

}  // namespace

std::string SealSecret(const SealedBox& box,
                       const storage::v1::SecretData& data) {
  return box.Seal(SerializeRecord(data), kContext);
}

absl::StatusOr<std::string> OpenSecret(const SealedBox& box,
                                       const storage::v1::SecretSpec& secret) {
  absl::StatusOr<std::string> plain = box.Open(secret.sealed(), kContext);
  if (!plain.ok()) {
    return absl::DataLossError(
        "the Secret cannot be opened with this manager's key file; apply it "
        "again");
  }
  return plain;
}

}  // namespace flotilla::manager
