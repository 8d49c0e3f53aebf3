// SPDX-License-Identifier: Apache-2.0
//
// SealedBox keeps secrets at rest: AES-256-GCM with a key from a file of its
// own (mode 0600), made on first use. What is sealed is bound to a context: the
// same context must be given to open it, so that sealed values cannot change
// places. Sealed form: version byte 1, nonce of 12 bytes, ciphertext, tag of
// 16 bytes.
//
// Whoever loses the key file loses what was sealed: back it up, apart from the
// data.

#ifndef FLOTILLA_COMMON_CRYPTO_SEALED_BOX_H_
#define FLOTILLA_COMMON_CRYPTO_SEALED_BOX_H_

#include <memory>
#include <string>

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
  // DATA_LOSS when it is not a key. `random` is not owned.
  static absl::StatusOr<std::unique_ptr<SealedBox>> Create(
      const std::string& key_file, Random& random);

  ~SealedBox();
  SealedBox(const SealedBox&) = delete;
  SealedBox& operator=(const SealedBox&) = delete;

  std::string Seal(absl::string_view plain, absl::string_view context) const;

  // DATA_LOSS when `sealed` was changed, was sealed with another key, or in
  // another context.
  absl::StatusOr<std::string> Open(absl::string_view sealed,
                                   absl::string_view context) const;

 private:
  SealedBox(std::string key, Random& random);

  // Constant after construction; wiped at the end.
  std::string key_;

  // Collaborators. Not owned.
  Random& random_;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_CRYPTO_SEALED_BOX_H_
