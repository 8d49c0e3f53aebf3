// SPDX-License-Identifier: Apache-2.0
//
// JsonPatcher applies the operations of JSON patches (RFC 6902), in place and
// within a budget: operations that copy, move and shift the same large values
// again and again end soon, and none nests a document deeper than YAML may be.

#ifndef FLOTILLA_MANAGER_RENDER_JSON_PATCH_H_
#define FLOTILLA_MANAGER_RENDER_JSON_PATCH_H_

#include <cstddef>
#include <string>

#include "nlohmann/json.hpp"

namespace flotilla::manager {

// Thread-compatible.
class JsonPatcher {
 public:
  // What all operations together may copy, move and shift. A value counts for
  // 64 bytes and those of its texts and keys, one that a list shifts for one.
  static constexpr size_t kMaxBytes = 32 << 20;

  // Applies one operation of a patch. Gives words for why it cannot, which
  // hold no value of either; the document may be half changed then. Empty when
  // it is done.
  std::string Apply(const nlohmann::json& operation, nlohmann::json* document);

 private:
  // Whether it cannot be afforded, in words.
  std::string Charge(const nlohmann::json& operation,
                     const nlohmann::json& document);
  std::string ChargeValue(const nlohmann::json& value, size_t depth);
  std::string ChargeBytes(size_t bytes);

  size_t room_ = kMaxBytes;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_RENDER_JSON_PATCH_H_
