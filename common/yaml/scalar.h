// SPDX-License-Identifier: Apache-2.0
//
// Plain YAML scalars as go-yaml v2, and so Kubernetes, resolves them.

#ifndef FLOTILLA_COMMON_YAML_SCALAR_H_
#define FLOTILLA_COMMON_YAML_SCALAR_H_

#include <string>

#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace flotilla::yaml {

// A scalar and what it was resolved as.
//
// Thread-compatible.
struct Scalar {
  enum class Kind { kString, kNull, kBool, kInt, kFloat };
  Kind kind = Kind::kString;
  // For kFloat a number, or NaN for .nan and .inf.
  nlohmann::json value;
};

Scalar ResolvePlain(absl::string_view text);

// Go writes a float with no fraction without one, so it is an integer in JSON.
nlohmann::json FloatValue(double value);

// Go's FormatFloat(value, 'g', -1, 32), as sigs.k8s.io/yaml writes a float that
// is a key.
std::string FloatKey(double value);

}  // namespace flotilla::yaml

#endif  // FLOTILLA_COMMON_YAML_SCALAR_H_
