// SPDX-License-Identifier: Apache-2.0

#include "manager/render/renderer_version.h"

#include <cstddef>
#include <fstream>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/crypto/sha256.h"

namespace flotilla::manager {
namespace {

constexpr size_t kChunkBytes = 1 << 20;

// A chain over the chunks: a program is not held in memory.
std::string DigestOfFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string chunk(kChunkBytes, '\0');
  std::string digest;
  while (file.read(&chunk[0], static_cast<std::streamsize>(chunk.size())) ||
         file.gcount() > 0) {
    digest = Sha256(absl::StrCat(
        digest, absl::string_view(chunk.data(),
                                  static_cast<size_t>(file.gcount()))));
  }
  return Sha256(digest);
}

}  // namespace

std::string RendererVersion(const std::vector<std::string>& programs) {
  std::string digests;
  for (const std::string& path : programs) digests += DigestOfFile(path);
  return absl::BytesToHexString(Sha256(digests));
}

}  // namespace flotilla::manager
