// SPDX-License-Identifier: Apache-2.0

#include "common/assignment/set_digest.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/crypto/sha256.h"

namespace flotilla {
namespace {

void AppendFixed(std::string& out, uint64_t value, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>((value >> shift) & 0xff));
  }
}

void AppendText(std::string& out, absl::string_view text) {
  AppendFixed(out, text.size(), 4);
  out.append(text.data(), text.size());
}

}  // namespace

std::string SetDigest(std::vector<AssignedItem> items) {
  std::sort(items.begin(), items.end(),
            [](const AssignedItem& a, const AssignedItem& b) {
              return std::tie(a.bundle_id, a.generation, a.manifest_digest,
                              a.tombstone) <
                     std::tie(b.bundle_id, b.generation, b.manifest_digest,
                              b.tombstone);
            });
  std::string bytes = "flotilla.set.v1\n";
  for (const AssignedItem& item : items) {
    AppendText(bytes, item.bundle_id);
    AppendFixed(bytes, item.generation, 8);
    AppendText(bytes, item.manifest_digest);
    bytes.push_back(item.tombstone ? 1 : 0);
  }
  return Sha256(bytes);
}

}  // namespace flotilla
