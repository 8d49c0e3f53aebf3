// SPDX-License-Identifier: Apache-2.0
//
// SealedBox keeps secrets at rest: AES-256-GCM with a key from a file of its
// own (mode 0600), made on first use. What is sealed is bound to a context: the
// same context must be given to open it, so that sealed values cannot change
// places. Sealed form: version byte 1, nonce of 12 bytes, ciphertext, tag of
// 16 bytes.
//
// Nonces are counted up from a random start, not drawn one by one: drawn ones
// would be likely to meet after 2^32 of them, and a store seals that many.
//
// Whoever loses the key file loses what was sealed: back it up, apart from the
// data.

#ifndef FLOTILLA_COMMON_CRYPTO_SEALED_BOX_H_
#define FLOTILLA_COMMON_CRYPTO_SEALED_BOX_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/env/random.h"

namespace flotilla {

// See the file comment.
//
// Thread-safe.
class SealedBox {
 public:
  // Reads the key file, or makes it. PERMISSION_DENIED when others can read it;
  // DATA_LOSS when it is not a key; FAILED_PRECONDITION when there is none but
  // one of the paths in `sealed` exists: a new key could not open that.
  static absl::StatusOr<std::unique_ptr<SealedBox>> Create(
      const std::string& key_file, Random& random,
      const std::vector<std::string>& sealed = {});

  ~SealedBox();
  SealedBox(const SealedBox&) = delete;
  SealedBox& operator=(const SealedBox&) = delete;

  std::string Seal(absl::string_view plain, absl::string_view context) const;

  // DATA_LOSS when `sealed` was changed, was sealed with another key, or in
  // another context.
  absl::StatusOr<std::string> Open(absl::string_view sealed,
                                   absl::string_view context) const;

  const std::string& key_file() const { return key_file_; }

 private:
  SealedBox(std::string key_file, std::string key, Random& random);

  std::string NextNonce() const;

  // Constant after construction.
  const std::string key_file_;
  const std::string nonce_prefix_;
  // Wiped at the end.
  std::string key_;

  mutable std::atomic<uint64_t> next_nonce_;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_CRYPTO_SEALED_BOX_H_
